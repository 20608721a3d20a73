"""The mouse wheel of an OpenCV window under X11, taken before Qt sees it.

OpenCV's Linux packages draw with Qt, whose viewport enlarges the picture when the wheel turns; nothing
switches that off. A second connection to the X server that grabs the wheel's buttons over the window gets
them instead. Qt must not listen to XInput 2, which tells of wheels in other ways: `WITHOUT_XINPUT2` goes into
its environment.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys

WITHOUT_XINPUT2 = {"QT_XCB_NO_XI2": "1"}
WHEEL = {4: 1, 5: -1}  # X11 button: away from the user is up
_ANY_MODIFIER, _ASYNC, _BUTTON_PRESS, _PRESS_MASK, _CARDINAL = 1 << 15, 1, 4, 1 << 2, 6

_Window = ctypes.c_ulong


class _ButtonEvent(ctypes.Structure):
    """XButtonEvent as far as it is read, padded to the size of XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", _Window),
        ("root", _Window),
        ("subwindow", _Window),
        ("time", ctypes.c_ulong),
        ("x", ctypes.c_int),
        ("y", ctypes.c_int),
        ("x_root", ctypes.c_int),
        ("y_root", ctypes.c_int),
        ("state", ctypes.c_uint),
        ("button", ctypes.c_uint),
        ("padding", ctypes.c_long * 24),
    )


class X11Wheel:
    """The wheel over all windows of this process."""

    def __init__(self) -> None:
        """Connect to the X server; without one, or without libX11, the wheel never turns."""
        self._grabbed: set[int] = set()
        self._display = None
        name = ctypes.util.find_library("X11") if sys.platform.startswith("linux") else None
        if name is None:
            return
        self._x11 = ctypes.CDLL(name)
        self._x11.XOpenDisplay.restype = ctypes.c_void_p
        self._x11.XInternAtom.restype = ctypes.c_ulong
        self._x11.XDefaultRootWindow.restype = _Window
        self._x11.XSetErrorHandler.restype = ctypes.c_void_p
        # a window may be gone when we look at it; Xlib's own handler would end the process
        self._handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)
        display = self._x11.XOpenDisplay(None)
        if display:
            self._display = ctypes.c_void_p(display)
            self._x11.XSetErrorHandler(self._handler)
            self._pid_atom = self._x11.XInternAtom(self._display, b"_NET_WM_PID", 0)

    def attach(self) -> bool:
        """Grab the wheel over the windows that this process has now; whether there are any."""
        if self._display is None:
            return True  # nothing to wait for
        root = self._x11.XDefaultRootWindow(self._display)
        for window in self._descendants(root):
            if window not in self._grabbed and self._process_of(window) == os.getpid():
                self._grabbed.add(window)
                for button in WHEEL:
                    self._x11.XGrabButton(
                        self._display, button, _ANY_MODIFIER, _Window(window), 0, _PRESS_MASK,
                        _ASYNC, _ASYNC, _Window(0), ctypes.c_ulong(0),
                    )  # fmt: skip
        self._x11.XSync(self._display, 0)
        return bool(self._grabbed)

    def turns(self) -> list[int]:
        """+1 (away from the user) or -1 for each notch since the last call."""
        found = []
        event = _ButtonEvent()
        while self._display is not None and self._x11.XPending(self._display):
            self._x11.XNextEvent(self._display, ctypes.byref(event))
            if event.type == _BUTTON_PRESS and event.button in WHEEL:
                found.append(WHEEL[event.button])
        return found

    def _descendants(self, window: int) -> list[int]:
        """The windows below one: window managers put theirs between the root and ours."""
        root, parent, count = _Window(), _Window(), ctypes.c_uint()
        children = ctypes.POINTER(_Window)()
        known = self._x11.XQueryTree(
            self._display, _Window(window), ctypes.byref(root), ctypes.byref(parent),
            ctypes.byref(children), ctypes.byref(count),
        )  # fmt: skip
        if not known or not count.value:
            return []
        below = list(children[: count.value])
        self._x11.XFree(children)
        return below + [deeper for child in below for deeper in self._descendants(child)]

    def _process_of(self, window: int) -> int:
        kind, form, count, rest = ctypes.c_ulong(), ctypes.c_int(), ctypes.c_ulong(), ctypes.c_ulong()
        value = ctypes.POINTER(ctypes.c_ulong)()
        self._x11.XGetWindowProperty(
            self._display, _Window(window), ctypes.c_ulong(self._pid_atom), ctypes.c_long(0),
            ctypes.c_long(1), 0, ctypes.c_ulong(_CARDINAL), ctypes.byref(kind), ctypes.byref(form),
            ctypes.byref(count), ctypes.byref(rest), ctypes.byref(value),
        )  # fmt: skip
        if not value:
            return 0
        process = value[0] if count.value else 0
        self._x11.XFree(value)
        return process

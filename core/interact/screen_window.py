"""A `Screen` in an OpenCV window, which lives in a small process of its own.

OpenCV's window code ends the whole process, without an exception, when the display is missing or goes away,
wants the main thread (macOS) and answers only while it is polled. In a child all three are harmless: the
training goes on when the display dies, and the window answers while a long step runs.

Wire format. To the child's standard input: frames `<IIII` (magic, height, width, caption bytes), the caption
in UTF-8, then height * width * 3 bytes of BGR. From its standard output: one JSON object per line, first
`{"type": "ready"}` or `{"type": "failed", "why": ...}`, then events.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core.interact.screen import (
    MOUSE_ACTIONS,
    ClosedEvent,
    Event,
    MouseEvent,
    ScreenUnavailable,
    as_bgr_u8,
    as_sendable,
    key_event,
    take_events,
)
from core.interact.x11_wheel import WITHOUT_XINPUT2, X11Wheel

HEADER = struct.Struct("<IIII")
MAGIC = 0x4E524353  # "SCRN"
START_SECONDS = 20.0
POLL_MS = 15
# Codes of waitKeyEx: X11 keysyms (Qt, GTK), Windows virtual keys << 16, macOS function keys.
KEY_NAMES = {
    **{9: "tab", 10: "enter", 13: "enter", 27: "escape", 8: "backspace", 127: "delete", 32: "space"},
    **{0xFF09: "tab", 0xFE20: "tab", 0xFF0D: "enter", 0xFF8D: "enter", 0xFF1B: "escape", 0xFF08: "backspace"},
    **{0xFF51: "left", 0xFF52: "up", 0xFF53: "right", 0xFF54: "down", 0xFFFF: "delete"},
    **{0xFF50: "home", 0xFF57: "end", 0xFF55: "pageup", 0xFF56: "pagedown"},
    **{0x250000: "left", 0x260000: "up", 0x270000: "right", 0x280000: "down", 0x2E0000: "delete"},
    **{0x240000: "home", 0x230000: "end", 0x210000: "pageup", 0x220000: "pagedown"},
    **{63232: "up", 63233: "down", 63234: "left", 63235: "right"},
}


class WindowScreen:
    """An OpenCV window; see `core.interact.screen.Screen`.

    Raises:
        ScreenUnavailable: This OpenCV has no windows, or the display does not answer.
    """

    kind = "window"

    def __init__(self, title: str) -> None:
        self.closed = False
        self._events: queue.Queue[Event] = queue.Queue()
        self._wake = threading.Condition()
        self._next: tuple[np.ndarray, str] | None = None
        root = Path(__file__).resolve().parents[2]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "core.interact.screen_window", as_sendable(title) or "preview"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Qt warns about fonts it does not need
            env={
                **os.environ,
                **WITHOUT_XINPUT2,
                "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
            },
            start_new_session=os.name == "posix",  # Ctrl-C in the terminal is for the training alone
        )
        self._started: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read_events, daemon=True).start()
        try:
            problem = self._started.get(timeout=START_SECONDS)
        except queue.Empty:
            problem = f"no answer from the display in {START_SECONDS:.0f} s"
        if problem:
            self.close()
            raise ScreenUnavailable(problem)
        threading.Thread(target=self._send_frames, daemon=True).start()

    def show(self, image: np.ndarray, caption: str = "") -> None:
        """Show `image`; a frame that the window had no time to show yet is skipped."""
        with self._wake:
            self._next = (as_bgr_u8(image).copy(), as_sendable(caption))
            self._wake.notify()

    def events(self, timeout: float = 0.0) -> list[Event]:
        """Events since the last call; consecutive mouse moves come as one."""
        return take_events(self._events, timeout)

    def close(self) -> None:
        """Close the window and wait for its process."""
        with self._wake:
            self.closed = True
            self._wake.notify()
        try:
            self._child.stdin.close()
            self._child.wait(timeout=3)
        except (OSError, subprocess.TimeoutExpired):
            self._child.kill()
            self._child.wait()

    def _read_events(self) -> None:
        started = False
        for line in self._child.stdout:
            message = json.loads(line)
            if message["type"] in ("ready", "failed"):
                started = True
                self._started.put(message.get("why", ""))
            else:
                event = _event_from(message)
                if event is not None:
                    self._events.put(event)
        if not started:
            self._started.put("OpenCV could not reach the display")
        if not self.closed:
            self.closed = True
            self._events.put(ClosedEvent())

    def _send_frames(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._next is not None or self.closed)
                if self.closed:
                    return
                (image, caption), self._next = self._next, None
            text = caption.encode()
            try:
                self._child.stdin.write(HEADER.pack(MAGIC, *image.shape[:2], len(text)) + text)
                self._child.stdin.write(image.tobytes())
                self._child.stdin.flush()
            except (OSError, ValueError):  # the window is gone; the reader reports it
                return


def _event_from(message: dict) -> Event | None:
    if message["type"] == "key":
        return key_event(message["key"], message["shift"])
    return MouseEvent(message["action"], message["x"], message["y"], message["wheel"])


class _Window:
    """The child's side: one OpenCV window, polled until the parent goes away or the user closes it."""

    def __init__(self, title: str) -> None:
        import cv2

        self.cv2 = cv2
        self.title = title
        self.last_xy = (0, 0)
        self.frames: queue.Queue[tuple[np.ndarray, str] | None] = queue.Queue(maxsize=2)
        self.shift_is_down = _shift_reader()
        self.wheel = X11Wheel()
        flags = cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL  # Qt's extended window keeps some keys for itself
        cv2.namedWindow(title, flags)
        cv2.imshow(title, np.zeros((64, 256, 3), np.uint8))
        cv2.setMouseCallback(title, self.on_mouse)
        cv2.waitKey(1)

    def run(self) -> None:
        shown = time.monotonic()
        has_wheel = False
        while True:
            has_wheel = has_wheel or self.wheel.attach()
            for turn in self.wheel.turns():
                self.on_mouse(self.cv2.EVENT_MOUSEWHEEL, *self.last_xy, turn, None)
            frames = self.waiting_frames()
            if None in frames:
                return
            if frames:
                image, caption = frames[-1]
                self.cv2.imshow(self.title, image)
                if caption:
                    self.cv2.setWindowTitle(self.title, f"{self.title}  {caption}")
                shown = time.monotonic()
            # keys and the mouse are heard only in here, so also while frame follows frame
            self.on_key(self.cv2.waitKeyEx(1 if frames else POLL_MS))
            # some window managers map the window late; it is not "closed" in its first second
            settled = time.monotonic() - shown > 1.0
            if settled and self.cv2.getWindowProperty(self.title, self.cv2.WND_PROP_VISIBLE) < 1:
                return

    def waiting_frames(self) -> list[tuple[np.ndarray, str] | None]:
        """The frames that came since the last call; None among them when no more will come."""
        frames = []
        with contextlib.suppress(queue.Empty):
            while True:
                frames.append(self.frames.get_nowait())
        return frames

    def on_key(self, code: int) -> None:
        if code < 0:
            return
        name = KEY_NAMES.get(code) or KEY_NAMES.get(code & 0xFFFF)
        low = code & 0xFFFF  # above it GTK keeps the modifiers
        if 0xFFAA <= low <= 0xFFB9:  # the keypad's signs and digits
            low -= 0xFF80
        char = chr(low) if 32 < low < 127 else ""
        if name or char:
            _tell({"type": "key", "key": name or char, "shift": self.shift_is_down()})

    def on_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        cv2 = self.cv2
        names = {
            cv2.EVENT_MOUSEMOVE: "move",
            cv2.EVENT_LBUTTONDOWN: "left_down",
            cv2.EVENT_LBUTTONDBLCLK: "left_down",
            cv2.EVENT_LBUTTONUP: "left_up",
            cv2.EVENT_RBUTTONDOWN: "right_down",
            cv2.EVENT_RBUTTONDBLCLK: "right_down",
            cv2.EVENT_RBUTTONUP: "right_up",
            cv2.EVENT_MBUTTONDOWN: "middle_down",
            cv2.EVENT_MBUTTONUP: "middle_up",
            cv2.EVENT_MOUSEWHEEL: "wheel",
        }
        action = names.get(event)
        if action is None:
            return
        assert action in MOUSE_ACTIONS
        if action == "wheel":
            x, y = self.last_xy  # OpenCV gives positions of the whole screen with the wheel on some systems
        self.last_xy = (x, y)
        wheel = (1 if flags > 0 else -1) if action == "wheel" else 0
        _tell({"type": "mouse", "action": action, "x": x, "y": y, "wheel": wheel})


def _shift_reader() -> Callable[[], bool]:
    """How to learn whether Shift is held: OpenCV's Qt windows report `l` for `L`, so the X server is asked.

    Elsewhere (and without libX11) the character's own case tells.
    """
    name = ctypes.util.find_library("X11") if sys.platform.startswith("linux") else None
    if name is None:
        return lambda: False
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
    x11.XDefaultRootWindow.restype = ctypes.c_ulong
    x11.XQueryPointer.argtypes = [ctypes.c_void_p, ctypes.c_ulong] + [ctypes.c_void_p] * 7
    display = x11.XOpenDisplay(None)
    if not display:
        return lambda: False
    root = x11.XDefaultRootWindow(display)

    def shift_is_down() -> bool:
        windows = (ctypes.c_ulong * 2)()
        numbers = (ctypes.c_int * 4)()
        modifiers = ctypes.c_uint()
        pointers = [ctypes.byref(item, index * ctypes.sizeof(item._type_)) for item, count in
                    ((windows, 2), (numbers, 4)) for index in range(count)]  # fmt: skip
        x11.XQueryPointer(display, root, *pointers, ctypes.byref(modifiers))
        return bool(modifiers.value & 1)  # ShiftMask

    return shift_is_down


def _tell(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data


def _receive_frames(window: _Window) -> None:
    stream = sys.stdin.buffer
    try:
        while True:
            magic, height, width, length = HEADER.unpack(_read_exactly(stream, HEADER.size))
            if magic != MAGIC:
                break
            caption = _read_exactly(stream, length).decode()
            pixels = np.frombuffer(_read_exactly(stream, height * width * 3), np.uint8)
            window.frames.put((pixels.reshape(height, width, 3), caption))
    except EOFError:
        pass
    window.frames.put(None)


def _child_main(title: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        window = _Window(title)
    except Exception as err:  # cv2.error of a build without windows, or no cv2 at all: the parent falls back
        _tell({"type": "failed", "why": f"this OpenCV has no windows: {str(err).strip().splitlines()[-1]}"})
        return 1
    _tell({"type": "ready"})
    threading.Thread(target=_receive_frames, args=(window,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # the parent ended first
        window.run()
    return 0


if __name__ == "__main__":
    # flush nothing on the way out: the daemon reader may hold standard input's lock
    code = _child_main(sys.argv[1])
    os._exit(code)

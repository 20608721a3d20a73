"""An image to show, and the keys and mouse events of the people who look at it.

Everything interactive (training preview, interactive merger, manual extraction) is written against
`Screen` and runs in either transport: an OpenCV window (`screen_window`) or a page in the browser
(`screen_browser`). `open_screen` picks one. All methods may be called from any thread; none of them waits
for a viewer.
"""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from core.errors import SwapError, UsageError

SCREEN_KINDS = ("auto", "window", "browser", "none")
MOUSE_ACTIONS = (
    "move",
    "left_down",
    "left_up",
    "right_down",
    "right_up",
    "middle_down",
    "middle_up",
    "wheel",
)
NAMED_KEYS = (
    "enter",
    "space",
    "escape",
    "tab",
    "backspace",
    "delete",
    "left",
    "right",
    "up",
    "down",
    "home",
    "end",
    "pageup",
    "pagedown",
)
UNSHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./"))  # US layout, as DFL's keys are


@dataclass(frozen=True)
class KeyEvent:
    """A pressed key: one of `NAMED_KEYS` or the unshifted character (`a`, `;`); `A` is `a` with shift."""

    key: str
    shift: bool = False


@dataclass(frozen=True)
class MouseEvent:
    """What the mouse did at (`x`, `y`), in pixels of the shown image; `wheel` is +1 away from the user."""

    action: str  # one of MOUSE_ACTIONS
    x: int
    y: int
    wheel: int = 0


@dataclass(frozen=True)
class ClosedEvent:
    """The window was closed by its user, or its display is gone; reported once. Browser pages never close."""


Event = KeyEvent | MouseEvent | ClosedEvent


class ScreenUnavailable(SwapError):
    """This kind of screen cannot be opened here; the message says why."""


@runtime_checkable
class Screen(Protocol):
    """What the interactive programs need of a window or page."""

    kind: str
    closed: bool

    def show(self, image: np.ndarray, caption: str = "") -> None:
        """Show `image`, (H, W[, 1 or 3]) uint8 or float in [0, 1], BGR; a later call replaces it."""

    def events(self, timeout: float = 0.0) -> list[Event]:
        """What happened since the last call, oldest first; waits up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Take the screen away; calling it twice is harmless."""


class NullScreen:
    """The screen of a run that nobody watches."""

    kind = "none"
    closed = True

    def show(self, image: np.ndarray, caption: str = "") -> None:
        """Nothing to show it on."""

    def events(self, timeout: float = 0.0) -> list[Event]:
        return []

    def close(self) -> None:
        """Nothing is open."""


def has_display(environment: dict[str, str] | None = None, platform: str | None = None) -> bool:
    """Whether a window could be opened: always on Windows and macOS, elsewhere where a display is named."""
    environment = os.environ if environment is None else environment
    platform = sys.platform if platform is None else platform
    if platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_screen(
    kind: str = "auto", title: str = "", *, needed: bool = False, say: Callable[[str], None] = print
) -> Screen:
    """Open a screen of the given kind.

    Args:
        kind: `auto` takes a window where there is a display; else nothing, or the browser if `needed`.
        title: Of the window or page.
        needed: The program cannot work without one (interactive merger, manual extraction).
        say: Receives the one line a user must know (the address of the page, why there is no window).

    Raises:
        UsageError: A window was asked for where none can be opened.
    """
    if kind not in SCREEN_KINDS:
        raise UsageError(f"--screen: expected one of {', '.join(SCREEN_KINDS)}, found {kind!r}")
    if kind == "none":
        return NullScreen()
    if kind == "browser":
        return _open_browser(title, say)
    try:
        if not has_display():
            raise ScreenUnavailable("there is no display here")
        from core.interact.screen_window import WindowScreen

        return WindowScreen(title)
    except ScreenUnavailable as err:
        if kind == "window":
            raise UsageError(f"--screen window: {err}; use --screen browser, or --screen none") from err
        if needed:
            say(f"No window ({err}); using the browser instead.")
            return _open_browser(title, say)
        say(f"No window ({err}). The preview is in the _preview.jpg; --screen browser shows it in a browser.")
        return NullScreen()


def _open_browser(title: str, say: Callable[[str], None]) -> Screen:
    from core.interact.screen_browser import BrowserScreen

    screen = BrowserScreen(title)
    say(
        f"Open {screen.url} in a browser (from another machine: ssh -L {screen.port}:127.0.0.1:{screen.port} "
        "here first)."
    )
    if sys.stdout is not None:
        sys.stdout.flush()  # in a pipe (`| tee log`) nobody would see it before the program goes on
    return screen


def key_event(key: str, shift: bool = False) -> KeyEvent | None:
    """The event of a named key or of the character it typed; None for what no program listens to."""
    if key in NAMED_KEYS:
        return KeyEvent(key, shift)
    if len(key) != 1 or not key.isprintable():
        return None
    if key == " ":
        return KeyEvent("space", shift)
    if key in UNSHIFTED:
        return KeyEvent(UNSHIFTED[key], True)
    return KeyEvent(key.lower(), shift or key != key.lower())


def merge_moves(events: list[Event]) -> list[Event]:
    """Drop all but the last of each run of mouse moves: a slow reader wants where the mouse is, not was."""
    kept: list[Event] = []
    for event in events:
        is_move = isinstance(event, MouseEvent) and event.action == "move"
        if is_move and kept and isinstance(kept[-1], MouseEvent) and kept[-1].action == "move":
            kept[-1] = event
        else:
            kept.append(event)
    return kept


def take_events(events: queue.Queue[Event], timeout: float) -> list[Event]:
    """All that is in the queue, mouse moves merged; waits up to `timeout` seconds for the first."""
    found: list[Event] = []
    try:
        found.append(events.get(timeout=timeout) if timeout > 0 else events.get_nowait())
        while True:
            found.append(events.get_nowait())
    except queue.Empty:
        return merge_moves(found)


def as_sendable(text: str) -> str:
    """The text with a question mark for what is no character: names of files need not be UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def as_bgr_u8(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 contiguous copy or view of what `Screen.show` accepts; float values are clipped."""
    if image.dtype != np.uint8:
        image = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(image)

"""The state of manual extraction: events in, a picture and decisions out; no screen, files or threads.

The keys and the mouse are DFL's. Every frame gets one face or none. `ManualSession` says which frame it wants
(`frame_wanted`) and which landmarks (`landmarks_wanted`); whoever runs it brings both when they are ready and
takes the decisions (`take_results`). A decision whose landmarks are still computed waits for them, and what
is typed meanwhile is done after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.interact.screen import ClosedEvent, Event, KeyEvent, MouseEvent
from facelib.detected import DetectedFace
from facelib.mean_face import place_mean_face
from mainscripts.extract_manual_types import (
    SMALLEST_HALF,
    Decision,
    LandmarkRequest,
    ManualResult,
    Point,
    Rect,
    Selection,
    can_be_aligned,
    same_face,
    square_of,
)
from mainscripts.extract_manual_view import Picture, View, base_view, draw_picture, zoomed_view

START_HALF = 100  # half of the square's side in pixels of the frame
FINE_HALF = 40  # up to here the wheel goes by one pixel and the view zooms
STILL = 3.0  # pixels of the view; a cursor nearer to the right click than this gives no direction yet
MOST_REPEATS = 3  # of a key held down while something is computed, so that letting go stops at once
HELP = (
    "[mouse] move   [wheel] size   [left click] lock/unlock",
    "[right click] place the landmarks by hand: nose at the click, cursor gives size and turn",
    "[Enter] take this face   [Space] skip this frame",
    "[,] [.] previous / next frame, keeping a locked face",
    "[a] accuracy: {accuracy}   [f] next detected face   [z] lens: {lens}   [h] hide this",
    "[q] finish, skipping the rest   [Esc] stop, the rest another time",
)


class ManualSession:
    """One pass over the frames; drive it with `handle` and look at it with `draw`."""

    def __init__(
        self,
        names: Sequence[str],
        window_size: int = 1368,
        face_type: str = "whole_face",
        accurate: bool = True,
    ) -> None:
        """Begin at the first of the frames called `names`.

        Args:
            names: Of the frames, each different.
            window_size: Width in pixels that a 16:9 frame is shown with; 0 shows frames in their own size.
            face_type: Whose crop is outlined; DFL's name.
            accurate: Ask for landmarks of two passes.
        """
        self.finished = not names
        self.index = 0
        self.message = ""
        self.changed = True  # since the last `draw`
        self._names, self._window_size, self._face_type = list(names), window_size, face_type
        self._accurate, self._help, self._lens = accurate, True, True
        self._image: np.ndarray | None = None
        self._base: tuple[View, np.ndarray] | None = None
        self._at = Selection((0.0, 0.0), START_HALF)
        self._mouse: Point | None = None  # pixels of the view
        self._pivot: tuple[Point, View] | None = None  # cursor and view at the right click
        self._found: list[Rect] = []  # faces that a detector proposes
        self._decisions: dict[int, Decision] = {}
        self._unreadable: set[int] = set()
        self._results: list[ManualResult] = []
        self._step = 1
        self._waiting: Callable[[], None] | None = None  # what to do when the landmarks are there
        self._deferred: list[Event] = []
        self._keys: dict[str, Callable[[], None]] = {
            "enter": lambda: self._keep_and(lambda: self._go(1)),
            "space": self._skip,
            ",": lambda: self._leave(-1),
            ".": lambda: self._leave(1),
            "q": lambda: self._end(skip_rest=True),
            "escape": lambda: self._end(skip_rest=False),
            "a": self._toggle_accuracy,
            "f": self._to_next_found,
            "h": self._toggle_help,
            "z": self._toggle_lens,
        }

    # what the session needs and gives

    @property
    def frame_wanted(self) -> int | None:
        """Number of the frame to bring with `open_frame` or `frame_failed`; None while one is open."""
        return None if self.finished or self._image is not None else self.index

    @property
    def landmarks_wanted(self) -> LandmarkRequest | None:
        """What to bring with `landmarks_found`; None when there is nothing to find."""
        if self.finished or self._image is None or self._at.across is not None or self._at.final:
            return None
        return LandmarkRequest(self.index, self._at.rect, self._accurate)

    @property
    def selection(self) -> Selection:
        """Where the square is now."""
        return self._at

    @property
    def caption(self) -> str:
        """One line: which frame of how many, the face's size, what was decided."""
        if self.finished:
            return f"{len(self._decisions)} of {len(self._names)} frames decided"
        words = [f"{self.index + 1} of {len(self._names)}", self._names[self.index]]
        words.append(f"face {2 * self._at.half} px")
        words += ["locked"] if self._at.locked else []
        words += ["placed by hand"] if self._at.across is not None else []
        words += [] if self._accurate else ["quick"]
        decision = self._decisions.get(self.index)
        if decision is not None:
            words.append("decided: a face" if decision.face else "decided: no face")
        return " - ".join(words)

    def take_results(self) -> list[ManualResult]:
        """The decisions since the last call."""
        results, self._results = self._results, []
        return results

    def open_frame(self, image: np.ndarray) -> None:
        """Show the wanted frame, (H, W, 3) uint8 BGR; a decision made for it earlier comes back locked."""
        self._image, self._pivot, self._found = image, None, []
        self._base = base_view(image, self._window_size)
        decision = self._decisions.get(self.index)
        if decision is not None and decision.selection is not None:
            self._at = decision.selection
        else:
            self._at = Selection((0.0, 0.0), self._at.half)
            self._resize(0)
            self._follow()
        self.changed = True
        self._replay()

    def frame_failed(self, error: str) -> None:
        """The wanted frame cannot be read: go on as if it were not there."""
        self._unreadable.add(self.index)
        self._results.append(ManualResult(self._names[self.index], None, error))
        if not self._go(self._step):
            self._go(1)

    def landmarks_found(
        self, request: LandmarkRequest, landmarks: np.ndarray | None, final: bool = True
    ) -> None:
        """Take the answer to a request, perhaps to an earlier one.

        Args:
            request: What was asked.
            landmarks: (68, 2) in pixels of the frame, or None where there are none.
            final: No better ones follow.
        """
        if self._image is None or request.frame != self.index or self._at.across is not None:
            return
        usable = landmarks is not None and can_be_aligned(landmarks)
        points = np.asarray(landmarks, np.float32) if usable else None
        if request == self.landmarks_wanted:
            self._select(landmarks=points, final=final)
        elif not self._at.final:
            self._select(landmarks=points)  # where the square was a moment ago: better than none
        if self._at.final and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting()
            self._replay()

    def faces_found(self, frame: int, rects: Sequence[Sequence[float]]) -> None:
        """Proposals for a frame: (left, top, right, bottom) of each, in pixels."""
        if frame == self.index and self._image is not None:
            self._found = [tuple(int(v) for v in rect) for rect in rects]
            self.changed = True

    def handle(self, event: Event) -> None:
        """Do what a key, the mouse or the closing of the window asks."""
        if self.finished:
            return
        if self._waiting is not None or self._image is None:
            if self._deferred[-MOST_REPEATS:] != [event] * MOST_REPEATS:
                self._deferred.append(event)
            return
        self.changed = True
        self.message = ""
        if isinstance(event, ClosedEvent):
            self._end(skip_rest=False)
        elif isinstance(event, KeyEvent):
            self._keys.get(event.key, lambda: None)()
        else:
            self._handle_mouse(event)

    def draw(self) -> np.ndarray:
        """The picture to show now, (H, W, 3) uint8 BGR."""
        self.changed = False
        if self._image is None or self._base is None:
            return np.zeros((270, 480, 3), np.uint8)
        view = self._view()
        lines = self._lines()
        return draw_picture(
            Picture(
                image=self._image,
                base=self._base[1] if view is self._base[0] else None,
                view=view,
                rect=self._at.rect,
                landmarks=self._at.landmarks,
                locked=self._at.locked,
                proposals=self._found,
                face_type=self._face_type,
                lens=self._lens,
                lines=lines,
            )
        )

    # the mouse

    def _handle_mouse(self, event: MouseEvent) -> None:
        if event.action != "wheel":
            self._mouse = (float(event.x), float(event.y))
        if event.action == "wheel" and not self._at.locked and self._at.across is None:
            self._resize(event.wheel)
            self._follow()
        elif event.action == "left_down":
            self._toggle_lock()
        elif event.action == "right_down":
            self._toggle_by_hand()
        elif event.action == "move" and not self._at.locked:
            self._follow()

    def _follow(self) -> None:
        """Take the square, or the direction of the face placed by hand, to where the mouse is."""
        assert self._base is not None and self._image is not None
        if self._pivot is not None:
            self._point_to_mouse(*self._pivot)
            return
        view = self._base[0]  # the same in the zoomed view, whose middle is kept under the mouse
        mouse = self._mouse or ((view.width - 1) / 2, (view.height - 1) / 2)
        x, y = view.to_image(mouse)
        height, width = self._image.shape[:2]
        centre = (min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0))
        if centre != self._at.centre:
            self._select(centre=centre, final=False)

    def _resize(self, wheel: int) -> None:
        """One notch of the wheel; the square never grows larger than the frame's longer side."""
        assert self._image is not None
        half = self._at.half
        step = 1 if half <= FINE_HALF else min(max(half // 10, 1), 10)
        largest = max(SMALLEST_HALF, *self._image.shape[:2])
        half = min(max(half + wheel * step, SMALLEST_HALF), largest)
        if half != self._at.half:
            self._select(half=half, final=False)

    def _toggle_lock(self) -> None:
        if not self._at.locked:
            self._select(locked=True)
            return
        self._pivot = None
        self._select(locked=False, across=None, final=self._at.final and self._at.across is None)
        self._follow()

    def _toggle_by_hand(self) -> None:
        """Begin to place the mean face with its nose at the cursor, or go back to finding landmarks."""
        begins = self._at.across is None
        self._pivot = None
        self._select(locked=False, across=None, final=False)
        self._follow()
        if begins:
            view = self._view()
            self._pivot = (self._mouse or view.to_view(self._at.centre), view)
            self._place((float(self._at.half), 0.0))

    def _point_to_mouse(self, click: Point, view: View) -> None:
        assert self._mouse is not None
        x, y = (now - then for now, then in zip(self._mouse, click))
        if np.hypot(x, y) >= STILL:
            self._place((x / view.scale, y / view.scale))

    def _place(self, across: Point) -> None:
        half = max(SMALLEST_HALF, round(float(np.hypot(*across))))
        landmarks = place_mean_face(self._at.centre, across)
        self._select(across=across, half=half, landmarks=landmarks, final=True)

    # the keys

    def _toggle_accuracy(self) -> None:
        self._accurate = not self._accurate
        if self._at.across is None:
            self._select(final=False)

    def _toggle_help(self) -> None:
        self._help = not self._help

    def _toggle_lens(self) -> None:
        self._lens = not self._lens

    def _to_next_found(self) -> None:
        """Lock the square on the next face that the detector found."""
        if not self._found:
            self.message = "the detector found no face here"
            return
        squares = [square_of(rect) for rect in self._found]
        here = (self._at.centre, self._at.half)
        centre, half = squares[(squares.index(here) + 1) % len(squares) if here in squares else 0]
        self._pivot = None
        self._select(centre=centre, half=half, locked=True, across=None, final=False)

    def _skip(self) -> None:
        self._decide(Decision())
        self._go(1)

    def _leave(self, step: int) -> None:
        """To the next frame or the one before: a locked face is kept; else an undecided frame has none.

        An earlier decision stays: only another face or the space bar take a face away.
        """
        if self._at.locked:
            self._keep_and(lambda: self._go(step))
            return
        if step > 0 and self.index not in self._decisions:
            self._decide(Decision())
        self._go(step)

    def _end(self, skip_rest: bool) -> None:
        """Finish; a locked face is kept. `skip_rest` decides that all undecided frames have no face."""

        def finish() -> None:
            for index in range(len(self._names)) if skip_rest else ():
                if index not in self._decisions and index not in self._unreadable:
                    self._decide(Decision(), index)
            self.finished = True

        if self._at.locked:
            self._keep_and(finish, insist=False)
        else:
            finish()

    def _keep_and(self, then: Callable[[], None], insist: bool = True) -> None:
        """Decide for the face in the square and go on, at once or when its landmarks are there.

        Args:
            then: How to go on.
            insist: Stay where there are no landmarks.
        """
        if self.landmarks_wanted is not None:
            self._select(locked=True)
            self._waiting = lambda: self._keep_and(then, insist)
            return
        if self._at.landmarks is None:
            if insist:
                self._select(locked=False)
                self.message = "no landmarks here: move the square, or right click to place them by hand"
                return
        else:
            self._select(locked=True)
            self._decide(Decision(self._face(), self._at))
        then()

    def _decide(self, decision: Decision, index: int | None = None) -> None:
        """Note a decision, and that it is to be written if it is another than before."""
        index = self.index if index is None else index
        before = self._decisions.get(index)
        if before is None or not same_face(before.face, decision.face):
            self._decisions[index] = decision
            self._results.append(ManualResult(self._names[index], decision.face))

    def _go(self, step: int) -> bool:
        """To the next readable frame in a direction; past the last one the session is finished."""
        index = self.index + step
        while index in self._unreadable:
            index += step
        if index < 0:
            self.message = "this is the first frame"
            return False
        self._step = step
        if index >= len(self._names):
            self.finished = True
        else:
            self.index, self._image = index, None
        return True

    # small things

    def _replay(self) -> None:
        """Handle what was typed while there was something to wait for."""
        while self._deferred and self._waiting is None and self._image is not None and not self.finished:
            self.handle(self._deferred.pop(0))

    def _select(self, **changes: object) -> None:
        self._at = replace(self._at, **changes)
        self.changed = True

    def _face(self) -> DetectedFace:
        assert self._image is not None and self._at.landmarks is not None
        height, width = self._image.shape[:2]
        left, top, right, bottom = self._at.rect
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        right, bottom = max(min(right, width - 1), left + 1), max(min(bottom, height - 1), top + 1)
        return DetectedFace((left, top, right, bottom), self._at.landmarks, 1.0)

    def _view(self) -> View:
        assert self._base is not None
        if self._pivot is not None:
            return self._pivot[1]  # it must not move while the cursor gives the direction
        if self._at.half > FINE_HALF:
            return self._base[0]
        return zoomed_view(self._base[0], self._at.centre, self._at.half)

    def _lines(self) -> list[str]:
        state = f"frame {self.index + 1} of {len(self._names)}   face {2 * self._at.half} px"
        if self._waiting is not None:
            state += "   computing ..."
        lines = [state] + ([self.message] if self.message else [])
        if self._help:
            accuracy, lens = ("on" if on else "off" for on in (self._accurate, self._lens))
            lines += [line.format(accuracy=accuracy, lens=lens) for line in HELP]
        return lines

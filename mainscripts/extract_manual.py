"""Manual extraction: the user shows the faces with the mouse, in a window or a page; landmarks follow live.

`ManualSession` (in `extract_manual_session`) is what happens, `run_manual` brings it frames, landmarks and
events. Landmarks are found in a thread of their own, for the latest place of the square only, first quickly
and then, when the square rests, accurately; the picture never waits for them.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from core.errors import SampleError, UsageError
from core.interact.screen import ClosedEvent, Screen, has_display, open_screen
from mainscripts.extract_manual_session import ManualSession
from mainscripts.extract_manual_types import LandmarkRequest, ManualResult

__all__ = [
    "FrameSource",
    "ManualResult",
    "RectLandmarker",
    "check_screen",
    "open_manual_screen",
    "run_manual",
]

WINDOW_SIZE = 1368  # DFL's
BUSY_SECONDS = 0.01  # wait for events while an answer may come
IDLE_SECONDS = 0.1
KEPT_FRAMES = 3  # decoded ones, so that the next and the last one are there at once

Propose = Callable[[np.ndarray], Sequence[Sequence[float]]]


class FrameSource(Protocol):
    """A frame that can be read when it is its turn."""

    name: str

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR; raises SampleError where it cannot be read."""


class RectLandmarker(Protocol):
    """Finds landmarks in a rectangle that a person has drawn."""

    def points(self, image: np.ndarray, rect: np.ndarray, *, second_pass: bool = False) -> np.ndarray | None:
        """(68, 2) float32 in pixels of the image, or None where there are none."""


def check_screen(kind: str) -> None:
    """Whether there will be a window or a page, asked before long work that ends in marking by hand.

    Raises:
        UsageError: There is none, or nobody to tell its address to.
    """
    if kind == "none":
        raise UsageError(
            "--screen none: faces cannot be marked by hand without a screen; use window or browser"
        )
    watched = any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    if kind == "auto" and not has_display() and not watched:
        raise UsageError(
            "manual extraction: there is no display and no terminal here; --screen browser serves a page"
        )


def open_manual_screen(kind: str, say: Callable[[str], None] = print) -> Screen:
    """The window or page of manual extraction.

    Raises:
        UsageError: There is none; see `check_screen`.
    """
    check_screen(kind)
    return open_screen(kind, "Manual pass", needed=True, say=say)


def run_manual(
    frames: Sequence[FrameSource],
    screen: Screen,
    landmarker: RectLandmarker,
    window_size: int = WINDOW_SIZE,
    say: Callable[[str], None] = print,
    *,
    face_type: str = "whole_face",
    propose: Propose | None = None,
) -> Iterator[ManualResult]:
    """Let the user show the face of every frame, and yield each decision the moment it is made.

    The user may go back: a later result for a frame replaces the earlier one. What has no result when the
    iterator ends was not decided. The screen stays open; closing it is the caller's.

    Args:
        frames: In order; they are read one at a time, in a single thread.
        screen: Where.
        landmarker: Used from another thread.
        window_size: Width in pixels of a 16:9 frame on the screen; 0 shows frames in their own size.
        say: Receives a line for every frame that cannot be read.
        face_type: Whose outline is shown; DFL's name.
        propose: Finds (left, top, right, bottom) of faces in a frame, to jump to with a key.

    Raises:
        UsageError: The screen shows nothing.
    """
    if screen.kind == "none" or screen.closed:
        raise UsageError("manual extraction needs an open window or page; use --screen window or browser")
    return _run(frames, screen, landmarker, ManualSession([f.name for f in frames], window_size, face_type),
                propose, say)  # fmt: skip


def _run(
    frames: Sequence[FrameSource],
    screen: Screen,
    landmarker: RectLandmarker,
    session: ManualSession,
    propose: Propose | None,
    say: Callable[[str], None],
) -> Iterator[ManualResult]:
    reader, worker = _Reader(frames, propose), _Worker(landmarker)
    image = None
    try:
        while not session.finished:
            if session.frame_wanted is not None:
                image = _open_frame(session, reader, say)
            if image is not None and session.landmarks_wanted is not None:
                worker.ask(session.landmarks_wanted, image)
            for event in screen.events(BUSY_SECONDS if worker.busy or reader.busy else IDLE_SECONDS):
                session.handle(event)
            if screen.closed:
                session.handle(ClosedEvent())
            for request, landmarks, final in worker.answers():
                session.landmarks_found(request, landmarks, final)
            for index, rects in reader.proposals():
                session.faces_found(index, rects)
            yield from session.take_results()
            if session.changed and session.frame_wanted is None and not session.finished:
                screen.show(session.draw(), session.caption)
    finally:
        worker.close()
        reader.close()
    yield from session.take_results()


def _open_frame(session: ManualSession, reader: _Reader, say: Callable[[str], None]) -> np.ndarray | None:
    """Give the session the frame it wants; None where that cannot be read."""
    index = session.frame_wanted
    assert index is not None
    try:
        image = reader.read(index)
    except SampleError as err:
        say(f"skipped: {err}")
        session.frame_failed(str(err))
        return None
    session.open_frame(image)
    return image


class _Reader:
    """Reads frames in one thread, the next one ahead, and then looks for faces to propose."""

    def __init__(self, frames: Sequence[FrameSource], propose: Propose | None) -> None:
        self._frames, self._propose = frames, propose
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="manual-read")
        self._images: OrderedDict[int, Future[np.ndarray]] = OrderedDict()
        self._proposals: dict[int, Future[Sequence[Sequence[float]]]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._proposals)

    def read(self, index: int) -> np.ndarray:
        """The frame, waiting for it; the next one is begun, and proposals for this one.

        Raises:
            SampleError: It cannot be read.
        """
        image = self._begin(index).result()
        if self._propose is not None:
            for waiting in self._proposals.values():
                waiting.cancel()
            self._proposals = {index: self._pool.submit(self._propose, image)}
        if index + 1 < len(self._frames):
            self._begin(index + 1)
        return image

    def proposals(self) -> list[tuple[int, Sequence[Sequence[float]]]]:
        """What was found since the last call, with the frame's number."""
        ready = [index for index, future in self._proposals.items() if future.done()]
        return [(index, self._proposals.pop(index).result()) for index in ready]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, index: int) -> Future[np.ndarray]:
        if index not in self._images:
            self._images[index] = self._pool.submit(self._frames[index].read)
        self._images.move_to_end(index)
        while len(self._images) > KEPT_FRAMES:
            self._images.popitem(last=False)[1].cancel()
        return self._images[index]


class _Worker:
    """Finds landmarks in a thread: of the latest request only, quickly first and then as it was asked."""

    def __init__(self, landmarker: RectLandmarker) -> None:
        self._landmarker = landmarker
        self._wake = threading.Condition()
        self._asked: tuple[LandmarkRequest, np.ndarray] | None = None  # the latest
        self._open: LandmarkRequest | None = None  # the latest, while its last answer is to come
        self._closed = False
        self._answers: queue.Queue[tuple[LandmarkRequest, np.ndarray | None, bool] | BaseException] = (
            queue.Queue()
        )
        self._thread = threading.Thread(target=self._work, name="manual-landmarks", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._open is not None or not self._answers.empty()

    def ask(self, request: LandmarkRequest, image: np.ndarray) -> None:
        """Find landmarks; a request that was not begun yet is forgotten."""
        with self._wake:
            if request != self._open:
                self._asked, self._open = (request, image), request
                self._wake.notify()

    def answers(self) -> list[tuple[LandmarkRequest, np.ndarray | None, bool]]:
        """(request, landmarks or None, whether they are the last to it) since the last call.

        Raises:
            Exception: What the landmarker raised.
        """
        found = []
        while not self._answers.empty():
            answer = self._answers.get()
            if isinstance(answer, BaseException):
                raise answer
            found.append(answer)
        return found

    def close(self) -> None:
        """Let the thread end; what it is at is not waited for long."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._asked is not None or self._closed)
                    if self._closed:
                        return
                    (request, image), self._asked = self._asked, None
                rect = np.array(request.rect, np.float64)
                for second_pass in (False, True) if request.accurate else (False,):
                    if second_pass and self._asked is not None:
                        break  # the square has moved on
                    found = self._landmarker.points(image, rect, second_pass=second_pass)
                    self._answer(request, found, final=second_pass == request.accurate)
        except Exception as err:  # of whatever landmarker this is; raised again where the user is told
            self._answers.put(err)

    def _answer(self, request: LandmarkRequest, landmarks: np.ndarray | None, final: bool) -> None:
        with self._wake:
            self._answers.put((request, landmarks, final))
            if final and self._open == request:
                self._open = None

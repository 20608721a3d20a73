"""Manual extraction with frames and landmarks from threads, on a screen that replays events."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from core.errors import SampleError, UsageError
from core.interact.screen import ClosedEvent, KeyEvent, MouseEvent, NullScreen
from facelib.mean_face import place_mean_face
from mainscripts import extract_manual
from mainscripts.extract_manual import (
    open_manual_screen,
    run_manual,
)

MOVE = MouseEvent("move", 300, 200)


class ScriptedScreen:
    """Gives one event at a time, each after the picture that shows the one before."""

    kind = "window"

    def __init__(self, *events):
        self.script, self.closed = list(events), False
        self.pictures, self.captions = [], []

    def show(self, image, caption=""):
        assert image.ndim == 3 and image.dtype == np.uint8
        self.pictures.append(image)
        self.captions.append(caption)

    def events(self, timeout=0.0):
        time.sleep(min(timeout, 0.01))
        event = self.script.pop(0) if self.script else ClosedEvent()
        self.closed = isinstance(event, ClosedEvent)
        return [event]

    def close(self):
        self.closed = True


class MeanFace:
    """Finds a mean face in every rectangle, and remembers what it was asked."""

    def __init__(self, seconds=0.0):
        self.seconds, self.asked = seconds, []

    def points(self, image, rect, *, second_pass=False):
        assert rect.shape == (4,) and threading.current_thread() is not threading.main_thread()
        time.sleep(self.seconds)
        self.asked.append((tuple(rect), second_pass))
        left, top, right, bottom = rect
        return place_mean_face(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, 0.0))


class Frame:
    def __init__(self, name, problem=""):
        self.name, self.problem, self.reads = name, problem, 0

    def read(self):
        self.reads += 1
        if self.problem:
            raise SampleError(self.problem)
        return np.full((360, 640, 3), 90, np.uint8)


def frames(count):
    return [Frame(f"{number}.png") for number in range(count)]


def test_every_decision_is_handed_out_the_moment_it_is_made():
    later = [MouseEvent("move", x, 200) for x in range(100, 200)]
    screen = ScriptedScreen(MOVE, KeyEvent("enter"), *later, KeyEvent("space"), KeyEvent("enter"))
    results = run_manual(frames(5), screen, MeanFace(), say=print)
    first = next(results)
    assert first.frame == "0.png" and first.face is not None and len(screen.script) > 20
    rest = list(results)
    assert [(r.frame, r.face is not None) for r in rest] == [("1.png", False), ("2.png", True)]
    assert "1 of 5" in screen.captions[0]


def test_unreadable_frames_are_told_and_stepped_over():
    said = []
    sources = [Frame("0.png", "0.png: not an image"), *frames(2)[1:]]
    screen = ScriptedScreen(KeyEvent("enter"))
    results = list(run_manual(sources, screen, MeanFace(), say=said.append))
    assert said == ["skipped: 0.png: not an image"]
    assert [(r.frame, bool(r.error)) for r in results] == [("0.png", True), ("1.png", False)]


def test_no_frames_are_no_work():
    assert list(run_manual([], ScriptedScreen(), MeanFace())) == []


def test_slow_landmarks_leave_out_stale_places_and_never_hold_up_the_picture():
    moves = [MouseEvent("move", x, 200) for x in range(100, 400, 10)]
    screen = ScriptedScreen(*moves, KeyEvent("enter"))
    landmarker = MeanFace(0.1)
    started = time.monotonic()
    (result,) = run_manual(frames(1), screen, landmarker)
    assert time.monotonic() - started < 3
    assert len(screen.pictures) > 20, "the square moved on the screen while landmarks were sought"
    assert len(landmarker.asked) < 15
    rect, second_pass = landmarker.asked[-1]
    assert second_pass
    np.testing.assert_allclose(result.face.landmarks[30], [(rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2])


def test_closing_while_landmarks_are_sought_keeps_a_locked_face():
    screen = ScriptedScreen(MOVE, MouseEvent("left_down", 300, 200))
    (result,) = run_manual(frames(3), screen, MeanFace(0.2))
    assert result.frame == "0.png" and result.face is not None


def test_an_error_of_the_landmarker_reaches_the_caller():
    class Broken:
        def points(self, image, rect, *, second_pass=False):
            raise RuntimeError("no memory")

    screen = ScriptedScreen(*[MOVE] * 200)
    with pytest.raises(RuntimeError, match="no memory"):
        list(run_manual(frames(1), screen, Broken()))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("manual")]


def test_frames_are_read_once_and_ahead():
    sources = frames(3)
    list(run_manual(sources, ScriptedScreen(*[KeyEvent(k) for k in (".", ",", ".", ".", ".")]), MeanFace()))
    assert [source.reads for source in sources] == [1, 1, 1]


def test_proposals_of_a_detector_can_be_taken_with_a_key():
    screen = ScriptedScreen(*[KeyEvent("h")] * 30, KeyEvent("f"), KeyEvent("enter"))
    (result,) = run_manual(frames(1), screen, MeanFace(), propose=lambda image: [(100, 50, 180, 130)])
    assert result.face.rect == (100, 50, 180, 130)


def test_without_a_screen_there_is_one_clear_line(monkeypatch):
    with pytest.raises(UsageError, match="--screen window or browser"):
        run_manual(frames(1), NullScreen(), MeanFace())
    with pytest.raises(UsageError, match="--screen none"):
        open_manual_screen("none")
    monkeypatch.setattr(extract_manual, "has_display", lambda: False)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="--screen browser"):
        open_manual_screen("auto")

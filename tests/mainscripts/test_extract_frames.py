"""The engine of `extract`: groups that overlap with reading and writing, nothing lost or left running."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import AlignmentError, FileFormatError, SampleError
from facelib import read_metadata
from facelib.detected import DetectedFace
from mainscripts import extract_frames
from mainscripts.extract_frames import GROUP, Target, look_at_frames, write_faces


class Frames:
    """Numbered frames that count how many are held; some cannot be read."""

    def __init__(self, count: int, bad: tuple[int, ...] = (), side: int = 32) -> None:
        self.count, self.bad, self.side = count, bad, side
        self.held, self.most = 0, 0
        self.lock = threading.Lock()

    def __iter__(self):
        for number in range(self.count):
            with self.lock:
                self.held += 1
                self.most = max(self.most, self.held)
            yield SimpleNamespace(name=f"{number:05}.png", read=lambda number=number: self.read(number))

    def read(self, number: int) -> np.ndarray:
        if number in self.bad:
            raise FileFormatError(f"{number:05}.png: cut short")
        return np.full((self.side, self.side, 3), number % 251, np.uint8)

    def done(self) -> None:
        with self.lock:
            self.held -= 1


class Networks:
    """Sees a face in every frame, whose score is the frame's grey value."""

    def __init__(self, batched: bool, seconds: float = 0.0, fails_at: int = -1) -> None:
        self.batched, self.seconds, self.fails_at = batched, seconds, fails_at
        self.groups: list[int] = []

    def faces(self, image: np.ndarray) -> list[DetectedFace]:
        time.sleep(self.seconds)
        if image[0, 0, 0] == self.fails_at:
            raise RuntimeError("out of memory")
        return [DetectedFace((0, 0, 1, 1), np.zeros((68, 2), np.float32), float(image[0, 0, 0]))]

    def faces_batch(self, images) -> list[list[DetectedFace]]:
        self.groups.append(len(images))
        return [self.faces(image) for image in images]


def take(frames: Frames, networks: Networks):
    def finish(name, image, faces):
        assert faces[0].score == image[0, 0, 0]
        frames.done()
        return int(name.split(".")[0])

    return look_at_frames(frames, networks, finish, 1, threads=3)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("count", [0, 1, GROUP, 3 * GROUP + 1])
def test_every_frame_comes_once_and_in_order(batched, count):
    frames = Frames(count, bad=(0, 5, 17))
    results = list(take(frames, Networks(batched)))
    assert [name for name, _ in results] == [f"{number:05}.png" for number in range(count)]
    for number, (_, result) in enumerate(results):
        assert isinstance(result, SampleError) if number in frames.bad else result == number


@pytest.mark.parametrize("batched", [False, True])
def test_few_frames_are_held_however_many_come(batched):
    frames = Frames(400)
    for _ in take(frames, Networks(batched)):
        time.sleep(0.0005)  # a slow disk
    assert frames.most <= 6 * GROUP


def test_large_frames_come_in_small_groups(monkeypatch):
    monkeypatch.setattr(extract_frames, "GROUP_PIXELS", 3 * 32 * 32)
    networks = Networks(True)
    list(take(Frames(10), networks))
    assert networks.groups == [3, 3, 3, 1]


@pytest.mark.parametrize("batched", [False, True])
def test_a_failure_of_the_networks_ends_the_run(batched):
    results = take(Frames(100), Networks(batched, fails_at=40))
    with pytest.raises(RuntimeError, match="memory"):
        list(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("extract")]


@pytest.mark.parametrize("batched", [False, True])
def test_a_run_that_is_stopped_leaves_no_threads(batched):
    results = take(Frames(100), Networks(batched, seconds=0.001))
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("extract")]


def test_reading_networks_and_writing_overlap():
    """Three steps of 2 ms for each of 64 frames: 0.38 s one after another."""
    frames = Frames(64)

    def read(number: int) -> np.ndarray:
        time.sleep(0.002)
        return np.full((8, 8, 3), number, np.uint8)

    def finish(name, image, faces):
        time.sleep(0.002)

    frames.read = read
    started = time.monotonic()
    list(look_at_frames(frames, Networks(True, seconds=0.002), finish, 1, threads=3))
    assert time.monotonic() - started < 0.3


def test_faces_far_larger_than_their_box_are_left_out(tmp_path, monkeypatch):
    """DFL's check, for full faces and smaller."""
    from facelib.landmarks import MEAN_HEAD_3D

    points = (MEAN_HEAD_3D[:, :2] + 200).astype(np.float32)
    left, top = points.min(axis=0).astype(int)
    right, bottom = points.max(axis=0).astype(int)
    good = DetectedFace((left, top, right, bottom), points, 1.0)
    wrong = DetectedFace((left, top, left + 40, top + 40), points, 1.0)
    image = np.zeros((400, 400, 3), np.uint8)
    for face_type, check, count in (
        ("full_face", True, 1),
        ("full_face", False, 2),
        ("whole_face", True, 2),
        ("half_face", True, 1),
    ):
        target = Target(tmp_path, None, face_type, 256, 90, check)
        assert len(write_faces("a.png", image, [good, wrong], target)) == count


def test_a_face_that_cannot_be_aligned_does_not_cost_the_others(tmp_path):
    """DFL, too, loses that face only, and its number goes to the next."""
    from facelib.landmarks import MEAN_HEAD_3D

    faces = [
        DetectedFace((left, 0, left + 9, 9), (MEAN_HEAD_3D[:, :2] + 200).astype(np.float32), 1.0)
        for left in (10, 20, 30)
    ]
    heap = DetectedFace((0, 0, 9, 9), np.full((68, 2), 7, np.float32), 1.0)
    image = np.zeros((400, 400, 3), np.uint8)
    (tmp_path / "debug").mkdir()
    for folder in ("p", "q", "r"):
        (tmp_path / folder).mkdir()
    target = Target(tmp_path, tmp_path / "debug", "whole_face", 64, 90)
    names = write_faces("a.png", image, [faces[0], heap, *faces[1:]], target, ["p", "q", "q", "r"])
    assert names == ("p/a_0.jpg", "q/a_1.jpg", "r/a_2.jpg")
    assert [read_metadata(tmp_path / name).source_rect[0] for name in names] == [10, 20, 30]
    assert (tmp_path / "debug" / "a.jpg").exists()
    with pytest.raises(AlignmentError, match="landmarks lie at"):
        write_faces("b.png", image, [heap, heap], target)
    assert not list(tmp_path.rglob("b*.jpg"))

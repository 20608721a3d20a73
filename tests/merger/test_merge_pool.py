"""The pool: everything is merged once, and one bad frame costs no other."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from core import storage
from core.errors import SwapError
from core.imageio import read_deep_image, read_image, write_image
from merger.frames import FrameFaces
from merger.merge_face import FrameFace
from merger.options import MergeOptions
from merger.pool import MergeSettings, Report, merge_all
from merger.session import MergeSession, State

BATCH = 4


def predictor(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverted faces under full masks; sees whole batches, halved ones after a failure."""
    assert len(faces) in (BATCH, BATCH // 2, 1)
    assert faces.shape[1:] == (16, 16, 3) and faces.dtype == np.float32
    mask = np.ones((*faces.shape[:3], 1), np.float32)
    return 1 - faces, mask, mask


class Workspace:
    """Frames on disk, a session, and the pool run over them."""

    def __init__(self, root: Path, frames: list[FrameFaces], model) -> None:
        self.root, self.frames, self.model = root, frames, model

    def run(self, predict=predictor, on_frame=lambda: None, **options) -> Report:
        settings = MergeSettings(MergeOptions(**options), self.model, workers=3, batch=BATCH)
        with self.session(**options) as session:
            todo = [frame for frame in self.frames if session.state(frame) is not State.DONE]
            return merge_all(todo, predict, settings, session, on_frame)

    def session(self, **options) -> MergeSession:
        session = MergeSession(self.root / "out", self.root / "mask")
        session.begin_run(MergeOptions(**options), {})
        return session

    def result(self, frame: FrameFaces) -> np.ndarray:
        return read_image(self.root / "out" / f"{frame.stem}.png")

    def merged(self) -> list[str]:
        return sorted(path.stem for path in (self.root / "out").glob("*.png"))


@pytest.fixture
def workspace(tmp_path: Path, frame: np.ndarray, landmarks, model) -> Workspace:
    for name in ("in", "out", "mask"):
        (tmp_path / name).mkdir()
    frames = []
    for index in range(11):  # faces in frame: 1 1 0 1 2 1 1 0 1 2 1
        path = tmp_path / "in" / f"{index:05}.png"
        write_image(path, np.roll(frame, index, axis=1))
        count = 0 if index % 5 == 2 else 2 if index % 5 == 4 else 1
        frames.append(
            FrameFaces(path, tuple(FrameFace(landmarks(40 + 40 * i, 45, 0.2)) for i in range(count)))
        )
    return Workspace(tmp_path, frames, model)


def test_every_frame_is_written_and_counted(workspace):
    counted = []
    report = workspace.run(
        on_frame=lambda: counted.append(threading.current_thread() is threading.main_thread())
    )
    assert report == Report(merged=9, passed_through=2)
    assert counted == [True] * 11
    assert workspace.merged() == [frame.stem for frame in workspace.frames]
    for frame in workspace.frames:
        changed = (workspace.result(frame) != read_image(frame.path)).any()
        assert changed == bool(frame.faces)
        assert read_image(workspace.root / "mask" / f"{frame.stem}.png").any() == bool(frame.faces)


def test_each_frame_gets_its_own_prediction(workspace):
    """Merged one at a time and in batches, the pictures are the same."""
    workspace.run()
    batched = [workspace.result(frame) for frame in workspace.frames]
    for frame in workspace.frames:
        (workspace.root / "out" / f"{frame.stem}.png").unlink()
    single = Workspace(workspace.root, [], workspace.model)
    for frame in workspace.frames:
        single.frames = [frame]
        single.run()
    for frame, picture in zip(workspace.frames, batched, strict=True):
        np.testing.assert_array_equal(single.result(frame), picture)


def test_a_second_run_does_only_what_is_missing(workspace):
    workspace.run()
    before = {path: path.stat().st_mtime_ns for path in (workspace.root / "out").glob("*.png")}
    (workspace.root / "out" / "00003.png").unlink()
    assert workspace.run() == Report(merged=1)
    after = {path: path.stat().st_mtime_ns for path in (workspace.root / "out").glob("*.png")}
    assert [path.stem for path in after if after[path] != before[path]] == ["00003"]


def test_unreadable_frames_are_listed_and_the_others_merged(workspace):
    workspace.frames[1].path.write_bytes(workspace.frames[1].path.read_bytes()[:300])
    workspace.frames[5].path.unlink()
    report = workspace.run()
    assert set(report.unreadable) == {"00001.png", "00005.png"} and report.merged == 7
    assert "00001" not in workspace.merged()


def test_a_frame_with_broken_landmarks_goes_through_untouched(workspace):
    broken = FrameFaces(workspace.frames[3].path, (FrameFace(np.full((68, 2), np.nan, np.float32)),))
    workspace.frames[3] = broken
    report = workspace.run()
    assert set(report.failed) == {"00003.png"} and report.merged == 8
    np.testing.assert_array_equal(workspace.result(broken), read_image(broken.path))


def test_a_bug_in_one_frame_costs_only_that_frame(workspace, monkeypatch):
    import merger.pool

    genuine = merger.pool.merge_frame

    def buggy(image, inputs, *rest):
        if len(inputs) == 2:
            raise ZeroDivisionError("two faces")
        return genuine(image, inputs, *rest)

    monkeypatch.setattr(merger.pool, "merge_frame", buggy)
    report = workspace.run()
    assert set(report.failed.values()) == {"ZeroDivisionError: two faces"} and report.merged == 7
    for frame in workspace.frames:
        if len(frame.faces) == 2:
            np.testing.assert_array_equal(workspace.result(frame), read_image(frame.path))


def test_a_face_that_the_network_fails_on_costs_only_its_frame(workspace):
    calls = []

    def touchy(faces):
        calls.append(1)
        poisoned = workspace.poison is not None and np.isclose(faces, workspace.poison).all((1, 2, 3)).any()
        if poisoned and len(calls) > 1:
            raise RuntimeError("out of memory")
        return predictor(faces)

    from merger.merge_face import crop_face

    victim = workspace.frames[6]
    workspace.poison = crop_face(read_image(victim.path), victim.faces[0], workspace.model).square
    report = workspace.run(predict=touchy)
    assert set(report.failed) == {"00006.png"} and "out of memory" in report.failed["00006.png"]
    np.testing.assert_array_equal(workspace.result(victim), read_image(victim.path))


def test_a_batch_too_large_for_the_memory_is_halved_for_good(workspace):
    sizes = []

    def small(faces):
        sizes.append(len(faces))
        if len(faces) > 2:
            raise MemoryError("too many at once")
        return predictor(faces)

    assert workspace.run(predict=small) == Report(merged=9, passed_through=2)
    assert sizes[0] == BATCH and set(sizes[1:]) == {2}


def test_predictions_that_are_no_numbers_are_not_painted(workspace):
    def nan(faces):
        face, mask, other = predictor(faces)
        return face * np.nan, mask, other

    report = workspace.run(predict=nan)
    assert len(report.failed) == 9 and report.merged == 0


@pytest.mark.parametrize("good_calls", [0, 1])
def test_a_network_that_always_fails_ends_the_run(workspace, good_calls):
    calls = []

    def broken(faces):
        calls.append(1)
        if len(calls) > good_calls:
            raise RuntimeError("the GPU is gone")
        return predictor(faces)

    with pytest.raises(SwapError, match="the GPU is gone"):
        workspace.run(predict=broken)


def test_a_full_disk_ends_the_run_and_it_goes_on_later(workspace, monkeypatch):
    genuine, written = storage.write_bytes, []

    def full(path, data):
        written.append(path)
        if len(written) > 8 and path.suffix == ".png":
            raise OSError(28, "No space left on device", str(path))
        genuine(path, data)

    monkeypatch.setattr(storage, "write_bytes", full)
    with pytest.raises(SwapError, match=r"cannot be written \(No space left on device\)"):
        workspace.run()
    monkeypatch.setattr(storage, "write_bytes", genuine)
    done = len(workspace.merged())
    assert 0 < done < 11
    report = workspace.run()
    assert report.merged + report.passed_through == 11 - done and len(workspace.merged()) == 11


def test_ctrl_c_finishes_what_is_under_way(workspace):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.run(on_frame=interrupt)
    with workspace.session() as session:
        states = [session.state(frame) for frame in workspace.frames]
    assert set(states) <= {State.DONE, State.MISSING} and State.DONE in states
    assert not list((workspace.root / "out").glob(".*.png"))
    workspace.run()
    assert len(workspace.merged()) == 11


def test_raw_predict_writes_squares(workspace):
    workspace.run(mode="raw-predict")
    assert {workspace.result(frame).shape for frame in workspace.frames} == {(16, 16, 3)}


def test_nothing_to_do_is_no_error(workspace):
    workspace.frames = []
    assert workspace.run() == Report()


def test_altered_frames_say_so(workspace):
    workspace.run()
    for frame in workspace.frames:
        data = (workspace.root / "out" / f"{frame.stem}.png").read_bytes()
        assert (b"compositeWithTrainedAlgorithmicMedia" in data) == bool(frame.faces)


def test_frames_of_16_bits_keep_all_of_them_outside_the_face(workspace):
    rng = np.random.default_rng(0)
    deep = {}
    for frame in workspace.frames:
        whole = read_image(frame.path).astype(np.uint16) * 257
        deep[frame.stem] = np.clip(whole + rng.integers(-100, 100, whole.shape), 0, 65535).astype(np.uint16)
        write_image(frame.path, deep[frame.stem])
    assert workspace.run() == Report(merged=9, passed_through=2)
    for frame in workspace.frames:
        result = read_deep_image(workspace.root / "out" / f"{frame.stem}.png")
        assert result.dtype == np.uint16
        touched = (result != deep[frame.stem]).any(axis=2)
        assert touched.any() == bool(frame.faces) and touched.mean() < 0.5

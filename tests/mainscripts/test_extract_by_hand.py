"""Marking by hand as `extract` wires it: what is shown, what is written, what stays."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import facelib
import main
from core.interact.screen import ClosedEvent, KeyEvent, MouseEvent
from core.paths import list_images
from mainscripts import extract_manual
from mainscripts.extract_log import LOG_NAME
from tests.video_clips import make_clip

SIZE = 240
ENTER, SPACE, QUIT = KeyEvent("enter"), KeyEvent("space"), KeyEvent("q")


class Hand:
    """A screen with somebody in front of it who does what a list says, one thing after each picture."""

    kind = "window"

    def __init__(self, *events) -> None:
        self.script, self.closed, self.pictures = list(events), False, 0

    def show(self, image, caption="") -> None:
        self.pictures += 1

    def events(self, timeout=0.0):
        time.sleep(min(timeout, 0.01))
        event = self.script.pop(0) if self.script else ClosedEvent()
        self.closed = isinstance(event, ClosedEvent)
        return [event]

    def close(self) -> None:
        self.closed = True


def at(x: int, y: int) -> MouseEvent:
    return MouseEvent("move", x, y)


@pytest.fixture
def frames(tmp_path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 4):
        cv2.imwrite(str(folder / f"{number:05}.png"), np.full((SIZE, SIZE, 3), 40 * number, np.uint8))
    return folder


@pytest.fixture
def act(monkeypatch):
    """Let the next command be answered by a hand; returns the hand."""

    def begin(*events) -> Hand:
        hand = Hand(*events)
        monkeypatch.setattr(extract_manual, "check_screen", lambda kind: None)
        monkeypatch.setattr(extract_manual, "open_manual_screen", lambda kind: hand)
        return hand

    return begin


def extract(frames: Path, *flags: object) -> int:
    argv = ["extract", "--input-dir", frames, "--output-dir", frames.parent / "aligned", "--image-size", 256]
    words = [*argv, *flags, "--landmarker", "facemesh", "--manual-window-size", 0, "--no-prompt"]
    return main.main([str(word) for word in words])


def names(frames: Path, folder: str = "aligned") -> list[str]:
    return [path.name for path in list_images(frames.parent / folder)]


def rect_of(frames: Path, name: str) -> tuple[int, int]:
    left, top, right, bottom = facelib.read_metadata(frames.parent / "aligned" / name).source_rect
    return (left + right) // 2, (top + bottom) // 2


def test_manual_detector_writes_marked_faces_and_goes_on_with_undecided_frames(frames, act):
    act(at(100, 110), ENTER, SPACE)  # the third is not decided: the window is closed
    assert extract(frames, "--detector", "manual") == 0
    assert names(frames) == ["00001_0.jpg"]
    assert rect_of(frames, "00001_0.jpg") == (100, 110)
    metadata = facelib.read_metadata(frames.parent / "aligned" / "00001_0.jpg")
    assert metadata.source_filename == "00001.png" and metadata.face_type == "whole_face"

    hand = act(at(130, 120), ENTER)
    assert extract(frames, "--detector", "manual") == 0
    assert names(frames) == ["00001_0.jpg", "00003_0.jpg"] and rect_of(frames, "00003_0.jpg") == (130, 120)
    assert not hand.script
    assert extract(frames, "--detector", "manual") == 0  # nobody is asked any more


def test_a_second_thought_replaces_the_first(frames, act):
    act(at(100, 110), ENTER, KeyEvent(","), SPACE, QUIT)
    assert extract(frames, "--detector", "manual") == 0
    assert names(frames) == []


def test_manual_fix_shows_frames_without_a_face_only(frames, act, monkeypatch, capsys):
    from facelib.detected import DetectedFace
    from facelib.pipeline import Pipeline

    points = facelib.landmarks.MEAN_HEAD_3D[:, :2] * 0.5 + 120

    def faces(self, image):
        return (
            [DetectedFace((60, 60, 180, 180), points.astype(np.float32), 1.0)] if image[0, 0, 0] == 80 else []
        )

    monkeypatch.setattr(Pipeline, "faces", faces)
    act(at(100, 110), ENTER, SPACE)
    assert extract(frames, "--detector", "blazeface", "--manual-fix", "--output-debug") == 0
    assert "Nothing was found in 2 frames" in capsys.readouterr().out
    assert names(frames) == ["00001_0.jpg", "00002_0.jpg"]
    assert names(frames, "aligned_debug") == ["00001.jpg", "00002.jpg", "00003.jpg"]


def test_frames_whose_debug_pictures_were_deleted_are_marked_again(frames, act):
    act(at(100, 110), ENTER, at(100, 110), ENTER, at(100, 110), ENTER)
    assert extract(frames, "--detector", "manual", "--output-debug") == 0
    debug = frames.parent / "aligned_debug"
    (debug / "00002.jpg").unlink()
    (debug / "00003.jpg").unlink()
    first = (frames.parent / "aligned" / "00001_0.jpg").stat().st_mtime_ns
    act(at(130, 120), ENTER, SPACE)
    assert extract(frames, "--detector", "manual", "--output-debug", "--manual-output-debug-fix") == 0
    assert names(frames) == ["00001_0.jpg", "00002_0.jpg", "00003_0.jpg"]
    assert rect_of(frames, "00002_0.jpg") == (130, 120) and rect_of(frames, "00003_0.jpg") == (100, 110)
    assert (frames.parent / "aligned" / "00001_0.jpg").stat().st_mtime_ns == first
    assert "00002.jpg" in names(frames, "aligned_debug")


def in_folders(frames: Path) -> list[str]:
    output = frames.parent / "aligned"
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("[!.]*.jpg"))


def deal_out(frames: Path, *faces: str) -> None:
    """Make these of the first frame's face, as `--split-people` deals them out; its debug picture goes."""
    output = frames.parent / "aligned"
    jpeg = (output / "00001_0.jpg").read_bytes()
    (output / "00001_0.jpg").unlink()
    for face in faces:
        (output / face).parent.mkdir(exist_ok=True)
        (output / face).write_bytes(jpeg)
    with (output / LOG_NAME).open("a") as log:
        log.write(json.dumps({"frame": "00001.png", "faces": faces, "plan": "0123"}) + "\n")
    (frames.parent / "aligned_debug" / "00001.jpg").unlink()


@pytest.mark.parametrize("sorted_out", [False, True])
def test_a_face_marked_again_stays_with_its_person(frames, act, sorted_out, capsys):
    act(at(100, 110), ENTER, SPACE, SPACE)
    assert extract(frames, "--detector", "manual", "--output-debug") == 0
    if sorted_out:  # the other person's folder was deleted
        deal_out(frames, "person_02/00001_0.jpg", "person_01/00001_1.jpg")
        (frames.parent / "aligned" / "person_02" / "00001_0.jpg").unlink()
        (frames.parent / "aligned" / "person_02").rmdir()
    else:
        deal_out(frames, "person_01/00001_0.jpg")
    (frames.parent / "aligned_debug" / "00002.jpg").unlink()
    back = KeyEvent(",")
    act(at(90, 90), ENTER, back, SPACE, back, at(130, 120), ENTER, QUIT)  # second thoughts, too
    assert extract(frames, "--manual-output-debug-fix") == 0
    assert in_folders(frames) == ["person_01/00001_0.jpg"]
    assert rect_of(frames, "person_01/00001_0.jpg") == (130, 120)
    assert "person's folder" not in capsys.readouterr().out


@pytest.mark.parametrize("second", [(), (KeyEvent(","), SPACE)])
def test_a_face_that_may_be_of_several_people_costs_none_of_theirs(frames, act, second, capsys):
    act(at(100, 110), ENTER, SPACE, SPACE)
    assert extract(frames, "--detector", "manual", "--output-debug") == 0
    theirs = ["person_01/00001_0.jpg", "person_02/00001_1.jpg"]
    deal_out(frames, *theirs)
    (frames.parent / "aligned_debug" / "00002.jpg").unlink()
    act(at(130, 120), ENTER, *second, QUIT)
    assert extract(frames, "--manual-output-debug-fix") == 0
    assert in_folders(frames) == (theirs if second else ["00001_0.jpg", *theirs])
    told = capsys.readouterr().out
    assert f"it is {frames.parent / 'aligned' / '00001_0.jpg'}, move it" in told
    assert "its faces in person_01, person_02 stay" in told

    # and once more: what was marked before is replaced, theirs are not
    (frames.parent / "aligned_debug" / "00001.jpg").unlink()
    act(at(110, 100), ENTER, QUIT)
    assert extract(frames, "--manual-output-debug-fix") == 0
    assert in_folders(frames) == ["00001_0.jpg", *theirs] and rect_of(frames, "00001_0.jpg") == (110, 100)


def test_debug_fix_needs_debug_pictures(frames, capsys):
    assert extract(frames, "--manual-output-debug-fix", "--screen", "browser") == 1
    assert "--output-debug" in capsys.readouterr().err


def test_a_video_can_be_marked_too(tmp_path, act):
    clip = make_clip(tmp_path / "clip.mp4", 3, size=f"{SIZE}x{SIZE}", sound=False)
    act(at(100, 110), ENTER, QUIT)
    words = [
        "--input-file",
        clip,
        "--output-dir",
        tmp_path / "aligned",
        "--detector",
        "manual",
        "--no-prompt",
    ]
    assert main.main(["extract", *map(str, words), "--manual-window-size", "0"]) == 0
    assert [path.name for path in list_images(tmp_path / "aligned")] == ["00001_0.jpg"]


def test_proposals_come_from_the_devices_and_the_precision_that_were_asked_for(monkeypatch):
    from core.nn import devices
    from facelib import choice, detectors
    from mainscripts import extract_by_hand

    asked = []
    monkeypatch.setattr(choice, "is_here", lambda network: True)
    monkeypatch.setattr(devices, "prepare", lambda *wanted: asked.append(wanted))
    monkeypatch.setattr(detectors, "create_detector", lambda name, **told: asked.append((name, told)))
    job = SimpleNamespace(cpu_only=True, devices=None, options=SimpleNamespace(precision="float32"))
    extract_by_hand._proposer(job)
    assert asked == [(True, None), ("s3fd", {"precision": "float32"})]


def test_no_screen_is_told_before_anything_is_loaded(frames, capsys):
    for flags in (["--detector", "manual"], ["--detector", "blazeface", "--manual-fix"]):
        assert extract(frames, *flags, "--screen", "none") == 2
        assert "screen" in capsys.readouterr().err

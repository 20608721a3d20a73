"""`extract` with faces linked over time: people kept apart, gaps, and runs that are killed in either pass."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
import main
from core.errors import AlignmentError
from core.paths import list_images
from facelib import dlib_models
from facelib.detected import DetectedFace
from facelib.embedding import face_chip
from facelib.landmarks import MEAN_HEAD_3D
from facelib.synthetic import ANNA, BORIS, Motion, build_head, render
from mainscripts import extract_scan
from mainscripts.extract_log import LOG_NAME
from mainscripts.extract_scan import SCAN_NAME, Seen, _with_chips, decode_entry, encode_entry

ROOT = Path(__file__).resolve().parents[2]
SIDE = 200
WIDE = 640
COUNT = 30


@pytest.fixture(scope="session")
def two_people(tmp_path_factory) -> Path:
    """Frames in which Anna walks from left to right in front of Boris, who walks the other way."""
    folder = tmp_path_factory.mktemp("two people") / "frames"
    folder.mkdir()
    pictures = []
    for person in (BORIS, ANNA):
        head = build_head(person)
        pictures.append([render(head, Motion(yaw=yaw), size=SIDE).image for yaw in (-0.1, 0.0, 0.1)])
    for number in range(COUNT):
        canvas = np.full((SIDE, WIDE, 3), 110, np.uint8)
        for images, x in zip(pictures, (places(number)[1], places(number)[0])):
            # only the middle of the picture: its sides would hide the other before the face does
            canvas[:, x - 60 : x + 60] = images[number % 3][:, SIDE // 2 - 60 : SIDE // 2 + 60]
        cv2.imwrite(str(folder / f"{number + 1:05}.png"), canvas)
    return folder


def places(number: int) -> tuple[int, int]:
    """Middle of Anna and of Boris in frame `number`."""
    step = number / (COUNT - 1)
    return round(80 + 480 * step), round(560 - 480 * step)


def command(frames: Path, output: Path, *flags: object) -> list[str]:
    words = ["extract", "--input-dir", frames, "--output-dir", output, "--detector", "blazeface"]
    return [*map(str, words), "--image-size", "256", *map(str, flags), "--no-prompt"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("[!.]*.jpg")}


def test_people_who_swap_places_stay_apart(two_people, tmp_path, capsys):
    output = tmp_path / "aligned"
    assert main.main(command(two_people, output, "--split-people", "--min-track", 3, "--max-gap", 12)) == 0
    shown = capsys.readouterr().out
    assert list_images(output) == []
    owners: dict[str, set[int]] = {}
    for path in output.rglob("*.jpg"):
        metadata = facelib.read_metadata(path)
        number = int(metadata.source_filename.split(".")[0]) - 1
        x = metadata.source_landmarks[:, 0].mean()
        near = [abs(x - place) for place in places(number)]
        owners.setdefault(path.parent.name, set()).add(int(np.argmin(near)))
        assert path.name.startswith(f"{number + 1:05}_")
    assert all(len(people) == 1 for people in owners.values()), owners
    assert {next(iter(people)) for people in owners.values()} == {0, 1}
    assert "person_01" in shown and "Tracks:" in shown


def test_gaps_are_filled_and_passers_by_dropped(two_people, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(1, 13):
        image = cv2.imread(str(two_people / "00001.png"))
        if number in (5, 6):
            image[:, : WIDE // 2] = 110  # Anna is hidden
        if number not in (9, 10):
            image[:, WIDE // 2 :] = 110  # Boris shows up for a moment
        cv2.imwrite(str(frames / f"{number:05}.png"), image)
    output = tmp_path / "aligned"
    assert main.main(command(frames, output, "--track", "--min-track", 4, "--output-debug")) == 0
    assert sorted(files(output)) == [f"{number:05}_0.jpg" for number in range(1, 13)]
    assert "1 dropped" in (shown := capsys.readouterr().out) and "2 faces filled in" in shown
    assert len(list_images(tmp_path / "aligned_debug")) == 12

    # another plan: what is no longer planned goes, what is planned now comes, the rest is not touched
    stamp = (output / "00002_0.jpg").stat().st_mtime_ns
    assert main.main(command(frames, output, "--min-track", 1, "--max-gap", 0)) == 0
    assert "00005_0.jpg" not in files(output) and "00009_1.jpg" in files(output)
    assert (output / "00002_0.jpg").stat().st_mtime_ns == stamp


def test_no_more_faces_than_asked_for_are_kept_of_a_frame(two_people, tmp_path):
    flags = ("--split-people", "--min-track", 1, "--max-faces-from-image")
    for most in (1, 2):
        output = tmp_path / str(most)
        assert main.main(command(two_people, output, *flags, most)) == 0
        frames = [facelib.read_metadata(output / name).source_filename for name in files(output)]
        assert max(frames.count(name) for name in frames) == most
        assert all(files(folder) for folder in output.iterdir() if folder.is_dir())


def test_a_folder_extracted_otherwise_is_left_as_it_is(two_people, tmp_path, capsys):
    output = tmp_path / "aligned"
    assert main.main(command(two_people, output)) == 0
    before = files(output)
    assert main.main(command(two_people, output, "--track", "--min-track", 1000)) == 0
    assert "track False, not True" in capsys.readouterr().out
    assert files(output) == before


def logged(path: Path) -> list[str]:
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line).get("frame"))
        except ValueError:
            continue
    return [name for name in found if name]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_runs_killed_in_either_pass_lose_and_repeat_nothing(two_people, tmp_path):
    flags = ("--split-people", "--smooth", "--min-track", 3)
    whole, output = tmp_path / "whole", tmp_path / "aligned"
    assert main.main(command(two_people, whole, *flags)) == 0
    chance = random.Random(3)
    moments = [(SCAN_NAME, 2), (SCAN_NAME, 12), (SCAN_NAME, 28), (LOG_NAME, 3), (LOG_NAME, 20)]
    for name, wanted in moments:
        words = [sys.executable, "main.py", *command(two_people, output, *flags)]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        while len(logged(output / name)) < wanted and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main.main(command(two_people, output, *flags)) == 0
    assert files(output) == files(whole)
    for name in (SCAN_NAME, LOG_NAME):
        assert sorted(logged(output / name)) == [f"{number + 1:05}.png" for number in range(COUNT)]


def test_frames_that_are_replaced_are_looked_at_again(two_people, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for path in sorted(two_people.glob("*.png"))[:6]:
        (frames / path.name).write_bytes(path.read_bytes())
    output = tmp_path / "aligned"
    assert main.main(command(frames, output, "--track", "--min-track", 1)) == 0
    assert len(files(output)) == 12
    cv2.imwrite(str(frames / "00002.png"), np.full((SIDE, WIDE, 3), 110, np.uint8))
    (frames / "00007.png").write_text("no picture", encoding="utf-8")
    assert main.main(command(frames, output, "--track", "--min-track", 1, "--max-gap", 0)) == 0
    assert len(files(output)) == 10 and not (output / "00002_0.jpg").exists()


def test_without_dlib_one_person_cannot_be_found_and_tracks_go_by_position(
    two_people, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "dlib", None)
    dlib_models.import_dlib.cache_clear()
    try:
        output = tmp_path / "aligned"
        assert main.main(command(two_people, output, "--person", two_people)) == 1
        assert "install" in capsys.readouterr().err
        assert main.main(command(two_people, output, "--track")) == 0
        assert "by where they are alone" in capsys.readouterr().out and files(output)
    finally:
        dlib_models.import_dlib.cache_clear()


def test_person_is_found_among_others(shared_data, tmp_path):
    pytest.importorskip("dlib")
    from facelib.embedding import available

    if not available():
        pytest.skip("dlib's model files are not installed")
    import av

    frames, photo = tmp_path / "frames", tmp_path / "one.png"
    frames.mkdir()
    halves = []
    for name in ("person_a", "person_b"):
        with av.open(str(shared_data / "clips" / f"{name}.mp4")) as container:
            images = [f.to_ndarray(format="bgr24") for n, f in enumerate(container.decode(video=0)) if n < 4]
        halves.append([cv2.resize(image, (360, 360)) for image in images])
    cv2.imwrite(str(photo), halves[0][0])
    for number in range(1, 4):
        order = (0, 1) if number % 2 else (1, 0)
        cv2.imwrite(str(frames / f"{number:05}.png"), np.hstack([halves[side][number] for side in order]))
    output = tmp_path / "aligned"
    assert main.main(command(frames, output, "--person", photo)) == 0
    assert sorted(files(output)) == ["00001_0.jpg", "00002_0.jpg", "00003_0.jpg"]
    for number in range(1, 4):
        left = facelib.read_metadata(output / f"{number:05}_0.jpg").source_rect[0] < 360
        assert left == bool(number % 2)

    # whose face is the largest does not matter: only those of the person are counted
    for side, flags in enumerate(([], ["--track", "--min-track", 1])):
        photo = tmp_path / f"{side}.png"
        cv2.imwrite(str(photo), halves[side][0])
        single = tmp_path / f"single {side}"
        assert main.main(command(frames, single, "--person", photo, "--max-faces-from-image", 1, *flags)) == 0
        assert len(files(single)) == 3


def test_what_was_seen_survives_its_file():
    rng = np.random.default_rng(0)
    faces = [
        DetectedFace((1, -2, 30, 40), rng.normal(0, 100, (68, 2)).astype(np.float32), 0.1 + 1e-17 * number)
        for number in range(3)
    ]
    rows = rng.normal(size=(3, 128)).astype(np.float32)
    rows[1] = np.nan
    seen = Seen(faces, rows, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    again = decode_entry(json.loads(json.dumps(encode_entry("кадр.png", seen, [1, 2]))))
    np.testing.assert_array_equal(again.embeddings, rows)
    np.testing.assert_array_equal(again.signature, seen.signature)
    for one, other in zip(faces, again.faces, strict=True):
        assert one.rect == other.rect and one.score == other.score
        np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert decode_entry(encode_entry("a", Seen([], None, seen.signature), None)).embeddings is None


@pytest.mark.parametrize("flags", [["--detector", "manual", "--track"], ["--min-track", "0"]])
def test_contradictions_are_refused(two_people, tmp_path, flags, capsys):
    words = ["extract", "--input-dir", two_people, "--output-dir", tmp_path / "o", *flags, "--no-prompt"]
    assert main.main([str(word) for word in words]) == 2
    assert capsys.readouterr().err


def test_a_face_that_cannot_be_aligned_does_not_cost_the_others_their_embeddings():
    face = DetectedFace((10, 0, 19, 9), (MEAN_HEAD_3D[:, :2] + 200).astype(np.float32), 1.0)
    heap = DetectedFace((0, 0, 9, 9), np.full((68, 2), 7, np.float32), 1.0)
    image = np.zeros((400, 400, 3), np.uint8)
    kept, chips = _with_chips(image, [heap, face, heap])
    assert [kept[0] is face, len(kept), len(chips)] == [True, 1, 1]
    assert _with_chips(image, []) == ([], [])
    with pytest.raises(AlignmentError, match="landmarks lie at"):
        _with_chips(image, [heap])


def test_in_a_run_only_the_face_that_cannot_be_aligned_is_missing(two_people, tmp_path, monkeypatch):
    """Anna's and Boris's faces; whoever is on the left is not to be aligned."""
    from facelib.embedding import available

    if not available():
        pytest.skip("faces have embeddings with dlib and its model files only")

    def on_the_right(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        if landmarks[:, 0].mean() < WIDE / 2:
            raise AlignmentError("the landmarks coincide")
        return face_chip(image, landmarks)

    monkeypatch.setattr(extract_scan, "face_chip", on_the_right)
    output = tmp_path / "aligned"
    assert main.main(command(two_people, output, "--split-people", "--min-track", 1)) == 0
    metadata = [facelib.read_metadata(path) for path in output.rglob("*.jpg")]
    assert {m.source_filename for m in metadata} >= {f"{n:05}.png" for n in (*range(1, 11), *range(21, 31))}
    assert all(m.source_landmarks[:, 0].mean() >= WIDE / 2 for m in metadata)

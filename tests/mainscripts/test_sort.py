"""`main.py sort` on small facesets: orders, names, trash, what it refuses, and what extract and merge see."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
import main
from core.imageio import write_image
from mainscripts import sort
from mainscripts.extract_log import LOG_NAME, read_record
from samplelib.sorting.journal import JOURNAL

ROOT = Path(__file__).resolve().parents[2]
COUNT = 6


@pytest.fixture
def faces(drawn_faces, tmp_path) -> Path:
    """Six faces that turn from one side to the other, at an awkward path."""
    return Path(shutil.copytree(drawn_faces["src"], tmp_path / "рабочая 空間" / "al igned"))


def run(folder: Path, by: str, *flags: str) -> int:
    return main.main(["sort", "--input-dir", str(folder), "--by", by, "--no-prompt", *flags])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name[0] != "."}


def trash_of(folder: Path) -> Path:
    return folder.with_name(folder.name + "_trash")


def sources(folder: Path) -> list[str]:
    return [facelib.read_metadata(path).source_filename for path in sorted(folder.glob("*.jpg"))]


def add_log(folder: Path) -> None:
    lines = [{"settings": {}}]
    lines += [{"frame": f"{i:05}.png", "faces": [f"{i:05}_0.jpg"]} for i in range(COUNT)]
    (folder / LOG_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_methods_are_those_of_the_table():
    from samplelib.sorting.orders import METHODS

    assert tuple(METHODS) == sort.METHODS


@pytest.mark.parametrize("method", [m for m in sort.METHODS if m != "face-similarity"])
def test_every_method_keeps_every_file(faces, method):
    before = contents(faces)
    assert run(faces, method) == 0
    after = contents(faces)
    trash = contents(trash_of(faces)) if trash_of(faces).exists() else {}
    assert sorted([*after.values(), *trash.values()]) == sorted(before.values())
    if method not in ("origname", "oneface"):
        assert list(after) == [f"{i:05}.jpg" for i in range(len(after))]
    assert run(faces, "origname") == 0
    assert contents(faces) == {name: data for name, data in before.items() if name not in trash}
    assert not (faces / ".sort_names.json").exists()


def test_yaw_descends_and_origname_brings_names_back_even_after_dfls_numbers(faces):
    run(faces, "face-yaw")
    yaws = [
        facelib.estimate_pose(facelib.read_metadata(p).landmarks, 96)[1] for p in sorted(faces.glob("*.jpg"))
    ]
    assert yaws == sorted(yaws, reverse=True) and yaws[0] > yaws[-1]
    (faces / ".sort_names.json").unlink()  # as if DFL had sorted them
    run(faces, "origname")
    assert sorted(contents(faces)) == [f"{i:05}_0.jpg" for i in range(COUNT)]
    assert sources(faces) == [f"{i:05}.png" for i in range(COUNT)]


def test_a_menu_in_dfls_order_asks_what_is_missing(faces, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answers.pop(0))
    asked, answers = [], ["14", "500"]
    assert main.main(["sort", "--input-dir", str(faces)]) == 0
    shown = capsys.readouterr().out
    assert "(0) blur\n" in shown and "(5) hist\n" in shown and "(13) final-by-blur\n" in shown
    assert asked[0].startswith("[5] ") and "Target number" in asked[1]


@pytest.mark.parametrize("name, meant", [("final", "final-by-blur"), ("final-fast", "final-by-size")])
def test_dfls_other_names_are_taken(faces, name, meant, capsys):
    assert run(faces, name, "--dry-run") == 0
    assert meant in capsys.readouterr().out


def test_a_dry_run_tells_and_changes_nothing(faces, capsys):
    before = contents(faces)
    (faces / "photo.jpg").write_bytes(b"none")
    assert run(faces, "face-yaw", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^\d{5}_0\.jpg -> 00000\.jpg  \(0\.\d+\)$", shown, re.M)
    assert "photo.jpg -> al igned_trash/photo.jpg" in shown and f"{COUNT} files would be renamed" in shown
    assert contents(faces) == before | {"photo.jpg": b"none"} and not trash_of(faces).exists()
    assert not list(faces.glob(".*"))


def test_what_is_no_face_goes_to_the_trash_and_nothing_there_is_touched(faces):
    trash_of(faces).mkdir()
    (trash_of(faces) / "photo.png").write_bytes(b"earlier")
    write_image(faces / "photo.png", np.full((64, 64, 3), 9, np.uint8))
    (faces / "cut.jpg").write_bytes((faces / "00000_0.jpg").read_bytes()[:900])
    (faces / "empty.jpg").write_bytes(b"")
    (faces / "notes.txt").write_text("kept")
    assert run(faces, "blur") == 0
    assert (trash_of(faces) / "photo.png").read_bytes() == b"earlier"
    assert sorted(contents(trash_of(faces))) == ["cut.jpg", "empty.jpg", "photo-2.png", "photo.png"]
    assert sorted(contents(faces)) == [*(f"{i:05}.jpg" for i in range(COUNT)), "notes.txt"]


@pytest.mark.parametrize("method", ["hist", "hist-dissim", "absdiff", "brightness", "black", "hue"])
def test_methods_for_all_pictures_take_them_and_put_broken_ones_last(faces, method, capsys):
    write_image(faces / "photo.png", np.full((64, 80, 3), 9, np.uint8))
    (faces / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    assert run(faces, method) == 0
    assert not trash_of(faces).exists()
    last = sorted(contents(faces))[-1]
    assert (faces / last).read_bytes() == b"\xff\xd8 no picture"
    assert "broken.jpg" in capsys.readouterr().out
    run(faces, "origname")
    assert {"photo.png", "broken.jpg"} < set(contents(faces))


def test_black_counts_pixels_not_channels(faces):
    for path in faces.glob("*.jpg"):
        path.unlink()
    for rows in (3, 1, 2):
        image = np.full((64, 64, 3), 200, np.uint8)
        image[:rows] = 0
        image[rows : 20 * (4 - rows), :, 0] = 0  # zeros of one channel count for nothing
        write_image(faces / f"{rows}.png", image)
    run(faces, "black")
    pictures = [cv2.imdecode(np.fromfile(path, np.uint8), 1) for path in sorted(faces.glob("*.png"))]
    black = [int((picture == 0).all(axis=2).sum()) for picture in pictures]
    assert black == [64, 128, 192]


def test_a_face_without_an_edge_is_kept_last(faces, drawn_faces):
    _, metadata = facelib.read_face(faces / "00000_0.jpg")
    outside = replace(metadata, landmarks=metadata.landmarks * 0 + np.float32(-500))
    facelib.write_face(faces / "00000_0.jpg", np.full((96, 96, 3), 120, np.uint8), outside)
    assert run(faces, "blur") == 0
    assert sources(faces)[-1] == "00000.png" and not trash_of(faces).exists()


def test_oneface_takes_the_frames_with_several_faces_out(faces):
    image, metadata = facelib.read_face(faces / "00002_0.jpg")
    facelib.write_face(faces / "00002_1.jpg", image, metadata)
    write_image(faces / "portrait 1.png", image)  # no name of DFL's form
    run(faces, "hist")  # the names are gone, what they were is not
    assert run(faces, "oneface") == 0
    assert sorted(contents(trash_of(faces))) == ["00002_0.jpg", "00002_1.jpg"]
    assert "00002.png" not in sources(faces) and len(contents(faces)) == COUNT


def test_the_record_of_extract_follows(faces):
    add_log(faces)

    class Source:
        def __init__(self):
            self.identity = {}

        def name_of(self, stem):
            return f"{stem}.png"

    (faces / "00003_0.jpg").unlink()  # the user's own cleaning
    run(faces, "face-yaw")
    for _ in range(2):
        done = read_record(faces, Source()).done
        assert len(done) == COUNT and done["00003.png"] == []
        for frame, names in done.items():
            for name in names:
                assert facelib.read_metadata(faces / name).source_filename == frame
        run(faces, "hist")
    run(faces, "origname")
    assert read_record(faces, Source()).done["00004.png"] == ["00004_0.jpg"]


def test_persons_are_sorted_each_by_itself(faces):
    root = faces.with_name("people")
    for person in ("anna", "boris"):
        shutil.copytree(faces, root / person)
        (root / person / "x.jpg").write_bytes(b"")
    lines = [{"settings": {}}, {"frame": "00001.png", "faces": ["anna/00001_0.jpg", "boris/00001_0.jpg"]}]
    (root / LOG_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(root, "face-yaw") == 0
    assert (
        sorted(contents(root / "anna"))
        == sorted(contents(root / "boris"))
        == [f"{i:05}.jpg" for i in range(COUNT)]
    )
    trash = root.with_name("people_trash")
    assert [p.relative_to(trash).as_posix() for p in sorted(trash.rglob("*.jpg"))] == [
        "anna/x.jpg",
        "boris/x.jpg",
    ]
    assert sorted(p.name for p in root.iterdir() if p.name[0] != ".") == ["anna", "boris"]
    told = [json.loads(line) for line in (root / LOG_NAME).read_text().splitlines()][1]["faces"]
    assert all(facelib.read_metadata(root / face).source_filename == "00001.png" for face in told)
    assert [face.split("/")[0] for face in told] == ["anna", "boris"]


def test_packs_empty_and_missing_folders_get_a_clear_line(faces, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(empty, "hist") == 0 and "0 images" in capsys.readouterr().out
    (empty / "faceset.pak").write_bytes(b"")
    assert run(empty, "hist") == 1 and "unpack" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", "hist") == 1
    with pytest.raises(SystemExit):
        run(faces, "beauty")


def test_similarity_without_dlib_says_how_to_get_it(faces, monkeypatch, capsys):
    from facelib import dlib_models

    dlib_models.import_dlib.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr("samplelib.sorting.persons._embedder", None)
    before = contents(faces)
    assert run(faces, "face-similarity") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install" in error and contents(faces) == before
    dlib_models.import_dlib.cache_clear()


def test_similarity_with_dlib_keeps_the_faces(faces, capsys):
    pytest.importorskip("dlib")
    from facelib.embedding import available

    if not available():
        pytest.skip("dlib's model files are not installed")
    assert run(faces, "face-similarity") == 0
    assert len(contents(faces)) == COUNT and re.search(r"person 1|odd ones", capsys.readouterr().out)


def cut_off(faces: Path, monkeypatch, after: int) -> None:
    """A sort that ends amid renaming."""
    real, left = Path.replace, [after]

    def replace(self, goal):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, goal)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        assert run(faces, "face-yaw") == 130


@pytest.mark.parametrize("after", [0, 3, COUNT, COUNT + 3])
def test_the_next_command_finishes_or_undoes(faces, monkeypatch, after, capsys):
    add_log(faces)
    before = contents(faces)
    cut_off(faces, monkeypatch, after)
    state = {path.name for path in faces.iterdir()}
    assert run(faces, "hist", "--dry-run") == 0
    assert {path.name for path in faces.iterdir()} == state and "cut off" in capsys.readouterr().out
    assert run(faces, "hist", "--undo") == 0
    assert contents(faces) == before and not (faces / JOURNAL).exists()
    cut_off(faces, monkeypatch, after)
    assert run(faces, "origname") == 0
    assert contents(faces) == before and not (faces / JOURNAL).exists()
    assert '"00004_0.jpg"' in (faces / LOG_NAME).read_text()


def test_extract_finishes_what_was_cut_off(faces, monkeypatch):
    from mainscripts.sort_rename import settle

    add_log(faces)
    before = contents(faces)
    cut_off(faces, monkeypatch, COUNT + 2)
    settle(faces)
    assert sorted(contents(faces)) == [f"{i:05}.jpg" for i in range(COUNT)]
    assert sorted(contents(faces).values()) == sorted(before.values())


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_sigkill_of_the_command(faces):
    for number in range(COUNT, 400):
        shutil.copy(faces / f"{number % COUNT:05}_0.jpg", faces / f"{number:05}_0.jpg")
    before = contents(faces)
    rng = random.Random(3)
    for _ in range(3):
        command = [sys.executable, str(ROOT / "main.py"), "sort", "--no-prompt", "--by", "face-pitch"]
        command += ["--input-dir", str(faces)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (faces / JOURNAL).exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert sorted(contents(faces).values()) == sorted(before.values())
    half_made = faces / f".{process.pid}-1..sort_names.json"
    half_made.write_bytes(b"{")
    assert run(faces, "origname") == 0
    assert contents(faces) == before and not half_made.exists()


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_two_sorts_at_once_are_refused(faces, capsys):
    from mainscripts.sort_rename import alone_in

    with alone_in(faces):
        assert run(faces, "hist") == 1
    assert "another process" in capsys.readouterr().err


def test_faces_of_other_sizes_and_depths_are_compared(faces):
    image = cv2.imdecode(np.fromfile(faces / "00001_0.jpg", np.uint8), 1)
    cv2.imencode(".png", cv2.resize(image, (50, 70)).astype(np.uint16) * 257)[1].tofile(faces / "deep.png")
    cv2.imencode(".png", image[..., 0])[1].tofile(faces / "grey.png")
    for method in ("absdiff", "hist", "hist-dissim", "brightness"):
        assert run(faces, method) == 0
    assert len(contents(faces)) == COUNT + 2

"""`main.py util`: every flag on folders with odd names and odd files; a kill loses nothing."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
import main
from core import safe_pickle
from core.imageio import read_image, write_image
from facelib import SegPoly
from samplelib import Faceset
from samplelib.metadata_file import read_metadata_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(drawn_faces, tmp_path) -> Path:
    """Six faces in a folder with blanks and letters of several scripts."""
    path = tmp_path / "mein Gesicht 顔 ø" / "aligned"
    shutil.copytree(drawn_faces["src"], path)
    return path


def util(folder, *flags, prompt=False) -> int:
    return main.main(["util", "--input-dir", str(folder), *flags, *([] if prompt else ["--no-prompt"])])


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def answering(monkeypatch, *answers: str) -> None:
    left = iter(answers)
    monkeypatch.setattr("builtins.input", lambda prompt="": next(left))


def test_packing_and_unpacking_give_the_same_folder(folder, capsys):
    (folder / "notes.jpg").write_bytes(b"no face")
    before = contents(folder)
    assert util(folder, "--pack-faceset") == 0
    assert sorted(contents(folder)) == ["faceset.pak", "notes.jpg"]
    assert "notes.jpg: is not a JPEG" in capsys.readouterr().out
    assert util(folder, "--unpack-faceset") == 0
    assert contents(folder) == before


def test_originals_stay_when_asked_to(folder, monkeypatch):
    answering(monkeypatch, "n")
    before = contents(folder)
    assert util(folder, "--pack-faceset", prompt=True) == 0
    after = contents(folder)
    after.pop("faceset.pak")
    assert after == before


def test_persons_are_packed_by_subfolder_and_other_files_stay(folder, drawn_faces):
    for person in ("Ann B", "Zoë"):
        shutil.copytree(drawn_faces["dst"], folder / person)
    (folder / "Ann B" / "diary.txt").write_text("x")
    before = contents(folder)
    assert util(folder, "--pack-faceset") == 0
    assert len(Faceset.open(folder)) == 12
    assert (folder / "Ann B" / "diary.txt").exists() and not (folder / "Zoë").exists()
    assert len(list(folder.glob("*.jpg"))) == 6
    assert util(folder, "--unpack-faceset") == 0
    assert contents(folder) == before


def test_a_pak_with_other_faces_is_not_written_over_unasked(folder, drawn_faces, capsys):
    util(folder, "--pack-faceset")
    pak = (folder / "faceset.pak").read_bytes()
    shutil.copyfile(next(drawn_faces["dst"].glob("*.jpg")), folder / "new.jpg")
    assert util(folder, "--pack-faceset") == 1
    assert "holds 6 faces" in capsys.readouterr().err
    assert (folder / "faceset.pak").read_bytes() == pak and (folder / "new.jpg").exists()
    assert util(folder, "--unpack-faceset", "--pack-faceset") == 1, "packing comes first, as in DFL"


def test_packing_again_finishes_a_removal_that_was_cut_off(folder, capsys):
    before = contents(folder)
    util(folder, "--pack-faceset")
    pak = (folder / "faceset.pak").read_bytes()
    (folder / "notes.jpg").write_bytes(b"no face, and stays")
    for name in sorted(before)[2:]:  # the first two were removed, and then the run was killed
        (folder / name).write_bytes(before[name])
    assert util(folder, "--pack-faceset") == 0
    assert sorted(contents(folder)) == ["faceset.pak", "notes.jpg"] and "cut off" in capsys.readouterr().out
    assert (folder / "faceset.pak").read_bytes() == pak

    for name in sorted(before)[:2]:  # no stopped run leaves these: somebody chose them
        (folder / name).write_bytes(before[name])
    assert util(folder, "--pack-faceset") == 1
    changed = sorted(before)[-1]
    (folder / sorted(before)[0]).unlink(), (folder / sorted(before)[1]).unlink()
    (folder / changed).write_bytes(before[changed] + b"another")
    assert util(folder, "--pack-faceset") == 1 and (folder / changed).exists()


def test_a_pak_that_was_cut_short_stays(folder, capsys):
    util(folder, "--pack-faceset")
    pak = folder / "faceset.pak"
    pak.write_bytes(pak.read_bytes()[:-100])
    assert util(folder, "--unpack-faceset") == 1
    assert sorted(contents(folder)) == ["faceset.pak"] and "cut short" in capsys.readouterr().err


def test_debug_pictures_names_and_masks_follow_one_another(folder):
    faces = sorted(folder.glob("*.jpg"))
    image, metadata = facelib.read_face(faces[0])
    square = SegPoly(True, np.array([(10, 10), (80, 10), (80, 80), (10, 80)], np.float32))
    with_polys = facelib.FaceMetadata(**{**vars(metadata), "seg_ie_polys": (square,)})
    facelib.write_face(faces[0], image, with_polys)
    image, metadata = facelib.read_face(faces[1])
    facelib.write_face(faces[1], image, metadata.with_xseg_mask(np.full((40, 40), 0.7, np.float32)))
    for number, path in enumerate(faces):
        path.rename(folder / f"{9 - number:05}.jpg")  # as a sort leaves them
    flags = ("--export-faceset-mask", "--recover-original-aligned-filename", "--add-landmarks-debug-images")
    assert util(folder, *flags) == 0
    names = sorted(path.name for path in folder.glob("*.jpg"))
    faces = [f"{n:05}_0" for n in range(6)]
    assert names == sorted([f"{f}{end}.jpg" for f in faces for end in ("", "_debug")]
                           + [f"{f}_mask.jpg" for f in faces[:2]])  # fmt: skip
    by_polys = read_image(folder / "00000_0_mask.jpg")
    assert by_polys.shape[:2] == (96, 96) and by_polys[40, 40, 0] > 250 and by_polys[90, 90, 0] < 5
    assert read_image(folder / "00001_0_mask.jpg").min() > 250
    assert util(folder, *flags) == 0
    assert sorted(path.name for path in folder.glob("*.jpg")) == names, "pictures get no pictures"


def test_names_that_fit_are_kept_and_clashes_avoided(folder):
    image, metadata = facelib.read_face(folder / "00003_0.jpg")
    facelib.write_face(folder / "00003_2.jpg", image, metadata)
    facelib.write_face(folder / "aaa.jpg", image, metadata)
    (folder / "00003_1.jpg").write_bytes(b"no face of ours")
    assert util(folder, "--recover-original-aligned-filename") == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([f"{n:05}_0.jpg" for n in range(6)] + [f"00003_{n}.jpg" for n in (1, 2, 3)])
    assert (folder / "00003_1.jpg").read_bytes() == b"no face of ours"


def test_metadata_comes_back_after_another_program_edited_the_pictures(folder):
    paths = sorted(folder.glob("*.jpg"))
    before = {path.name: facelib.read_metadata(path).to_dict() for path in paths}
    untouched = paths[5].read_bytes()
    assert util(folder, "--save-faceset-metadata") == 0
    for path in paths[:3]:
        write_image(path, cv2.flip(read_image(path), 1))
    write_image(paths[3], cv2.resize(read_image(paths[3]), (200, 200)))
    (folder / "other.jpg").write_bytes(b"no picture")
    assert util(folder, "--restore-faceset-metadata") == 0
    assert not (folder / "meta.dat").exists() and paths[5].read_bytes() == untouched
    for path in paths:
        image, metadata = facelib.read_face(path)
        assert image.shape == (96, 96, 3)
        assert safe_pickle.dumps(metadata.to_dict()) == safe_pickle.dumps(before[path.name])


def test_metadata_of_dfl_is_restored_and_ours_is_dfl_s_layout(folder):
    name = "00002_0.jpg"
    values = facelib.read_metadata(folder / name).to_dict()
    assert util(folder, "--save-faceset-metadata") == 0
    stock = pickle.loads((folder / "meta.dat").read_bytes())
    assert list(stock) == sorted(path.name for path in folder.glob("*.jpg"))
    shape, stored = stock[name]
    assert shape == (96, 96, 3) and type(stored["landmarks"]) is list and len(stored["landmarks"]) == 68
    (folder / "meta.dat").write_bytes(pickle.dumps({name: ((96, 96, 3), values)}, 3))
    write_image(folder / name, read_image(folder / name))
    assert util(folder, "--restore-faceset-metadata") == 0
    assert facelib.read_metadata(folder / name).to_dict()["landmarks"] == values["landmarks"]


def test_saved_metadata_is_not_written_over_when_it_is_all_there_is(folder, capsys):
    util(folder, "--save-faceset-metadata")
    path = folder / "00000_0.jpg"
    write_image(path, read_image(path))
    assert util(folder, "--save-faceset-metadata") == 1
    assert "stays" in capsys.readouterr().err
    assert len(list(read_metadata_file(folder / "meta.dat"))) == 6
    path.unlink()
    assert util(folder, "--restore-faceset-metadata") == 0
    assert (folder / "meta.dat").exists(), "a face is missing, so what is known of it stays"


@pytest.mark.parametrize(
    ("flags", "code"),
    [((), 2), (("--unpack-faceset",), 1), (("--restore-faceset-metadata",), 1)],
)
def test_what_cannot_be_done_is_said(folder, capsys, flags, code):
    assert util(folder, *flags) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_empty_and_missing_folders(tmp_path):
    assert util(tmp_path / "none", "--pack-faceset") == 1
    assert util(tmp_path, "--pack-faceset") == 1
    assert util(tmp_path, "--recover-original-aligned-filename") == 0


def many_faces(folder: Path, count: int) -> dict[str, bytes]:
    """Copies of a face under many names, made different by bytes behind their end."""
    jpeg = next(iter(sorted(folder.glob("*.jpg")))).read_bytes()
    shutil.rmtree(folder)
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}_0.jpg").write_bytes(jpeg + number.to_bytes(4, "big"))
    return contents(folder)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("seed", range(2))
def test_killed_while_packing_and_unpacking_nothing_is_lost(folder, seed):
    before = many_faces(folder, 400)
    command = [sys.executable, "main.py", "util", "--input-dir", str(folder), "--no-prompt"]
    rng = random.Random(seed)
    for round_ in range(4):
        flag = "--unpack-faceset" if (folder / "faceset.pak").exists() else "--pack-faceset"
        process = subprocess.Popen([*command, flag], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if round_ == 3:
            process.communicate()
            continue
        wanted = rng.choice(["Packing: reading", "Packing: copying", "400 faces", "Unpacking: writing"])
        for line in process.stdout:
            if wanted in line:
                break
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert_all_there(folder, before)
    if (folder / "faceset.pak").exists():
        assert util(folder, "--unpack-faceset") == 0
    assert contents(folder) == before


def assert_all_there(folder: Path, before: dict[str, bytes]) -> None:
    packed = {}
    if (folder / "faceset.pak").exists():
        packed = {sample.name: sample.read_bytes() for sample in Faceset.open(folder).samples}
    loose = {path.name: path.read_bytes() for path in folder.glob("*.jpg") if not path.name.startswith(".")}
    assert {**packed, **loose} == before


def test_json_of_dfl_s_fixture_agrees_after_save_and_restore(shared_data, tmp_path):
    expected = json.loads((shared_data / "dfl" / "dfljpg" / "expected.json").read_text())
    for name in ("full_face.jpg", "whole_face.jpg"):
        shutil.copyfile(shared_data / "dfl" / "dfljpg" / name, tmp_path / name)
    before = contents(tmp_path)
    assert util(tmp_path, "--save-faceset-metadata") == 0
    for path in tmp_path.glob("*.jpg"):
        write_image(path, read_image(path))
    assert util(tmp_path, "--restore-faceset-metadata") == 0
    for name in before:
        data = (tmp_path / name).read_bytes()
        _, values = facelib.face_jpeg.parse_values(data, name)
        assert values["landmarks"] == expected[name]["landmarks"]
        assert values["source_filename"] == expected[name]["source_filename"]

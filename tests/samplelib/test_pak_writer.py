"""Packing: DFL's bytes, verified, nothing lost; unpacking anybody's pak without believing its names."""

from __future__ import annotations

import json
import os
import shutil
import struct

import numpy as np
import pytest

import facelib
from core import safe_pickle, storage
from core.errors import SampleError
from samplelib import Faceset
from samplelib.pak import PAK_NAME, read_pak_table
from samplelib.pak_writer import PakSource, write_pak
from samplelib.unpacking import unpack


def pack(folder, paths=None):
    sources = [PakSource(path) for path in (paths or sorted(folder.glob("*.jpg")))]
    return write_pak(folder / PAK_NAME, sources)


def test_dfl_s_faces_become_dfl_s_pak(shared_data, tmp_path):
    original = shared_data / "dfl" / "dfljpg"
    for path in original.glob("*.jpg"):
        shutil.copyfile(path, tmp_path / path.name)
    pack(tmp_path)
    assert (tmp_path / PAK_NAME).read_bytes() == (original / PAK_NAME).read_bytes()


def test_dfl_s_pak_becomes_dfl_s_faces(shared_data, tmp_path):
    original = shared_data / "dfl" / "dfljpg"
    shutil.copyfile(original / PAK_NAME, tmp_path / PAK_NAME)
    assert unpack(tmp_path / PAK_NAME).faces == 2
    for path in original.glob("*.jpg"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_last_offset_is_the_file_s_length(make_faceset):
    folder = make_faceset(3, size=64)
    pack(folder)
    data = (folder / PAK_NAME).read_bytes()
    (length,) = struct.unpack_from("<Q", data, 8)
    offsets = struct.unpack_from("<4Q", data, 16 + length)
    assert offsets[0] == 0 and offsets[-1] == len(data)


def test_packed_faces_are_the_faces(make_faceset, tmp_path):
    folder = make_faceset(5, size=96)
    first = sorted(folder.glob("*.jpg"))[0]
    image, metadata = facelib.read_face(first)
    facelib.write_face(first, image, metadata.with_xseg_mask(np.ones((8, 8), np.float32)))
    loose = Faceset.open(folder)
    pack(folder)
    packed = Faceset.open(folder)
    assert packed[0].path.name == PAK_NAME and [s.name for s in packed] == [s.name for s in loose]
    for one, other in zip(packed, loose, strict=True):
        assert one.read_bytes() == other.read_bytes() and one.has_xseg == other.has_xseg
        assert (one.size, one.face_type, one.source_filename) == (
            other.size,
            other.face_type,
            other.source_filename,
        )
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_persons_come_back_in_their_folders(make_faceset, tmp_path):
    folder = make_faceset(2, size=64, name="många ansikten")
    for person in ("Ann B", "Jürgen"):
        shutil.copytree(make_faceset(2, size=64, name=f"of {person}"), folder / person)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.jpg") if p.parent != folder}
    sources = [PakSource(p, p.parent.name) for person in sorted(folder.iterdir()) if person.is_dir()
               for p in sorted(person.iterdir())]  # fmt: skip
    write_pak(folder / PAK_NAME, sources)
    table = read_pak_table(folder / PAK_NAME)
    assert [entry.row["person_name"] for entry in table] == ["Ann B"] * 2 + ["Jürgen"] * 2
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else None
    unpack(folder / PAK_NAME)
    after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.jpg") if p.parent != folder}
    assert after == before


def test_what_is_no_face_stays_out_and_is_named(make_faceset):
    folder = make_faceset(2, size=64)
    (folder / "empty.jpg").touch()
    (folder / "other.png").write_bytes(b"x")
    packed = pack(folder, sorted(folder.iterdir()))
    assert len(packed.sources) == 2
    assert {path.name for path in packed.skipped} == {"empty.jpg", "other.png"}


def test_nothing_to_pack_leaves_no_file(tmp_path):
    with pytest.raises(SampleError, match="nothing to pack"):
        pack(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_gives_back_other_bytes_is_noticed(make_faceset, monkeypatch):
    folder = make_faceset(3, size=64)
    genuine = os.fsync

    def spoil(descriptor):
        genuine(descriptor)
        size = os.fstat(descriptor).st_size
        if size > 4096:
            os.pwrite(descriptor, b"\x00\x01", size - 600)

    monkeypatch.setattr(os, "fsync", spoil)
    with pytest.raises(SampleError, match="check the disk"):
        pack(folder)
    assert not (folder / PAK_NAME).exists() and len(list(folder.glob("*.jpg"))) == 3


def write_raw_pak(path, rows, files):
    """A pak with any rows, as a stranger may make it."""
    table = safe_pickle.dumps(rows)
    starts = np.cumsum([0, *map(len, files)])
    head = struct.pack("<QQ", 1, len(table)) + table
    path.write_bytes(head + starts.astype("<u8").tobytes() + b"".join(files))


def test_names_of_strangers_lead_nowhere(make_faceset, tmp_path):
    folder = make_faceset(1, size=64)
    jpeg = next(folder.glob("*.jpg")).read_bytes()
    shutil.rmtree(folder)
    folder.mkdir()
    bad = [
        "../x.jpg",
        "/tmp/x.jpg",
        "a\\b.jpg",
        ".hidden.jpg",
        "run.sh",
        "",
        None,
        5,
        "c:x.jpg",
        "..",
        "a\0.jpg",
    ]
    rows = [{"filename": name, "person_name": None} for name in bad]
    rows += [{"filename": "ok.jpg", "person_name": person} for person in ("..", "a/b", ".x", 3)]
    rows += [{"filename": "ok.jpg", "person_name": None}]
    write_raw_pak(folder / PAK_NAME, rows, [jpeg] * len(rows))
    result = unpack(folder / PAK_NAME)
    assert result.faces == 1 and len(result.refused) >= len({str(name) for name in bad})
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["aligned", PAK_NAME, "ok.jpg"]


def test_files_with_other_content_are_kept_and_equal_ones_not_doubled(make_faceset):
    folder = make_faceset(3, size=64)
    pack(folder)
    first, _, third = sorted(folder.glob("*.jpg"))
    packed = first.read_bytes()
    first.write_bytes(b"mine")
    third.unlink()
    for _ in range(2):  # again, as after a stop
        result = unpack(folder / PAK_NAME)
        assert result.faces == 3 and list(result.renamed) == [first.name]
        assert first.read_bytes() == b"mine"
        assert folder.joinpath(f"{first.stem}_1.jpg").read_bytes() == packed
        assert len(list(folder.glob("*.jpg"))) == 4


def test_a_full_disk_leaves_pak_and_faces(make_faceset, monkeypatch):
    folder = make_faceset(3, size=64)
    pack(folder)
    for path in folder.glob("*.jpg"):
        path.unlink()
    genuine, left = storage.write_bytes, iter(range(1))

    def filling(path, data, durable=True):
        if next(left, None) is None:
            raise OSError(28, "No space left on device", str(path))
        genuine(path, data, durable)

    monkeypatch.setattr(storage, "write_bytes", filling)
    with pytest.raises(OSError, match="No space"):
        unpack(folder / PAK_NAME)
    monkeypatch.undo()
    assert unpack(folder / PAK_NAME).faces == 3


def test_expected_metadata_of_dfl_survives(shared_data, tmp_path):
    folder = shared_data / "dfl" / "dfljpg"
    expected = json.loads((folder / "expected.json").read_text())
    shutil.copyfile(folder / PAK_NAME, tmp_path / PAK_NAME)
    unpack(tmp_path / PAK_NAME)
    pack(tmp_path)
    for entry in read_pak_table(tmp_path / PAK_NAME):
        wanted = expected[entry.row["filename"]]
        np.testing.assert_array_equal(entry.row["landmarks"], wanted["landmarks"])
        assert entry.row["source_filename"] == wanted["source_filename"]

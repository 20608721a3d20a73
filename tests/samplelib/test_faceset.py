"""Facesets open from folders and paks; what is unusable is left out and named, never fatal."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import facelib
from core import safe_pickle
from core.errors import FileFormatError, SampleError, SwapError
from samplelib import Faceset
from samplelib.pak import read_pak_table


def pack(folder, order=None):
    """Write `faceset.pak` from a folder's faces as DFL lays it out, absolute last offset included."""
    rows, files = [], []
    for path in order or sorted(folder.glob("*.jpg")):
        image, metadata = facelib.read_face(path)
        number = facelib.FACE_TYPES[metadata.face_type].number
        rows.append(
            {
                "sample_type": 1,
                "filename": path.name,
                "face_type": number,
                "shape": image.shape,
                "landmarks": metadata.landmarks.tolist(),
                "xseg_mask_compressed": metadata.xseg_mask,
                "eyebrows_expand_mod": 1.0,
                "source_filename": metadata.source_filename,
            }
        )
        files.append(path.read_bytes())
    table = safe_pickle.dumps(rows)
    starts = np.cumsum([0, *map(len, files)])
    head = struct.pack("<QQ", 1, len(table)) + table
    starts[-1] += len(head) + 8 * len(starts)
    (folder / "faceset.pak").write_bytes(head + starts.astype("<u8").tobytes() + b"".join(files))


def test_a_folder_opens_in_the_order_of_names(make_faceset):
    folder = make_faceset(4, size=128)
    seen = []
    faceset = Faceset.open(folder, progress=lambda done, total: seen.append((done, total)))
    assert [sample.name for sample in faceset.samples] == [f"{i:05d}_0.jpg" for i in range(4)]
    assert seen[-1] == (4, 4) and not faceset.skipped
    sample = faceset[1]
    assert sample.size == (128, 128) and sample.face_type == "whole_face" and not sample.has_xseg
    image, metadata = sample.read()
    assert image.shape == (128, 128, 3)
    np.testing.assert_array_equal(metadata.landmarks, sample.landmarks)


def test_unusable_files_are_named_and_left_out(make_faceset, caplog):
    folder = make_faceset(3, size=128)
    good = (folder / "00000_0.jpg").read_bytes()
    (folder / "bad_text.jpg").write_text("not a picture")
    (folder / "bad_empty.jpg").write_bytes(b"")
    (folder / "bad_cut.jpg").write_bytes(good[: len(good) * 2 // 3])
    (folder / "bad_cut_in_header.jpg").write_bytes(good[:900])
    (folder / "no_face.png").write_bytes(b"\x89PNG")
    faceset = Faceset.open(folder)
    assert len(faceset) == 3
    assert set(faceset.skipped) == {
        "bad_cut.jpg",
        "bad_cut_in_header.jpg",
        "bad_empty.jpg",
        "bad_text.jpg",
        "no_face.png",
    }
    for name, reason in faceset.skipped.items():
        assert name in reason and "\n" not in reason
    assert "5 files skipped" in caplog.text


def test_nothing_usable_is_one_clear_error(tmp_path, make_faceset):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SampleError, match="empty: no face images"):
        Faceset.open(empty)
    (empty / "a.jpg").write_text("x")
    with pytest.raises(SampleError, match=r"none of 1 images is a usable face.*a\.jpg"):
        Faceset.open(empty)
    with pytest.raises(SwapError, match="does not exist"):
        Faceset.open(tmp_path / "missing")


def test_a_large_header_is_read_to_its_end(make_faceset):
    folder = make_faceset(1, size=128)
    path = folder / "00000_0.jpg"
    data = path.read_bytes()
    comment = b"\xff\xfe" + struct.pack(">H", 60002) + bytes(60000)
    path.write_bytes(data[:2] + comment + data[2:])
    assert len(Faceset.open(folder)) == 1


def test_a_pak_of_dfl_reads_as_its_faces(shared_data):
    expected = json.loads((shared_data / "dfl" / "dfljpg" / "expected.json").read_text())
    faceset = Faceset.open(shared_data / "dfl" / "dfljpg")
    assert [sample.name for sample in faceset.samples] == ["full_face.jpg", "whole_face.jpg"]
    for sample in faceset.samples:
        facts = expected[sample.name]
        assert sample.face_type == facts["face_type"]
        assert list(sample.size) == facts["shape"][1::-1]
        np.testing.assert_allclose(sample.landmarks, facts["landmarks"], atol=1e-3)
        assert sample.read()[0].shape == tuple(facts["shape"])
        # The last entry too: its table says too much by the header's length.
        assert sample.read_bytes() == (shared_data / "dfl" / "dfljpg" / sample.name).read_bytes()


def test_a_pak_goes_before_loose_files(make_faceset):
    folder = make_faceset(4, size=64)
    pack(folder, sorted(folder.glob("*.jpg"))[1:3])
    faceset = Faceset.open(folder)
    assert [sample.name for sample in faceset.samples] == ["00001_0.jpg", "00002_0.jpg"]
    loose = facelib.read_face(folder / "00002_0.jpg")[0]
    np.testing.assert_array_equal(faceset[1].read()[0], loose)
    assert len(Faceset.open(folder / "faceset.pak")) == 2


def test_the_face_type_in_the_jpeg_goes_before_an_old_number(make_faceset):
    folder = make_faceset(1, size=64, face_type="head")
    pack(folder)
    table = read_pak_table(folder / "faceset.pak")
    assert table[0].row["face_type"] == 10
    data = (folder / "faceset.pak").read_bytes()
    old = data.replace(b"face_type\x94K\x0a", b"face_type\x94K\x05").replace(
        b"face_typeK\x0a", b"face_typeK\x05"
    )  # a head in paks of February 2020
    assert old != data
    (folder / "faceset.pak").write_bytes(old)
    assert Faceset.open(folder)[0].face_type == "head"


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_pak_raises_nothing_but_our_errors(make_faceset, tmp_path, data):
    folder = tmp_path / "aligned"
    if not folder.exists():
        make_faceset(2, size=64)
        pack(folder)
        shutil.copy(folder / "faceset.pak", tmp_path / "sound")
    content = bytearray((tmp_path / "sound").read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "faceset.pak").write_bytes(content)
    try:
        for sample in Faceset.open(folder).samples:
            sample.read()
    except SampleError:
        pass


class _Boom:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_hostile_pak_runs_nothing(tmp_path):
    table = pickle.dumps([_Boom()], 4)
    (tmp_path / "faceset.pak").write_bytes(struct.pack("<QQ", 1, len(table)) + table + bytes(16))
    with pytest.raises(FileFormatError):
        Faceset.open(tmp_path)


def test_importing_the_room_loads_neither_tensorflow_nor_opencv(root):
    code = "import sys, samplelib; assert not {'tensorflow', 'cv2'} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)

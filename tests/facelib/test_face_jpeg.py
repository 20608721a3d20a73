"""The aligned-face JPEG: DFL's files, odd but valid JPEGs, damage, hostile payloads, atomic writes."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import facelib
from core.errors import FileFormatError
from facelib.face_jpeg import (
    decode_face,
    embed_metadata,
    extract_metadata,
    read_face,
    read_header,
    read_metadata,
    write_face,
)
from facelib.metadata import SegPoly
from tests.facelib.faces import assert_same_metadata, example_metadata

METADATA = example_metadata()


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return ramp.astype(np.uint8)


def encoded(*parameters: int) -> bytes:
    return cv2.imencode(".jpg", picture(), list(parameters))[1].tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """Marker and content of each segment up to the first scan, as a reader other than ours sees them."""
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        assert jpeg[at] == 0xFF
        size = struct.unpack_from(">H", jpeg, at + 2)[0]
        found.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + size]))
        at += 2 + size
    return found


def with_payload(payload: bytes) -> bytes:
    plain = encoded()
    return plain[:2] + segment(0xEF, payload) + plain[2:]


@pytest.mark.parametrize("name", ["full_face.jpg", "whole_face.jpg"])
def test_dfls_own_faces_are_read(shared_data, name):
    folder = shared_data / "dfl/dfljpg"
    expected = json.loads((folder / "expected.json").read_text())
    image, metadata = read_face(folder / name)
    face = expected[name]
    assert list(image.shape) == face["shape"] and metadata.face_type == face["face_type"]
    assert metadata.source_filename == face["source_filename"]
    assert metadata.source_rect.tolist() == face["source_rect"]
    np.testing.assert_allclose(metadata.landmarks, face["landmarks"], atol=1e-5)
    np.testing.assert_allclose(metadata.source_landmarks, face["source_landmarks"], atol=5e-5)
    np.testing.assert_array_equal(metadata.image_to_face_mat, face["image_to_face_mat"])
    assert metadata.eyebrows_expand_mod == face["eyebrows_expand_mod"]
    assert bool(metadata.seg_ie_polys) == face["has_polys"]
    if face["has_polys"]:
        assert metadata.draw_polys(np.zeros((256, 256, 1), np.float32)).sum() == expected["poly_mask_sum"]
    if face["has_xseg"]:
        assert metadata.decode_xseg_mask().sum() == pytest.approx(expected["xseg_sum"])


@pytest.mark.parametrize("name", ["full_face.jpg", "whole_face.jpg"])
def test_rewriting_dfls_faces_keeps_everything(shared_data, name):
    data = (shared_data / "dfl/dfljpg" / name).read_bytes()
    metadata = extract_metadata(data, name)
    rewritten = embed_metadata(data, metadata)
    assert_same_metadata(extract_metadata(rewritten, name), metadata)
    kept = [part for part in segments(data) if part[0] != 0xEF]
    assert [part for part in segments(rewritten) if part[0] != 0xEF] == kept
    assert [marker for marker, _ in segments(rewritten)] == [marker for marker, _ in segments(data)]
    assert embed_metadata(rewritten, metadata) == rewritten


def test_faces_survive_writing_and_reading(tmp_path):
    path = tmp_path / "00042_0 人.jpg"
    facelib.write_face(path, picture(), METADATA, quality=95)
    image, metadata = facelib.read_face(path)
    assert_same_metadata(metadata, METADATA)
    assert image.shape == (48, 64, 3) and np.abs(image.astype(int) - picture()).mean() < 5
    assert read_header(path)[0] == (48, 64)
    assert_same_metadata(read_metadata(path), METADATA)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_the_layout_is_what_dfl_writes(tmp_path):
    path = tmp_path / "face.jpg"
    write_face(path, picture(), METADATA)
    parts = segments(path.read_bytes())
    assert [marker for marker, _ in parts[:2]] == [0xE0, 0xEF]
    assert parts[0][1].startswith(b"JFIF")
    markers = {marker for marker, _ in parts}
    assert 0xC0 in markers and 0xDD not in markers  # baseline, no restart intervals
    components = dict(parts)[0xC0][6:]
    assert components[1] == 0x22  # 4:2:0
    payload = pickle.loads(parts[1][1])
    assert payload["source_filename"] == METADATA.source_filename


def test_the_payload_goes_behind_the_last_application_segment():
    plain = encoded()
    comment, exif = segment(0xFE, b"made by hand"), segment(0xE1, b"Exif\0\0")
    jpeg = plain[:2] + comment + exif + segment(0xEF, b"\x80\x03}.") + segment(0xED, b"iptc") + plain[2:]
    written = embed_metadata(jpeg, METADATA)
    markers = [marker for marker, _ in segments(written)]
    assert markers[:5] == [0xFE, 0xE1, 0xED, 0xE0, 0xEF] and markers.count(0xEF) == 1
    assert comment in written and exif in written
    without = b"\xff\xd8" + b"".join(segment(*part) for part in segments(plain) if part[0] != 0xE0)
    without += plain[plain.index(b"\xff\xda") :][len(segment(*segments(plain)[-1])) :]
    assert segments(embed_metadata(without, METADATA))[0][0] == 0xEF


def test_the_last_of_several_payloads_counts():
    jpeg = embed_metadata(encoded(), METADATA)
    other = segment(0xEF, segments(embed_metadata(encoded(), replace(METADATA, face_type="head")))[1][1])
    assert extract_metadata(jpeg[:2] + other + jpeg[2:], "face").face_type == "whole_face"
    assert extract_metadata(jpeg.replace(b"\xff\xdb", other + b"\xff\xdb", 1), "face").face_type == "head"


def pillow_jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


VALID = {
    "restart intervals": encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "progressive": encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "grey": pillow_jpeg(Image.fromarray(picture()[..., 0])),
    "EXIF that turns": pillow_jpeg(
        Image.fromarray(picture()),
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    ),
    "APP0 of another kind": encoded()[:2] + segment(0xE0, b"AVI1\0\0") + encoded()[2:],
    "fill bytes": encoded()[:2] + b"\xff\xff\xff" + encoded()[2:],
    "bytes behind the end": encoded() + b"camera's own data" * 5000,
}


def test_the_turned_example_is_turned_by_other_readers():
    buffer = np.frombuffer(VALID["EXIF that turns"], np.uint8)
    assert cv2.imdecode(buffer, cv2.IMREAD_COLOR).shape == (64, 48, 3)


@pytest.mark.parametrize("name", VALID)
def test_odd_but_valid_jpegs_carry_faces(name, tmp_path):
    jpeg = embed_metadata(VALID[name], METADATA)
    path = tmp_path / "face.JPG"
    path.write_bytes(jpeg)
    image, metadata = read_face(path)
    assert image.shape == (48, 64, 3)  # landmarks are in stored pixels: EXIF does not turn them
    assert read_header(path)[0] == (48, 64)
    assert_same_metadata(metadata, METADATA)
    plain = cv2.imdecode(
        np.frombuffer(VALID[name], np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    np.testing.assert_array_equal(image, plain)


def test_large_headers_are_read_whole(tmp_path):
    path = tmp_path / "face.jpeg"
    jpeg = embed_metadata(encoded(), METADATA)
    path.write_bytes(jpeg[:2] + segment(0xE2, bytes(60_000)) * 4 + jpeg[2:])
    assert read_header(path)[0] == (48, 64)


def test_metadata_that_does_not_fit_leaves_the_file_alone(tmp_path):
    path = tmp_path / "face.jpg"
    write_face(path, picture(), METADATA)
    before = path.read_bytes()
    large = replace(METADATA, seg_ie_polys=(SegPoly(True, np.zeros((9000, 2), np.float32)),))
    with pytest.raises(FileFormatError, match=r"face\.jpg: its face data needs \d+ bytes, .* holds 65533"):
        write_face(path, picture(), large)
    with pytest.raises(FileFormatError, match="cannot write"):
        write_face(path, picture(), replace(METADATA, extra={"x": object()}))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_the_largest_payload_fits():
    room = 65533 - len(segments(embed_metadata(encoded(), METADATA))[1][1])
    full = replace(METADATA, extra={**METADATA.extra, "pad": b""})
    room -= len(segments(embed_metadata(encoded(), full))[1][1]) - (65533 - room)
    room -= 7  # longer length field of the bytes
    full = replace(full, extra={**METADATA.extra, "pad": bytes(room)})
    jpeg = embed_metadata(encoded(), full)
    assert len(segments(jpeg)[1][1]) == 65533
    assert len(extract_metadata(jpeg, "face").extra["pad"]) == room
    with pytest.raises(FileFormatError, match="65534"):
        embed_metadata(jpeg, replace(full, extra={**METADATA.extra, "pad": bytes(room + 1)}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "not a JPEG"),
        (encoded(), "holds no face data"),
        (with_payload(pickle.dumps({})), "holds no face data"),
        (with_payload(pickle.dumps([1])), "a list, not a dict"),
        (with_payload(b"not a pickle"), "hostile"),
        (with_payload(pickle.dumps({"landmarks": [[1, 2]]})), "landmarks"),
        (encoded()[:2], "cut short"),
        (encoded()[:30], "cut short"),
        (encoded()[:4] + b"\0\0" + encoded()[6:], "damaged"),
        (embed_metadata(encoded(), METADATA)[:-300], "cut short"),
        (b"\xff\xd8\xff\xd9", "pixels are missing"),
    ],
)
def test_unusable_files_are_named(data, message, tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=rf"face\.jpg: .*{message}"):
        read_face(path)


def test_other_suffixes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"face\.png: aligned faces are \.jpg files"):
        read_face(tmp_path / "face.png")
    with pytest.raises(FileFormatError, match=r"face\.jpg: cannot be read"):
        read_metadata(tmp_path / "face.jpg")
    with pytest.raises(FileFormatError, match=r"\.jpg files"):
        write_face(tmp_path / "face.png", picture(), METADATA)


FACE = embed_metadata(encoded(), METADATA)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_faces_raise_only_our_error(data):
    damaged = bytearray(FACE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    try:
        image, metadata = decode_face(bytes(damaged), "face")
    except FileFormatError as err:
        assert str(err).startswith("face: ")
    else:
        assert image.dtype == np.uint8 and metadata.landmarks.shape == (68, 2)


def test_every_shortened_face_is_refused():
    for length in range(0, len(FACE) - 1, 7):
        with pytest.raises(FileFormatError):
            decode_face(FACE[:length], "face")


class Bomb:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


TOUCH = "touch canary"
SHOUT = b"\x8c" + bytes([len(TOUCH)]) + TOUCH.encode()
HOSTILE = {
    "os.system": pickle.dumps({"face_type": "head", "landmarks": Bomb(os.system, TOUCH)}),
    "protocol 0": pickle.dumps(Bomb(os.system, TOUCH), 0),
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + SHOUT + b"\x85R.",
    "inst": b"(V" + TOUCH.encode() + b"\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nV" + TOUCH.encode() + b"\no.",
    "eval": pickle.dumps(Bomb(eval, "open('canary', 'w')")),
    "numpy.save": pickle.dumps(Bomb(np.save, "canary", np.zeros(2))),
    "numpy.memmap": pickle.dumps(Bomb(np.memmap, "canary", "u1", "w+", 0, (2,))),
    "second payload": pickle.dumps({"landmarks": METADATA.landmarks.tolist()}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_faces_run_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    face = with_payload(HOSTILE[name])
    if name == "second payload":
        face = face[:2] + segment(0xEF, HOSTILE["os.system"]) + face[2:]
    path = tmp_path / "face.jpg"
    path.write_bytes(face)
    for read in (read_face, read_metadata, read_header):
        if name == "second payload":
            read(path)  # the first one is never looked at
        else:
            with pytest.raises(FileFormatError, match=r"face\.jpg: "):
                read(path)
    assert [item.name for item in tmp_path.iterdir()] == ["face.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="runs touch")
def test_the_canary_works(tmp_path, monkeypatch):
    """The same bytes do run their command when the stock reader gets them."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "protocol 0", "stack global", "inst", "obj", "eval"):
        (tmp_path / "canary").unlink(missing_ok=True)
        pickle.loads(HOSTILE[name])
        assert (tmp_path / "canary").exists(), name


@pytest.mark.skipif(os.name != "posix", reason="devices in folders are POSIX")
def test_what_is_no_file_is_not_read(tmp_path):
    (tmp_path / "a.jpg").symlink_to("/dev/null")
    for read in (read_face, read_header, read_metadata):
        with pytest.raises(FileFormatError, match=r"a\.jpg: cannot be read \(this is a device"):
            read(tmp_path / "a.jpg")

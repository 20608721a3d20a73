"""The aligned-face file: a JPEG with the face's metadata in an APP15 segment, readable by DFL and from DFL.

    SOI, APP0..APP14 as they come, APP15 = FF EF, length (big-endian, payload + 2), payload, other segments

The payload is a pickle of one dict (`metadata.FaceMetadata.to_dict`); `core.safe_pickle` alone reads it. Our
reader also takes what DFL's trips on: restart intervals, fill bytes, bytes after the end, an APP0 that is not
JFIF's, and the suffixes .jpeg and .JPG.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core import safe_pickle, storage
from core.errors import FileFormatError
from core.imageio import encode_image
from core.paths import refuse_special
from facelib.metadata import FaceMetadata, metadata_from_dict

__all__ = [
    "decode_face",
    "embed_metadata",
    "embed_values",
    "extract_metadata",
    "jpeg_shape",
    "parse_header",
    "parse_values",
    "read_face",
    "read_header",
    "read_metadata",
    "write_face",
]

MAX_SEGMENT = 65533  # payload bytes: the length field has 16 bits and counts itself
JPEG_SUFFIXES = (".jpg", ".jpeg")

_APP0, _APP15 = 0xE0, 0xEF
_START_OF_SCAN = 0xDA
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those are tables
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD8)])
_HEAD_BYTES = 24 * 1024  # of the file: holds all before the pixels, unless there is a large XSeg mask


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int  # of its FF byte, fill bytes not counted
    content: int
    end: int


def read_face(path: Path) -> tuple[np.ndarray, FaceMetadata]:
    """Read an aligned face.

    Returns:
        (H, W, 3) uint8 BGR, and its metadata.

    Raises:
        FileFormatError: The file is not a JPEG, holds no face data, or is damaged.
    """
    path = _checked_path(path)
    return decode_face(_read_bytes(path), str(path))


def decode_face(data: bytes, name: str) -> tuple[np.ndarray, FaceMetadata]:
    """`read_face` for the bytes of a file; `name` is for the message."""
    segments = _segments(data, name)
    metadata = _metadata(data, segments, name)
    # OpenCV would fill what is missing with grey. Pixels never hold the end marker; bytes may follow it.
    if data.find(b"\xff\xd9", segments[-1].end) < 0:
        raise FileFormatError(f"{name}: the image was cut short; extract its frame again")
    try:
        # Landmarks are in stored pixels, so EXIF must not turn them.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise FileFormatError(f"{name}: its pixels cannot be decoded; extract its frame again")
    return image, metadata


def read_metadata(path: Path) -> FaceMetadata:
    """Metadata of an aligned face, without decoding its pixels; errors as in `read_face`."""
    return read_header(path)[1]


def read_header(path: Path) -> tuple[tuple[int, int], FaceMetadata]:
    """((height, width), metadata) of an aligned face, reading only the head of the file.

    Raises:
        FileFormatError: As `read_face`.
    """
    path = _checked_path(path)
    data = _read_bytes(path, _HEAD_BYTES)
    try:
        return parse_header(data, str(path))
    except FileFormatError:
        if len(data) < _HEAD_BYTES:
            raise
    return parse_header(_read_bytes(path), str(path))  # the pixels start further on


def parse_header(jpeg: bytes, name: str) -> tuple[tuple[int, int], FaceMetadata]:
    """`read_header` for the first bytes of a file, which must reach to its pixels."""
    segments = _segments(jpeg, name)
    return _shape(jpeg, segments, name), _metadata(jpeg, segments, name)


def write_face(path: Path, image: np.ndarray, metadata: FaceMetadata, quality: int = 90) -> None:
    """Write an aligned face, whole or not at all: baseline JPEG, 4:2:0, with its metadata.

    Args:
        path: Ends in `.jpg` (DFL opens no other spelling).
        image: (H, W, 3) uint8 BGR.
        metadata: See `FaceMetadata`.
        quality: JPEG's, 1 to 100.

    Raises:
        FileFormatError: The metadata does not fit, or the path is not a JPEG's.
    """
    path = _checked_path(path)
    data = embed_metadata(encode_image(".jpg", image, quality), metadata, str(path))
    storage.write_bytes(path, data)


def embed_metadata(jpeg: bytes, metadata: FaceMetadata, name: str = "face") -> bytes:
    """The JPEG with this metadata in place of any it had.

    It goes right behind the last APPn segment; every other segment, the pixels and what follows them are kept
    as they are. Only fill bytes between segments are dropped, which mean nothing and stop DFL's reader.

    Raises:
        FileFormatError: Not a JPEG, or the metadata needs more than one segment holds.
    """
    return embed_values(jpeg, metadata.to_dict(), name)


def embed_values(jpeg: bytes, values: dict[str, Any], name: str = "face") -> bytes:
    """`embed_metadata` for DFL's dict as it is."""
    payload = safe_pickle.dumps(values)
    if len(payload) > MAX_SEGMENT:
        raise FileFormatError(
            f"{name}: its face data needs {len(payload)} bytes, a JPEG segment holds {MAX_SEGMENT}; "
            "simplify its mask polygons or its XSeg mask"
        )
    ours = b"\xff\xef" + struct.pack(">H", len(payload) + 2) + payload
    segments = _segments(jpeg, name)
    kept = [segment for segment in segments if segment.marker != _APP15]
    applications = [i for i, segment in enumerate(kept) if _APP0 <= segment.marker <= _APP15]
    parts = [jpeg[segment.start : segment.end] for segment in kept]
    parts.insert(applications[-1] + 1 if applications else 0, ours)
    return b"\xff\xd8" + b"".join(parts) + jpeg[segments[-1].end :]


def parse_values(jpeg: bytes, name: str) -> tuple[tuple[int, int], dict[str, Any]]:
    """(height, width) and DFL's dict as it is stored, unchecked; `jpeg` must reach to its pixels.

    Raises:
        FileFormatError: Not a JPEG, no face data in it, or damaged.
    """
    segments = _segments(jpeg, name)
    return _shape(jpeg, segments, name), _values(jpeg, segments, name)


def jpeg_shape(jpeg: bytes, name: str) -> tuple[int, int]:
    """(height, width) as the head of any JPEG says.

    Raises:
        FileFormatError: Not a JPEG, or damaged.
    """
    return _shape(jpeg, _segments(jpeg, name), name)


def extract_metadata(jpeg: bytes, name: str) -> FaceMetadata:
    """The metadata in a JPEG's bytes; of several, the last.

    Raises:
        FileFormatError: Not a JPEG, no face data in it, or it is damaged.
    """
    return _metadata(jpeg, _segments(jpeg, name), name)


def _metadata(jpeg: bytes, segments: list[_Segment], name: str) -> FaceMetadata:
    return metadata_from_dict(_values(jpeg, segments, name), name)


def _values(jpeg: bytes, segments: list[_Segment], name: str) -> dict[str, Any]:
    payloads = [jpeg[s.content : s.end] for s in segments if s.marker == _APP15]
    values = safe_pickle.loads(payloads[-1], name) if payloads else {}
    if not isinstance(values, dict):
        raise FileFormatError(f"{name}: its face data is a {type(values).__name__}, not a dict")
    if not values:
        raise FileFormatError(f"{name}: holds no face data; only images from 'extract' are aligned faces")
    return values


def _shape(jpeg: bytes, segments: list[_Segment], name: str) -> tuple[int, int]:
    for segment in segments:
        if segment.marker in _START_OF_FRAME and segment.end - segment.content >= 5:
            height, width = struct.unpack_from(">HH", jpeg, segment.content + 1)
            if height and width:
                return height, width
    raise FileFormatError(f"{name}: does not say its size; extract its frame again")


def _segments(jpeg: bytes, name: str) -> list[_Segment]:
    """The segments from SOI (left out) to the first start of scan, whose header is the last one listed."""
    if jpeg[:2] != b"\xff\xd8":
        kind = "is empty" if not jpeg else "is not a JPEG"
        raise FileFormatError(f"{name}: {kind}; aligned faces are JPEGs from 'extract'")
    segments, at, length = [], 2, len(jpeg)
    while at < length:
        if jpeg[at] != 0xFF:
            raise FileFormatError(f"{name}: damaged at byte {at}, no JPEG segment starts there")
        while at + 1 < length and jpeg[at + 1] == 0xFF:  # fill bytes
            at += 1
        if at + 1 >= length:
            break
        marker = jpeg[at + 1]
        if marker in (0x00, 0xD8, 0xD9):
            raise FileFormatError(f"{name}: damaged at byte {at}, the pixels are missing")
        if marker in _WITHOUT_LENGTH:
            segments.append(_Segment(marker, at, at + 2, at + 2))
            at += 2
            continue
        if at + 4 > length:
            break
        size = struct.unpack_from(">H", jpeg, at + 2)[0]
        end = at + 2 + size
        if size < 2:
            raise FileFormatError(f"{name}: damaged at byte {at}, a segment of {size} bytes")
        if end > length:
            raise FileFormatError(
                f"{name}: a segment needs {size} bytes, {length - at - 2} are left; the file was cut short, "
                "extract its frame again"
            )
        segments.append(_Segment(marker, at, at + 4, end))
        at = end
        if marker == _START_OF_SCAN:
            return segments
    raise FileFormatError(f"{name}: the file was cut short before its pixels; extract its frame again")


def _checked_path(path: Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in JPEG_SUFFIXES:
        raise FileFormatError(
            f"{path}: aligned faces are .jpg files, this is {path.suffix or 'without a suffix'}"
        )
    return path


def _read_bytes(path: Path, limit: int = -1) -> bytes:
    try:
        refuse_special(path)
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err

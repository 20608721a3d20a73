"""The beginning of a face's JPEG: its size and its metadata, without reading or decoding the picture.

A scan of 100,000 faces should read the few kilobytes that hold the metadata, not gigabytes of pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from core.errors import FileFormatError
from facelib.face_jpeg import parse_header
from facelib.metadata import FaceMetadata

FIRST_READ = 24 << 10  # holds the header of nearly all faces; an applied mask may need more
TAIL = 4096  # the end marker is in the file's last bytes, or the file was cut short


def read_face_header(path: Path, offset: int, length: int, name: str) -> tuple[FaceMetadata, tuple[int, int]]:
    """Metadata and (width, height) of the face JPEG in `length` bytes of a file, from `offset` on.

    Raises:
        FileFormatError: No JPEG, no face metadata in it, or the file ends before its picture does.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            (height, width), metadata = _parse_growing(file, length, name)
            file.seek(offset + max(0, length - TAIL))
            if b"\xff\xd9" not in file.read(min(length, TAIL)):
                raise FileFormatError(f"{name}: the picture was cut short; extract its frame again")
    except OSError as err:
        raise FileFormatError(f"{name}: cannot be read ({err.strerror})") from err
    return metadata, (width, height)


def _parse_growing(file: BinaryIO, length: int, name: str) -> tuple[tuple[int, int], FaceMetadata]:
    """Parse a small head of the file; all of it only where the head ends too early."""
    head = file.read(min(FIRST_READ, length))
    try:
        return parse_header(head, name)
    except FileFormatError:
        if len(head) == length or head[:2] != b"\xff\xd8":
            raise
    return parse_header(head + file.read(length - len(head)), name)

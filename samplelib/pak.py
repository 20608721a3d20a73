"""DFL's `faceset.pak`: many face JPEGs in one file, behind a table of their metadata. The reading half.

Layout (little-endian): version u64 = 1; table length S u64; S bytes, a pickle of a list of dicts; N + 1
offsets u64; then the JPEGs. Offsets count from behind the offset table, except the last, which DFL writes
as the absolute end of the file, so the last size is held to what is left. Source:
reference/faces-and-files.md section 2.1. `samplelib.pak_writer` writes the same.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import FileFormatError
from core.pickle_rows import iterate_rows

PAK_NAME = "faceset.pak"
VERSION = 1
SAMPLE_TYPE = ("samplelib.Sample", "SampleType")
FACE_TYPE = ("facelib.FaceType", "FaceType")
_ENUMS = {SAMPLE_TYPE: int, FACE_TYPE: int}

Tell = Callable[[str, int], None]  # called for each face: what was done with it, and to how many it will be


@dataclass(frozen=True, slots=True)
class PakEntry:
    """One face of a pak: its row of the table (or what was kept of it), and where its JPEG lies."""

    row: Any
    offset: int
    length: int


def read_pak_table(path: Path, keep: Callable[[dict[str, Any]], Any] = dict) -> list[PakEntry]:
    """The table of a pak; no JPEG is read.

    Args:
        path: The pak.
        keep: What to keep of each row: rows of 100,000 faces need gigabytes, their names do not.

    Raises:
        FileFormatError: Not a pak of version 1, or damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            version, table_length = struct.unpack("<QQ", _exactly(file.read(16), 16, path))
            if version != VERSION:
                raise FileFormatError(f"{path}: packed facesets of version {version} are not known")
            if table_length > size - 16:
                raise FileFormatError(f"{path}: its table needs {table_length} bytes, {size - 16} are left")
            rows = [keep(row) for row in _rows(file.fileno(), table_length, path)]
            file.seek(16 + table_length)
            count = len(rows) + 1
            offsets = np.frombuffer(_exactly(file.read(8 * count), 8 * count, path), "<u8").astype(np.int64)
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err
    start = 16 + table_length + 8 * count
    ends = np.append(offsets[1:-1], size - start) if rows else offsets[:0]
    lengths = ends - offsets[:-1]
    # The last offset tells the file's size: without it, the last face of a pak cut short would seem whole.
    if rows and (offsets[0] < 0 or lengths.min() <= 0 or offsets[-1] > size):
        raise FileFormatError(f"{path}: offsets lead outside the file, which was cut short; pack again")
    return [
        PakEntry(row, start + offset, length)
        for row, offset, length in zip(rows, offsets.tolist(), lengths.tolist())
    ]


def tell_nobody(what: str, total: int) -> None:
    """A `Tell` that does nothing."""


def read_packed(file: Any, entry: PakEntry, name: str) -> bytes:
    """The JPEG of an entry from an open pak.

    Raises:
        FileFormatError: The file ends before it does.
    """
    file.seek(entry.offset)
    data = file.read(entry.length)
    if len(data) < entry.length:
        raise FileFormatError(f"{name}: is shorter in the pak than its table says; get a sound copy of it")
    return data


def _rows(descriptor: int, length: int, path: Path) -> Iterator[dict[str, Any]]:
    if not length:
        raise FileFormatError(f"{path}: its table is empty; pack the folder again")
    with mmap.mmap(descriptor, 16 + length, access=mmap.ACCESS_READ) as mapped:
        for row in iterate_rows(mapped, str(path), _ENUMS, start=16):
            if not isinstance(row, dict):
                raise FileFormatError(f"{path}: its table is no list of faces; pack the folder again")
            yield row


def _exactly(data: bytes, length: int, path: Path) -> bytes:
    if len(data) != length:
        raise FileFormatError(f"{path}: {length} bytes expected, {len(data)} are left; it was cut short")
    return data

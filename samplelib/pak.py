"""DFL's `faceset.pak`: many face JPEGs in one file, behind a table of their metadata.

Layout (little-endian): version u64 = 1; table length S u64; S bytes, a pickle of a list of dicts; N + 1
offsets u64; then the JPEGs. Offsets count from behind the offset table, except the last, which DFL writes
as the absolute end of the file, so the last size is held to what is left. Source:
reference/faces-and-files.md section 2.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core import safe_pickle
from core.errors import FileFormatError

PAK_NAME = "faceset.pak"
VERSION = 1
_ENUMS = {("samplelib.Sample", "SampleType"): int, ("facelib.FaceType", "FaceType"): int}


@dataclass(frozen=True)
class PakEntry:
    """One face of a pak: its row of the table, and where its JPEG lies in the file."""

    row: dict[str, Any]
    offset: int
    length: int


def read_pak_table(path: Path) -> list[PakEntry]:
    """The table of a pak; no JPEG is read.

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
            rows = safe_pickle.loads(_exactly(file.read(table_length), table_length, path), str(path), _ENUMS)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise FileFormatError(f"{path}: its table is no list of faces; pack the folder again")
            count = len(rows) + 1
            offsets = np.frombuffer(_exactly(file.read(8 * count), 8 * count, path), "<u8").astype(np.int64)
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err
    start = 16 + table_length + 8 * count
    ends = np.append(offsets[1:-1], size - start) if rows else offsets[:0]
    lengths = ends - offsets[:-1]
    if rows and (offsets[0] < 0 or lengths.min() <= 0 or ends[-1] > size - start):
        raise FileFormatError(f"{path}: offsets lead outside the file, which was cut short; pack again")
    return [
        PakEntry(row, start + int(offset), int(length)) for row, offset, length in zip(rows, offsets, lengths)
    ]


def _exactly(data: bytes, length: int, path: Path) -> bytes:
    if len(data) != length:
        raise FileFormatError(f"{path}: {length} bytes expected, {len(data)} are left; it was cut short")
    return data

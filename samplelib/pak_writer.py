"""Writes DFL's `faceset.pak`, byte for byte as DFL does, with one face in memory at a time.

The pak is written beside its place, read back and compared with every file that went into it, and only then
takes its place. For the layout see `samplelib.pak`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import FileFormatError, SampleError
from core.parallel import map_in_order
from core.pickle_stream import Call, Constant, StreamPickler
from core.storage import replacing
from facelib.face_types import face_type_spec
from samplelib.face_values import FaceValues, read_or_reason
from samplelib.pak import (
    FACE_TYPE,
    SAMPLE_TYPE,
    VERSION,
    PakEntry,
    Tell,
    read_packed,
    read_pak_table,
    tell_nobody,
)

_FACE = 1  # DFL's SampleType.FACE


@dataclass(frozen=True)
class PakSource:
    """A file to pack."""

    path: Path
    person: str | None = None  # the subfolder's name, in a faceset of several persons


@dataclass
class Packed:
    """What went into a pak, and what did not."""

    sources: list[PakSource] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)  # file -> why


def write_pak(pak: Path, sources: Sequence[PakSource], tell: Tell = tell_nobody) -> Packed:
    """Pack files in the given order; those that are no faces are left out.

    Raises:
        SampleError: None of them is a face, one changed meanwhile, or the disk gave back other bytes.
    """
    packed = Packed()
    with replacing(pak) as temporary:
        with temporary.open("wb") as file:
            file.write(bytes(16))
            table = StreamPickler(file)
            table.write_list(_rows(sources, packed, tell))
            if not packed.sources:
                reason = next(iter(packed.skipped.values()), "there are no images")
                raise SampleError(f"{pak.parent}: nothing to pack ({reason}); extract faces into this folder")
            starts = np.cumsum([0, *packed.lengths], dtype=np.uint64)
            # The last offset is absolute, as DFL writes it.
            starts[-1] += np.uint64(16 + table.written + 8 * len(starts))
            file.write(starts.astype("<u8").tobytes())
            for source, length in zip(packed.sources, packed.lengths, strict=True):
                file.write(_whole(source, length))
                tell("copying", len(packed.sources))
            file.seek(0)
            file.write(struct.pack("<QQ", VERSION, table.written))
        _compare(temporary, packed, tell)
    return packed


def _rows(sources: Sequence[PakSource], packed: Packed, tell: Tell) -> Iterator[dict[str, Any]]:
    def read(source: PakSource) -> tuple[PakSource, FaceValues | str]:
        return source, read_or_reason(source.path)

    for source, face in map_in_order(read, sources):
        tell("reading", len(sources))
        if isinstance(face, str):
            packed.skipped[source.path] = face
            continue
        row = pak_row(source, face)
        packed.sources.append(source)
        packed.lengths.append(face.length)
        yield row


def pak_row(source: PakSource, face: FaceValues) -> dict[str, Any]:
    """DFL's row of the table, for `StreamPickler`."""
    mask = face.values.get("xseg_mask")
    if isinstance(mask, bytes):
        mask = np.frombuffer(mask, np.uint8)
    polys = [
        {"type": int(poly.include), "pts": np.asarray(poly.points, np.float32)}
        for poly in face.metadata.seg_ie_polys
    ]
    return {
        "sample_type": Call(*SAMPLE_TYPE, _FACE),
        "filename": Constant(source.path.name),
        "face_type": Call(*FACE_TYPE, face_type_spec(face.metadata.face_type).number),
        "shape": (*face.shape, 3),
        # float64 as stored, which the checked record does not keep
        "landmarks": np.array(face.values["landmarks"], np.float64).tolist(),
        "seg_ie_polys": {"polys": polys},
        "xseg_mask": None,
        "xseg_mask_compressed": mask,
        "eyebrows_expand_mod": float(face.metadata.eyebrows_expand_mod),
        "source_filename": face.metadata.source_filename,
        "person_name": None if source.person is None else Constant(source.person),
    }


def _whole(source: PakSource, length: int) -> bytes:
    try:
        data = source.path.read_bytes()
    except OSError as err:
        raise SampleError(f"{source.path}: cannot be read ({err.strerror}); nothing was packed") from err
    if len(data) != length:
        raise SampleError(f"{source.path}: was changed by another program meanwhile; pack again")
    return data


def _compare(pak: Path, packed: Packed, tell: Tell) -> None:
    """Read the pak back as a reader would, and compare it with the files.

    Raises:
        SampleError: Something differs.
    """
    entries = read_pak_table(pak, lambda row: (row.get("filename"), row.get("person_name")))
    names = [(source.path.name, source.person) for source in packed.sources]
    if [entry.row for entry in entries] != names:
        raise SampleError(f"{pak.parent}: the pak read back lists other faces; nothing was removed")
    with pak.open("rb+") as file:
        _forget_cached(file)
        for source, entry in zip(packed.sources, entries, strict=True):
            _compare_one(file, source, entry)
            tell("verifying", len(entries))


def left_by_removal(pak: Path, sources: Sequence[PakSource]) -> list[PakSource]:
    """The files that a stopped removal of originals has left: they are the last faces of a pak with more.

    None where files are faces that the pak has not, or not like that: somebody chose or changed those.
    """
    try:
        entries = read_pak_table(pak, lambda row: (row.get("filename"), row.get("person_name")))
        known = {entry.row for entry in entries}
        left = [source for source in sources if (source.path.name, source.person) in known]
        tail = entries[len(entries) - len(left) :]
        if not 0 < len(left) < len(entries):
            return []
        if [entry.row for entry in tail] != [(source.path.name, source.person) for source in left]:
            return []
        packed = set(left)
        if any(not isinstance(read_or_reason(one.path), str) for one in sources if one not in packed):
            return []
        with pak.open("rb") as file:
            for source, entry in zip(left, tail, strict=True):
                _compare_one(file, source, entry)
    except (FileFormatError, SampleError, OSError, TypeError):  # TypeError: a name that is no text
        return []
    return left


def _forget_cached(file: BinaryIO) -> None:
    """Let what is read next come from the disk instead of memory, where the system can be told so."""
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _compare_one(file: BinaryIO, source: PakSource, entry: PakEntry) -> None:
    try:
        same = read_packed(file, entry, str(source.path)) == source.path.read_bytes()
    except (FileFormatError, OSError) as err:
        raise SampleError(f"{source.path}: cannot be compared with the pak ({err}); pack again") from err
    if not same:
        raise SampleError(
            f"{source.path}: the pak read back holds something else; nothing was removed, check the disk"
        )

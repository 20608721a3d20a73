"""Gives a pak's faces back as files, one in memory at a time, and never over a file with other content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from core import storage
from core.errors import SampleError
from core.paths import is_file_name
from facelib.face_jpeg import JPEG_SUFFIXES
from samplelib.pak import PakEntry, Tell, read_packed, read_pak_table, tell_nobody


@dataclass
class Unpacked:
    """What came out of a pak."""

    faces: int = 0
    renamed: dict[str, Path] = field(default_factory=dict)  # name in the pak -> file, the name being taken
    refused: dict[str, str] = field(default_factory=dict)  # name in the pak -> why it stayed there


def unpack(pak: Path, tell: Tell = tell_nobody) -> Unpacked:
    """Write all faces of a pak into its folder, those of persons into subfolders, and read them back.

    The pak stays; removing it is the caller's.

    Raises:
        FileFormatError: The pak is damaged.
        SampleError: The disk gave back other bytes.
    """
    entries = read_pak_table(pak, lambda row: (row.get("filename"), row.get("person_name")))
    result = Unpacked()
    placed: list[tuple[Path, PakEntry]] = []
    cleaned: set[Path] = set()
    with pak.open("rb") as file:
        for entry in entries:
            reason = _objection(*entry.row)
            if reason:
                result.refused[str(entry.row[0])] = reason
                continue
            target = _target(pak.parent, *entry.row)
            if target.parent not in cleaned:
                target.parent.mkdir(exist_ok=True)
                storage.remove_leavings(target.parent)
                cleaned.add(target.parent)
            path = _place(target, read_packed(file, entry, target.name))
            if path != target:
                result.renamed[target.name] = path
            placed.append((path, entry))
            tell("writing", len(entries))
        storage.sync_everything()
        _compare(file, placed, tell)
    result.faces = len(placed)
    return result


def _target(folder: Path, name: str, person: str | None) -> Path:
    return folder / person / name if person else folder / name


def _place(target: Path, data: bytes) -> Path:
    """Write the file, under a name with a number where another file has its own; it may be there already."""
    path, number = target, 0
    while path.exists() or path.is_symlink():
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return path
        number += 1
        path = target.with_name(f"{target.stem}_{number}{target.suffix}")
    storage.write_bytes(path, data, durable=False)
    return path


def _compare(file: BinaryIO, placed: list[tuple[Path, PakEntry]], tell: Tell) -> None:
    for path, entry in placed:
        if path.read_bytes() != read_packed(file, entry, path.name):
            raise SampleError(f"{path}: holds something else than was written; the pak stays, check the disk")
        tell("verifying", len(placed))


def _objection(name: Any, person: Any) -> str:
    """Why a face cannot be a file in the folder; a stranger's pak may name any path. Empty if it can."""
    if not is_file_name(name) or not _is_harmless(name):
        return "its name is none for a file"
    if Path(name).suffix.lower() not in JPEG_SUFFIXES:
        return "its name is not a JPEG's"
    if person is not None and person != "" and not (is_file_name(person) and _is_harmless(person)):
        return f"its person's name {str(person)[:40]!r} is none for a folder"
    return ""


def _is_harmless(name: str) -> bool:
    """Not hidden, and no drive, stream or control sign of Windows."""
    return not name.startswith(".") and not any(sign in ':*?"<>|' or sign < " " for sign in name)

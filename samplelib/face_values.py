"""A face's file as DFL's tools see it: the stored dict as it is, checked to be a face's, and the size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.errors import FileFormatError
from core.paths import list_images
from facelib.face_jpeg import JPEG_SUFFIXES, parse_values
from facelib.metadata import FaceMetadata, metadata_from_dict
from samplelib.face_header import FIRST_READ, TAIL

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FaceValues:
    """What stands in the head of a face's JPEG."""

    values: dict[str, Any]  # DFL's dict, as stored
    metadata: FaceMetadata  # the same, checked
    shape: tuple[int, int]  # height and width
    length: int  # bytes of the file


def read_face_values(path: Path) -> FaceValues:
    """Read the head of an aligned face, and look for the end of its picture.

    Raises:
        FileFormatError: No face, or a damaged one.
    """
    if path.suffix.lower() not in JPEG_SUFFIXES:
        raise FileFormatError(f"{path.name}: is no JPEG with face data; extract its frame again")
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(0)
            head = file.read(FIRST_READ)
            try:
                shape, values = parse_values(head, path.name)
            except FileFormatError:
                if len(head) == length or head[:2] != b"\xff\xd8":
                    raise
                shape, values = parse_values(head + file.read(), path.name)
            file.seek(max(0, length - TAIL))
            if b"\xff\xd9" not in file.read(TAIL):
                raise FileFormatError(f"{path.name}: the picture was cut short; extract its frame again")
    except OSError as err:
        raise FileFormatError(f"{path.name}: cannot be read ({err.strerror})") from err
    return FaceValues(values, metadata_from_dict(values, path.name), shape, length)


def read_or_reason(path: Path) -> FaceValues | str:
    """The face's values, or in a line why there are none."""
    return attempt(read_face_values, path)


def attempt(work: Callable[[Path], Result], path: Path) -> Result | str:
    """What `work` makes of a file, or in a line why it cannot."""
    try:
        return work(path)
    except FileFormatError as err:
        return str(err)


def list_person_folders(folder: Path) -> list[Path]:
    """Subfolders that hold images, by name: the persons of a faceset of several."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in subfolders if list_images(path)]

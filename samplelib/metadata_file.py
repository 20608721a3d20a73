"""`meta.dat`: the metadata of a folder's faces apart from the pictures, while another program edits those.

DFL's file is a pickle of one dict, file name to (shape (height, width, 3), DFL's dict of the face). It is
written and read face by face, so that 100,000 faces need no memory. Source: reference/faces-and-files.md
section 2.3.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core import safe_pickle, storage
from core.errors import FileFormatError, SampleError
from core.imageio import encode_image
from core.pickle_rows import iterate_rows
from core.pickle_stream import StreamPickler
from facelib.face_jpeg import embed_values, jpeg_shape, parse_values
from facelib.metadata import metadata_from_dict

METADATA_NAME = "meta.dat"
QUALITY = 100  # of pictures that must be resized back


@dataclass(frozen=True)
class SavedFace:
    """One face of the file."""

    name: str
    shape: tuple[int, int]  # height and width
    values: dict[str, Any]  # DFL's dict


def write_metadata_file(path: Path, faces: Iterable[SavedFace]) -> int:
    """Write the file, whole or not at all; returns the number of faces.

    Raises:
        SampleError: There are none.
    """
    with storage.replacing(path) as temporary:
        with temporary.open("wb") as file:
            rows = ((face.name, ((*face.shape, 3), face.values)) for face in faces)
            count = StreamPickler(file).write_dict(rows)
        if not count:
            raise SampleError(f"{path.parent}: no aligned faces in it, so there is no metadata to save")
    return count


def read_metadata_file(path: Path) -> Iterator[SavedFace]:
    """The faces of a file that we or DFL wrote.

    Raises:
        FileFormatError: It cannot be read, is damaged or something else. It can come after faces were given.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for entry in iterate_rows(data, str(path)):
                yield _saved_face(entry, path)
    except ValueError as err:  # an empty file cannot be mapped
        raise FileFormatError(f"{path}: the file is empty; get a sound copy of it") from err
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err


def _saved_face(entry: Any, path: Path) -> SavedFace:
    try:
        name, (shape, values) = entry
        height, width = (int(side) for side in shape[:2])
        if not isinstance(name, str) or not isinstance(values, dict) or not 0 < height < 65536 > width > 0:
            raise ValueError("an entry is none of a face")
    except (TypeError, ValueError) as err:
        raise FileFormatError(f"{path}: holds no metadata of faces ({err}); save it again") from err
    # Lists of points come as arrays; DFL's tools want lists in the JPEG.
    lists = {
        key: value.astype(np.float64).tolist()
        for key, value in values.items()
        if key in ("landmarks", "source_landmarks") and isinstance(value, np.ndarray)
    }
    return SavedFace(name, (height, width), {**values, **lists})


def restored(jpeg: bytes, face: SavedFace) -> bytes:
    """The JPEG with the saved metadata, and of the saved size again if it was resized.

    It is returned as it is if it has all that already.

    Raises:
        FileFormatError: The picture or the saved metadata is unusable.
    """
    metadata_from_dict(face.values, face.name)
    if _has(jpeg, face):
        return jpeg
    if jpeg_shape(jpeg, face.name) != face.shape:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
        if image is None:
            raise FileFormatError(f"{face.name}: its pixels cannot be decoded; save the picture again")
        image = cv2.resize(image, face.shape[::-1], interpolation=cv2.INTER_LANCZOS4)
        jpeg = encode_image(".jpg", image, QUALITY)
    return embed_values(jpeg, face.values, face.name)


def _has(jpeg: bytes, face: SavedFace) -> bool:
    try:
        shape, values = parse_values(jpeg, face.name)
    except FileFormatError:
        return False
    return shape == face.shape and safe_pickle.dumps(values) == safe_pickle.dumps(face.values)

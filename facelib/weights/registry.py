"""Which weight files there are, where they come from, and how each is recognised.

The files lie in DeepFaceLab's repository, which states no licence for them apart from its own (GPL-3.0). They
are therefore fetched by the user from there and never redistributed.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import UsageError
from facelib.weights.tables import Shapes, enhancer_shapes, fan_shapes, s3fd_shapes

COMMIT = "46fc2397c582b9fc375a023418257924112e292b"  # DeepFaceLab's last; the files are as of 2020-04-04
SOURCES = (  # the first leads to the second, which is asked by itself where the first does not answer
    f"https://github.com/iperov/DeepFaceLab/raw/{COMMIT}/facelib",
    f"https://raw.githubusercontent.com/iperov/DeepFaceLab/{COMMIT}/facelib",
)
URL_VARIABLE = "FACELAB_WEIGHTS_URL"
LICENCE = (
    "The files are part of DeepFaceLab (its repository is GPL-3.0 and names no other licence for them); "
    "you fetch them from there for yourself, Facelab does not pass them on."
)
_ENTRY_BYTES = 1024  # at most, of the pickle around one tensor: its name, shape and type
_ITEM_BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class WeightFile:
    """One file of weights: what it is called, what must be in it, and the checksums of the genuine one."""

    name: str
    purpose: str
    git_sha1: str  # of the git blob: over b"blob <length>\0" and the content
    sha256: str
    dtype: str  # of every tensor as stored
    build_shapes: Callable[[], Shapes]
    size: int | None = None  # bytes, where somebody has seen the genuine file
    licence: str = LICENCE

    @property
    def file(self) -> str:
        return f"{self.name}.npy"  # DFL's name; it is a pickle

    @functools.cached_property
    def shapes(self) -> Shapes:
        """Shape by tensor name; what has one number per channel is (C,)."""
        return self.build_shapes()

    @functools.cached_property
    def data_bytes(self) -> int:
        """Bytes of the numbers alone: nearly all of the file."""
        return sum(math.prod(shape) for shape in self.shapes.values()) * _ITEM_BYTES[self.dtype]

    @property
    def structure_bytes(self) -> int:
        """The most that a file can have beside the numbers: names, shapes, types."""
        return _ENTRY_BYTES * (len(self.shapes) + 4)

    @property
    def size_limits(self) -> tuple[int, int]:
        """The smallest and largest length in bytes that a genuine file can have."""
        if self.size is not None:
            return self.size, self.size
        return self.data_bytes, self.data_bytes + self.structure_bytes

    def has_plausible_size(self, size: int) -> bool:
        low, high = self.size_limits
        return low <= size <= high

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to fetch it, best first.

        Raises:
            UsageError: `FACELAB_WEIGHTS_URL` is no http(s) address.
        """
        return tuple(f"{base}/{self.file}" for base in _bases())


def _bases() -> tuple[str, ...]:
    mirror = os.environ.get(URL_VARIABLE, "").strip().rstrip("/")
    if not mirror:
        return SOURCES
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{URL_VARIABLE}={mirror!r} is not allowed; give an http:// or https:// address")
    return (mirror,)


WEIGHTS: dict[str, WeightFile] = {
    entry.name: entry
    for entry in (
        WeightFile(
            "S3FD",
            "finds faces",
            "66c054f251f50f132eba2aba06d032cc444343cd",
            "b4894ecfba8e6461eb1a69490f76184620c816605238ff0ba3216f1143a06c29",
            "float32",
            s3fd_shapes,
        ),
        WeightFile(
            "2DFAN",
            "landmarks",
            "ba55f153cd5e526299a38998fb2f69f530cc29fb",
            "ca2dc7f0b2aa146842e6de2119fedff1142188b7cff5ab702564952d6cba4624",
            "float32",
            fan_shapes,
        ),
        WeightFile(
            "3DFAN",
            "landmarks of heads, profiles too",
            "b96bcd20d888a505ab85ca3f0e8b2952d74be30b",
            "b50d2faf0fd4d6503aba9d19365e7aff06f2ea96bac37fc5f8f25a191a0a63a9",
            "float32",
            fan_shapes,
        ),
        WeightFile(
            "FaceEnhancer",
            "sharpens faces",
            "1890f42aa9d082cbf51356ee04d0529dd70773a1",
            "254958f67c9adfe97a0c9fc7b3c343ba490a1519c01862a50945fa228875476a",
            "float16",
            enhancer_shapes,
        ),
    )
}


def weight_file(name: str) -> WeightFile:
    """The entry of `name`; letter case and the suffix `.npy` do not matter.

    Raises:
        UsageError: There is none.
    """
    wanted = name.strip().lower().removesuffix(".npy")
    for key, entry in WEIGHTS.items():
        if key.lower() == wanted:
            return entry
    raise UsageError(f"there are no weights {name!r}; known are {', '.join(WEIGHTS)}")

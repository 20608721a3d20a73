"""What is in a weight file: DFL's pickle read and checked, and our safetensors copy of it.

DFL's `.npy` is no NumPy file but a pickle of one dict, tensor name with `:0` to array. It is read once, by
the restricted reader, and every name, shape and dtype is held against the registry. The copy beside it has
the same numbers under names without `:0`, and in its header where they came from (`Origin`), so that a source
that was exchanged later is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core import safe_pickle
from core.errors import FileFormatError
from core.storage import replacing, sync_directory
from facelib.weights.registry import WeightFile

COPY_FORMAT = "facelab-weights-1"
BLOCK = 1 << 20
MAX_HEADER = 1 << 20  # of a copy: 945 tensors need some 100 kB
MAX_NAMES_TOLD = 4

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Digests:
    """Length and checksums of a file's content."""

    size: int
    sha256: str
    git_sha1: str

    def are_genuine(self, entry: WeightFile) -> bool:
        return (self.sha256, self.git_sha1) == (entry.sha256, entry.git_sha1)


@dataclass(frozen=True)
class Origin:
    """Where the numbers of a copy came from; kept as text in its header."""

    name: str
    source_sha256: str
    source_size: int
    source_mtime_ns: int
    content_sha256: str
    genuine: bool  # the source had the pinned checksums
    accepted: bool  # it had others, and was imported with --any-checksum

    def is_of(self, source: Path) -> bool:
        """Whether `source` has the length and time that it had when it was copied."""
        stat = source.stat()
        return (stat.st_size, stat.st_mtime_ns) == (self.source_size, self.source_mtime_ns)


def digests_of(path: Path) -> Digests:
    """Read a file once and compute its checksums."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        sha256, git_sha1 = hashlib.sha256(), git_blob_hash(size)
        while block := file.read(BLOCK):
            sha256.update(block)
            git_sha1.update(block)
    return Digests(size, sha256.hexdigest(), git_sha1.hexdigest())


def git_blob_hash(size: int) -> Any:
    """The hash that becomes git's name of a blob of `size` bytes once its content has passed through."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def size_limit(entry: WeightFile) -> int:
    """Bytes from which on a file is refused unread: twice what other writers of the same tensors need."""
    return 2 * entry.data_bytes + BLOCK


def require_size(path: Path, entry: WeightFile) -> None:
    """Refuse a file unread that is senselessly long; one that is too short says itself what it lacks.

    Raises:
        FileFormatError: It is.
    """
    size = path.stat().st_size
    if size > size_limit(entry):
        raise FileFormatError(
            f"{path}: has {size} bytes, the weights {entry.name} only {entry.data_bytes}; "
            f"replace the file, for example by main.py weights fetch {entry.name}"
        )


def read_source(path: Path, entry: WeightFile) -> Tensors:
    """The tensors of one of DFL's files, in its dtype, all of `entry` and no others.

    Raises:
        FileFormatError: The file is damaged, hostile, or holds other tensors; says which.
    """
    require_size(path, entry)
    content = safe_pickle.load_file(path, structure=entry.structure_bytes)
    if not isinstance(content, dict):
        raise FileFormatError(f"{path}: holds a {type(content).__name__}, not the dict of tensors of DFL")
    tensors: Tensors = {}
    for key, value in content.items():
        name = key.removesuffix(":0") if isinstance(key, str) else repr(key)
        if name in tensors:
            raise FileFormatError(f"{path}: holds the tensor {name[:80]!r} twice")
        tensors[name] = _as_listed(value, entry.shapes.get(name))
    check_tensors(tensors, entry, path)
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _as_listed(value: Any, shape: tuple[int, ...] | None) -> Any:
    """A vector stored as (1, 1, 1, C) in the shape of our table; anything else as it is."""
    if shape is None or not isinstance(value, np.ndarray) or not value.shape:
        return value
    channels = value.shape[-1]
    is_vector = value.size == channels == shape[-1] == math.prod(shape)
    return value.reshape(shape) if is_vector else value


def check_tensors(tensors: Mapping[str, Any], entry: WeightFile, path: Path) -> None:
    """Hold names, shapes, dtypes and values against the registry.

    Raises:
        FileFormatError: Lists all that is wrong.
    """
    shapes = entry.shapes
    missing = [name for name in shapes if name not in tensors]
    unknown = [name for name in tensors if name not in shapes]
    wrong = []
    for name, shape in shapes.items():
        value = tensors.get(name)
        if name in tensors and not isinstance(value, np.ndarray):
            wrong.append(f"{name} is a {type(value).__name__}")
        elif value is not None and (value.shape, value.dtype.name) != (shape, entry.dtype):
            wrong.append(f"{name} is {value.dtype.name} {value.shape}, not {entry.dtype} {shape}")
        elif value is not None and not np.isfinite(value).all():
            wrong.append(f"{name} has values that are no numbers")
    problems = [
        f"{len(names)} {what}: {_first(names)}"
        for what, names in (("missing", missing), ("unknown", unknown), ("wrong", wrong))
        if names
    ]
    if problems:
        raise FileFormatError(
            f"{path}: these are not the weights {entry.name}: {'; '.join(problems)}; "
            f"replace the file, for example by main.py weights fetch {entry.name}"
        )


def _first(names: list[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:MAX_NAMES_TOLD])
    return shown + (" ..." if len(names) > MAX_NAMES_TOLD else "")


def write_copy(
    path: Path, tensors: Tensors, entry: WeightFile, source: Path, digests: Digests, accepted: bool = False
) -> None:
    """Write the safetensors copy of `source`, whole or not at all."""
    from safetensors.numpy import save

    origin = Origin(
        name=entry.name,
        source_sha256=digests.sha256,
        source_size=digests.size,
        source_mtime_ns=source.stat().st_mtime_ns,
        content_sha256=_content_digest(tensors),
        genuine=digests.are_genuine(entry),
        accepted=accepted,
    )
    header = {"format": COPY_FORMAT, **{key: str(value) for key, value in dataclasses.asdict(origin).items()}}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, header))
    sync_directory(path.parent)


def read_origin(path: Path, entry: WeightFile) -> Origin | None:
    """What the header of a copy says of its source; None where `path` is no copy of ours of `entry`."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(length)) if length <= MAX_HEADER else {}
        told = head["__metadata__"]
        if told["format"] != COPY_FORMAT or told["name"] != entry.name:
            return None
        return Origin(
            name=told["name"],
            source_sha256=told["source_sha256"],
            source_size=int(told["source_size"]),
            source_mtime_ns=int(told["source_mtime_ns"]),
            content_sha256=told["content_sha256"],
            genuine=told["genuine"] == "True" and told["source_sha256"] == entry.sha256,
            accepted=told["accepted"] == "True",
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def read_copy(path: Path, entry: WeightFile, origin: Origin) -> Tensors | None:
    """The tensors of a copy; None where it is damaged or not all of `entry`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if path.stat().st_size > size_limit(entry):
            return None
        tensors = load(path.read_bytes())
        check_tensors(tensors, entry, path)
    except (OSError, SafetensorError, FileFormatError, KeyError, ValueError):
        return None
    return tensors if _content_digest(tensors) == origin.content_sha256 else None


def _content_digest(tensors: Tensors) -> str:
    """SHA-256 over names and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(memoryview(np.ascontiguousarray(tensors[name]).reshape(-1)).cast("B"))
    return digest.hexdigest()

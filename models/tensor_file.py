"""Safetensors files, written as a stream: length of the header in 8 bytes, header in JSON, arrays.

An array to write may be `Deferred`: fetched when its turn comes, so that a model of gigabytes is saved
without a second copy of it in memory.

The format is that of the `safetensors` package (https://huggingface.co/docs/safetensors), which reads them.
Writing is done here because the package copies everything once more, gives no checksum, and writes arrays
that are not C-contiguous scrambled.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from core.errors import CheckpointError

NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8"}
ALIGNMENT = 8
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Deferred:
    """An array that is made when it is needed, of a shape and type known before."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fetch: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


Arrays = Mapping[str, "np.ndarray | Deferred"]


class NotFinite(CheckpointError):
    """An array to be saved holds infinities or what is not a number."""


def fetched(array: np.ndarray | Deferred) -> np.ndarray:
    """The array itself."""
    return array.fetch() if isinstance(array, Deferred) else array


def write_tensors(path: Path, tensors: Arrays, only_numbers: bool = False) -> tuple[int, str]:
    """Write arrays to a new file and wait until they are on the disk.

    Args:
        path: The new file.
        tensors: The arrays by name.
        only_numbers: Refuse infinities and NaN.

    Returns:
        The file's length in bytes and its SHA-256 in hexadecimal.

    Raises:
        NotFinite: An array holds what `only_numbers` refuses; the file is of no use.
    """
    # Wide types first, as the package orders them: every array then starts at a multiple of its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header, offset = {}, 0
    for name in names:
        array = tensors[name]
        end = offset + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        blocks = [len(head).to_bytes(8, "little") + head]
        rest = (_bytes_of(_fetched(name, tensors[name], only_numbers)) for name in names)
        for block in itertools.chain(blocks, rest):
            digest.update(block)
            size += _write_all(file, block)
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _fetched(name: str, source: np.ndarray | Deferred, only_numbers: bool) -> np.ndarray:
    array = fetched(source)
    if only_numbers and array.dtype.kind == "f" and not is_finite(array):
        raise NotFinite(f"{name} holds values that are not numbers")
    return array


def is_finite(array: np.ndarray) -> bool:
    """Whether an array of floats holds numbers only; where it does, for little more than reading it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())  # a sum may overflow


def fingerprint(path: Path) -> tuple[int, str]:
    """A file's length in bytes and its SHA-256 in hexadecimal, without holding it in memory."""
    digest, size, block = hashlib.sha256(), 0, bytearray(BLOCK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
            size += count
    return size, digest.hexdigest()


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from a file, which is never in memory beside them.

    Raises:
        CheckpointError: It is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, ValueError) as err:
        raise CheckpointError(f"{path.name}: not a safetensors file ({err})") from err


def _bytes_of(array: np.ndarray) -> memoryview:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return memoryview(np.ascontiguousarray(little).reshape(-1)).cast("B")


def _write_all(file, block: bytes | memoryview) -> int:
    """An unbuffered write may stop short (at 2 GB, on a disk that fills); go on until done or failed."""
    view, written = memoryview(block), 0
    while written < len(view):
        written += file.write(view[written:])
    return written

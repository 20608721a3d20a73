"""Safetensors files, written as a stream: length of the header in 8 bytes, header in JSON, arrays.

The format is that of the `safetensors` package (https://huggingface.co/docs/safetensors), which reads them.
Writing is done here because the package copies everything once more, gives no checksum, and writes arrays
that are not C-contiguous scrambled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.errors import CheckpointError

NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8"}
ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> tuple[int, str]:
    """Write arrays to a new file and wait until they are on the disk.

    Returns:
        The file's length in bytes and its SHA-256 in hexadecimal.
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
        for block in (*blocks, *(_bytes_of(tensors[name]) for name in names)):
            digest.update(block)
            size += _write_all(file, block)
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def decode_tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """Arrays by name from a file's bytes.

    Raises:
        CheckpointError: The bytes are no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError) as err:
        raise CheckpointError(f"{source}: not a safetensors file ({err})") from err


def _bytes_of(array: np.ndarray) -> memoryview:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return memoryview(np.ascontiguousarray(little).reshape(-1)).cast("B")


def _write_all(file, block: bytes | memoryview) -> int:
    """An unbuffered write may stop short (at 2 GB, on a disk that fills); go on until done or failed."""
    view, written = memoryview(block), 0
    while written < len(view):
        written += file.write(view[written:])
    return written

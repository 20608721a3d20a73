"""Writes plain data and number arrays as a pickle that DFL reads.

The stock writer names numpy's functions after where they live now, `numpy._core`, which numpy 1.x does not
have. Data needs few instructions, so they are written out here: protocol 4, the newest that Python 3.6 knows,
and arrays under the name `numpy.core.multiarray`, which every numpy accepts.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from core.errors import FileFormatError

__all__ = ["dumps"]

_MAX_DEPTH = 32
_POINT = struct.Struct(">3sd1sd1s")  # a list of two floats in one go: faces are 136 of them


def dumps(value: Any) -> bytes:
    """Write plain data and number arrays as a pickle of protocol 4 for numpy 1.x, 2.x and DFL.

    Args:
        value: None, bool, int, float, str, bytes, list, tuple, dict, numpy scalars and arrays of booleans,
            integers and floats, nested.

    Raises:
        FileFormatError: The value holds anything else, or is nested in itself.
    """
    parts = [b"\x80\x04"]
    _write(value, parts, 0)
    parts.append(b".")
    return b"".join(parts)


def _write(value: Any, parts: list[bytes], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise FileFormatError("cannot write data that is nested in itself or too deeply")
    kind = type(value)
    if kind in _SIMPLE:
        parts.append(_SIMPLE[kind](value))
    elif kind is list and len(value) == 2 and type(value[0]) is type(value[1]) is float:
        parts.append(_POINT.pack(b"](G", value[0], b"G", value[1], b"e"))
    elif kind is list or kind is tuple:
        if kind is list:
            parts.append(b"]")
        parts.append(b"(")
        for entry in value:
            _write(entry, parts, depth + 1)
        parts.append(b"e" if kind is list else b"t")
    elif kind is dict:
        parts.append(b"}(")
        for name, entry in value.items():
            _write(name, parts, depth + 1)
            _write(entry, parts, depth + 1)
        parts.append(b"u")
    elif kind is np.ndarray:
        _write_array(value, parts)
    elif isinstance(value, np.generic):
        dtype, content = _little_endian(np.asarray(value))
        parts += [_look_up("numpy.core.multiarray", "scalar"), dtype, _bytes(content), b"\x86R"]
    else:
        raise FileFormatError(f"cannot write a {kind.__name__}; plain data and number arrays only")


def _write_array(array: np.ndarray, parts: list[bytes]) -> None:
    dtype, content = _little_endian(array)
    # _reconstruct(ndarray, (0,), b"b"), then its state: version, shape, dtype, Fortran order, content.
    parts += [_look_up("numpy.core.multiarray", "_reconstruct"), _look_up("numpy", "ndarray")]
    parts.append(b"K\x00\x85C\x01b\x87R")
    parts.append(b"(K\x01(" + b"".join(map(_int, array.shape)) + b"t")
    parts += [dtype, b"\x89", _bytes(content), b"tb"]


def _little_endian(array: np.ndarray) -> tuple[bytes, bytes]:
    """The instructions that make the array's dtype, and its content in C order."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise FileFormatError(f"cannot write an array of {array.dtype}; booleans, integers and floats only")
    dtype = array.dtype.newbyteorder("<")
    order = "|" if dtype.itemsize == 1 else "<"
    # dtype(code, False, True), then its state (3, order, None, None, None, -1, -1, 0).
    code = _look_up("numpy", "dtype") + _str(f"{dtype.kind}{dtype.itemsize}") + b"\x89\x88\x87R"
    return code + b"(K\x03" + _str(order) + b"NNN" + _int(-1) * 2 + b"K\x00tb", array.astype(dtype).tobytes()


def _look_up(module: str, name: str) -> bytes:
    return _str(module) + _str(name) + b"\x93"


def _int(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    if size > 255:
        raise FileFormatError(f"cannot write an integer of {size} bytes")
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def _str(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    if len(content) < 256:
        return b"\x8c" + bytes([len(content)]) + content
    return b"\x8d" + struct.pack("<Q", len(content)) + content


def _bytes(value: bytes) -> bytes:
    if len(value) < 256:
        return b"C" + bytes([len(value)]) + value
    return b"\x8e" + struct.pack("<Q", len(value)) + value


_SIMPLE = {
    type(None): lambda value: b"N",
    bool: lambda value: b"\x88" if value else b"\x89",
    int: _int,
    float: lambda value: b"G" + struct.pack(">d", value),
    str: _str,
    bytes: _bytes,
    bytearray: lambda value: _bytes(bytes(value)),
}

"""Writes a long pickle row by row, with the very bytes that CPython's own writer gives for the whole.

DFL's packed facesets begin with a pickle of one dict per face. To be byte-identical with DFL's, and to hold
only one row in memory, the instructions are written here as `pickle.dumps(rows, 4)` of CPython 3.6 to 3.14
would: protocol 4 in frames of 64 KB, lists and dicts in batches of 1000, every text, container and array
remembered, and what is one object in the writer's memory recalled instead of repeated. Arrays have the names
of numpy 1.x, which every numpy reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from core.errors import FileFormatError

__all__ = ["Call", "Constant", "StreamPickler"]

FRAME_BYTES = 64 * 1024
BATCH = 1000
_SMALLEST_FRAME = 4
_POINT = np.dtype([("open", "S4"), ("x", ">f8"), ("next", "S1"), ("y", ">f8"), ("close", "S1")])


class Constant(str):
    """A text that is one object in the writer's memory wherever it occurs, so it is written once.

    Keys of dicts are that always; CPython also keeps names of files (parts of a `pathlib.Path`) so.
    """

    __slots__ = ()


class Call:
    """What a pickle describes as a call: an enum's member is its class called with its value."""

    __slots__ = ("arguments", "module", "name")

    def __init__(self, module: str, name: str, *arguments: int) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class StreamPickler:
    """Writes a list of rows, or a dict of named rows, one after another."""

    def __init__(self, file: BinaryIO, one_type: bool = False) -> None:
        """
        Args:
            file: Where to write.
            one_type: The arrays of all rows share their dtype, as those that were computed do.
        """
        self._file, self._one_type = file, one_type
        self._frame = bytearray()
        self._remembered = 0
        self._places: dict[Any, int] = {}  # of what may be recalled
        self._row_places: dict[str, int] = {}  # the same, of objects that one row has for itself
        self.written = 0  # bytes

    def write_list(self, rows: Iterable[Any]) -> int:
        """Write the whole pickle of a list; returns the number of rows."""
        return self._write_all(b"]", rows, self._save, b"a", b"e")

    def write_dict(self, rows: Iterable[tuple[str, Any]]) -> int:
        """Write the whole pickle of a dict from its pairs; returns their number."""

        def save(pair: tuple[str, Any]) -> None:
            self._save(pair[0])
            self._save(pair[1])

        return self._write_all(b"}", rows, save, b"s", b"u")

    def _write_all(self, empty: bytes, rows: Iterable[Any], save: Any, one: bytes, many: bytes) -> int:
        self._put(b"\x80\x04")
        self._flush_raw()
        self._put(empty)
        self._remember()
        count = self._batches(rows, save, one, many)
        self._put(b".")
        self._close_frame()
        return count

    def _batches(self, rows: Iterable[Any], save: Any, one: bytes, many: bytes) -> int:
        """Only a single row in all goes without a mark, so the first one waits for the second."""
        iterator = iter(rows)
        ahead = [row for _, row in zip(range(2), iterator)]
        if len(ahead) == 1:
            self._begin_row()
            save(ahead[0])
            self._put(one)
            return 1
        count = 0
        for row in self._chained(ahead, iterator):
            if count % BATCH == 0:
                if count:
                    self._put(many)
                self._put(b"(")
            self._begin_row()
            save(row)
            count += 1
        if count:
            self._put(many)
        return count

    def _begin_row(self) -> None:
        if not self._one_type:
            self._row_places = {}

    @staticmethod
    def _chained(first: list[Any], rest: Iterable[Any]) -> Iterable[Any]:
        yield from first
        yield from rest

    # Frames: a frame ends before the first object that begins at or behind 64 KB.

    def _put(self, data: bytes) -> None:
        self._frame += data

    def _boundary(self) -> None:
        if len(self._frame) >= FRAME_BYTES:
            self._close_frame()

    def _close_frame(self) -> None:
        if len(self._frame) >= _SMALLEST_FRAME:
            self._write(b"\x95" + struct.pack("<Q", len(self._frame)))
        self._flush_raw()

    def _flush_raw(self) -> None:
        self._write(self._frame)
        self._frame.clear()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._file.write(data)
        self.written += len(data)

    def _remember(self, key: Any = None) -> None:
        self._put(b"\x94")
        if key is not None:
            self._places[key] = self._remembered
        self._remembered += 1

    def _recall(self, place: int) -> None:
        self._put(b"h" + bytes([place]) if place < 256 else b"j" + struct.pack("<I", place))

    # Objects.

    def _save(self, value: Any) -> None:
        self._boundary()
        kind = type(value)
        if value is None:
            self._put(b"N")
        elif kind is bool:
            self._put(b"\x88" if value else b"\x89")
        elif kind is int:
            self._put(_int(value))
        elif kind is float:
            self._put(b"G" + struct.pack(">d", value))
        elif kind is str or kind is Constant:
            self._save_text(value, kind is Constant)
        elif kind is bytes:
            self._save_bytes(value)
        elif kind is tuple:
            self._save_tuple(value)
        elif kind is list:
            self._save_list(value)
        elif kind is dict:
            self._save_dict(value)
        elif kind is Call:
            self._save_call(value)
        elif kind is np.ndarray:
            self._save_array(value)
        elif isinstance(value, np.generic):
            self._save_scalar(value)
        else:
            raise FileFormatError(f"cannot write a {kind.__name__}; plain data and number arrays only")

    def _save_text(self, value: str, constant: bool) -> None:
        # CPython has one object for each text of one Latin letter, and for none.
        shared = constant or len(value) == 0 or (len(value) == 1 and value < "\u0100")
        key = str(value)
        if shared and key in self._places:
            self._recall(self._places[key])
            return
        content = value.encode("utf-8", "surrogatepass")
        if len(content) < 256:
            self._put(b"\x8c" + bytes([len(content)]) + content)
        else:
            self._put(b"X" + struct.pack("<I", len(content)) + content)
        self._remember(key if shared else None)

    def _save_bytes(self, value: bytes | memoryview) -> None:
        if len(value) >= FRAME_BYTES:  # goes outside of frames, and is not copied
            self._close_frame()
            size = len(value)
            self._write(b"B" + struct.pack("<I", size) if size < 2**32 else b"\x8e" + struct.pack("<Q", size))
            self._write(value)
            self._remember()
            return
        key = value if len(value) <= 1 else None  # shared by CPython, as single letters are
        if key is not None and key in self._places:
            self._recall(self._places[key])
            return
        if len(value) < 256:
            self._put(b"C" + bytes([len(value)]) + value)
        else:
            self._put(b"B" + struct.pack("<I", len(value)) + value)
        self._remember(key)

    def _save_tuple(self, value: tuple) -> None:
        if not value:
            self._put(b")")
            return
        if len(value) > 3:
            self._put(b"(")
        for entry in value:
            self._save(entry)
        self._put(b"t" if len(value) > 3 else bytes([0x84 + len(value)]))
        self._remember()

    def _save_list(self, value: list) -> None:
        self._put(b"]")
        self._remember()
        if not value:
            return
        if (
            1 < len(value) <= BATCH
            and _are_points(value)
            and len(self._frame) + 22 * len(value) + 2 < FRAME_BYTES
        ):
            self._put(b"(" + _points(value) + b"e")
            self._remembered += len(value)
        elif len(value) == 1:
            self._save(value[0])
            self._put(b"a")
        else:
            for start in range(0, len(value), BATCH):
                self._put(b"(")
                for entry in value[start : start + BATCH]:
                    self._save(entry)
                self._put(b"e")

    def _save_dict(self, value: dict) -> None:
        self._put(b"}")
        self._remember()
        pairs = list(value.items())
        if len(pairs) > BATCH:
            raise FileFormatError(f"cannot write a dict of {len(pairs)} entries")
        if len(pairs) > 1:
            self._put(b"(")
        for key, entry in pairs:
            self._save(Constant(key) if type(key) is str else key)
            self._save(entry)
        if pairs:
            self._put(b"u" if len(pairs) > 1 else b"s")

    def _save_call(self, value: Call) -> None:
        key = (value.module, value.name, value.arguments)
        if key in self._places:
            self._recall(self._places[key])
            return
        self._save_global(value.module, value.name)
        self._save(value.arguments)
        self._put(b"R")
        self._remember(key)

    def _save_global(self, module: str, name: str) -> None:
        self._boundary()
        key = (module, name)
        if key in self._places:
            self._recall(self._places[key])
            return
        self._save(Constant(module))
        self._save(Constant(name))
        self._put(b"\x93")
        self._remember(key)

    def _save_array(self, value: np.ndarray) -> None:
        array, dtype = _little_endian(value)
        self._save_global("numpy.core.multiarray", "_reconstruct")
        self._boundary()
        self._save_global("numpy", "ndarray")
        self._save((0,))
        self._save(b"b")
        self._put(b"\x87")
        self._remember()
        self._put(b"R")
        self._remember()
        self._boundary()
        self._put(b"(")
        self._save(1)
        self._save(array.shape)
        self._save_dtype(dtype)
        self._save(False)
        large = array.nbytes >= FRAME_BYTES
        self._save_bytes(memoryview(np.ascontiguousarray(array)).cast("B") if large else array.tobytes())
        self._put(b"t")
        self._remember()
        self._put(b"b")

    def _save_scalar(self, value: np.generic) -> None:
        array, dtype = _little_endian(np.asarray(value))
        self._save_global("numpy.core.multiarray", "scalar")
        self._save_dtype(dtype)
        self._save(array.tobytes())
        self._put(b"\x86")
        self._remember()
        self._put(b"R")
        self._remember()

    def _save_dtype(self, dtype: np.dtype) -> None:
        """Arrays of one row that came out of one file share their dtype; those of others have their own."""
        self._boundary()
        code = f"{dtype.kind}{dtype.itemsize}"
        if code in self._row_places:
            self._recall(self._row_places[code])
            return
        self._save_global("numpy", "dtype")
        self._save((code, False, True))
        self._put(b"R")
        self._remember()
        self._row_places[code] = self._remembered - 1
        self._save((3, "|" if dtype.itemsize == 1 else "<", None, None, None, -1, -1, 0))
        self._put(b"b")


def _are_points(value: list) -> bool:
    return all(
        type(point) is list and len(point) == 2 and type(point[0]) is type(point[1]) is float
        for point in value
    )


def _points(value: list) -> bytes:
    """All points in one go: faces are mostly those."""
    table = np.empty(len(value), _POINT)
    table["open"], table["next"], table["close"] = b"]\x94(G", b"G", b"e"
    numbers = np.array(value, np.float64)
    table["x"], table["y"] = numbers[:, 0], numbers[:, 1]
    return table.tobytes()


def _little_endian(array: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise FileFormatError(f"cannot write an array of {array.dtype}; booleans, integers and floats only")
    dtype = array.dtype.newbyteorder("<")
    return array.astype(dtype, copy=False), dtype


def _int(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    if size > 255:
        raise FileFormatError(f"cannot write an integer of {size} bytes")
    content = value.to_bytes(size, "little", signed=True)
    if value < 0 and size > 1 and content[-1] == 0xFF and content[-2] & 0x80:
        content = content[:-1]  # CPython drops a byte that only repeats the sign
    return b"\x8a" + bytes([len(content)]) + content

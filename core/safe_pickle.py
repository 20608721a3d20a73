"""The one reader of pickles: plain data and number arrays come out, nothing a file says is ever called.

DFL keeps face metadata, packed facesets, weights and training state as Python pickles, and unpickling a
stranger's file with the stock reader runs his code. Here three walls stand one behind the other:

1. Before anything is built, the opcodes are read through (`core.pickle_opcodes`): those that make objects of
   classes or reach outside the file are refused, as are sizes and positions that the file cannot hold.
2. Every global is looked up in a table of the few that number arrays need. What the table gives are our own
   inert constructors, never numpy's functions; they check all they are given and no file can change them.
3. The result is walked through; what is neither plain data nor a number array is refused.

A file that names one large piece of data again and again could have it copied each time; what is copied is
therefore counted, and held to twice the file's length.

`dumps` comes from `core.pickle_writer`: it spells arrays as numpy 1.x did, so that DFL can read them.
"""

from __future__ import annotations

import contextlib
import gc
import io
import math
import mmap
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import FileFormatError
from core.pickle_opcodes import check_opcodes
from core.pickle_writer import dumps

__all__ = ["dumps", "load_file", "loads"]

Allowed = Mapping[tuple[str, str], Callable[..., Any]]

_DTYPE_CODES = frozenset(["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
_DTYPE_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "="}
_MAX_DIMENSIONS = 16
_MAX_DEPTH = 32
_SPARE = 1 << 16  # bytes that may be copied on top of the file's length
_LARGE = 1 << 20  # bytes of a pickle from which on its objects are many

_LEAVES = frozenset(
    {type(None), bool, int, float, str, bytes, bytearray}
    | {np.dtype(code).type for code in _DTYPE_CODES}
    | {np.longlong, np.ulonglong}  # the same width as int64, yet types of their own
)

# What a malformed pickle makes the C reader or our constructors raise.
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
)


def loads(data: bytes, source: str, allow: Allowed | None = None) -> Any:
    """Read a pickle of plain data and number arrays.

    Args:
        data: The pickle; what follows its end is ignored.
        source: Name of the file, for the message.
        allow: Further globals, (module, name) to a function that is called with the file's arguments in their
            place. It must check them, and give a number, text, bytes or None.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, numpy scalars, and ndarrays of
        booleans, integers or floats in native byte order. Arrays are read-only: large ones share the file's
        bytes instead of copying them.

    Raises:
        FileFormatError: The data is damaged, or holds anything else.
    """
    return _read(data, io.BytesIO(data), source, allow)


def _read(
    data: bytes | mmap.mmap, file: BinaryIO, source: str, allow: Allowed | None, structure: int | None = None
) -> Any:
    try:
        check_opcodes(data, structure)
        with _collector_paused() if len(data) > _LARGE else contextlib.nullcontext():
            result = _Reader(file, allow or {}, _Budget(2 * len(data) + _SPARE)).load()
            return _Plain(16 * len(data) + 4096).of(result)
    except FileFormatError as err:
        raise FileFormatError(f"{source}: {err}") from None
    except _DAMAGE as err:
        reason = str(err).strip() or type(err).__name__
        raise FileFormatError(f"{source}: damaged data ({reason}); get a sound copy of the file") from err


def load_file(path: Path, allow: Allowed | None = None, structure: int | None = None) -> Any:
    """`loads` for a file of any size (weights of hundreds of MB): it is mapped, not read into memory first.

    Args:
        path: The file.
        allow: See `loads`.
        structure: How many bytes there may be beside the content of texts and arrays. Where little of that is
            expected, a limit keeps a large file from unfolding into hundreds of millions of small objects.

    Raises:
        FileFormatError: The file cannot be read, is damaged, or holds more than plain data.
    """
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data, file, str(path), allow, structure)
    except ValueError as err:  # an empty file cannot be mapped
        raise FileFormatError(f"{path}: the file is empty; get a sound copy of it") from err
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the collector from walking through millions of new lists time and again: 3 times faster."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Inert:
    """A constructor that a pickle may name: no attributes to change, no state to set, no key of a dict."""

    __slots__ = ()
    __hash__ = None

    def __setattr__(self, name: str, value: Any) -> None:
        raise FileFormatError("tries to change a constructor")

    def __setstate__(self, state: Any) -> None:
        raise FileFormatError("tries to change a constructor")

    def __reduce_ex__(self, protocol: int) -> Any:
        raise FileFormatError("constructors cannot be written")


class _Budget:
    """How many bytes one file may still have copied; no file can reach it."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise FileFormatError("unfolds to far more than the file holds")


class _Counted(_Inert):
    """A constructor whose copies are counted."""

    __slots__ = ("budget",)

    def __init__(self, budget: _Budget) -> None:
        object.__setattr__(self, "budget", budget)


class _NdarrayToken(_Inert):
    """Stands for the class numpy.ndarray, which is only ever an argument of `_reconstruct`."""

    __slots__ = ()


class _Dtype(_Inert):
    """numpy.dtype(code, align, copy), an array's element type, until its byte order is told."""

    __slots__ = ("dtype",)

    def __init__(self, code: str) -> None:
        object.__setattr__(self, "dtype", np.dtype(code))

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, size, alignment, flags): only the order may be said.
        if (
            type(state) is not tuple
            or len(state) != 8
            or type(state[1]) is not str
            or state[1] not in _DTYPE_ORDERS
            or state[2:5] != (None, None, None)
            or state[5:] != (-1, -1, 0)
        ):
            raise FileFormatError("holds an array of other things than numbers")
        object.__setattr__(self, "dtype", self.dtype.newbyteorder(_DTYPE_ORDERS[state[1]]))


class _DtypeConstructor(_Inert):
    __slots__ = ()

    def __call__(self, code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        if type(code) is not str or code not in _DTYPE_CODES:
            shown = code[:20] if type(code) is str else type(code).__name__
            raise FileFormatError(f"holds an array of {shown!r}, where numbers belong")
        return _Dtype(code)


class _Array(_Counted):
    """An array in the making: `_reconstruct` gives it empty, its state fills it once."""

    __slots__ = ("value",)

    def __init__(self, budget: _Budget) -> None:
        super().__init__(budget)
        object.__setattr__(self, "value", None)

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5 or self.value is not None:
            raise FileFormatError("holds a malformed array")
        _, shape, dtype, fortran, content = state
        self.fill(shape, dtype, "F" if fortran else "C", content)

    def fill(self, shape: Any, dtype: Any, order: str, content: Any) -> None:
        """Take the bytes as (shape) numbers, after checking that there are exactly as many as that needs."""
        if type(dtype) is not _Dtype or type(content) not in (bytes, bytearray):
            raise FileFormatError("holds a malformed array")
        if (
            type(shape) is not tuple
            or len(shape) > _MAX_DIMENSIONS
            or not all(type(side) is int and 0 <= side < 2**40 for side in shape)
        ):
            raise FileFormatError("holds an array with an impossible shape")
        needed = math.prod(shape) * dtype.dtype.itemsize
        if needed != len(content):
            raise FileFormatError(f"holds an array that needs {needed} bytes and has {len(content)}")
        if not dtype.dtype.isnative:
            self.budget.spend(needed)
        flat = np.frombuffer(content, dtype.dtype) if needed else np.empty(0, dtype.dtype)
        value = flat.astype(dtype.dtype.newbyteorder("="), copy=False).reshape(shape, order=order)
        value.flags.writeable = False
        object.__setattr__(self, "value", value)


class _Reconstruct(_Counted):
    __slots__ = ()

    def __call__(self, kind: Any, shape: Any, code: Any) -> _Array:
        if type(kind) is not _NdarrayToken:
            raise FileFormatError("holds an array of an unknown class")
        return _Array(self.budget)


class _FromBuffer(_Counted):
    """numpy's constructor of protocol 5: _frombuffer(bytes, dtype, shape, order[, axis order])."""

    __slots__ = ()

    def __call__(self, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
        if order not in ("C", "F") or axes is not None:
            raise FileFormatError("holds an array in an unknown memory order")
        array = _Array(self.budget)
        array.fill(shape, dtype, order, content)
        return array


class _Scalar(_Counted):
    __slots__ = ()

    def __call__(self, dtype: Any, content: Any = None) -> np.generic:
        array = _Array(self.budget)
        array.fill((), dtype, "C", content)
        return array.value[()]


class _Encode(_Counted):
    """_codecs.encode(text, 'latin1'): how protocols 0 to 2 spell bytes."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any = None) -> bytes:
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise FileFormatError("holds bytes in an unknown encoding")
        self.budget.spend(len(text))
        return text.encode("latin-1")


class _NoBytes(_Inert):
    """bytes(): how protocols 0 to 2 spell empty bytes."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


class _Granted(_Inert):
    """A function of the caller's `allow`."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "function", function)

    def __call__(self, *args: Any) -> Any:
        value = self.function(*args)
        if type(value) not in _LEAVES:  # what has attributes could be changed by the file
            raise FileFormatError(f"holds a {type(value).__name__} where a number or text belongs")
        return value


_GLOBALS: dict[tuple[str, str], _Inert] = {
    ("numpy", "ndarray"): _NdarrayToken(),
    ("numpy", "dtype"): _DtypeConstructor(),
    ("builtins", "bytes"): _NoBytes(),
    ("__builtin__", "bytes"): _NoBytes(),
}
_COUNTED_GLOBALS: dict[tuple[str, str], type[_Counted]] = {("_codecs", "encode"): _Encode}
for _package in ("numpy.core", "numpy._core"):  # numpy 1.x and 2.x
    _COUNTED_GLOBALS[f"{_package}.multiarray", "_reconstruct"] = _Reconstruct
    _COUNTED_GLOBALS[f"{_package}.multiarray", "scalar"] = _Scalar
    _COUNTED_GLOBALS[f"{_package}.numeric", "_frombuffer"] = _FromBuffer


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO, allow: Allowed, budget: _Budget) -> None:
        super().__init__(file, encoding="latin-1")
        self._allow, self._budget = allow, budget

    def find_class(self, module: str, name: str) -> Any:
        key = module, name
        if key in self._allow:
            return _Granted(self._allow[key])
        if key in _COUNTED_GLOBALS:
            return _COUNTED_GLOBALS[key](self._budget)
        if key in _GLOBALS:
            return _GLOBALS[key]
        raise FileFormatError(
            f"asks for {f'{module}.{name}'[:80]!r}, which data never needs; the file may be hostile, "
            "nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise FileFormatError("refers to objects outside the file")


class _Plain:
    """Walks through a result: arrays take the place of their makings, anything that is not data is refused.

    A list that is named twice is one object twice, so a small file can unfold to billions of entries for
    whoever walks through it afterwards. The unfolded size is therefore counted, and held to `limit`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._done: dict[int, tuple[Any, int]] = {}  # id -> the plain value, its unfolded size
        self._open: set[int] = set()
        self._kept: list[Any] = []  # replaced objects stay alive, so that no id is used twice

    def of(self, value: Any) -> Any:
        return self._visit(value, 0)[0]

    def _visit(self, value: Any, depth: int) -> tuple[Any, int]:
        kind = type(value)
        if kind in _LEAVES:
            return value, 1
        if kind is _Array:
            if value.value is None:
                raise FileFormatError("holds an array without content")
            return value.value, 1
        if kind not in (list, tuple, dict):
            raise FileFormatError(f"holds a {kind.__name__} where data belongs")
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._open or depth >= _MAX_DEPTH:
            raise FileFormatError("is nested in itself or too deeply")
        self._open.add(key)
        plain, size = self._visit_container(kind, value, depth + 1)
        self._open.discard(key)
        self._check_size(size)
        self._kept.append(value)
        self._done[key] = plain, size
        return plain, size

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise FileFormatError("unfolds to far more than the file holds")

    def _visit_container(self, kind: type, value: Any, depth: int) -> tuple[Any, int]:
        size = 1 + len(value)
        kinds = set(map(type, value))
        if kind is dict:
            for name in value if not kinds <= _LEAVES else ():
                size += self._visit(name, depth)[1]
            for name, entry in value.items():
                if type(entry) not in _LEAVES:
                    value[name], inner = self._visit(entry, depth)
                    size += inner
            return value, size
        if kinds <= _LEAVES:
            return value, size
        if kinds == {list}:
            entries = sum(map(len, value))
            self._check_size(entries)
            if set(map(type, chain.from_iterable(value))) <= _LEAVES:
                return value, size + entries  # lists of numbers, as landmarks are: the common case
        plain = []
        for entry in value:
            entry, inner = self._visit(entry, depth)
            plain.append(entry)
            size += inner
        if kind is list:
            value[:] = plain
            return value, size
        return tuple(plain), size

"""Reads a long pickle row by row: a list's entries or a dict's pairs, without ever holding all of them.

`core.safe_pickle` is the one reader of pickles, but like the stock one it builds everything before it gives
anything: a gigabyte for the table of a faceset with 100,000 faces, nearly all of it landmarks as small lists.
This one walks through the few instructions that such tables consist of, gives 68 points as one array, and
forgets a row once it is given away. It builds arrays with `safe_pickle`'s own constructors and calls nothing
else. Where a file uses anything out of the ordinary, `safe_pickle` reads it, whole.
"""

from __future__ import annotations

import io
import itertools
import mmap
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from core import safe_pickle
from core.errors import FileFormatError

__all__ = ["iterate_rows"]

_POINT_COUNT = 68


def _points_pattern(remembering: bytes) -> re.Pattern[bytes]:
    """68 lists of two floats in a list, each remembered (or not) by that instruction."""
    point = rb"\]" + remembering + rb"\(G.{8}G.{8}e"
    return re.compile(rb"(?s:\]" + remembering + rb"\((?:" + point + rb"){68}e)")


# As protocol 4 writes them, as we do, as protocols 2 and 3 do.
_POINTS = tuple(
    map(_points_pattern, (rb"\x94", rb"", rb"(?:q.|r.{4})"))
)  # protocol 4, ours, protocol 2 and 3
_PLAIN_POINT = np.dtype([("open", "S4"), ("x", ">f8"), ("next", "S1"), ("y", ">f8"), ("close", "S1")])
_FLOATS = re.compile(rb"(?s:\](?:q.|r.{4})?\(G(.{8})G(.{8})e)")
_KEPT_TEXT = 300  # characters: names and keys, which later rows may refer to
_SPARE = 1 << 16
_MARK = object()
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)


class _Unusual(Exception):
    """The file does something that the rows of DFL's files never do."""


def iterate_rows(
    data: bytes | mmap.mmap, source: str, allow: safe_pickle.Allowed | None = None, start: int = 0
) -> Iterator[Any]:
    """Give the entries of a pickled list, or the (key, value) pairs of a pickled dict.

    Args:
        data: The pickle, or a file mapped up to its end.
        source: Name of the file, for the message.
        allow: See `safe_pickle.loads`.
        start: Where the pickle begins.

    Yields:
        What `safe_pickle.loads` would hold there, but for lists of 68 points, which come as (68, 2) float64.

    Raises:
        FileFormatError: The data is damaged, neither list nor dict, or holds more than plain data. It can
            come after rows were given.
    """
    given = 0
    machine = _Machine(data, allow or {}, start)
    try:
        for row in machine.rows():
            given += 1
            yield row
        return
    except _Unusual:
        pass
    except FileFormatError as err:
        raise FileFormatError(f"{source}: {err}") from None
    except _DAMAGE:
        pass  # `safe_pickle` says what is wrong
    del machine
    whole = safe_pickle.loads(data[start:], source, allow)
    if type(whole) not in (list, dict):
        raise FileFormatError(f"{source}: holds a {type(whole).__name__}, not a table; get a sound copy")
    yield from itertools.islice(whole.items() if type(whole) is dict else whole, given, None)


class _Machine:
    """The stack, and what is remembered of what was on it."""

    def __init__(self, data: bytes | mmap.mmap, allow: safe_pickle.Allowed, start: int) -> None:
        self._data, self._at, self._size = data, start, len(data)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._next = 0  # the place of the next thing remembered without saying where
        self._explicit = False
        self._released = 0
        self._fresh: list[int] = []  # places filled since rows were last given
        budget = safe_pickle._Budget(2 * len(data) + _SPARE)
        self._budget = budget
        self._globals = safe_pickle._Reader(io.BytesIO(), allow, budget)
        self._allowance = 16 * len(data) + _SPARE
        self._root: Any = None
        self._actions: dict[int, Callable[[], None]] = self._table()

    def rows(self) -> Iterator[Any]:
        """Run to the end; what is put into the first object on the stack is given instead."""
        data, actions, stack = self._data, self._actions, self._stack
        while True:
            code = data[self._at]
            if code == 0x2E:  # STOP
                if len(stack) != 1 or stack[0] is not self._root or self._root is None:
                    raise _Unusual
                return
            self._at += 1
            if code in b"aesu" and self._is_for_root(code):
                yield from self._taken(code)
                continue
            action = actions.get(code)
            if action is None:
                raise _Unusual
            action()
            if self._root is None and stack:
                if type(stack[0]) not in (list, dict):
                    raise _Unusual
                self._root = stack[0]

    # What is put into the root.

    def _is_for_root(self, code: int) -> bool:
        stack = self._stack
        if code == 0x61:  # APPEND
            return len(stack) == 2
        if code == 0x73:  # SETITEM
            return len(stack) == 3
        return len(stack) > 1 and stack[1] is _MARK and _last_mark(stack) == 1

    def _taken(self, code: int) -> Iterator[Any]:
        start = 2 if code in b"eu" else 1
        entries, is_dict = self._stack[start:], type(self._root) is dict
        if is_dict != (code in b"su"):
            raise _Unusual
        del self._stack[1:]
        for place in self._fresh:
            if not _is_lasting(self._memo[place]):
                del self._memo[place]
        self._fresh.clear()
        self._release()
        entries.reverse()
        while entries:
            value = self._plain(entries.pop())
            yield (value, self._plain(entries.pop())) if is_dict else value

    def _release(self) -> None:
        """Let go of the pages of a mapped file that were read: they would count as our memory."""
        if not isinstance(self._data, mmap.mmap) or not hasattr(self._data, "madvise"):
            return
        done = self._at - self._at % mmap.PAGESIZE
        if done > self._released:
            self._data.madvise(mmap.MADV_DONTNEED, self._released, done - self._released)
            self._released = done

    def _plain(self, value: Any) -> Any:
        plain, size = safe_pickle._Plain(self._allowance)._visit(value, 0)
        self._allowance -= size
        return plain

    # Instructions.

    def _table(self) -> dict[int, Callable[[], None]]:
        push = self._stack.append
        return {
            0x80: self._protocol,
            0x95: lambda: self._skip(8),  # FRAME
            ord("]"): self._list,
            ord("}"): lambda: push({}),
            ord(")"): lambda: push(()),
            ord("("): lambda: push(_MARK),
            ord("N"): lambda: push(None),
            0x88: lambda: push(True),
            0x89: lambda: push(False),
            ord("K"): lambda: push(self._bytes(1)[0]),
            ord("M"): lambda: push(struct.unpack("<H", self._bytes(2))[0]),
            ord("J"): lambda: push(struct.unpack("<i", self._bytes(4))[0]),
            0x8A: lambda: push(int.from_bytes(self._sized(1), "little", signed=True)),
            ord("G"): lambda: push(struct.unpack(">d", self._bytes(8))[0]),
            0x8C: lambda: push(self._text(1)),
            ord("X"): lambda: push(self._text(4)),
            0x8D: lambda: push(self._text(8)),
            ord("C"): lambda: push(self._sized(1)),
            ord("B"): lambda: push(self._sized(4)),
            0x8E: lambda: push(self._sized(8)),
            0x96: lambda: push(self._sized(8)),  # bytearray: content of arrays in protocol 5
            0x94: self._memoize,
            ord("q"): lambda: self._remember_at(self._bytes(1)[0]),
            ord("r"): lambda: self._remember_at(struct.unpack("<I", self._bytes(4))[0]),
            ord("h"): lambda: push(self._recalled(self._bytes(1)[0])),
            ord("j"): lambda: push(self._recalled(struct.unpack("<I", self._bytes(4))[0])),
            ord("a"): self._append,
            ord("e"): self._appends,
            ord("s"): self._set_item,
            ord("u"): self._set_items,
            ord("t"): lambda: push(tuple(self._since_mark())),
            0x85: lambda: self._tuple(1),
            0x86: lambda: self._tuple(2),
            0x87: lambda: self._tuple(3),
            ord("c"): self._named_global,
            0x93: self._global,
            ord("R"): self._call,
            ord("b"): self._set_state,
        }

    def _skip(self, count: int) -> None:
        if count > self._size - self._at:
            raise _Unusual
        self._at += count

    def _bytes(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return self._data[start : self._at]

    def _sized(self, width: int) -> bytes:
        return self._bytes(int.from_bytes(self._bytes(width), "little"))

    def _text(self, width: int) -> str:
        return self._sized(width).decode("utf-8", "surrogatepass")

    def _protocol(self) -> None:
        if not 2 <= self._bytes(1)[0] <= 5:
            raise _Unusual

    def _list(self) -> None:
        data, start = self._data, self._at - 1
        head = data[start + 1 : start + 4]
        if head == b"\x94(]":
            kind = 0
        elif head[:2] == b"(]":
            kind = 1
        elif head[:1] in (b"q", b"r"):
            kind = 2
        else:
            kind = None
        match = None if kind is None else _POINTS[kind].match(data, start)
        if match is None:
            self._stack.append([])
            return
        self._at = match.end()
        if kind == 0:
            self._next += 1 + _POINT_COUNT
        array = safe_pickle._Array(self._budget)
        points = _points_of(match[0], kind)
        points.flags.writeable = False
        object.__setattr__(array, "value", points)
        self._stack.append(array)

    def _memoize(self) -> None:
        if self._explicit:
            raise _Unusual  # no writer says the place sometimes, and sometimes not
        self._remember(self._next)

    def _remember_at(self, place: int) -> None:
        self._explicit = True
        self._remember(place)

    def _remember(self, place: int) -> None:
        if place not in self._memo:
            self._fresh.append(place)
        self._memo[place] = self._stack[-1]
        self._next += 1

    def _recalled(self, place: int) -> Any:
        try:
            return self._memo[place]
        except KeyError:
            raise _Unusual from None  # of a row that was given away, or a point

    def _since_mark(self) -> list[Any]:
        start = _last_mark(self._stack)
        entries = self._stack[start + 1 :]
        del self._stack[start:]
        return entries

    def _tuple(self, count: int) -> None:
        entries = tuple(self._stack[-count:])
        if len(entries) < count or any(entry is _MARK for entry in entries):
            raise _Unusual
        self._stack[-count:] = [entries]

    def _target(self, kind: type) -> Any:
        target = self._stack[-1]
        if type(target) is not kind:
            raise _Unusual
        return target

    def _append(self) -> None:
        value = self._stack.pop()
        self._target(list).append(value)

    def _appends(self) -> None:
        values = self._since_mark()
        self._target(list).extend(values)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._target(dict)[key] = value

    def _set_items(self) -> None:
        values = self._since_mark()
        if len(values) % 2:
            raise _Unusual
        self._target(dict).update(zip(values[::2], values[1::2]))

    def _named_global(self) -> None:
        names = []
        for _ in range(2):
            end = self._data.find(b"\n", self._at, self._at + 200)
            if end < 0:
                raise _Unusual
            names.append(self._bytes(end - self._at).decode("ascii"))
            self._skip(1)
        self._stack.append(self._globals.find_class(*names))

    def _global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise _Unusual
        self._stack.append(self._globals.find_class(module, name))

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, safe_pickle._Inert) or type(arguments) is not tuple:
            raise _Unusual
        self._stack.append(function(*arguments))

    def _set_state(self) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], safe_pickle._Inert):
            raise _Unusual
        self._stack[-1].__setstate__(state)


def _last_mark(stack: list[Any]) -> int:
    for index in range(len(stack) - 1, -1, -1):
        if stack[index] is _MARK:
            return index
    raise _Unusual


def _points_of(block: bytes, kind: int) -> np.ndarray:
    """(68, 2) float64 of the instructions that write as many lists of two floats."""
    if kind == 0:
        table = np.frombuffer(block, _PLAIN_POINT, _POINT_COUNT, 3)
        return np.column_stack([table["x"], table["y"]]).astype(np.float64)
    numbers = b"".join(x + y for x, y in _FLOATS.findall(block, 1))
    return np.frombuffer(numbers, ">f8").astype(np.float64).reshape(_POINT_COUNT, 2)


def _is_lasting(value: Any) -> bool:
    """Whether later rows may well refer to this: names, keys and constructors, not a row's own data."""
    kind = type(value)
    if kind is str:
        return len(value) <= _KEPT_TEXT
    if kind is bytes:
        return len(value) <= 1
    return kind in (int, float) or (isinstance(value, safe_pickle._Inert) and kind is not safe_pickle._Array)

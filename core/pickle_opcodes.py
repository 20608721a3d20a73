"""Reads through the opcodes of a pickle before anything is built from it.

A pickle is a program for a small stack machine. Data needs few of its instructions; the others make
objects of classes, reach outside the file, or only serve to confuse. The machine also believes every size it
is told and makes room first, so sizes are held against the bytes that are left.

Long runs of short instructions (landmarks are mostly those) are matched by one regular expression: a loop in
Python over the table of a faceset with 100,000 faces would take ten times as long.
"""

from __future__ import annotations

import math
import re
from mmap import mmap

from core.errors import FileFormatError

__all__ = ["check_opcodes"]

_STOP = ord(".")

# Instructions of fixed length whose operand can do no harm, up to 512 at a time.
_HARMLESS = re.compile(
    rb"(?s:"
    rb"[N\x88\x89\]})(]"  # None, True, False, empty list, dict, tuple, mark
    rb"|[aesutld\x85-\x87]"  # put into a list or dict, make a list, dict, tuple
    rb"|\x94|[qhK].|j.{4}"  # remember, recall; one-byte integer
    rb"|r..[\x00-\x0f]\x00"  # remember at a place below 2 ** 20
    rb"|G.{8}|J.{4}|M.."  # float, integers
    rb"|[Rb\x93]"  # call, set state, look up: `safe_pickle` decides what they find
    rb"){1,512}"
)

# Instructions followed by that many bytes of length and then as many bytes of content.
_SIZED = {
    0x8C: 1,  # str
    ord("X"): 4,
    0x8D: 8,
    ord("C"): 1,  # bytes
    ord("B"): 4,
    0x8E: 8,
    0x96: 8,  # bytearray
    0x8A: 1,  # long integer
    0x8B: 4,
}
_INTEGERS = (0x8A, 0x8B)
_MAX_INTEGER_BYTES = 255

_LINES = {  # instructions of protocol 0, followed by that many lines of text
    ord("I"): 1,
    ord("L"): 1,
    ord("F"): 1,
    ord("V"): 1,
    ord("g"): 1,
    ord("p"): 1,
    ord("c"): 2,
}
_NUMBER_LINES = b"ILFgp"
_MAX_NUMBER_LINE = 400

_INSTRUCTION = 10  # bytes that one of `_SIZED` counts as: its code and its largest length field
_FRAME, _PROTOCOL, _LONG_BINPUT, _PUT = 0x95, 0x80, ord("r"), ord("p")
_NEWEST_PROTOCOL = 5


def check_opcodes(data: bytes | bytearray | memoryview | mmap, structure: int | None = None) -> None:
    """Refuse a pickle that has instructions which data does not need, or sizes which it does not hold.

    Args:
        data: The pickle.
        structure: How many bytes there may be that are not the content of texts and arrays; None for any.

    Raises:
        FileFormatError: Says what was found; the caller adds the file's name.
    """
    length, at = len(data), 0
    left = math.inf if structure is None else structure
    while at < length:
        before = at
        run = _HARMLESS.match(data, at)
        if run is not None:
            at = run.end()
            left -= at - before
        else:
            opcode = data[at]
            if opcode == _STOP:
                return
            at = _check_one(data, at, opcode, length)
            left -= _INSTRUCTION if opcode in _SIZED else at - before
        if left < 0:
            raise FileFormatError("consists of more small pieces than the data that belongs there needs")
    raise FileFormatError("the data was cut short; get a sound copy of the file")


def _check_one(data: bytes | bytearray | memoryview | mmap, at: int, opcode: int, length: int) -> int:
    """Check the instruction at `at`; returns where the next one starts."""
    start = at + 1
    if opcode in _SIZED:
        content = start + _SIZED[opcode]
        size = int.from_bytes(data[start:content], "little")
        if opcode in _INTEGERS and size > _MAX_INTEGER_BYTES:
            raise FileFormatError(f"holds an integer of {size} bytes")
        return _within(content + size, length)
    if opcode in _LINES:
        return _check_lines(data, start, opcode, length)
    if opcode == _PROTOCOL:
        if start < length and data[start] > _NEWEST_PROTOCOL:
            raise FileFormatError(f"is written in pickle protocol {data[start]}; 0 to 5 can be read")
        return _within(start + 1, length)
    if opcode == _FRAME:
        _within(start + 8 + int.from_bytes(data[start : start + 8], "little"), length)
        return start + 8
    if opcode == _LONG_BINPUT:
        _check_place(int.from_bytes(data[start : start + 4], "little"), length)
        return _within(start + 4, length)
    raise FileFormatError(
        f"has instruction {opcode:#04x} at byte {at}, which data never needs; the file is damaged or hostile"
    )


def _within(end: int, length: int) -> int:
    if end > length:
        raise FileFormatError(f"needs {end} bytes, has {length}; get a sound copy of the file")
    return end


def _check_place(place: int, length: int) -> None:
    # The reader makes a table as long as the highest place; each place takes at least two bytes to fill.
    if place > length:
        raise FileFormatError(f"remembers an object at place {place}, more than its {length} bytes can fill")


def _check_lines(data: bytes | bytearray | memoryview | mmap, at: int, opcode: int, length: int) -> int:
    for _ in range(_LINES[opcode]):
        end = _find_newline(data, at, length)
        if opcode in _NUMBER_LINES and end - at > _MAX_NUMBER_LINE:
            raise FileFormatError(f"holds a number of {end - at} characters")
        if opcode == _PUT:
            digits = bytes(data[at:end])
            if not digits.isdigit():
                raise FileFormatError("remembers an object at no place")
            _check_place(int(digits), length)
        at = end + 1
    return at


_NEWLINE = re.compile(rb"\n")


def _find_newline(data: bytes | bytearray | memoryview | mmap, at: int, length: int) -> int:
    found = _NEWLINE.search(data, at)
    return _within(found.start() if found else length + 1, length)

"""The streaming writer gives CPython's bytes; the streaming reader gives what the whole reader gives."""

from __future__ import annotations

import copy
import enum
import io
import pickle
import random
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import safe_pickle
from core.errors import FileFormatError
from core.pickle_rows import iterate_rows
from core.pickle_stream import Call, Constant, StreamPickler

ENUMS = {("samplelib.Sample", "SampleType"): int, ("facelib.FaceType", "FaceType"): int}


@pytest.fixture(scope="module")
def face_type():
    """An enum where DFL's is, so that the stock pickler can write it."""
    module = types.ModuleType("facelib.FaceType")
    module.FaceType = enum.IntEnum("FaceType", {"HALF": 0, "FULL": 2, "HEAD": 10}, module="facelib.FaceType")
    sys.modules["facelib.FaceType"] = module
    yield module.FaceType
    del sys.modules["facelib.FaceType"]


def own(text: str) -> str:
    """An object of its own, as text from a file is."""
    return "".join(list(text)) if len(text) > 1 else text


def rows_of(seed: int, count: int, face_type) -> tuple[list, list]:
    """The same random rows for the stock pickler and for ours."""
    rng = random.Random(seed)
    stock, ours = [], []
    for number in range(count):
        name, person = f"{number:05d}_0.jpg", rng.choice(["a", "person b", "type", None])
        kind = rng.choice(list(face_type))
        points = [[rng.random(), rng.random()] for _ in range(rng.choice([0, 1, 2, 68, 68, 68]))]
        rest = {"shape": (rng.choice([7, 256, 70000]), -1, 2**40, 3), "polys": [], "one": [rng.random()],
                "text": "é" * rng.choice([0, 1, 3, 400]), "data": bytes(rng.choice([0, 9, 300, 70000])),
                "nested": {}, "yes": rng.random() < 0.5, "pair": ((), (0,), (1, 2))}  # fmt: skip
        stock.append({"filename": sys.intern(name), "face_type": kind, "landmarks": points,
                      "person": person and sys.intern(person), "source": own("00001.png"),
                      **{sys.intern(key): own(value) if isinstance(value, str) else value
                         for key, value in rest.items()}})  # fmt: skip
        ours.append({"filename": Constant(name),
                     "face_type": Call("facelib.FaceType", "FaceType", int(kind)), "landmarks": points,
                     "person": person and Constant(person), "source": "00001.png", **rest})  # fmt: skip
    return stock, ours


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([0, 1, 2, 3, 40]))
def test_rows_are_written_as_cpython_writes_them(face_type, seed, count):
    stock, ours = rows_of(seed, count, face_type)
    for row in stock:  # tuples and bytes must be objects of their own, as they are when read from files
        row["shape"], row["pair"] = (*row["shape"],), ((), (*[0],), (*[1, 2],))
        row["data"] = bytes(bytearray(row["data"]))
    file = io.BytesIO()
    assert StreamPickler(file).write_list(ours) == count
    assert file.getvalue() == pickle.dumps(stock, 4)


def test_long_lists_are_cut_into_cpython_s_batches(face_type):
    stock, ours = rows_of(5, 2001, face_type)
    for row in (*stock, *ours):
        for key in ("shape", "pair", "data"):
            row.pop(key)
    file = io.BytesIO()
    StreamPickler(file).write_list(iter(ours))
    assert file.getvalue() == pickle.dumps(stock, 4)
    assert sum(1 for _ in iterate_rows(file.getvalue(), "table", ENUMS)) == 2001


def like_read(value):
    """What the row reader gives where the whole reader gives lists of points."""
    if isinstance(value, dict):
        return {key: like_read(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(like_read, value))
    return value.tolist() if isinstance(value, np.ndarray) else value


VALUES = {
    "landmarks": [[float(i), i / 7] for i in range(68)],
    "source_rect": np.array([1, 2, 3, 4]),
    "image_to_face_mat": np.arange(6.0).reshape(2, 3),
    "xseg_mask": np.arange(40, dtype=np.uint8),
    "seg_ie_polys": {"polys": [{"type": 1, "pts": np.ones((4, 2), np.float32)}]},
    "source_filename": "00001.png",
    "eyebrows_expand_mod": 1.0,
}


@pytest.mark.parametrize(
    ("protocol", "count"),
    [(2, 2), (3, 0), (3, 1), (3, 2), (3, 1003), (4, 0), (4, 1), (4, 2), (4, 1003), (5, 2)],
)
def test_every_protocol_is_read_row_by_row(protocol, count):
    table = {f"{n:05}.jpg": ((256, 256, 3), {**copy.deepcopy(VALUES), "number": n}) for n in range(count)}
    data = pickle.dumps(table, protocol)
    pairs = list(iterate_rows(data, "meta"))
    assert like_read(dict(pairs)) == like_read(table)
    entries = list(iterate_rows(pickle.dumps(list(table.values()), protocol), "table"))
    assert like_read(entries) == like_read(list(table.values()))
    if count and protocol > 2:
        assert isinstance(pairs[0][1][1]["landmarks"], np.ndarray)


def test_what_is_shared_between_rows_is_read_too():
    points = VALUES["landmarks"]
    data = pickle.dumps([{"landmarks": points, "n": n} for n in range(3)], 4)
    assert like_read(list(iterate_rows(data, "table"))) == [{"landmarks": points, "n": n} for n in range(3)]


@settings(max_examples=150)
@given(st.data())
def test_damage_raises_nothing_but_format_errors(data):
    sound = bytearray(pickle.dumps([dict(VALUES, n=n) for n in range(2)], data.draw(st.sampled_from([3, 4]))))
    for _ in range(data.draw(st.integers(1, 3))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(sound)))
    for damaged in (bytes(sound), bytes(sound[:cut])):
        try:
            for row in iterate_rows(damaged, "table"):
                assert type(row) in safe_pickle._LEAVES or isinstance(row, (dict, list, tuple, np.ndarray))
        except FileFormatError as err:
            assert str(err).startswith("table: ")


def test_a_hostile_table_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    for value in ([Evil()], [{"a": Evil()}], {"a": Evil()}):
        with pytest.raises(FileFormatError, match="asks for"):
            list(iterate_rows(pickle.dumps(value, 4), "table"))
    assert not (tmp_path / "made").exists()


def test_only_tables_are_read():
    for value in (5, "text", (1, 2), None):
        with pytest.raises(FileFormatError):
            list(iterate_rows(pickle.dumps(value), "table"))

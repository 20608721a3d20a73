"""The restricted pickle reader: data comes out as it went in, hostile and damaged files do nothing."""

from __future__ import annotations

import copyreg
import os
import pickle
import struct
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from core import safe_pickle
from core.errors import FileFormatError

DTYPES = ("b1", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", ">i4", ">f8")

arrays = st_numpy.arrays(
    st.sampled_from([np.dtype(code) for code in DTYPES]),
    st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0),
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.binary(max_size=300)
    | arrays
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=8), inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype.newbyteorder("=") and one.shape == other.shape
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other):
            assert_same(left, right)
    else:
        assert one == other


@settings(deadline=None)
@given(values)
def test_what_is_written_is_read_back(value):
    written = safe_pickle.dumps(value)
    assert_same(safe_pickle.loads(written, "file"), value)
    assert_same(pickle.loads(written), value)  # the stock reader agrees: DFL will, too


@settings(deadline=None)
@given(values, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_every_protocol_of_the_stock_writer_is_read(value, protocol):
    assert_same(safe_pickle.loads(pickle.dumps(value, protocol), "file"), value)


@pytest.mark.parametrize("protocol", range(4))
def test_arrays_of_old_numpy_are_read(protocol):
    value = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int64(7)}
    data = pickle.dumps(value, protocol).replace(b"numpy._core.", b"numpy.core.")
    read = safe_pickle.loads(data, "file")
    np.testing.assert_array_equal(read["a"], value["a"])
    assert read["b"] == 7 and type(read["b"]) is np.int64


def test_arrays_are_written_as_numpy_1_spells_them():
    written = safe_pickle.dumps({"array": np.ones(3), "scalar": np.float32(2)})
    assert b"numpy.core.multiarray" in written and b"_core" not in written
    assert written[:2] == b"\x80\x04"


def test_fortran_order_survives():
    array = np.asfortranarray(np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    for protocol in range(6):
        np.testing.assert_array_equal(safe_pickle.loads(pickle.dumps(array, protocol), "file"), array)


def test_other_values_are_not_written():
    with pytest.raises(FileFormatError, match="cannot write"):
        safe_pickle.dumps({"x": object()})
    with pytest.raises(FileFormatError, match="object"):
        safe_pickle.dumps(np.array([None]))
    loop: list = []
    loop.append(loop)
    with pytest.raises(FileFormatError, match="nested"):
        safe_pickle.dumps(loop)


class Bomb:
    """Pickles to a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


CANARY = "canary"
TOUCH = f"touch {CANARY}"


def stack_global(module: str, name: str) -> bytes:
    spelled = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return spelled + b"\x93"


def text_argument(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


HOSTILE = {
    "reduce os.system": pickle.dumps(Bomb(os.system, TOUCH)),
    "reduce os.system, protocol 0": pickle.dumps(Bomb(os.system, TOUCH), 0),
    "global posix.system": b"cposix\nsystem\n(V" + TOUCH.encode() + b"\ntR.",
    "stack global": b"\x80\x04" + stack_global("os", "system") + text_argument(TOUCH) + b"\x85R.",
    "inst": b"(V" + TOUCH.encode() + b"\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nV" + TOUCH.encode() + b"\no.",
    "newobj": b"\x80\x04" + stack_global("os", "system") + text_argument(TOUCH) + b"\x85\x81.",
    "newobj_ex": b"\x80\x04" + stack_global("os", "system") + text_argument(TOUCH) + b"\x85}\x92.",
    "builtins.eval": pickle.dumps(Bomb(eval, f"open({CANARY!r}, 'w')")),
    "builtins.getattr": pickle.dumps(Bomb(getattr, "x", "upper")),
    "dotted name": b"\x80\x04" + stack_global("numpy", "ndarray.tofile") + b".",
    "numpy.load": pickle.dumps(Bomb(np.load, CANARY, None, True)),
    "numpy.save": pickle.dumps(Bomb(np.save, CANARY, np.zeros(3))),
    "numpy.memmap": pickle.dumps(Bomb(np.memmap, CANARY, "u1", "w+", 0, (3,))),
    "numpy.frombuffer": pickle.dumps(Bomb(np.frombuffer, b"abc", "u1")),
    "copyreg._reconstructor": pickle.dumps(Bomb(copyreg._reconstructor, dict, object, None)),
    "collections": pickle.dumps(OrderedDict(a=1)),
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"Nq\x00Q.",
    "extension 1": b"\x82\x01.",
    "extension 2": b"\x83\x01\x00.",
    "extension 4": b"\x84\x01\x00\x00\x00.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "allowed package, other name": b"cnumpy.core.multiarray\nfromfile\n.",
    "codec that runs code": b"c_codecs\nencode\n(Vabc\nVunicode_escape\ntR.",
    "a constructor as data": b"cnumpy\nndarray\n.",
    "an empty dtype as data": b"\x80\x04"
    + stack_global("numpy", "dtype")
    + text_argument("f4")
    + b"\x89\x88\x87R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match=r"^bad\.file: "):
        safe_pickle.loads(HOSTILE[name], "bad.file")
    assert list(tmp_path.iterdir()) == []


RECONSTRUCT = stack_global("numpy.core.multiarray", "_reconstruct")
SHELL = RECONSTRUCT + stack_global("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
FLOAT32 = stack_global("numpy", "dtype") + text_argument("f4") + b"\x89\x88\x87R"
FLOAT32_STATE = b"(K\x03" + text_argument("<") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"


def array_pickle(shape: bytes, content: bytes, dtype: bytes = FLOAT32 + FLOAT32_STATE) -> bytes:
    return (
        b"\x80\x04"
        + SHELL
        + b"(K\x01("
        + shape
        + b"t"
        + dtype
        + b"\x89C"
        + bytes([len(content)])
        + content
        + b"tb."
    )


def test_the_hand_made_array_is_sound():
    read = safe_pickle.loads(array_pickle(b"K\x02", struct.pack("<2f", 1, 2)), "file")
    np.testing.assert_array_equal(read, np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(array_pickle(b"K\x03", bytes(8)), id="too few bytes"),
        pytest.param(array_pickle(b"K\x01", bytes(8)), id="too many bytes"),
        pytest.param(array_pickle(b"J\xff\xff\xff\xff", bytes(8)), id="negative side"),
        pytest.param(array_pickle(b"\x8a\x09" + bytes(8) + b"\x7f" + b"K\x00", b""), id="huge side"),
        pytest.param(array_pickle(b"K\x01" * 40, bytes(4)), id="40 dimensions"),
        pytest.param(array_pickle(b"G" + bytes(8), b""), id="fractional side"),
        pytest.param(array_pickle(b"K\x02", bytes(8), text_argument("f4")), id="dtype as text"),
        pytest.param(array_pickle(b"K\x02", bytes(8), FLOAT32 + b"(K\x03tb"), id="short dtype state"),
        pytest.param(
            array_pickle(b"K\x02", bytes(8), FLOAT32 + FLOAT32_STATE[:-4] + b"K\x3ftb"), id="object flag"
        ),
        pytest.param(
            array_pickle(b"K\x01", bytes(8), FLOAT32.replace(b"\x02f4", b"\x02O8") + FLOAT32_STATE),
            id="object dtype",
        ),
        pytest.param(b"\x80\x04" + SHELL + b".", id="array without content"),
        pytest.param(b"\x80\x04" + SHELL + b"}" + text_argument("x") + b"K\x01sb.", id="dict as array state"),
        pytest.param(
            b"\x80\x04" + RECONSTRUCT + b"}" + text_argument("x") + b"K\x01sb.", id="change a function"
        ),
        pytest.param(
            b"\x80\x04" + RECONSTRUCT + b"N}" + text_argument("__defaults__") + b")s\x86b.",
            id="change its slots",
        ),
        pytest.param(pickle.dumps(np.array([object, print])), id="stock object array"),
        pytest.param(pickle.dumps(np.zeros(3, "M8[s]")), id="dates"),
        pytest.param(pickle.dumps(np.zeros(3, "f4,i4")), id="records"),
        pytest.param(pickle.dumps(np.zeros(3, "c16")), id="complex"),
    ],
)
def test_malformed_arrays_are_refused(data):
    with pytest.raises(FileFormatError, match=r"^bad\.file: "):
        safe_pickle.loads(data, "bad.file")
    # Nothing of it stays behind for the next file.
    test_the_hand_made_array_is_sound()


def laughs(levels: int) -> bytes:
    """Lists that name the list before them ten times: ten ** levels entries in few bytes."""
    lists = (
        b"]\x94(" + (b"h" + bytes([level - 1]) if level else b"K\x01") * 10 + b"e" for level in range(levels)
    )
    return b"\x80\x04(" + b"".join(lists) + b"t."


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x04]r\xff\xff\xff\x7f.", id="memo of 16 GB"),
        pytest.param(b"(p4000000000\n.", id="memo of 32 GB, as text"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", id="bytes of 4 EiB"),
        pytest.param(b"\x80\x04\x96" + struct.pack("<Q", 2**34) + b".", id="bytearray of 16 GB"),
        pytest.param(b"\x80\x04B\xff\xff\xff\x7fabc.", id="bytes of 2 GB"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", id="frame of 1 TB"),
        pytest.param(b"\x80\x04\x8b\xff\xff\xff\x7f.", id="integer of 2 GB"),
        pytest.param(b"L" + b"9" * 100_000 + b"L\n.", id="integer of 100,000 digits"),
        pytest.param(laughs(9), id="ten to the ninth entries"),
        pytest.param(b"\x80\x04" + b"]" * 10_000 + b"a" * 9_999 + b".", id="10,000 lists in each other"),
        pytest.param(b"\x80\x04]\x94h\x00a.", id="a list in itself"),
        pytest.param(
            b"\x80\x04(]\x94(" + b"K\x01" * 20_000 + b"e](" + b"h\x00" * 20_000 + b"et.",
            id="400 million entries",
        ),
    ],
)
def test_size_bombs_are_refused_at_once(data):
    start = time.perf_counter()
    with pytest.raises(FileFormatError):
        safe_pickle.loads(data, "bomb")
    assert time.perf_counter() - start < 2


MEGABYTE = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
BIG_ENDIAN = (
    b"cnumpy\ndtype\nX\2\0\0\0f4\x89\x88\x87R(K\3X\1\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            b"\x80\2(" + MEGABYTE + b"q\1c_codecs\nencode\nq\2X\6\0\0\0latin1q\3"
            + b"h\2h\1h\3\x86R" * 2000 + b"t.", id="one text encoded 2000 times"
        ),
        pytest.param(
            b"\x80\3(B" + MEGABYTE[1:] + b"q\1" + BIG_ENDIAN + b"q\2"
            b"cnumpy.core.multiarray\n_reconstruct\nq\3cnumpy\nndarray\nq\4"
            + b"h\3h\4K\0\x85C\1b\x87R(K\1J\0\0\4\0\x85h\2\x89h\1tb" * 2000 + b"t.",
            id="one array turned round 2000 times"
        ),
    ],
)  # fmt: skip
def test_a_small_file_cannot_have_much_copied(data):
    with pytest.raises(FileFormatError, match="unfolds"):
        safe_pickle.loads(data, "bomb")


def test_the_number_of_small_pieces_can_be_held_down(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps({"a": np.zeros(10_000)}, 4))
    assert safe_pickle.load_file(path, structure=500)["a"].shape == (10_000,)
    for pieces in (b"]" * 80_000, b"\x8c\0" * 40_000, b"(" * 80_000):
        path.write_bytes(b"\x80\x04" + pieces + b".")
        with pytest.raises(FileFormatError, match="small pieces"):
            safe_pickle.load_file(path, structure=500)


SOUND = safe_pickle.dumps(
    {"landmarks": [[1.5, -2.0]] * 5, "rect": np.arange(4), "name": "face", "n": np.float32(1), "t": (1, None)}
)
SOUND_STOCK = [
    pickle.dumps({"a": [1, 2.5, "x", b"y"], "b": np.arange(5)}, protocol) for protocol in (0, 2, 3, 4, 5)
]


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([SOUND, *SOUND_STOCK]), st.data())
def test_damaged_bytes_raise_only_our_error(sound, data):
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        safe_pickle.loads(bytes(damaged), "file")
    except FileFormatError as err:
        assert str(err).startswith("file: ")


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
@example(b"")
@example(b".")
@example(b"\x80\x04")
def test_noise_raises_only_our_error(data):
    try:
        safe_pickle.loads(data, "file")
    except FileFormatError as err:
        assert str(err).startswith("file: ")


@pytest.mark.parametrize("sound", [SOUND, *SOUND_STOCK])
def test_every_shortened_pickle_is_refused(sound):
    for length in range(len(sound) - 1):
        with pytest.raises(FileFormatError):
            safe_pickle.loads(sound[:length], "file")


def test_granted_globals_are_called_with_the_files_arguments():
    data = b"\x80\x04" + stack_global("facelib.FaceType", "FaceType") + b"K\x04\x85R."
    allow = {("facelib.FaceType", "FaceType"): int}
    assert safe_pickle.loads(data, "pak", allow) == 4
    with pytest.raises(FileFormatError, match="FaceType"):
        safe_pickle.loads(data, "pak")
    with pytest.raises(FileFormatError, match="set"):
        safe_pickle.loads(data, "pak", {("facelib.FaceType", "FaceType"): lambda number: {number}})
    with pytest.raises(FileFormatError):
        safe_pickle.loads(data.replace(b"K\x04", b"N"), "pak", allow)


def test_weights_are_read_from_a_file_without_copies(tmp_path):
    weights = {f"conv{i}/weight:0": np.full((256, 1024), i, np.float32) for i in range(8)}
    path = tmp_path / "model_encoder.npy"
    path.write_bytes(pickle.dumps(weights, 4))
    read = safe_pickle.load_file(path)
    assert list(read) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
        assert not read[name].flags.owndata and not read[name].flags.writeable


def test_unreadable_files_are_named(tmp_path):
    empty = tmp_path / "empty.npy"
    empty.touch()
    with pytest.raises(FileFormatError, match=r"empty\.npy: the file is empty"):
        safe_pickle.load_file(empty)
    with pytest.raises(FileFormatError, match=r"absent\.npy: cannot be read"):
        safe_pickle.load_file(tmp_path / "absent.npy")


def test_dfls_own_state_files_are_read(shared_data: Path):
    state = safe_pickle.load_file(shared_data / "dfl/quick96/fx_Quick96_data.dat")
    assert state["iter"] == 1 and state["options"] == {"batch_size": 4}
    options = safe_pickle.load_file(shared_data / "dfl/saehd_df-ud_16/fx_SAEHD_data.dat")["options"]
    assert type(options["resolution"]) is np.int64

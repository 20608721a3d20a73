"""Our writer against the safetensors package's reader."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.errors import CheckpointError
from models.tensor_file import Deferred, NotFinite, fingerprint, read_tensors, write_tensors

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int64, np.uint8]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@settings(max_examples=50, deadline=None)
@given(tensors=st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=5))
def test_round_trip(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("tensors") / "file"
    size, digest = write_tensors(path, tensors)
    data = path.read_bytes()
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest()) == fingerprint(path)
    found = read_tensors(path)
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_of_any_memory_order_are_written_right(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"transposed": base.T, "fortran": np.asfortranarray(base), "strided": base[::2, ::3]}
    write_tensors(tmp_path / "file", tensors)
    found = read_tensors(tmp_path / "file")
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("data", [b"", b"\0" * 20, b"\xff" * 64])
def test_other_bytes_are_refused(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "file")


def test_deferred_arrays_are_fetched_one_after_another(tmp_path):
    asked = []

    def deferred(name: str) -> Deferred:
        def fetch() -> np.ndarray:
            asked.append(name)
            return np.full((3, 2), len(asked), np.float32)

        return Deferred((3, 2), np.dtype(np.float32), fetch)

    tensors = {"b": deferred("b"), "a": deferred("a")}
    assert write_tensors(tmp_path / "late", tensors)[0] == (tmp_path / "late").stat().st_size
    assert asked == ["a", "b"]
    found = read_tensors(tmp_path / "late")
    assert {name: array[0, 0] for name, array in found.items()} == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_where_asked(tmp_path, value):
    tensors = {"sound": np.full(9, 3e38, np.float32), "w": np.array([1.0, value], np.float32)}
    write_tensors(tmp_path / "file", tensors)
    with pytest.raises(NotFinite, match="w holds"):
        write_tensors(tmp_path / "file", tensors, only_numbers=True)
    write_tensors(tmp_path / "file", {"sound": tensors["sound"]}, only_numbers=True)

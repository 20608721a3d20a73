"""Weights on this machine: where they are looked for, what is believed, what is refused."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import safe_pickle
from core.errors import CheckpointError, FileFormatError, SwapError, UsageError
from facelib import weights
from facelib.weights import contents, store
from facelib.weights import download as downloads
from facelib.weights.contents import read_source
from facelib.weights.registry import WEIGHTS
from tests.facelib import weights_tools as tools

ENTRY, CONTENT = tools.tiny()
OTHER = tools.pickled(tools.random_tensors(ENTRY, seed=1, four_axes=False))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder for weights, and a tiny entry in the registry."""
    folder = tmp_path / "home" / "weights"
    monkeypatch.setattr(store, "where", lambda: folder)
    monkeypatch.setattr(downloads, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(store, "_told", set())
    monkeypatch.setitem(WEIGHTS, ENTRY.name, ENTRY)
    monkeypatch.delenv("FACELAB_WEIGHTS", raising=False)
    tools.no_proxy(monkeypatch)
    return folder


@pytest.fixture
def further(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "further"
    folder.mkdir()
    monkeypatch.setenv("FACELAB_WEIGHTS", str(folder))
    return folder


def put(folder: Path, content: bytes = CONTENT, name: str = ENTRY.file) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def assert_loaded(content: bytes, **options) -> None:
    loaded = weights.load(ENTRY.name, **options)
    stored = safe_pickle.loads(content, "test")
    assert set(loaded) == {key.removesuffix(":0") for key in stored} == set(ENTRY.shapes)
    for key, array in loaded.items():
        assert array.dtype == np.float32 and array.shape == ENTRY.shapes[key]
        np.testing.assert_array_equal(array.ravel(), stored[f"{key}:0"].ravel())


def test_tables_have_the_known_sizes():
    counts = {
        name: (len(entry.shapes), entry.data_bytes) for name, entry in WEIGHTS.items() if name != "Tiny"
    }
    assert counts == {
        "S3FD": (65, 22_459_110 * 4),
        "2DFAN": (945, 23_874_320 * 4),
        "3DFAN": (945, 23_874_320 * 4),
        "FaceEnhancer": (72, 33_111_401 * 2),
    }


@pytest.mark.parametrize("fixture", ["s3fd", "fan"])
def test_tables_are_dfls(shared_data, fixture):
    spec = store.Path(shared_data / "dfl" / fixture / "spec.json")
    rows = contents.json.loads(spec.read_text())["files"]
    for file, tensors in rows.items():
        ours = {f"{name}:0": list(shape) for name, shape in weights.weight_file(file).shapes.items()}
        assert {key: [side for side in shape if side != 1] for key, shape in tensors} == {
            key: [side for side in shape if side != 1] for key, shape in ours.items()
        }


def test_addresses_are_pinned_to_the_commit(monkeypatch):
    monkeypatch.delenv("FACELAB_WEIGHTS_URL", raising=False)
    for name in ("S3FD", "2DFAN", "3DFAN", "FaceEnhancer"):
        assert all(
            url.startswith("https://")
            and f"/46fc2397c582b9fc375a023418257924112e292b/facelib/{name}.npy" in url
            for url in WEIGHTS[name].urls
        )


def test_names_are_known_in_any_case():
    assert weights.weight_file("s3fd").name == weights.weight_file("S3FD.npy").name == "S3FD"
    with pytest.raises(UsageError, match="2DFAN"):
        weights.weight_file("4DFAN")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG is of Linux")
def test_the_folder_is_where_the_system_keeps_data(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights.where() == tmp_path / "facelab" / "weights"
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.where() == tmp_path / ".local" / "share" / "facelab" / "weights"


def test_without_weights_the_way_to_get_them_is_told():
    assert not weights.available(ENTRY.name)
    with pytest.raises(CheckpointError, match="weights fetch Tiny"):
        weights.load(ENTRY.name)


def test_the_genuine_file_is_read_and_copied(home):
    put(home)
    said: list[str] = []
    assert weights.available(ENTRY.name)
    assert_loaded(CONTENT, say=said.append)
    assert tools.files_in(home) == ["Tiny.npy", "Tiny.safetensors"]
    assert_loaded(CONTENT, say=said.append)
    assert said == []


def test_the_copy_is_what_is_read_afterwards(home, monkeypatch):
    put(home)
    assert_loaded(CONTENT)
    monkeypatch.setattr(store, "read_source", None)
    monkeypatch.setattr(store, "digests_of", None)
    assert_loaded(CONTENT)
    (home / ENTRY.file).unlink()
    assert weights.available(ENTRY.name)
    assert_loaded(CONTENT)


def test_a_source_that_was_only_touched_is_copied_again(home):
    source = put(home)
    assert_loaded(CONTENT)
    os.utime(source, (1, 1))
    said: list[str] = []
    assert_loaded(CONTENT, say=said.append)
    assert said == []


def test_another_file_in_the_users_folder_is_refused(home):
    source = put(home)
    assert_loaded(CONTENT)
    source.write_bytes(OTHER)
    os.utime(source, (1, 1))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="any-checksum"):
            weights.load(ENTRY.name)


def test_another_file_in_the_further_folder_is_used_with_one_warning(further):
    source = put(further, OTHER)
    said: list[str] = []
    assert weights.available(ENTRY.name)
    for _ in range(3):
        assert_loaded(OTHER, say=said.append)
    assert len(said) == 1 and str(source) in said[0] and "checksum" in said[0]
    changed = tools.pickled(tools.random_tensors(ENTRY, seed=2))
    put(further, changed)
    os.utime(source, (1, 1))
    assert_loaded(changed, say=said.append)
    assert len(said) == 2 and "another file than before" in said[1]


def test_the_users_folder_goes_before_the_further_one(home, further):
    put(home)
    put(further, OTHER)
    assert_loaded(CONTENT)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(further, monkeypatch):
    put(further, OTHER)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "write_copy", refuse)
    said: list[str] = []
    assert_loaded(OTHER, say=said.append)
    assert len(said) == 1 and tools.files_in(further) == [ENTRY.file]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(CONTENT)), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_copy_is_never_used(home, position, value, cut):
    put(home)
    shutil.rmtree(home)
    put(home)
    weights.load(ENTRY.name)
    copy = home / "Tiny.safetensors"
    data = bytearray(copy.read_bytes())
    position %= len(data)
    if cut:
        del data[position:]
    else:
        data[position] = value
    copy.write_bytes(data)
    assert_loaded(CONTENT, say=lambda _: None)
    copy.write_bytes(data)
    (home / ENTRY.file).unlink()
    try:
        assert_loaded(CONTENT, say=lambda _: None)
    except CheckpointError as err:
        assert "fetch" in str(err)


def test_the_enhancers_halves_come_as_float32(home, monkeypatch):
    tensors = tools.random_tensors(tools.entry_for(b"", dtype="float16"))
    content = tools.pickled(tensors)
    monkeypatch.setitem(WEIGHTS, "Tiny", tools.entry_for(content, dtype="float16"))
    put(home, content)
    for _ in range(2):
        loaded = weights.load("Tiny")
        assert {array.dtype.name for array in loaded.values()} == {"float32"}
        np.testing.assert_array_equal(loaded["conv/bias"], tensors["conv/bias:0"].ravel().astype(np.float32))


def test_both_layouts_and_memory_orders_are_the_same_weights(tmp_path):
    flat, deep = (tools.random_tensors(ENTRY, four_axes=axes) for axes in (False, True))
    flat["conv/weight:0"] = np.asfortranarray(flat["conv/weight:0"])
    one, other = (
        read_source(put(tmp_path, pickle.dumps(tensors, protocol), "a"), ENTRY)
        for tensors, protocol in ((flat, 2), (deep, 4))
    )
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        assert one[name].flags.c_contiguous


class Call:
    """Pickles to a call."""

    def __reduce__(self):
        return os.mkdir, ("hacked",)


def bad_tensors() -> dict[str, object]:
    good = tools.random_tensors(ENTRY)
    bias, weight = good["conv/bias:0"], good["conv/weight:0"]
    nan = weight.copy()
    nan[0, 0, 0, 0] = np.nan
    return {
        "missing": {key: value for key, value in good.items() if key != "norm/weight:0"},
        "unknown": good | {"more/weight:0": bias},
        "twice": good | {"conv/bias": bias},
        "wrong: conv/weight is float32": good | {"conv/weight:0": weight[..., :64].repeat(2, 0)},
        "wrong: conv/weight is float64": good | {"conv/weight:0": weight.astype(np.float64)},
        "wrong: conv/bias is int32": good | {"conv/bias:0": bias.astype(np.int32)},
        "wrong: norm/weight is a list": good | {"norm/weight:0": bias.ravel().tolist()},
        "wrong: conv/bias is a bytes": good | {"conv/bias:0": bias.tobytes()},
        "no numbers": good | {"conv/weight:0": nan},
        "not the dict": list(good.values()),
        "unknown: 7": good | {7: bias},
        "asks for": good | {"x": Call()},
        "never needs": OrderedDict(good),
        "'O8'": good | {"x": np.array([Call()])},
    }


@pytest.mark.parametrize("problem", bad_tensors())
def test_other_tensors_and_hostile_files_are_refused(further, problem, monkeypatch):
    monkeypatch.chdir(further)
    data = pickle.dumps(bad_tensors()[problem], 4)
    put(further, data)
    with pytest.raises(FileFormatError, match=problem) as err:
        weights.load(ENTRY.name, say=lambda _: None)
    assert "\n" not in str(err.value) and str(further) in str(err.value)
    assert tools.files_in(further) == [ENTRY.file]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_always_refused_in_good_order(tmp_path, data):
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(1, 4))):
        near_text = data.draw(st.sampled_from([0, len(content) - 3000]))
        content[near_text + data.draw(st.integers(0, 2999))] = data.draw(st.integers(0, 255))
    try:
        read_source(put(tmp_path, bytes(content), "a"), ENTRY)
    except FileFormatError as err:
        assert "\n" not in str(err)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (CONTENT[:-1], "cut short"),
        (CONTENT[:1000], "needs"),
        (bytes(1 << 22), "replace"),
        (b"\x80\4" + b"]" * (1 << 20) + b".", "small pieces"),
    ],
)
def test_files_of_wrong_size_are_refused(further, content, problem):
    put(further, content)
    assert weights.available(ENTRY.name)  # else a damaged file would silently mean another detector
    with pytest.raises(FileFormatError, match=problem):
        weights.load(ENTRY.name)


def test_fetch_places_the_file_and_its_copy(home, monkeypatch):
    said: list[str] = []
    with tools.serving(CONTENT, tools.whole) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        assert weights.fetch("tiny", said.append) == home / ENTRY.file
        weights.fetch("tiny", said.append)
        assert len(server.log) == 1
        put(home, OTHER)  # somebody put another file there
        weights.fetch("tiny", said.append)
    assert ["fetched" in line for line in said] == [True, False, True]
    assert tools.files_in(home) == ["Tiny.npy", "Tiny.safetensors"]
    assert_loaded(CONTENT)


def test_a_disk_without_room_is_told_before(home, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(SwapError, match="free"):
        weights.fetch(ENTRY.name)


def test_ensure_asks_fetches_and_says_why_not(home, monkeypatch):
    said: list[str] = []
    questions: list[str] = []
    with tools.serving(CONTENT, tools.status(404), tools.whole) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        assert not weights.ensure(ENTRY.name, lambda q: questions.append(q) or False, said.append)
        assert server.log == [] and said == [] and "Tiny.npy" in questions[0]
        assert not weights.ensure(ENTRY.name, lambda q: True, said.append)
        assert "404" in said[-1] and "\n" not in said[-1]
        assert weights.ensure(ENTRY.name, None, said.append)
        assert weights.ensure(ENTRY.name, pytest.fail, said.append)  # here already: nobody is asked


def test_import_knows_the_file_by_its_checksum(home, tmp_path):
    assert weights.import_file(put(tmp_path, name="download (1).bin")) == home / ENTRY.file
    assert_loaded(CONTENT)


def test_import_refuses_other_checksums_unless_told(home, tmp_path):
    path = put(tmp_path, OTHER)
    with pytest.raises(FileFormatError, match="--any-checksum"):
        weights.import_file(path)
    assert tools.files_in(home) == []
    said: list[str] = []
    weights.import_file(path, any_checksum=True, say=said.append)
    assert len(said) == 1
    assert_loaded(OTHER, say=said.append)
    (home / "Tiny.npy").write_bytes(CONTENT)  # no longer what was accepted, but genuine
    assert_loaded(CONTENT, say=lambda _: None)


@pytest.mark.parametrize("any_checksum", [False, True])
@pytest.mark.parametrize("problem", ["missing", "asks for"])
def test_import_reads_before_it_takes(home, tmp_path, problem, any_checksum, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path, pickle.dumps(bad_tensors()[problem], 4))
    with pytest.raises(FileFormatError):
        weights.import_file(path, any_checksum)
    assert tools.files_in(home) == []
    assert not Path("hacked").exists()


def test_import_needs_a_telling_name_for_unknown_checksums(home, tmp_path):
    with pytest.raises(FileFormatError, match=r"call it .*Tiny\.npy"):
        weights.import_file(put(tmp_path, OTHER, "mine.npy"), any_checksum=True)
    with pytest.raises(FileFormatError, match="cut short"):
        weights.import_file(put(tmp_path, OTHER[:-1], "S3FD.npy"), any_checksum=True)
    with pytest.raises(SwapError, match="does not exist"):
        weights.import_file(tmp_path / "gone.npy")


def test_a_full_size_s3fd_survives_a_cut_and_is_read(home, monkeypatch):
    entry = WEIGHTS["S3FD"]
    tensors = {f"{name}:0": np.full(shape, 0.5, np.float32) for name, shape in entry.shapes.items()}
    content = tools.pickled(tensors)
    monkeypatch.setitem(WEIGHTS, "S3FD", tools.entry_for(content, "S3FD", shapes=entry.shapes))
    with tools.serving(
        content, tools.cut_at(40_000_000), tools.ignores_range(60_000_000), tools.whole
    ) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        weights.fetch("S3FD", lambda _: None)
    assert [start for _, start in server.log] == [0, 40_000_000, 60_000_000]
    loaded = weights.load("S3FD")
    assert len(loaded) == 65 and loaded["fc6/weight"].shape == (3, 3, 512, 1024)
    assert tools.files_in(home) == ["S3FD.npy", "S3FD.safetensors"]


def test_a_file_that_is_refused_is_called_by_its_own_name(tmp_path):
    path = put(tmp_path, pickle.dumps({"a": Path("/")}), ENTRY.file)
    with pytest.raises(FileFormatError, match="may be hostile") as refused:
        weights.import_file(path, any_checksum=True)
    assert str(refused.value).startswith(f"{path}: ")

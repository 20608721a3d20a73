from __future__ import annotations

import errno
import os

import pytest

from core import storage
from core.errors import FileFormatError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "модель 1.json"
    storage.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), storage.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert storage.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_successful_write_replaces_the_file(tmp_path):
    path = tmp_path / "x.bin"
    for data in (b"one", b""):
        storage.write_bytes(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_damaged_json_names_the_file(tmp_path):
    path = tmp_path / "state.json"
    path.write_bytes(b"{\xff")
    with pytest.raises(FileFormatError, match=r"state\.json"):
        storage.read_json(path)


def test_names_that_are_not_utf8_come_back(tmp_path):
    value = {"файл": ["顔.png", "\udcff\udce9.png"]}
    path = tmp_path / "names.json"
    storage.write_json(path, value)
    assert "顔.png" in path.read_text(encoding="utf-8")
    assert storage.read_json(path) == value


def test_endless_nesting_is_damage(tmp_path):
    path = tmp_path / "deep.json"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(FileFormatError, match=r"deep\.json"):
        storage.read_json(path)


def test_a_full_disk_is_named_and_so_is_a_folder_in_the_way(tmp_path):
    path = tmp_path / "00001.png"
    with pytest.raises(OSError) as caught, storage.replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    path.mkdir()
    with pytest.raises(OSError) as caught:
        storage.write_bytes(path, b"")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="only there can we ask whether a process lives")
@pytest.mark.parametrize("name, left", [("r.mp4", {"alive", "other", "user"}), ("", {"alive", "user"})])
def test_leavings_of_a_killed_run_are_removed(tmp_path, name, left):
    files = {
        "dead": ".999999999-1.r.mp4",
        "alive": f".{os.getpid()}-1.r.mp4",
        "other": ".999999999-1.q.jpg",
        "user": ".12-a.r.mp4",
    }
    for file in files.values():
        (tmp_path / file).touch()
    storage.remove_leavings(tmp_path, name)
    assert {path.name for path in tmp_path.iterdir()} == {files[key] for key in left}

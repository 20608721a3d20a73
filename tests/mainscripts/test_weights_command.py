"""main.py weights: what it prints, what it returns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import main
from facelib.weights import download as downloads
from facelib.weights import store
from facelib.weights.registry import WEIGHTS
from tests.facelib import weights_tools as tools

ENTRY, CONTENT = tools.tiny()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home" / "weights"
    monkeypatch.setattr(store, "where", lambda: folder)
    monkeypatch.setattr("facelib.weights.where", lambda: folder)
    monkeypatch.setattr(downloads, "FIRST_WAIT", 0.01)
    for name in list(WEIGHTS):
        monkeypatch.delitem(WEIGHTS, name)
    for name in ("One", "Two"):
        monkeypatch.setitem(WEIGHTS, name, tools.entry_for(CONTENT, name))
    monkeypatch.delenv("FACELAB_WEIGHTS", raising=False)
    tools.no_proxy(monkeypatch)
    return folder


def row(capsys, name: str) -> list[str]:
    assert main.main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return next(line for line in lines if line.startswith(name)).split()


def test_the_list_tells_what_is_present_and_whether_it_is_genuine(home, capsys, monkeypatch):
    assert row(capsys, "name")[:4] == ["name", "present", "size", "verified"]
    assert row(capsys, "One")[1:5] == ["no", "0.3", "MB", "-"]
    home.mkdir(parents=True)
    (home / "One.npy.part").write_bytes(CONTENT[:200_000])
    assert "in part  0.2 MB of 0.3 MB" in " ".join(row(capsys, "One")).replace("in part", "in part ")
    (home / "One.npy").write_bytes(CONTENT)
    assert row(capsys, "One")[1:5] == ["yes", "0.3", "MB", "yes"]
    assert row(capsys, "One")[-1] == str(home / "One.npy")
    (home / "One.npy").write_bytes(tools.pickled(tools.random_tensors(ENTRY, seed=1)))
    assert row(capsys, "One")[1:6] == ["not", "used", "0.3", "MB", "no"]
    (home / "One.npy").write_bytes(CONTENT[:-1000])
    assert row(capsys, "One")[1] == "damaged"
    monkeypatch.setenv("FACELAB_WEIGHTS", str(home / "gone"))
    main.main(["weights", "list"])
    assert "no such folder" in capsys.readouterr().out


def test_the_folder_is_printed_alone(home, capsys):
    assert main.main(["weights", "where"]) == 0
    assert capsys.readouterr().out == f"{home}\n"


def test_fetch_takes_all_or_the_named_ones_and_shows_progress(home, capsys, monkeypatch):
    with tools.serving(CONTENT, tools.whole) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        assert main.main(["weights", "fetch", "two"]) == 0
        assert tools.files_in(home) == ["Two.npy", "Two.safetensors"]
        assert main.main(["weights", "fetch"]) == 0
        assert [path for path, _ in server.log] == ["/Two.npy", "/One.npy"]
    printed = capsys.readouterr().out
    assert "Fetching Two: 0.3/0.3 MB" in printed and "MB/s" in printed
    assert "GPL-3.0" in printed


def test_one_that_fails_does_not_keep_the_others(home, capsys, monkeypatch):
    with tools.serving(CONTENT, tools.status(404), tools.whole) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        assert main.main(["weights", "fetch"]) == 1
    out, err = capsys.readouterr()
    assert "404" in out and err.count("\n") == 1 and "One" in err
    assert tools.files_in(home) == ["Two.npy", "Two.safetensors"]


def test_wrong_names_are_wrong_usage(capsys):
    assert main.main(["weights", "fetch", "Three"]) == 2
    assert "One, Two" in capsys.readouterr().err


def test_import_takes_files_over(home, tmp_path, capsys):
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[:-5])
    assert main.main(["weights", "import", str(bad)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main.main(["weights", "import", str(bad), str(good)]) == 1
    assert tools.files_in(home) == ["One.npy", "One.safetensors"]
    assert main.main(["weights", "import", str(good)]) == 0
    assert str(home / "One.npy") in capsys.readouterr().out


def test_a_whole_program_without_a_network_ends_with_one_line_and_1(tmp_path):
    done = subprocess.run(
        [sys.executable, main.__file__, "weights", "fetch", "S3FD"],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path),
             "LOCALAPPDATA": str(tmp_path), "FACELAB_WEIGHTS_URL": "http://127.0.0.1:9"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: S3FD.npy could not be fetched") and done.stderr.count("\n") == 1

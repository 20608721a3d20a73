"""Renaming a folder's files: chains and circles, nothing overwritten, nothing lost at a kill."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import renaming
from core.errors import FileFormatError, SwapError
from core.renaming import JOURNAL_NAME, finish_renaming, rename_all

ROOT = Path(__file__).resolve().parents[2]


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_text(name, encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}


@given(st.permutations(range(7)), st.sets(st.integers(0, 6)), st.integers(0, 40))
def test_any_stop_loses_nothing_and_the_next_call_ends_the_renaming(order, left_out, stop_after):
    names = [f"a {number} é.jpg" for number in range(7)]
    mapping = {names[i]: (f"new{order[i]}.jpg" if i in left_out else names[order[i]]) for i in range(7)}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        fill(folder, names)
        steps = iter(range(stop_after))
        genuine = os.rename, os.replace

        def stopping(call):
            def act(*args):
                if next(steps, None) is None:
                    raise KeyboardInterrupt
                return call(*args)

            return act

        os.rename, os.replace = map(stopping, genuine)
        try:
            rename_all(folder, mapping)
        except (KeyboardInterrupt, SwapError):
            pass
        finally:
            os.rename, os.replace = genuine
        found = contents(folder)
        found.pop(JOURNAL_NAME, None)
        assert sorted(found.values()) == sorted(names), "every file is there under some name"
        begun = (folder / JOURNAL_NAME).exists()
        finish_renaming(folder)
        if begun:
            assert contents(folder) == {new: old for old, new in mapping.items()}


def test_targets_that_clash_are_refused_before_anything_moves(tmp_path):
    fill(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    for mapping in ({"a.jpg": "c.jpg"}, {"a.jpg": "d.jpg", "b.jpg": "d.jpg"}, {"x.jpg": "y.jpg"},
                    {"a.jpg": "../../a.jpg"}, {"a.jpg": "b/c.jpg"}, {"../a.jpg": "a2.jpg"}):  # fmt: skip
        with pytest.raises(SwapError):
            rename_all(tmp_path, mapping)
    assert contents(tmp_path) == {name: name for name in ("a.jpg", "b.jpg", "c.jpg")}


def test_files_move_to_a_folder_beside(tmp_path):
    folder = tmp_path / "aligned"
    folder.mkdir()
    fill(folder, ["1.jpg", "2.jpg", "3.jpg"])
    assert rename_all(folder, {"1.jpg": "../aligned_trash/1.jpg", "2.jpg": "1.jpg", "3.jpg": "3.jpg"}) == 2
    assert contents(folder) == {"1.jpg": "2.jpg", "3.jpg": "3.jpg"}
    assert contents(tmp_path / "aligned_trash") == {"1.jpg": "1.jpg"}


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    fill(tmp_path, ["a.jpg"])
    genuine = renaming._save

    def saving(folder, journal):
        genuine(folder, journal)
        (tmp_path / "b.jpg").write_text("newcomer")

    monkeypatch.setattr(renaming, "_save", saving)
    rename_all(tmp_path, {"a.jpg": "b.jpg"})
    assert contents(tmp_path) == {"b.jpg": "newcomer", "b_1.jpg": "a.jpg"}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"version": 1, "moved_aside": true, "files": [["../a", null, "b"]]}',
     '{"version": 1, "moved_aside": true, "files": [["a.jpg", null, "../../b"]]}'],
)  # fmt: skip
def test_a_journal_that_is_damaged_or_hostile_moves_nothing(tmp_path, text):
    fill(tmp_path, ["a.jpg"])
    (tmp_path / JOURNAL_NAME).write_text(text)
    with pytest.raises(FileFormatError):
        finish_renaming(tmp_path)
    assert (tmp_path / "a.jpg").exists()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_random_nothing_is_lost(tmp_path):
    count = 3000
    names = [f"{number:05}.jpg" for number in range(count)]
    fill(tmp_path, names)
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from core.renaming import rename_all\n"
        f"names = {names[:1]!r} and [f'{{n:05}}.jpg' for n in range({count})]\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        f"    rename_all(Path({str(tmp_path)!r}), dict(zip(names, names[1:] + names[:1])))\n"
    )
    rng = random.Random(1)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.3))
        process.kill()
        process.wait()
        process.stdout.close()
    finish_renaming(tmp_path)
    found = contents(tmp_path)
    assert sorted(found) == names and sorted(found.values()) == names

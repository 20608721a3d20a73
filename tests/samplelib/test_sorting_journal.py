"""Renaming survives a kill at any moment: it can be finished and undone, and no file is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import FileFormatError, SwapError
from samplelib.sorting import journal as journals
from samplelib.sorting.journal import JOURNAL, Journal, Move, begin, finish, load, undo
from samplelib.sorting.names import Named, identify, original_names, plan_moves, read_names, write_names

ROOT = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """What a kill looks like from inside."""


class Killer:
    """Lets so many renames and journals through, then ends everything, before or after the deed."""

    def __init__(self, monkeypatch, after: int) -> None:
        self.left = after
        for owner, name in ((Path, "replace"), (Journal, "save"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, deed):
        def guarded(*args, **kwargs):
            if self.left == 0:
                raise Killed
            result = deed(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise Killed
            return result

        return guarded


def fill(folder: Path, names) -> dict[str, str]:
    """Files whose content is their name."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(name)
    return {name: name for name in names}


def found(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.name[0] != "."} if folder.exists() else {}


def relabel(journal, forth):
    write_names(journal, forth)


def attempt(folder, deed, monkeypatch, kill_after):
    """Go on with a renaming until the kill; whether it came to its end."""
    with monkeypatch.context() as patch:
        Killer(patch, kill_after)
        try:
            deed(load(folder), relabel)
            return True
        except Killed:
            return False


NAMES = st.lists(
    st.sampled_from([f"{i:05d}.jpg" for i in range(6)] + ["ä ö.jpg", "漢字.png", "00001_0.jpg", "x.jpeg"]),
    unique=True, min_size=1, max_size=8,
)  # fmt: skip
KILLS = st.lists(st.tuples(st.booleans(), st.integers(1, 25)), max_size=5)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, st.randoms(use_true_random=False), KILLS, st.booleans())
def test_kills_between_finishing_and_undoing_lose_nothing(
    tmp_path_factory, monkeypatch, names, rng, kills, at_last
):
    folder = tmp_path_factory.mktemp("sort") / "al igned"
    trash = folder.with_name("al igned_trash")
    before = fill(folder, names)
    if rng.random() < 0.5:
        fill(trash, ["00000.jpg"])
    earlier = found(trash)
    rng.shuffle(names)
    cut = rng.randint(0, len(names))
    files = identify(folder, dict.fromkeys(names, None))
    moves = plan_moves(folder, trash, files, names[:cut], names[cut:])
    begin(Journal(folder, trash, moves, "hist"))
    ended = None
    for forth, steps in kills:
        if attempt(folder, finish if forth else undo, monkeypatch, steps) or load(folder) is None:
            ended = forth
            break
        alive = [*found(folder).values(), *found(trash).values()]
        assert sorted(alive) == sorted([*before.values(), *earlier.values()])
    if ended is None:
        (finish if at_last else undo)(load(folder), relabel)
        ended = at_last
    assert load(folder) is None
    if ended:
        assert found(folder) == {f"{i:05d}{Path(n).suffix}": n for i, n in enumerate(names[:cut])}
        assert sorted(found(trash).values()) == sorted([*earlier.values(), *names[cut:]])
        assert {new: old for new, (old, _) in read_names(folder).items()} == {
            new: old for new, old in found(folder).items() if new != old
        }
    else:
        assert found(folder) == before and found(trash) == earlier
        assert read_names(folder) == {}


def test_every_single_kill_can_be_finished(tmp_path, monkeypatch):
    for steps in range(1, 40):
        folder = tmp_path / f"{steps}" / "faces"
        fill(folder, ["b.jpg", "a.jpg", "00000.jpg"])
        files = identify(folder, dict.fromkeys(["b.jpg", "00000.jpg", "a.jpg"], None))
        trash = folder.with_name("faces_trash")
        begin(
            Journal(
                folder, trash, plan_moves(folder, trash, files, ["b.jpg", "00000.jpg"], ["a.jpg"]), "blur"
            )
        )
        done = attempt(folder, finish, monkeypatch, steps)
        if not done and load(folder) is not None:
            finish(load(folder), relabel)
        assert found(folder) == {"00000.jpg": "b.jpg", "00001.jpg": "00000.jpg"}
        assert found(trash) == {"a.jpg": "a.jpg"}
        if done:
            break
    else:
        pytest.fail("never came to an end")


def test_a_stranger_in_the_way_is_never_written_over(tmp_path):
    folder = tmp_path / "faces"
    fill(folder, ["b.jpg", "a.jpg"])
    moves = [Move("b.jpg", "00000.jpg"), Move("a.jpg", "00001.jpg")]
    begin(Journal(folder, tmp_path / "t", moves, "blur"))
    (folder / "00001.jpg").write_text("stranger")
    notes = finish(load(folder), relabel)
    assert found(folder) == {"00000.jpg": "b.jpg", "00001.jpg": "stranger", "00001-2.jpg": "a.jpg"}
    assert len(notes) == 1


def test_a_name_taken_by_something_that_stays_is_refused_before_anything_moves(tmp_path):
    folder = tmp_path / "faces"
    fill(folder, ["b.jpg"])
    (folder / "00000.JPG").mkdir()
    with pytest.raises(SwapError, match="00000"):
        begin(Journal(folder, tmp_path / "t", [Move("b.jpg", "00000.jpg")], "blur"))
    assert not (folder / JOURNAL).exists() and (folder / "b.jpg").exists()


OUTSIDE = '{"version": 1, "step": "outward", "identity": "a", "method": "", "trash": "..", "moves": [%s]}'


@pytest.mark.parametrize("text", ["", "{}", "[]", OUTSIDE % '["../x", "y", false, "", ""]', OUTSIDE % "3"])
def test_a_damaged_journal_is_refused(tmp_path, text):
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(FileFormatError, match=r"\.sort\.json"):
        load(tmp_path)


def test_a_file_removed_meanwhile_is_told_and_the_others_come_home(tmp_path):
    folder = tmp_path / "faces"
    fill(folder, ["b.jpg", "a.jpg"])
    begin(Journal(folder, tmp_path / "t", [Move("b.jpg", "0.jpg"), Move("a.jpg", "1.jpg")], "blur"))
    (folder / "a.jpg").unlink()
    assert len(finish(load(folder))) == 1
    assert found(folder) == {"0.jpg": "b.jpg"}


def test_trash_on_another_disk(tmp_path, monkeypatch):
    import errno

    real = Path.replace

    def replace(self, goal):
        if Path(goal).parent != self.parent:
            raise OSError(errno.EXDEV, "another disk")
        return real(self, goal)

    monkeypatch.setattr(Path, "replace", replace)
    folder = tmp_path / "faces"
    fill(folder, ["b.jpg"])
    begin(Journal(folder, tmp_path / "t", [Move("b.jpg", "b.jpg", True)], "blur"))
    finish(load(folder))
    assert found(folder) == {} and found(tmp_path / "t") == {"b.jpg": "b.jpg"}


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from samplelib.sorting.journal import Journal, begin, finish, load
from samplelib.sorting.names import identify, plan_moves, write_names
folder = Path(sys.argv[2])
journal = load(folder)
if journal is None:
    names = sorted(p.name for p in folder.iterdir() if p.name[0] != ".")[::-1]
    files = identify(folder, dict.fromkeys(names, None))
    trash = folder.with_name("faces_trash")
    journal = Journal(folder, trash, plan_moves(folder, trash, files, names[10:], names[:10]), "x")
    print("begin", flush=True)
    begin(journal)
finish(journal, write_names)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_sigkill_at_random_moments(tmp_path):
    folder = tmp_path / "faces"
    names = [f"face {i} é.jpg" for i in range(1500)]
    fill(folder, names)
    order = sorted(names)[::-1]
    rng = random.Random(5)
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ROOT), str(folder)], stdout=subprocess.PIPE
        )
        if (folder / JOURNAL).exists():
            time.sleep(rng.uniform(0.05, 0.3))
        else:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        trash = found(folder.with_name("faces_trash"))
        assert sorted([*found(folder).values(), *trash.values()]) == sorted(names)
        if not (folder / JOURNAL).exists() and "00000.jpg" in found(folder):
            break
    if (folder / JOURNAL).exists():
        finish(load(folder), relabel)
    assert kills
    if "00000.jpg" in found(folder):
        assert list(dict(sorted(found(folder).items())).values()) == order[10:]
        assert sorted(found(folder.with_name("faces_trash"))) == sorted(order[:10])


def named(name, source=None, original=None):
    return Named(name, source, original or name, original is not None)


def test_original_names_come_from_the_record_and_from_the_frame():
    files = [
        named("00000.jpg", "00007.png", "00007_1.jpg"),
        named("00001.jpg", "00007.png"),  # sorted by DFL: no record
        named("00002.jpg", r"C:\clips\frame 3.png"),
        named("00003.jpg", "00007.png"),
        named("alice.jpg", "00009.png"),
        named("photo.png"),
    ]
    assert original_names(files) == {
        "00000.jpg": "00007_1.jpg", "00001.jpg": "00007_0.jpg", "00002.jpg": "frame 3_0.jpg",
        "00003.jpg": "00007_2.jpg", "alice.jpg": "alice.jpg", "photo.png": "photo.png",
    }  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["1.png", "2.png", None]),
                          st.sampled_from(["1_0.jpg", "1_1.jpg", "2_0.jpg", "A.jpg", "a.jpg", None])),
                max_size=12))  # fmt: skip
def test_original_names_never_meet(entries):
    files = [named(f"{i:05d}.jpg", source, original) for i, (source, original) in enumerate(entries)]
    names = [name.casefold() for name in original_names(files).values()]
    assert len(set(names)) == len(names) == len(files)


def test_a_record_that_does_not_fit_is_not_believed(tmp_path):
    folder = tmp_path / "faces"
    fill(folder, ["a.jpg", "bb.jpg"])
    files = identify(folder, {"a.jpg": "1.png", "bb.jpg": None})
    begin(
        Journal(
            folder, tmp_path / "t", plan_moves(folder, tmp_path / "t", files, ["bb.jpg", "a.jpg"], []), "x"
        )
    )
    finish(load(folder), relabel)
    assert identify(folder, {"00001.jpg": "1.png"})["00001.jpg"].original == "a.jpg"
    assert identify(folder, {"00001.jpg": "2.png"})["00001.jpg"].original == "00001.jpg"
    (folder / "00000.jpg").write_text("another file")
    assert identify(folder, {"00000.jpg": None})["00000.jpg"].original == "00000.jpg"
    assert journals.progress_of(Journal(folder, tmp_path, [], "x")) == 0

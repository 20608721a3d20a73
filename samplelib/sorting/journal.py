"""Renaming all files of a folder so that a kill at any moment loses none and the next command goes on.

Before the first file moves, `<folder>/.sort.json` says what every file is called, what it is to be called and
where those go that are sorted out. Every file then moves twice: from its old name to a name that nothing else
has, and on from there once all files have such a name:

    old  --->  sort-<id>-00017.jpg  --->  00017.jpg, or ../<folder>_trash/00431_0.jpg

The journal holds which of the two steps is under way, and the name between is unique, so one look at each
file tells where it stands, in either direction: a run can be finished and undone wherever it was cut off.
Nothing is ever written over; a file that turns up under a wanted name makes ours take another one.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import FileFormatError, SwapError
from core.storage import encode_json, move_file, read_json, sync_directory, write_bytes

JOURNAL = ".sort.json"
VERSION = 1
OUTWARD, INWARD = (
    "outward",
    "inward",
)  # steps: from the old names to those between, from there to the new ones

Ticker = Callable[[], None]
Relabel = Callable[["Journal", bool], None]


@dataclass(frozen=True)
class Move:
    """What becomes of one file.

    Attributes:
        old: Its name in the folder.
        new: Its name afterwards; in the trash folder if `trashed`.
        trashed: Whether it is sorted out.
        original: What it was called before it was ever sorted.
        mark: What tells that a file of this name is this one (see `names`).
    """

    old: str
    new: str
    trashed: bool = False
    original: str = ""
    mark: str = ""


@dataclass
class Journal:
    """A renaming under way.

    Attributes:
        folder: Whose files move.
        trash: Folder for those sorted out.
        moves: One for each file that moves or keeps its name, in the new order.
        method: What the files were sorted by.
        identity: Of this renaming.
        step: `OUTWARD` or `INWARD`.
    """

    folder: Path
    trash: Path
    moves: list[Move]
    method: str
    identity: str = field(default_factory=lambda: secrets.token_hex(4))
    step: str = OUTWARD

    @property
    def path(self) -> Path:
        return self.folder / JOURNAL

    def between(self, index: int) -> Path:
        """Where file number `index` is on its way; visible, so that nobody misses a picture."""
        suffix = os.path.splitext(self.moves[index].old)[1]
        return self.folder / f"sort-{self.identity}-{index:05d}{suffix}"

    def goal(self, index: int) -> Path:
        """Where file number `index` goes."""
        move = self.moves[index]
        return (self.trash if move.trashed else self.folder) / move.new

    def save(self) -> None:
        """Write it, whole or not at all."""
        value = {
            "version": VERSION,
            "identity": self.identity,
            "method": self.method,
            "step": self.step,
            "trash": os.path.relpath(self.trash, self.folder),
            "moves": [list(asdict(move).values()) for move in self.moves],
        }
        write_bytes(self.path, encode_json(value))
        sync_directory(self.folder)


def load(folder: Path) -> Journal | None:
    """The renaming that was cut off in this folder, if there is one.

    Raises:
        FileFormatError: There is a journal and it is damaged.
    """
    path = Path(folder) / JOURNAL
    if not path.exists():
        return None
    try:
        return _from_json(Path(folder), read_json(path))
    except (LookupError, TypeError, ValueError, AttributeError) as err:
        raise FileFormatError(
            f"{path}: not a journal of `sort` ({err}); remove it, every face still knows its source"
        ) from err


def _from_json(folder: Path, value: dict[str, Any]) -> Journal:
    if value["version"] != VERSION or value["step"] not in (OUTWARD, INWARD):
        raise ValueError("of another version")
    moves = [Move(str(old), str(new), bool(trashed), str(original), str(mark))
             for old, new, trashed, original, mark in value["moves"]]  # fmt: skip
    names = [name for move in moves for name in (move.old, move.new)]
    identity = str(value["identity"])
    if any(name in ("", ".", "..") or Path(name).name != name for name in [*names, identity]):
        raise ValueError("a name leads elsewhere")
    trash = Path(os.path.normpath(folder / str(value["trash"])))
    return Journal(folder, trash, moves, str(value["method"]), identity, str(value["step"]))


def begin(journal: Journal) -> None:
    """Write the journal: from here on `finish` or `undo` has to come.

    Raises:
        SwapError: Another renaming was cut off here, or a name is taken by a file that does not move.
    """
    if journal.path.exists():
        raise SwapError(f"{journal.folder}: an earlier sort was cut off here; finish or undo it first")
    moving = {move.old for move in journal.moves}
    with os.scandir(journal.folder) as entries:
        staying = {folded(entry.name): entry.name for entry in entries if entry.name not in moving}
    for move in journal.moves:
        if not move.trashed and folded(move.new) in staying:
            taken = staying[folded(move.new)]
            raise SwapError(f"{journal.folder / taken}: has the name of a sorted face; move it elsewhere")
    journal.save()


def finish(journal: Journal, relabel: Relabel | None = None, tick: Ticker = lambda: None) -> list[str]:
    """Bring every file to its new name and end the renaming.

    Args:
        journal: Begun or loaded.
        relabel: Called with the journal and True when all files have moved (`undo` says False), so that what
            knows their names can follow. A run that was cut off there calls it again.
        tick: Called after each file.

    Returns:
        One line for each file that is missing or came to another name than planned.
    """
    notes = []
    if journal.step == OUTWARD:
        for index, move in enumerate(journal.moves):
            _shift(journal.folder / move.old, journal.between(index))
            tick()
        _enter(journal, INWARD)
    if any(move.trashed for move in journal.moves):
        journal.trash.mkdir(parents=True, exist_ok=True)
    for index in range(len(journal.moves)):
        notes += _land(journal.between(index), journal.goal(index))
        tick()
    _end(journal, relabel, forth=True)
    return notes


def undo(journal: Journal, relabel: Relabel | None = None, tick: Ticker = lambda: None) -> list[str]:
    """Give every file its old name back and end the renaming; see `finish`."""
    notes = []
    if journal.step == INWARD:
        for index in range(len(journal.moves)):
            _shift(journal.goal(index), journal.between(index))
            tick()
        _enter(journal, OUTWARD)
    for index, move in enumerate(journal.moves):
        notes += _land(journal.between(index), journal.folder / move.old)
        tick()
    if journal.trash.is_dir() and not any(journal.trash.iterdir()):
        with contextlib.suppress(OSError):
            journal.trash.rmdir()
    _end(journal, relabel, forth=False)
    return notes


def progress_of(journal: Journal) -> int:
    """How many files of a renaming that was cut off have come to their new names."""
    if journal.step == OUTWARD:
        return 0
    return sum(not journal.between(index).exists() for index in range(len(journal.moves)))


def _enter(journal: Journal, step: str) -> None:
    sync_directory(journal.folder)
    journal.step = step
    journal.save()


def _end(journal: Journal, relabel: Relabel | None, forth: bool) -> None:
    sync_directory(journal.folder)
    if journal.trash.is_dir():
        sync_directory(journal.trash)
    if relabel is not None:
        relabel(journal, forth)
    journal.path.unlink()
    sync_directory(journal.folder)


def _shift(source: Path, between: Path) -> None:
    """Move a file to its own name between; one that is there already, or is gone, is let be."""
    if not os.path.lexists(between) and os.path.lexists(source):
        move_file(source, between)


def _land(between: Path, goal: Path) -> list[str]:
    """Move a file from its name between to its goal; what was said of it."""
    if not os.path.lexists(between):
        return [] if os.path.lexists(goal) else [f"{goal.name}: was removed meanwhile"]
    if not os.path.lexists(goal):
        move_file(between, goal)
        return []
    if between.parent != goal.parent and filecmp.cmp(between, goal, shallow=False):
        between.unlink()  # it was copied to another disk, and then the run was cut off
        return []
    other = free_name(goal.name, lambda name: os.path.lexists(goal.with_name(name)))
    move_file(between, goal.with_name(other))
    return [f"{goal}: another file came there meanwhile; ours is now {other}"]


def free_name(name: str, taken: Callable[[str], bool]) -> str:
    """`name`, or that with the lowest number behind its stem that is not taken."""
    stem, suffix = os.path.splitext(name)
    number = 1
    while taken(name):
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def folded(name: str) -> str:
    """What two names must differ in to be two files on every system."""
    return unicodedata.normalize("NFC", name).casefold()

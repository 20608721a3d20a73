"""What the faces of a sorted folder were called before, and what they are to be called next.

`<folder>/.sort_names.json` holds, for every file that sorting renamed, its original name and a mark that
tells whether a file of that name is still the one meant: the frame that the face names as its source, else
the file's size. Files that come, go or are renamed by others do no harm: what does not fit is not believed.
Faces that DFL sorted have no such record; their source frame says what `extract` called them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from core.errors import FileFormatError
from core.storage import encode_json, read_json, write_bytes
from samplelib.sorting.journal import Journal, Move, folded, free_name

RECORD = ".sort_names.json"
VERSION = 1
# What sorting calls a file: DFL's numbers, and the names between of a run whose journal was lost.
_NUMBERED = re.compile(r"\d{5,}|sort-[0-9a-f]{8}-\d{5,}")
_FACE_OF_FRAME = re.compile(r"(.+)_(\d+)")


@dataclass(frozen=True)
class Named:
    """A file of the folder, and what is known of its origin.

    Attributes:
        name: What it is called now.
        source: File name of the frame it came from, if it says so.
        original: What it was called before it was ever sorted; its name where no record tells.
        recorded: Whether a record tells.
    """

    name: str
    source: str | None
    original: str
    recorded: bool = False

    def frame(self) -> tuple[str, int] | None:
        """The stem of its frame and its number among the faces of that frame, if its name tells both.

        `alice_2024.jpg` does not, unless its source is `alice.png`; without a source only two numbers do.
        """
        match = _FACE_OF_FRAME.fullmatch(os.path.splitext(self.original)[0])
        if match is None:
            return None
        told = match[1].isdecimal() if self.source is None else match[1] == source_stem(self.source)
        return (match[1], int(match[2])) if told else None


def mark_of(path: Path, source: str | None) -> str:
    """What a file is known by besides its name."""
    if source is not None:
        return source
    try:
        return f"#{path.stat().st_size}"
    except OSError:
        return "#"


def read_names(folder: Path) -> dict[str, tuple[str, str]]:
    """Original name and mark for the names of today; empty where there is no record or a damaged one."""
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        value = read_json(path)
        names = value["names"] if value["version"] == VERSION else {}
        return {str(name): (_plain(original), str(mark)) for name, (original, mark) in names.items()}
    except (FileFormatError, LookupError, TypeError, ValueError, AttributeError):
        return {}


def _plain(name: str) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or PurePosixPath(name).name != name:
        raise ValueError(name)
    return name


def write_names(journal: Journal, forth: bool) -> None:
    """Record the original names after a renaming, or after it was undone."""
    rows = [(move.new if forth else move.old, move) for move in journal.moves if not (forth and move.trashed)]
    moved = {move.old for move in journal.moves} | {move.new for move in journal.moves if not move.trashed}
    names = {
        name: list(entry)
        for name, entry in read_names(journal.folder).items()
        if name not in moved and os.path.lexists(journal.folder / name)
    }
    names |= {name: [move.original, move.mark] for name, move in rows if move.original not in ("", name)}
    if names:
        write_bytes(journal.folder / RECORD, encode_json({"version": VERSION, "names": names}))
    else:
        (journal.folder / RECORD).unlink(missing_ok=True)


def identify(folder: Path, sources: Mapping[str, str | None]) -> dict[str, Named]:
    """What is known of each file.

    Args:
        folder: Of the files.
        sources: File name -> the frame that its metadata names.
    """
    record = read_names(folder)
    result = {}
    for name, source in sources.items():
        original, mark = record.get(name, ("", ""))
        known = bool(original) and mark == mark_of(folder / name, source)
        result[name] = Named(name, source, original if known else name, known)
    return result


def original_names(files: Sequence[Named]) -> dict[str, str]:
    """The names that these files had before they were sorted, no two alike.

    A recorded name counts; a file that is just numbered, as DFL's sorter does it, is named after its frame
    like `extract` does it: `00001_0.jpg`, and the next of the same frame `00001_1.jpg`.
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    later: list[tuple[Named, str]] = []
    for file in sorted(files, key=lambda file: (file.original != file.name, file.name)):
        stem, suffix = os.path.splitext(file.original)
        if file.source is not None and _NUMBERED.fullmatch(stem):
            later.append((file, suffix))
        elif folded(file.original) in taken:
            match = file.frame()
            later.append((file, suffix)) if match and file.source else result.update({file.name: ""})
        else:
            result[file.name] = file.original
            taken.add(folded(file.original))
    for file, suffix in later:
        name = _next_face(source_stem(str(file.source)), suffix, taken)
        result[file.name] = name
        taken.add(folded(name))
    for file in files:
        if not result[file.name]:
            result[file.name] = free_name(file.original, lambda name: folded(name) in taken)
            taken.add(folded(result[file.name]))
    return result


def _next_face(stem: str, suffix: str, taken: set[str]) -> str:
    number = 0
    while folded(f"{stem}_{number}{suffix}") in taken:
        number += 1
    return f"{stem}_{number}{suffix}"


def source_stem(source: str) -> str:
    """The stem of a frame's name, also where it was stored as a path of any system."""
    return PurePosixPath(PureWindowsPath(source).name).stem or "face"


def numbered_names(names: Sequence[str]) -> list[str]:
    """`00000.jpg` and so on for files in their new order; more digits from 100,000 files on."""
    digits = max(5, len(str(max(0, len(names) - 1))))
    return [f"{index:0{digits}d}{os.path.splitext(name)[1]}" for index, name in enumerate(names)]


def plan_moves(
    folder: Path,
    trash: Path,
    files: Mapping[str, Named],
    kept: Sequence[str],
    trashed: Sequence[str],
    give: Callable[[Sequence[Named]], Sequence[str]] | None = None,
) -> list[Move]:
    """What becomes of every file.

    Args:
        folder: Of the files.
        trash: Folder for those sorted out. They go there by their original names; a name taken there, by
            files of earlier sorts, gets a number.
        files: All files by name.
        kept: Names in their new order.
        trashed: Names of those sorted out.
        give: The new names of those kept; by default numbers.
    """
    new = list(give([files[name] for name in kept])) if give else numbered_names(kept)
    moves = [_move(folder, files[old], name, False) for old, name in zip(kept, new, strict=True)]
    taken = {folded(path.name) for path in trash.iterdir()} if trash.is_dir() else set()
    for old in trashed:
        name = free_name(files[old].original, lambda name: folded(name) in taken)
        taken.add(folded(name))
        moves.append(_move(folder, files[old], name, True))
    return moves


def _move(folder: Path, file: Named, new: str, trashed: bool) -> Move:
    return Move(file.name, new, trashed, file.original, mark_of(folder / file.name, file.source))

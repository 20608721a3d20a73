"""Renaming many files of a folder so that a kill at any moment loses none of them.

The plan is written down first (`.renaming.json` in the folder). Files whose new name is still another's old
one take a visible name between (`renaming-...`), so that chains, swaps and circles come out right; when all
of these have moved, that is written down too. From either state the rest can be done by anybody:
`finish_renaming` does it, and `rename_all` begins with it.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import storage
from core.errors import FileFormatError, SwapError

__all__ = ["JOURNAL_NAME", "finish_renaming", "is_file_name", "rename_all"]

JOURNAL_NAME = ".renaming.json"
_VERSION = 1


def rename_all(folder: Path, mapping: Mapping[str, str]) -> int:
    """Rename files of a folder, all of them or, after a kill, all of them by `finish_renaming`.

    Nothing is ever overwritten. Should a new name be taken by a file that appeared meanwhile, the renamed
    file gets `_1`, `_2` and so on added to its stem.

    Args:
        folder: Where the files are.
        mapping: Old name to new name, both bare. A new name may also be `../sibling/name`: the file moves to
            another folder beside this one, which is made.

    Returns:
        How many files have another name now.

    Raises:
        SwapError: Two files would get one name, or one that another file has; nothing was renamed then.
        FileFormatError: The journal of an earlier renaming is damaged.
    """
    folder = Path(folder)
    finish_renaming(folder)
    moves = {old: new for old, new in mapping.items() if old != new}
    if not moves:
        return 0
    _check(folder, moves)
    olds, news = {_key(name) for name in moves}, {_key(name) for name in moves.values()}
    token = secrets.token_hex(4)
    entries = []
    for number, (old, new) in enumerate(moves.items()):
        entangled = _key(new) in olds or _key(old) in news
        between = f"renaming-{token}-{number:06}{os.path.splitext(old)[1]}" if entangled else None
        entries.append([old, between, new])
    for parent in {(folder / new).parent for new in moves.values()}:
        parent.mkdir(exist_ok=True)
    journal = {"version": _VERSION, "moved_aside": False, "files": entries}
    _save(folder, journal)
    _carry_out(folder, journal)
    return len(moves)


def finish_renaming(folder: Path) -> int:
    """Do what a killed `rename_all` left undone.

    Returns:
        How many files that renaming was about; 0 where nothing was left.

    Raises:
        FileFormatError: The journal is damaged; no file was touched.
    """
    folder = Path(folder)
    storage.remove_leavings(folder, JOURNAL_NAME)
    path = folder / JOURNAL_NAME
    if not path.exists():
        return 0
    journal = _checked(storage.read_json(path), path)
    _carry_out(folder, journal)
    return len(journal["files"])


def _carry_out(folder: Path, journal: dict[str, Any]) -> None:
    """Both halves, each of which may have been begun before."""
    if not journal["moved_aside"]:
        # No new name exists yet, so an old name can only be the file's own.
        for old, between, _ in journal["files"]:
            if between is not None and not (folder / between).exists():
                _move(folder / old, folder / between)
        journal = {**journal, "moved_aside": True}
        _save(folder, journal)
    for old, between, new in journal["files"]:
        target = folder / new
        target.parent.mkdir(exist_ok=True)
        source = folder / (between if between is not None else old)
        if source.exists():
            _move(source, _free(target))
    for parent in {(folder / new).parent for _, _, new in journal["files"]} | {folder}:
        storage.sync_directory(parent)
    (folder / JOURNAL_NAME).unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except FileNotFoundError:
        if source.exists():
            raise  # the target's folder is gone; a source that the user removed meanwhile is no matter


def _free(path: Path) -> Path:
    """`path`, or with a number added where a file has that name."""
    candidate, number = path, 0
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return candidate


def _save(folder: Path, journal: dict[str, Any]) -> None:
    storage.write_bytes(folder / JOURNAL_NAME, storage.encode_json(journal))
    storage.sync_directory(folder)


def _key(name: str) -> str:
    """Names that some file system takes for the same have the same key."""
    return unicodedata.normalize("NFC", name).casefold()


def _check(folder: Path, moves: Mapping[str, str]) -> None:
    for old, new in moves.items():
        if not is_file_name(old) or not _is_allowed(new):
            raise SwapError(f"{folder / old}: cannot become {new!r}; that is no name for a file")
    there = {folder: set(os.listdir(folder))}
    taken: dict[str, str] = {}
    for old, new in moves.items():
        if new in taken:
            raise SwapError(f"{folder}: {taken[new]} and {old} would both become {new}; nothing was renamed")
        taken[new] = old
        target = folder / new
        if target.parent not in there:
            there[target.parent] = set(os.listdir(target.parent)) if target.parent.is_dir() else set()
        if target.name in there[target.parent] and new not in moves:
            raise SwapError(f"{target}: is there already, and {old} would become it; nothing was renamed")
    missing = next((old for old in moves if old not in there[folder]), None)
    if missing is not None:
        raise SwapError(f"{folder / missing}: is gone, and was to be renamed; nothing was renamed")


def _checked(journal: Any, path: Path) -> dict[str, Any]:
    """A journal may come with a stranger's faceset: it can only move files to where `rename_all` would."""
    right = (
        isinstance(journal, dict)
        and journal.get("version") == _VERSION
        and isinstance(journal.get("moved_aside"), bool)
        and isinstance(journal.get("files"), list)
        and all(
            isinstance(entry, list)
            and len(entry) == 3
            and is_file_name(entry[0])
            and (entry[1] is None or is_file_name(entry[1]))
            and _is_allowed(entry[2])
            for entry in journal["files"]
        )
    )
    if not right:
        raise FileFormatError(
            f"{path}: the record of an unfinished renaming is damaged; files named renaming-... are its own, "
            "give them names and remove the record"
        )
    return journal


def is_file_name(name: Any) -> bool:
    """Whether this names one file in a folder, and neither leads elsewhere nor is our record."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..", JOURNAL_NAME)
        and not any(mark in name for mark in "/\\\0")
    )


def _is_allowed(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    parts = name.split("/")
    if len(parts) == 3:
        return parts[0] == ".." and is_file_name(parts[1]) and is_file_name(parts[2])
    return len(parts) == 1 and is_file_name(name)

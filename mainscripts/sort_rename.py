"""The end of a sort: renaming with its journal, and the record of `extract`, which follows the new names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SwapError
from core.interact.progress import Progress
from core.storage import encode_json, replacing
from mainscripts.extract_log import LOG_NAME, read_entries

if TYPE_CHECKING:
    from samplelib.sorting.journal import Journal

MARK = "sorted"  # key of the line in the record that names the renaming it has followed


def carry_out(journal: Journal) -> list[str]:
    """Rename everything; see `samplelib.sorting.journal.finish`."""
    from samplelib.sorting.journal import begin

    begin(journal)
    return go_on(journal)


def go_on(journal: Journal, back: bool = False) -> list[str]:
    """Finish a renaming, or undo it, from wherever it stands; what is to be said about single files."""
    from samplelib.sorting.journal import finish, undo

    with Progress("Renaming back" if back else "Renaming", 2 * len(journal.moves), "step") as progress:
        try:
            return (undo if back else finish)(journal, relabel, progress.update)
        except KeyboardInterrupt:
            progress.write("Stopped amid renaming; no file is lost, the next `sort` finishes or undoes it.")
            raise


def settle(root: Path) -> None:
    """Finish renamings that were cut off in a faceset, so that other commands find settled names there.

    Args:
        root: Folder of faces; its subfolders, one for each person, are looked at, too.
    """
    from samplelib.sorting.journal import JOURNAL, load

    for path in [root / JOURNAL, *sorted(root.glob(f"*/{JOURNAL}"))]:
        if not path.exists():
            continue
        with alone_in(path.parent):
            journal = load(path.parent)
            if journal is not None:
                print(f"{path.parent}: finishing the sort by {journal.method} that was cut off")
                for note in go_on(journal):
                    print(note)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other sorts out of a folder. POSIX only; a lock of the folder itself leaves nothing behind.

    Raises:
        SwapError: Another process is sorting it.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SwapError(f"{folder}: is being sorted by another process; wait for it") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def relabel(journal: Journal, forth: bool) -> None:
    """Let the record of original names and that of `extract` follow a renaming; may be called again."""
    from samplelib.sorting.names import write_names

    write_names(journal, forth)
    folder = journal.folder
    names = {
        (move.old if forth else move.new): (move.new if forth else move.old)
        for move in journal.moves
        if not move.trashed
    }
    _follow(folder / LOG_NAME, "", names, journal.identity, forth)
    _follow(folder.parent / LOG_NAME, folder.name + "/", names, journal.identity, forth)


def _follow(path: Path, prefix: str, names: dict[str, str], identity: str, forth: bool) -> None:
    """Rename faces in a record of `extract`.

    Faces that are gone, to the trash or by the user's hand, leave the record: another face has their name
    now, and doing their frame again must not remove that one.

    Args:
        path: The record, where there is one.
        prefix: The folder of the faces, if it is inside the record's.
        names: Old name -> new name.
        identity: Of the renaming; a record that has followed it is let be, or follows it back.
        forth: Whether this is the renaming, not its undoing.
    """
    entries = list(read_entries(path))
    followed = any(entry.get(MARK) == identity for entry in entries)
    if not entries or followed == forth:
        return
    if prefix and not any(_mentions(entry, prefix) for entry in entries):
        return
    given = set(names.values())

    def follow(face: Any) -> Any:
        folder, _, name = str(face).rpartition("/")
        if (folder + "/" if folder else "") != prefix:
            return face  # in the folder of another person
        if name in names:
            return prefix + names[name]
        stays = name not in given and os.path.lexists(path.parent / str(face))
        return face if stays else None

    with replacing(path) as temporary, temporary.open("wb") as file:
        for entry in entries:
            if entry.get(MARK) == identity:
                continue
            if isinstance(entry.get("faces"), list):
                faces = [face for face in map(follow, entry["faces"]) if face is not None]
                entry = entry | {"faces": faces}
            file.write(encode_json(entry) + b"\n")
        if forth:
            file.write(json.dumps({MARK: identity}).encode() + b"\n")


def _mentions(entry: dict[str, Any], prefix: str) -> bool:
    faces = entry.get("faces")
    return isinstance(faces, list) and any(str(face).startswith(prefix) for face in faces)

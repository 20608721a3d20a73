"""`util`: a folder's faces into one file, `faceset.pak`, and out of it again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from core import storage
from core.errors import FileFormatError, SwapError
from core.interact.progress import Progress
from core.interact.prompts import Prompter
from mainscripts.util_faces import faces_in
from mainscripts.util_skipped import printable, show_left_alone
from samplelib.face_values import list_person_folders
from samplelib.pak import PAK_NAME, Tell, read_pak_table
from samplelib.pak_writer import PakSource, left_by_removal, write_pak
from samplelib.unpacking import unpack as unpack_pak


def pack(folder: Path, prompter: Prompter) -> None:
    """Ask as DFL does, pack, verify, and only then remove what was packed, if that is wanted.

    Raises:
        SwapError: A pak that is there already holds more, and is to stay; or nothing can be packed.
    """
    pak = folder / PAK_NAME
    persons = list_person_folders(folder)
    as_persons = bool(persons) and prompter.ask_bool(
        f"{len(persons)} subfolders found, process as person faceset?",
        True,
        help="Only faces in the subfolders are packed then, and each remembers the name of its subfolder.",
    )
    sources = _sources(folder, persons if as_persons else [])
    if not sources and pak.exists():
        raise SwapError(f"{pak}: the faces are packed already, there are none beside it")
    if pak.exists():
        if left := left_by_removal(pak, sources):
            print(f"{len(left)} files are in {PAK_NAME}, compared; an earlier run was cut off removing them")
            _offer_removal(folder, left, prompter)
            return
        _check_loss(pak, sources, prompter)
    with _phases("Packing") as tell:
        packed = write_pak(pak, sources, tell)
    megabytes = pak.stat().st_size / 1e6
    print(f"{len(packed.sources)} faces packed into {pak} ({megabytes:.1f} MB), read back and compared")
    if as_persons and faces_in(folder):
        print(f"{len(faces_in(folder))} images beside the subfolders were not packed, and stay")
    skipped = {str(path.relative_to(folder)): reason for path, reason in packed.skipped.items()}
    show_left_alone(skipped, "files were not packed, and stay")
    _offer_removal(folder, packed.sources, prompter)


def _sources(folder: Path, persons: list[Path]) -> list[PakSource]:
    """In DFL's order: by subfolder, then by name."""
    if persons:
        return [PakSource(path, person.name) for person in persons for path in faces_in(person)]
    return [PakSource(path) for path in faces_in(folder)]


def _check_loss(pak: Path, sources: list[PakSource], prompter: Prompter) -> None:
    """A pak may be all that is left of its faces.

    Raises:
        SwapError: It holds others than those to be packed, and is to stay.
    """
    names = {(source.path.name, source.person) for source in sources}
    try:
        rows = read_pak_table(pak, lambda row: (row.get("filename"), row.get("person_name")))
        missing = sum(entry.row not in names for entry in rows)
        what = f"holds {missing} faces that are not among the {len(sources)} files"
    except FileFormatError:
        missing, what = 1, "cannot be read"
    if not missing:
        print(f"{PAK_NAME} is there already and is written anew; all its faces are among the files.")
    elif not prompter.ask_bool(f"{PAK_NAME} {what}. Overwrite it?", False):
        raise SwapError(f"{pak}: {what}, and stays; unpack it first (util --unpack-faceset), then pack again")


def _offer_removal(folder: Path, packed: list[PakSource], prompter: Prompter) -> None:
    """Ask whether the files that are in the pak are to go, and subfolders that are empty then."""
    if not prompter.ask_bool("Delete original files?", True):
        return
    for source in packed:
        source.path.unlink(missing_ok=True)
    for parent in {source.path.parent for source in packed} - {folder}:
        with contextlib.suppress(OSError):  # other files are in it
            parent.rmdir()
    print(f"{len(packed)} files removed, which are in {PAK_NAME}")


def unpack(folder: Path) -> None:
    """Write the faces back as files, verify, and only then remove the pak.

    Raises:
        SwapError: There is no pak, or it is damaged.
    """
    pak = folder / PAK_NAME
    if not pak.is_file():
        raise SwapError(f"{pak}: does not exist; only folders packed with util --pack-faceset have one")
    with _phases("Unpacking") as tell:
        result = unpack_pak(pak, tell)
    print(f"{result.faces} faces unpacked into {folder}, read back and compared")
    renamed = {
        name: f"written as {path.name}, another file has its name" for name, path in result.renamed.items()
    }
    show_left_alone(renamed, "faces have another name now")
    if result.refused:
        show_left_alone(result.refused, "faces of the pak were not written")
        print(f"{printable(str(pak))} stays, as not all of it was unpacked")
        return
    storage.sync_directory(folder)
    pak.unlink()


@contextlib.contextmanager
def _phases(label: str) -> Iterator[Tell]:
    """One progress display for each thing that is done with all faces, when it begins."""
    shown: dict[str, Progress] = {}

    def tell(what: str, total: int) -> None:
        if what not in shown:
            for progress in shown.values():
                progress.close()
            shown[what] = Progress(f"{label}: {what}", total, "face")
        shown[what].update()

    try:
        yield tell
    except BaseException:
        for progress in shown.values():
            progress.close(finished=False)
        raise
    for progress in shown.values():
        progress.close()

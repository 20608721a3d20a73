"""`util --report`: one page about a faceset, or about a source and the destination that it is to cover."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core import storage
from core.errors import SwapError

if TYPE_CHECKING:
    from samplelib.report.findings import Study
    from samplelib.report.measure import FaceTable, StoredImage
    from samplelib.report.suspects import Suspicion

HEAD = 1024  # bytes of a page that its mark is looked for in


def report(folder: Path, compare_with: Path | None = None) -> Path:
    """Write `<folder>_report.html` beside a folder of faces, print what it found, and return its path.

    Args:
        folder: Of aligned faces, or with a `faceset.pak`; of the source, if there is a destination.
        compare_with: The destination's.
    """
    from core.interact.progress import Progress
    from mainscripts.util_skipped import show_left_alone
    from samplelib.report.findings import compare, findings, summary
    from samplelib.report.page import build_page
    from samplelib.report.sheets import make_sheets, thumbnails

    folders = [one.absolute() for one in (folder, compare_with) if one is not None]
    studies = [_study(one) for one in folders]
    sheets = [make_sheets(one) for one in studies]
    pictures = []
    for one, some in zip(studies, sheets, strict=True):
        count = len({face for sheet in some for face in sheet.faces})
        with Progress("Contact sheets", count, "face") as progress:
            pictures.append(thumbnails(one, some, progress.update))
    comparison = compare(*studies) if len(studies) == 2 else None
    made = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    page = build_page(studies, sheets, pictures, comparison, made)
    path = _page_path(folders[0])
    storage.write_bytes(path, page.encode("utf-8"))
    for one in studies:
        _tell(one.title, [finding.text for finding in findings(one)])
        show_left_alone(one.table.unreadable | one.table.foreign, "files left out")
    if comparison is not None:
        _tell("Source for destination", [finding.text for finding in comparison.verdict])
        print(_printable(summary([one.title for one in studies], comparison)))
    print(f"Report: {_printable(str(path))}")
    return path


def _study(folder: Path) -> Study:
    """Look at all faces of a folder."""
    from core.interact.progress import Progress
    from samplelib.report.findings import study
    from samplelib.report.measure import measure_all

    items, notes = list_items(folder)
    title = f"{folder.parent.name}/{folder.name}"
    print(f"{_printable(str(folder))}: {len(items)} images")
    table = measure_all(items, Progress, "Looking at the faces", notes)
    return study(title, table, _suspicion(table))


def _suspicion(table: FaceTable) -> Suspicion:
    """By dlib's network where it is installed and there are faces enough, else by landmarks."""
    from core.interact.progress import Progress
    from facelib import embedding
    from samplelib.report.findings import time_order
    from samplelib.report.suspects import FEWEST, embed_some, find_suspects

    if len(table) < FEWEST:
        return find_suspects(table, None, f"There are fewer than {FEWEST} faces.")
    if not embedding.available():
        return find_suspects(table, None, "For that, install the optional package dlib (see the manual).")
    try:
        vectors = embed_some(table, time_order(table), Progress)
    except SwapError as err:
        print(err)
        return find_suspects(table, None, str(err))
    return find_suspects(table, vectors)


def list_items(folder: Path) -> tuple[list[StoredImage], list[str]]:
    """The images of a faceset, and what is to be told of how they lie.

    A `faceset.pak` goes before loose files, as in training; without both, subfolders are persons.

    Raises:
        FileFormatError: The pak is damaged.
    """
    from samplelib.face_values import list_person_folders
    from samplelib.pak import PAK_NAME

    loose = _files(folder)
    pak = folder / PAK_NAME
    if pak.is_file():
        notes = [f"The faces are those of {PAK_NAME}."]
        if loose:
            notes.append(
                f"{len(loose)} loose images beside it were not looked at; training ignores them, too."
            )
        return _packed(pak), notes
    if loose:
        return loose, []
    persons = list_person_folders(folder)
    items = [item for person in persons for item in _files(person, person.name)]
    return items, ["The faces lie in one subfolder for each person."] if items else []


def _files(folder: Path, person: str = "") -> list[StoredImage]:
    """Without the debug and mask pictures that `util` writes beside faces."""
    from mainscripts.util_faces import faces_in
    from samplelib.report.measure import StoredImage

    before = f"{person}/" if person else ""
    return [StoredImage(before + path.name, path, person=person) for path in faces_in(folder)]


def _packed(pak: Path) -> list[StoredImage]:
    from samplelib.pak import read_pak_table
    from samplelib.report.measure import StoredImage

    items = []
    for entry in read_pak_table(pak, lambda row: (row.get("filename"), row.get("person_name"))):
        name, person = (str(value) if value else "" for value in entry.row)
        shown = f"{person}/{name}" if person else name
        items.append(StoredImage(shown, pak, entry.offset, entry.length, person))
    return items


def _page_path(folder: Path) -> Path:
    """Beside the folder; never in the place of something else than an older page of ours."""
    from samplelib.report.page import MARK

    number = 1
    while True:
        ending = "_report.html" if number == 1 else f"_report_{number}.html"
        path = folder.with_name(f"{folder.name}{ending}")
        try:
            with path.open("rb") as file:
                if MARK.encode() in file.read(HEAD):
                    return path
        except FileNotFoundError:
            return path
        except OSError as err:
            if not path.is_dir():
                raise SwapError(f"{path}: cannot be read ({err.strerror}); move it away") from err
        number += 1


def _tell(title: str, lines: list[str], say: Callable[[str], None] = print) -> None:
    say(f"{_printable(title)}:")
    for line in lines:
        say(f"  {_printable(line)}")


def _printable(text: str) -> str:
    from samplelib.report.wording import printable

    return printable(text)

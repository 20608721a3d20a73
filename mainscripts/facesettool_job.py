"""The folder that a tool writes new faces to, how a run goes on after a stop, and the way back.

`<name>_<what>` beside the faceset holds the new faces and `.facesettool.json`: the settings they were made
with, and whether they are being moved over the old ones. Every file is whole or absent, so what is there need
not be made again. Moving is a rename for each file: at any moment a face is the old or the new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import storage
from core.errors import FileFormatError, SwapError
from core.interact.progress import track
from core.interact.prompts import Prompter
from core.paths import list_images
from mainscripts.util_faces import faces_in
from mainscripts.util_skipped import show_left_alone
from samplelib.pak import PAK_NAME

RECORD_NAME = ".facesettool.json"


@dataclass
class Workplace:
    """A faceset, and the folder of its new faces."""

    faceset: Path
    output: Path
    settings: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)  # file -> why it was left alone
    finished: bool = False  # an earlier run was moving its faces back, and that is done now

    def pending(self) -> list[Path]:
        """The faces that have no new form yet, or changed since."""
        return [path for path in faces_in(self.faceset) if not self._is_done(path)]

    def goal(self, path: Path) -> Path:
        return self.output / path.name

    def _is_done(self, path: Path) -> bool:
        try:
            return self.goal(path).stat().st_mtime_ns >= path.stat().st_mtime_ns
        except OSError:
            return False


def open_workplace(faceset: Path, ending: str, settings: dict[str, Any]) -> Workplace:
    """Make the output folder or go on in it; one of other settings is moved aside, never emptied.

    Raises:
        SwapError: There are no loose faces to work on.
    """
    faceset = faceset.absolute()
    output = faceset.with_name(f"{faceset.name}_{ending}")
    place = Workplace(faceset, output, settings)
    record = _read_record(output)
    if record is not None and record.get("merging"):
        print(f"An earlier run was cut off while it moved its faces from {output}; finishing that.")
        _move_all(place)
        place.finished = True
        return place
    if not faces_in(faceset):
        packed = (faceset / PAK_NAME).is_file()
        hint = (
            "they are packed, unpack them first (util --unpack-faceset)" if packed else "extract some first"
        )
        raise SwapError(f"{faceset}: no face images in this folder; {hint}")
    if record is not None and record.get("settings") == settings:
        storage.remove_leavings(output)
        done = len(list_images(output))
        if done:
            print(f"Going on with an earlier run: {done} faces are in {output} already.")
        return place
    _move_aside(output)
    output.mkdir(exist_ok=True)
    storage.write_json(output / RECORD_NAME, {"settings": settings, "merging": False})
    return place


def _move_aside(output: Path) -> None:
    if not output.is_dir() or not any(output.iterdir()):
        return
    number = 1
    while (aside := output.with_name(f"{output.name}_old{number}")).exists():
        number += 1
    output.rename(aside)
    print(f"{output} held something of another run; that is in {aside} now.")


def _read_record(output: Path) -> dict[str, Any] | None:
    try:
        record = storage.read_json(output / RECORD_NAME)
    except (FileFormatError, OSError):
        return None
    return record if isinstance(record, dict) else None


def show_result(place: Workplace) -> None:
    """How many faces there are now, and what was left alone."""
    print(f"{len(list_images(place.output))} faces in {place.output}")
    show_left_alone(place.skipped, "files were left alone")


def offer_merging(place: Workplace, prompter: Prompter, given: bool | None) -> None:
    """Ask whether the new faces are to take the old ones' places, and do so."""
    images = list_images(place.output)
    if not images:
        _remove_if_empty(place.output)
        return
    label = f"Merge {place.output.name} back to {place.faceset.name}?"
    text = "The new faces take the places of the old ones, which are gone then."
    wanted = prompter.ask_bool(label, True, help=text) if given is None else given
    if not wanted:
        return
    storage.sync_everything()  # the old faces go now
    storage.write_json(place.output / RECORD_NAME, {"settings": place.settings, "merging": True})
    _move_all(place)


def _move_all(place: Workplace) -> None:
    moved, images = 0, list_images(place.output)
    for path in track(images, "Merging", len(images), "face"):
        goal = place.faceset / path.name
        if goal.exists():  # a face that was deleted meanwhile does not come back
            storage.move_file(path, goal)
            moved += 1
    storage.sync_directory(place.faceset)
    print(f"{moved} faces of {place.faceset} replaced")
    left = len(images) - moved
    if left:
        print(f"{left} faces are not in {place.faceset} any more; their new form stays in {place.output}")
        storage.write_json(place.output / RECORD_NAME, {"settings": {}, "merging": False})
    else:
        _remove_if_empty(place.output)


def _remove_if_empty(output: Path) -> None:
    (output / RECORD_NAME).unlink(missing_ok=True)
    storage.remove_leavings(output)
    with contextlib.suppress(OSError):
        output.rmdir()


def settle(place: Workplace, results: Iterable[tuple[Path, str | None]], label: str, total: int) -> None:
    """Take the results of the work as they come: None, or why a file was left alone."""
    for path, reason in track(results, label, total, "face"):
        if reason is not None:
            place.skipped[path.name] = reason.removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")

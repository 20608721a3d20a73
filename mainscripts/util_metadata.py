"""`util`: faces' metadata saved apart from their pictures, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core import storage
from core.errors import FileFormatError, SwapError
from core.interact.progress import Progress, track
from core.interact.prompts import Prompter
from core.parallel import map_in_order
from core.paths import is_file_name, list_images
from mainscripts.util_faces import faces_in
from mainscripts.util_skipped import show_left_alone
from samplelib.face_values import read_or_reason
from samplelib.metadata_file import (
    METADATA_NAME,
    SavedFace,
    read_metadata_file,
    restored,
    write_metadata_file,
)


def save_metadata(folder: Path, prompter: Prompter) -> None:
    """Write `meta.dat` of all faces of the folder.

    Raises:
        SwapError: An earlier one holds faces that would be lost, and it is to stay.
    """
    path = folder / METADATA_NAME
    paths = faces_in(folder)
    skipped: dict[str, str] = {}
    if path.exists():
        _check_loss(path, paths, prompter)

    def faces() -> Iterator[SavedFace]:
        found = map_in_order(lambda path: (path, read_or_reason(path)), paths)
        for path, face in track(found, "Saving metadata", len(paths), "face"):
            if isinstance(face, str):
                skipped[path.name] = face
            else:
                yield SavedFace(path.name, face.shape, face.values)

    count = write_metadata_file(path, faces())
    print(f"Metadata of {count} faces saved to {path}")
    show_left_alone(skipped, "files left alone")


def _check_loss(path: Path, paths: list[Path], prompter: Prompter) -> None:
    """An edited picture has lost its metadata: what `meta.dat` holds of it may be all there is."""
    faces = {
        path.name
        for path, face in map_in_order(lambda path: (path, read_or_reason(path)), paths)
        if not isinstance(face, str)
    }
    try:
        missing = sum(face.name not in faces for face in read_metadata_file(path))
        what = f"holds metadata of {missing} faces that have none in the folder now"
    except FileFormatError:
        missing, what = 1, "cannot be read"
    if missing and not prompter.ask_bool(f"{METADATA_NAME} {what}. Overwrite it?", False):
        raise SwapError(f"{path}: {what}, and stays; restore from it first, or move it elsewhere")


def restore_metadata(folder: Path) -> None:
    """Put the metadata of `meta.dat` back into the pictures, and remove it if that came to its end.

    Raises:
        SwapError: There is no `meta.dat`.
    """
    path = folder / METADATA_NAME
    if not path.is_file():
        raise SwapError(f"{path}: does not exist; save the metadata first (util --save-faceset-metadata)")
    skipped: dict[str, str] = {}
    count = 0
    with Progress("Restoring metadata", len(list_images(folder)), "face") as progress:
        for face, reason in map_in_order(
            lambda face: (face, _restore_one(folder, face)), read_metadata_file(path)
        ):
            if reason is not None:
                skipped[face.name] = reason
            else:
                count += 1
                progress.update()
    print(f"Metadata of {count} faces restored")
    show_left_alone(skipped, "entries not restored")
    if skipped:
        print(f"{path} stays, as not all of it was restored")
    else:
        storage.sync_everything()
        path.unlink()


def _restore_one(folder: Path, face: SavedFace) -> str | None:
    if not is_file_name(face.name):
        return "is no name of a file"
    path = folder / face.name
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return "is no JPEG"
    try:
        jpeg = path.read_bytes()
        data = restored(jpeg, face)
    except OSError as err:
        return f"cannot be read ({err.strerror})"
    except FileFormatError as err:
        return str(err)
    if data != jpeg:
        storage.write_bytes(path, data, durable=False)
    return None

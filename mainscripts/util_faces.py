"""`util`: debug images, original names and mask pictures of a folder of aligned faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

import facelib
from core import storage
from core.errors import SampleError
from core.imageio import encode_image
from core.interact.progress import track
from core.parallel import map_in_order
from core.paths import list_images
from core.renaming import is_file_name, rename_all
from mainscripts.util_skipped import show_left_alone
from samplelib.face_values import read_or_reason

DEBUG_QUALITY, MASK_QUALITY = 50, 100
OURS = ("_debug", "_mask")  # ends of the stems of pictures that these tools wrote


def faces_in(folder: Path) -> list[Path]:
    """Images of the folder without the pictures that these tools wrote beside faces."""
    images = list_images(folder)
    stems = {path.stem for path in images}
    return [
        path
        for path in images
        if not any(path.stem.endswith(end) and path.stem.removesuffix(end) in stems for end in OURS)
    ]


def add_debug_images(folder: Path) -> None:
    """Write `<stem>_debug.jpg` beside each face."""

    def draw(path: Path) -> str | None:
        image, metadata = facelib.read_face(path)
        if metadata.face_type == "mark_only":
            rect = metadata.source_rect
            picture = facelib.draw_debug(image, [(rect, metadata.landmarks)], metadata.face_type)
        else:
            picture = facelib.draw_landmarks(image, metadata.landmarks, darken_hull=True)
        data = encode_image(".jpg", picture, DEBUG_QUALITY)
        storage.write_bytes(path.with_name(f"{path.stem}_debug.jpg"), data, durable=False)
        return None

    _for_each_face(folder, draw, "Drawing landmarks", "debug images written")


def export_masks(folder: Path) -> None:
    """Write `<stem>_mask.jpg` beside each face that has a mask: the applied one, else its polygons."""

    def export(path: Path) -> str | None:
        face = read_or_reason(path)
        if isinstance(face, str):
            return face
        mask = face.metadata.decode_xseg_mask()
        if mask is None and not face.metadata.seg_ie_polys:
            return "has neither an applied mask nor polygons"
        if mask is None:
            mask = face.metadata.draw_polys(np.zeros((*face.shape, 1), np.float32))
        picture = np.where(mask >= 0.5, np.uint8(255), np.uint8(0))
        data = encode_image(".jpg", picture, MASK_QUALITY)
        storage.write_bytes(path.with_name(f"{path.stem}_mask.jpg"), data, durable=False)
        return None

    _for_each_face(folder, export, "Exporting masks", "masks written")


def _for_each_face(folder: Path, work: Callable[[Path], str | None], label: str, done: str) -> None:
    """Do the work for every file; a reason that it gives, or an unusable file, is listed at the end."""

    def attempt(path: Path) -> tuple[Path, str | None]:
        try:
            return path, work(path)
        except SampleError as err:
            return path, str(err)

    paths = faces_in(folder)
    skipped: dict[str, str] = {}
    for path, reason in track(map_in_order(attempt, paths), label, len(paths), "face"):
        if reason is not None:
            skipped[path.name] = reason.removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
    print(f"{len(paths) - len(skipped)} {done}")
    show_left_alone(skipped, "files left alone")


def recover_names(folder: Path) -> None:
    """Name every face after its frame again: `<frame's stem>_<k><suffix>`.

    A face whose name is such a one keeps it; the others of its frame take the free numbers, in order. Debug
    and mask pictures go along with their faces.
    """
    paths = faces_in(folder)
    kept = {path.name for path in list_images(folder)}
    skipped: dict[str, str] = {}
    by_frame: dict[str, list[Path]] = defaultdict(list)
    for path, face in track(
        map_in_order(lambda path: (path, read_or_reason(path)), paths), "Reading names", len(paths), "face"
    ):
        stem = face if isinstance(face, str) else source_stem(face.metadata.source_filename)
        if isinstance(face, str) or stem is None:
            skipped[path.name] = face if isinstance(face, str) else "does not say which frame it comes from"
            continue
        by_frame[stem].append(path)
        kept.discard(path.name)
    mapping: dict[str, str] = {}
    for stem, faces in by_frame.items():
        mapping.update(_names_of_frame(stem, faces, kept))
    renamed = sum(old != new for old, new in mapping.items())
    rename_all(folder, {**mapping, **_companions(mapping, kept)})
    print(f"{renamed} faces renamed, {len(mapping) - renamed} had their names already")
    show_left_alone(skipped, "files left alone")


def _companions(mapping: dict[str, str], others: set[str]) -> dict[str, str]:
    """Renamings of the pictures that these tools wrote beside faces, where the new name is free."""
    found = {}
    for old, new in mapping.items():
        for end in OURS:
            name, goal = (f"{Path(face).stem}{end}.jpg" for face in (old, new))
            if old != new and name in others:
                found[name] = goal
    while blocked := [name for name, goal in found.items() if goal in others and goal not in found]:
        for name in blocked:
            del found[name]
    return found


def source_stem(source: str | None) -> str | None:
    """The stem of a frame's stored name, which may be a path of any system; None if it is unusable."""
    if source is None:
        return None
    stem = PurePosixPath(PureWindowsPath(source).name).stem
    return stem if is_file_name(stem) and not stem.startswith(".") else None


def _names_of_frame(stem: str, faces: list[Path], taken: set[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    used = {name.rpartition(".")[0] for name in taken if name.startswith(f"{stem}_")}
    rest = []
    for path in faces:
        number = path.stem.removeprefix(f"{stem}_") if path.stem.startswith(f"{stem}_") else ""
        if number.isascii() and number.isdigit() and str(int(number)) == number and path.stem not in used:
            names[path.name] = path.name
            used.add(path.stem)
        else:
            rest.append(path)
    number = 0
    for path in rest:
        while f"{stem}_{number}" in used:
            number += 1
        used.add(f"{stem}_{number}")
        names[path.name] = f"{stem}_{number}{path.suffix}"
    return names

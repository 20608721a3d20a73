"""`util`: debug images, original names and mask pictures of a folder of aligned faces."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import facelib
from core import storage
from core.errors import SampleError
from core.imageio import encode_image
from core.interact.progress import track
from core.parallel import map_in_order
from core.paths import is_file_name, list_images
from mainscripts.sort_rename import alone_in, carry_out
from mainscripts.util_skipped import show_left_alone
from samplelib.face_values import read_or_reason
from samplelib.sorting.journal import Journal, Move, folded
from samplelib.sorting.names import Named, identify, mark_of, source_stem

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

    A face that had such a name before it was sorted gets that; the others of its frame take the free numbers,
    in order. Debug and mask pictures go along with their faces. Renaming is `sort`'s: a kill loses nothing,
    and the record of `extract` follows.

    Raises:
        SwapError: A sort is at work in the folder.
    """
    faces, skipped = _named_faces(folder)
    others = {path.name for path in list_images(folder)} - faces.keys()
    goals = _names_of_frames(list(faces.values()), {folded(os.path.splitext(name)[0]) for name in others})
    renamed = sum(old != new for old, new in goals.items())
    if renamed:
        marks = {name: mark_of(folder / name, faces[name].source) for name in goals}
        goals |= _companions(goals, others)
        moves = [Move(old, new, original=new, mark=marks.get(old, "")) for old, new in goals.items()]
        with alone_in(folder):
            for note in carry_out(
                Journal(folder, folder.with_name(f"{folder.name}_trash"), moves, "recover")
            ):
                print(note)
    print(f"{renamed} faces renamed, {len(faces) - renamed} had their names already")
    show_left_alone(skipped, "files left alone")


def _named_faces(folder: Path) -> tuple[dict[str, Named], dict[str, str]]:
    """What is known of each face by its name, and why other files are left alone."""
    paths, sources, skipped = faces_in(folder), {}, {}
    found = map_in_order(lambda path: (path, read_or_reason(path)), paths)
    for path, face in track(found, "Reading names", len(paths), "face"):
        source = None if isinstance(face, str) else face.metadata.source_filename
        stem = None if source is None else source_stem(source)
        if stem is None or not is_file_name(stem) or stem.startswith("."):
            skipped[path.name] = face if isinstance(face, str) else "does not say which frame it comes from"
        else:
            sources[path.name] = source
    return identify(folder, sources), skipped


def _names_of_frames(faces: list[Named], taken: set[str]) -> dict[str, str]:
    """Old name to new; `taken` holds the folded stems of files that stay."""
    result: dict[str, str] = {}
    later = []
    for face in faces:
        frame = face.frame()
        stem, suffix = source_stem(str(face.source)), os.path.splitext(face.name)[1]
        name = None if frame is None else f"{stem}_{frame[1]}"
        if name is None or folded(name) in taken:
            later.append((face, stem, suffix))
            continue
        taken.add(folded(name))
        result[face.name] = name + suffix
    numbers: dict[str, Iterator[int]] = defaultdict(itertools.count)
    for face, stem, suffix in later:
        number = next(n for n in numbers[stem] if folded(f"{stem}_{n}") not in taken)
        taken.add(folded(f"{stem}_{number}"))
        result[face.name] = f"{stem}_{number}{suffix}"
    return {face.name: result[face.name] for face in faces}


def _companions(goals: dict[str, str], others: set[str]) -> dict[str, str]:
    """Renamings of the pictures that these tools wrote beside faces, where the new name is free."""
    found = {}
    for old, new in goals.items():
        for end in OURS:
            name, goal = (f"{Path(face).stem}{end}.jpg" for face in (old, new))
            if old != new and name in others:
                found[name] = goal
    while blocked := [name for name, goal in found.items() if goal in others and goal not in found]:
        for name in blocked:
            del found[name]
    return found

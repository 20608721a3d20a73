"""What a workspace holds, part by part, and which of it is quickly made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.paths import IMAGE_SUFFIXES
from core.video.extraction import FRAME_NAME, MANIFEST, SUFFIXES, Request, read_manifest
from core.video.film_files import is_film

SIDES = (("data_src", "source"), ("data_dst", "destination"))
RECORDS = (MANIFEST, "timestamps.json", ".denoise.log", ".denoise")
# Folders in data_src and data_dst, what they hold, and whether they are quickly made again
FOLDERS = (
    ("aligned", "aligned faces of the {side}", False),
    ("aligned_debug", "debug pictures of the {side}'s faces", False),
    ("merged", "merged frames", False),
    ("merged_mask", "masks of the merged frames", False),
)
MORE_FACES = "aligned_"  # aligned_trash, aligned_xseg, aligned_enhanced and so on
SOUGHT_FOR_LABELS = 2000  # faces that are opened to see whether they were labelled


@dataclass(frozen=True)
class Part:
    """Some things that go or stay together: `paths` are files or whole folders.

    `quick` things are made again by one command in little time; `place` is where they are in the workspace.
    """

    what: str
    place: str
    paths: tuple[Path, ...]
    quick: bool
    files: int
    size: int
    warning: str = ""


def find_parts(workspace: Path) -> list[Part]:
    """The parts that are there, those that are quickly made again first. No video is in any of them."""
    parts = []
    for name, side in SIDES:
        folder = workspace / name
        if folder.is_dir():
            parts += _frames(workspace, folder, side)
            parts += _folders(folder, side)
    parts += _models(workspace / "model")
    return sorted((part for part in parts if part.files), key=lambda part: not part.quick)


def left_alone(workspace: Path, parts: list[Part]) -> list[str]:
    """Names of what is in the workspace and belongs to no part, folders of the usual names left out."""
    taken = {path for part in parts for path in part.paths}
    usual = {workspace / name for name in ("data_src", "data_dst", "model", "trash", "removed.log")}
    found = []
    for folder in (workspace, *(path for path in sorted(usual) if path.is_dir() and path.name != "trash")):
        for path in sorted(folder.iterdir()):
            if path not in taken | usual and not _is_empty_folder(path):
                found.append(str(path.relative_to(workspace)))
    return found


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _frames(workspace: Path, folder: Path, side: str) -> list[Part]:
    """Frames that a video gave, and other pictures, which nothing can make again."""
    frames, pictures = [], []
    request, _, _ = read_manifest(folder)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file():
                numbered = request is not None and FRAME_NAME.fullmatch(entry.name)
                (frames if numbered else pictures).append(Path(entry.path))
    records = [folder / name for name in RECORDS if (folder / name).exists()]
    parts = []
    if frames:
        video = _video_of(workspace, request)
        again = f"made again from {video.name}" if video is not None else ""
        warning = again or "the video they were made of is not in the workspace"
        parts.append(_part(f"frames of the {side}", folder, [*frames, *records], video is not None, warning))
    if pictures:
        extra = [] if frames else records
        warning = "no video is known that they were made of"
        parts.append(_part(f"pictures of the {side}", folder, [*pictures, *extra], False, warning))
    return parts


def _video_of(workspace: Path, request: Request | None) -> Path | None:
    """The video in the workspace that frames were made of, by its content."""
    from fractions import Fraction

    if request is None:
        return None
    for path in sorted(workspace.iterdir()):
        try:
            alike = path.is_file() and path.stat().st_size == request.video_size
            if alike and Request.of(path, Fraction(0), SUFFIXES[0]).same_video(request):
                return path
        except OSError:
            continue
    return None


def _folders(folder: Path, side: str) -> Iterator[Part]:
    known = {name for name, _, _ in FOLDERS}
    for name, what, quick in FOLDERS:
        path = folder / name
        if path.is_dir():
            warning = _labels(path) if name == "aligned" else ""
            yield from _whole(what.format(side=side), path, quick, warning)
    for path in sorted(folder.glob(f"{MORE_FACES}*")):
        if path.is_dir() and path.name not in known:
            yield from _whole(f"other faces of the {side}", path, False, _labels(path))


def _models(folder: Path) -> Iterator[Part]:
    if folder.is_dir():
        yield from _whole("trained models", folder, False, "days of training, perhaps", inside=True)


def _whole(what: str, folder: Path, quick: bool, warning: str, inside: bool = False) -> Iterator[Part]:
    """A folder as one part (`inside`: its entries); what holds a video stays, and its name is told."""
    paths = sorted(folder.iterdir()) if inside else [folder]
    holding = [path for path in paths if _holds_video(path)]
    if holding and not inside:
        paths = sorted(folder.iterdir())
        holding = [path for path in paths if _holds_video(path)]
    yield _part(what, folder, [path for path in paths if path not in holding], quick, warning)


def _holds_video(path: Path) -> bool:
    return any(is_film(file) for file, _ in _walk(path))


def _part(what: str, folder: Path, paths: list[Path], quick: bool, warning: str = "") -> Part:
    place = folder.name if folder.name in ("data_src", "data_dst", "model") else "/".join(folder.parts[-2:])
    sizes = [size for path in paths for _, size in _walk(path)]
    return Part(what, place, tuple(paths), quick, len(sizes), sum(sizes), warning)


def _walk(path: Path) -> Iterator[tuple[Path, int]]:
    """The files below `path`, or itself, and their sizes; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        yield path, path.lstat().st_size
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_size


def _labels(folder: Path) -> str:
    """A word about masks that were drawn by hand in these faces; opens a part of them."""
    from core.errors import SwapError
    from core.paths import list_images

    pack = folder / "faceset.pak"
    faces = [path for path in list_images(folder) if path.suffix.lower() in (".jpg", ".jpeg")]
    step = max(1, len(faces) // SOUGHT_FOR_LABELS)
    labelled = 0
    for path in faces[::step]:
        try:
            labelled += _is_labelled(path)
        except (OSError, SwapError):
            continue
    words = ["packed in faceset.pak"] if pack.exists() else []
    if labelled:
        least = "at least " if step > 1 else ""
        words.append(f"{least}{labelled} with XSeg masks drawn by hand")
    return ", ".join(words)


def _is_labelled(path: Path) -> bool:
    from facelib.face_jpeg import read_metadata

    return bool(read_metadata(path).seg_ie_polys)

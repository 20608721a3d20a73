"""`facesettool resize` and `realign`: faces cut anew from their old pictures, or from their frames."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from core import storage
from core.errors import SampleError, SwapError, UsageError
from core.imageio import encode_image
from core.interact.prompts import Prompter
from core.parallel import map_in_order
from facelib.face_jpeg import embed_metadata, read_face
from facelib.recut import Recut, is_cut_from, recut_from_crop, recut_from_frame, shows_more
from mainscripts.facesettool import SAME, SHORT_TYPES, RealignOptions, ResizeOptions
from mainscripts.facesettool_job import Workplace, offer_merging, open_workplace, settle, show_result
from mainscripts.util_faces import faces_in
from samplelib.face_values import FaceValues, read_face_values, read_or_reason

if TYPE_CHECKING:
    from mainscripts.extract_sources import Frame, Source

RESIZE_QUALITY = 100  # DFL's


@dataclass
class Plan:
    """Which faces are cut from what."""

    from_crop: list[Path] = field(default_factory=list)
    from_frame: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))  # by frame's name
    without_frame: list[Path] = field(default_factory=list)  # show more than the old picture, lack the frame

    @property
    def count(self) -> int:
        return len(self.from_crop) + sum(map(len, self.from_frame.values()))


@dataclass(frozen=True)
class Cut:
    """How the new faces are to be."""

    size: int
    face_type: str  # DFL's name, or `same`
    quality: int


def resize(folder: Path, prompter: Prompter, args: argparse.Namespace) -> int:
    """Faces at another size or of another type, from the pictures; from the frames where they show more."""
    options = ResizeOptions().ask(prompter, given=ResizeOptions.given_by(args))
    cut = Cut(options.image_size, SHORT_TYPES[options.face_type], RESIZE_QUALITY)
    grows = cut.face_type != SAME
    source = _open_source(args, folder, needed=args.frames is not None) if grows else None
    frames = None if source is None else str(source.subject)
    place = open_workplace(folder, "resized", {"tool": "resize", **options.to_json(), "frames": frames})
    if place.finished:
        return 0
    plan = _plan(place, source, lambda face: _resize_needs_frame(face, cut), crop_too=True)
    _carry_out(place, plan, source, cut, plan.without_frame)
    show_result(place)
    if plan.without_frame:
        print(
            f"{len(plan.without_frame)} faces show more than before, and their frames are not here: what the "
            "old pictures do not hold is black. With --frames, or with the frames in the folder above, it is "
            "cut from those."
        )
    offer_merging(place, prompter, args.merge_back)
    return 0


def realign(folder: Path, prompter: Prompter, args: argparse.Namespace) -> int:
    """Faces cut again from the frames, by the landmarks they have there."""
    source = _open_source(args, folder, needed=True)
    options = RealignOptions(image_size=_present_size(folder)).ask(
        prompter, given=RealignOptions.given_by(args)
    )
    cut = Cut(options.image_size, SHORT_TYPES[options.face_type], options.jpeg_quality)
    place = open_workplace(
        folder, "realigned", {"tool": "realign", **options.to_json(), "frames": str(source.subject)}
    )
    if place.finished:
        return 0
    plan = _plan(place, source, lambda face: True, crop_too=False)
    _carry_out(place, plan, source, cut, None)
    show_result(place)
    offer_merging(place, prompter, args.merge_back)
    return 0


def _open_source(args: argparse.Namespace, folder: Path, needed: bool) -> Source | None:
    """The frames: a folder, by default the one above, or a video. None if there are none and none are needed.

    Raises:
        SwapError: There are none.
    """
    from core.video.rates import parse_rate
    from mainscripts.extract_sources import FolderSource, VideoSource

    path = args.frames.expanduser() if args.frames else folder.absolute().parent
    try:
        if args.frames and (path.is_file() or path.suffix == ".*"):
            return VideoSource(path, parse_rate(args.fps))
        return FolderSource(path)
    except UsageError:
        raise
    except SwapError:
        if needed:
            raise
        return None


def _present_size(folder: Path) -> int:
    """The side of the first face, for the default; 512 if there is none."""
    for path in faces_in(folder):
        face = read_or_reason(path)
        if not isinstance(face, str):
            low, high = RealignOptions.specs()["image_size"].low, RealignOptions.specs()["image_size"].high
            return max(int(low), min(int(high), face.shape[0]))
    return RealignOptions().image_size


def _resize_needs_frame(face: FaceValues, cut: Cut) -> bool:
    if face.shape[0] != face.shape[1] or face.metadata.face_type == "mark_only":
        return False  # cutting says what is wrong
    return shows_more(face.metadata, face.shape[0], cut.size, cut.face_type)


def _plan(
    place: Workplace, source: Source | None, needs_frame: Callable[[FaceValues], bool], crop_too: bool
) -> Plan:
    """Look at every face that is still to be made."""
    plan = Plan()

    def look(path: Path) -> tuple[Path, FaceValues | str, bool]:
        try:
            face = read_face_values(path)
            return path, face, needs_frame(face)
        except SampleError as err:
            return path, str(err), False

    for path, face, wants in map_in_order(look, place.pending()):
        if isinstance(face, str):
            place.skipped[path.name] = face.removeprefix(f"{path.name}: ")
            continue
        name = _frame_of(face, source) if wants else None
        if name is not None and face.metadata.source_landmarks is not None:
            plan.from_frame[name].append(path)
        elif crop_too:
            plan.from_crop.append(path)
            if wants:
                plan.without_frame.append(path)
        else:
            place.skipped[path.name] = _why_no_frame(face, source)
    return plan


def _frame_of(face: FaceValues, source: Source | None) -> str | None:
    if source is None or face.metadata.source_filename is None:
        return None
    stored = face.metadata.source_filename
    stems = PurePosixPath(stored).stem, PurePosixPath(PureWindowsPath(stored).name).stem
    return next((name for stem in stems if (name := source.name_of(stem)) is not None), None)


def _why_no_frame(face: FaceValues, source: Source | None) -> str:
    if face.metadata.source_filename is None:
        return "does not say which frame it comes from"
    if face.metadata.source_landmarks is None:
        return "does not say where in its frame it is"
    return f"its frame {face.metadata.source_filename} is not in {source.subject if source else 'the folder'}"


def _carry_out(
    place: Workplace, plan: Plan, source: Source | None, cut: Cut, instead: list[Path] | None
) -> None:
    settle(place, _all_cuts(place, plan, source, cut, instead), "Cutting", plan.count)


def _all_cuts(
    place: Workplace, plan: Plan, source: Source | None, cut: Cut, instead: list[Path] | None
) -> Iterator[tuple[Path, str | None]]:
    yield from map_in_order(lambda path: (path, _cut_from_crop(place, path, cut)), plan.from_crop)
    if source is None or not plan.from_frame:
        return
    waiting = dict(plan.from_frame)

    def cut_all(frame: Frame) -> list[tuple[Path, str | None]]:
        return _cut_from_frame(place, frame, waiting[frame.name], cut, instead)

    seen: set[str] = set()
    for results in map_in_order(cut_all, _wanted_frames(source, waiting, seen), ahead=3):
        yield from results
    for name in waiting.keys() - seen:  # a video may be shorter than it says
        for path in waiting[name]:
            if instead is None:
                yield path, f"its frame {name} is not in {source.subject}"
            else:
                instead.append(path)
                yield path, _cut_from_crop(place, path, cut)


def _wanted_frames(source: Source, waiting: dict[str, list[Path]], seen: set[str]) -> Iterator[Frame]:
    """Frames that have faces to cut, one after another; no further than the last of them."""
    for frame in source.frames(_AllBut(waiting)):
        seen.add(frame.name)
        yield frame
        if len(seen) == len(waiting):
            return


class _AllBut:
    """Contains whatever is not among the names."""

    def __init__(self, names: dict[str, list[Path]]) -> None:
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name not in self._names


def _cut_from_crop(place: Workplace, path: Path, cut: Cut) -> str | None:
    try:
        image, metadata = read_face(path)
        _write(place.goal(path), recut_from_crop(image, metadata, cut.size, cut.face_type), cut)
    except SampleError as err:
        return str(err)
    return None


def _cut_from_frame(
    place: Workplace, frame: Frame, paths: list[Path], cut: Cut, instead: list[Path] | None
) -> list[tuple[Path, str | None]]:
    """Cut a frame's faces; those that are not in it go by their old pictures where that is allowed.

    Args:
        place: Where the faces go.
        frame: The frame.
        paths: Its faces.
        cut: How they are to be.
        instead: Receives the faces that were cut from their old pictures; None leaves such faces alone.
    """
    results: list[tuple[Path, str | None]] = []
    try:
        pixels = frame.read()
    except SampleError as err:
        pixels, reason = None, f"its frame cannot be used ({err})"
    for path in paths:
        try:
            image, metadata = read_face(path)
            if pixels is not None and not is_cut_from(image, metadata, pixels):
                reason = f"{frame.name} shows something else, it must be a frame of another video"
            elif pixels is not None:
                recut = recut_from_frame(pixels, metadata, image.shape[1], cut.size, cut.face_type)
                _write(place.goal(path), recut, cut)
                results.append((path, None))
                continue
        except SampleError as err:
            results.append((path, str(err)))
            continue
        if instead is not None:
            instead.append(path)
            reason = _cut_from_crop(place, path, cut)
        results.append((path, reason))
    return results


def _write(path: Path, recut: Recut, cut: Cut) -> None:
    jpeg = encode_image(".jpg", recut.image, cut.quality)
    storage.write_bytes(path, embed_metadata(jpeg, recut.metadata, path.name), durable=False)

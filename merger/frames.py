"""Which faces belong to which frame, by the source that each aligned face remembers, and how they move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

import facelib
from core.errors import AlignmentError, SampleError, SwapError
from core.system import cpu_count
from merger.blend import Motion
from merger.merge_face import FrameFace
from samplelib import FaceSample, Faceset
from samplelib.face_header import read_face_header

MOTION_SIZE = 256  # DFL follows the middle of a full-face square of this size
MOTION_POINT = MOTION_SIZE // 2 - 1
SAME_FACE_REACH = 1.0  # a face further away than this share of its size in the next frame is another one
SAME_FACE_GROWTH = 1.6  # nor does one that grows or shrinks by more in one frame


@dataclass(frozen=True)
class AlignedFace:
    """What the merger wants to know of an aligned face."""

    name: str  # of its file, for messages
    source_filename: str | None
    landmarks: np.ndarray | None  # (68, 2) in pixels of the source frame


@dataclass(frozen=True)
class FrameFaces:
    """A frame and the faces in it."""

    path: Path
    faces: tuple[FrameFace, ...] = ()

    @property
    def stem(self) -> str:
        return self.path.stem


@dataclass
class Matching:
    """All frames in order, and what found no partner."""

    frames: list[FrameFaces]
    without_frame: list[str] = field(
        default_factory=list
    )  # sources that aligned faces name and that are not there
    without_source: list[str] = field(
        default_factory=list
    )  # aligned faces that do not say where they come from

    @property
    def without_face(self) -> list[int]:
        return [index for index, frame in enumerate(self.frames) if not frame.faces]

    @property
    def with_several(self) -> list[int]:
        return [index for index, frame in enumerate(self.frames) if len(frame.faces) > 1]


def aligned_faces(faceset: Faceset) -> Iterator[AlignedFace]:
    """The faces of a folder or pak as the merger wants them; an unreadable one has no source."""
    with ThreadPoolExecutor(4 * cpu_count(), "aligned faces") as pool:
        yield from pool.map(_aligned_face, faceset.samples, chunksize=1)


def _aligned_face(sample: FaceSample) -> AlignedFace:
    try:
        metadata, _ = read_face_header(sample.path, sample.offset, sample.length, sample.name)
    except SampleError:
        return AlignedFace(sample.name, None, None)
    return AlignedFace(sample.name, metadata.source_filename, metadata.source_landmarks)


def match_faces(frames: Sequence[Path], faces: Iterable[AlignedFace]) -> Matching:
    """Give each frame its faces, in the order given.

    Suffixes do not matter: faces of `00001.jpg` belong to `00001.png` too.

    Raises:
        SwapError: Two frames differ only in their suffix; their results would have one name.
    """
    by_stem: dict[str, Path] = {}
    for path in frames:
        if path.stem in by_stem:
            raise SwapError(
                f"{path}: {by_stem[path.stem].name} would have the same result; remove one of the two"
            )
        by_stem[path.stem] = path
    found: dict[str, list[FrameFace]] = defaultdict(list)
    matching = Matching([])
    missing: dict[str, None] = {}
    for face in faces:
        if face.source_filename is None or face.landmarks is None:
            matching.without_source.append(face.name)
            continue
        stem = next((stem for stem in source_stems(face.source_filename) if stem in by_stem), None)
        if stem is not None:
            found[stem].append(FrameFace(np.asarray(face.landmarks, np.float32)))
        else:
            missing[face.source_filename] = None
    matching.frames = [
        FrameFaces(path, tuple(found[stem]) if stem in found else ()) for stem, path in by_stem.items()
    ]
    matching.without_frame = list(missing)
    return matching


def source_stems(name: str) -> tuple[str, ...]:
    """What the stem of a stored file name can be: as written, or as a path of any system."""
    posix = PurePosixPath(name)
    return posix.stem, PurePosixPath(PureWindowsPath(name).name).stem


def name_ranges(names: Sequence[str], chosen: Sequence[int], limit: int = 8) -> str:
    """`00003-00010, 00042` for ascending indices into a list of names; at most `limit` parts."""
    parts: list[list[int]] = []
    for index in chosen:
        if parts and parts[-1][-1] == index - 1:
            parts[-1][-1:] = [parts[-1][0], index] if len(parts[-1]) == 1 else [index]
        else:
            parts.append([index])
    texts = ["-".join(names[index] for index in part) for part in parts[:limit]]
    if len(parts) > limit:
        texts.append(f"and {len(parts) - limit} more places")
    return ", ".join(texts)


@dataclass(frozen=True)
class _Track:
    """Middle and size of a face in its frame."""

    centre: np.ndarray  # (2,) float64
    size: float  # side of the full-face square in frame pixels


def with_motion(frames: Sequence[FrameFaces], whole_pixels: bool = False) -> list[FrameFaces]:
    """The frames with the movement of each face from the frame before to the frame after.

    A face without a match in a neighbouring frame does not move. At both ends the one step counts.

    Args:
        frames: In the order of time.
        whole_pixels: Round the middle of a face to whole pixels, as DFL does.
    """
    tracks = [tuple(_track(face.landmarks, whole_pixels) for face in frame.faces) for frame in frames]
    last = len(frames) - 1
    result = []
    for index, frame in enumerate(frames):
        before, after = tracks[max(0, index - 1)], tracks[min(last, index + 1)]
        faces = tuple(
            replace(face, motion=_motion(track, before, after))
            for face, track in zip(frame.faces, tracks[index], strict=True)
        )
        result.append(replace(frame, faces=faces))
    return result


def _track(landmarks: np.ndarray, whole_pixels: bool) -> _Track | None:
    try:
        matrix = facelib.transform_mat(landmarks, MOTION_SIZE, "full_face")
    except AlignmentError:
        return None  # merging this face says so
    point = np.array([(MOTION_POINT, MOTION_POINT)], np.float64)
    centre = facelib.transform_points(point, matrix, inverse=True)[0]
    size = MOTION_SIZE / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return _Track(np.rint(centre) if whole_pixels else centre, float(size))


def _motion(
    track: _Track | None, before: tuple[_Track | None, ...], after: tuple[_Track | None, ...]
) -> Motion:
    if track is None:
        return Motion()
    first, second = _same_face(track, before), _same_face(track, after)
    if first is None or second is None:
        return Motion()
    x, y = second.centre - first.centre
    power = float(np.hypot(x, y))
    return Motion(power, float(-np.degrees(np.arctan2(y, x))) if power > 0 else 0.0)


def _same_face(track: _Track, others: tuple[_Track | None, ...]) -> _Track | None:
    """The nearest face of a neighbouring frame, if it is near and alike in size."""
    near = [
        (float(np.hypot(*(other.centre - track.centre))), other)
        for other in others
        if other is not None and 1 / SAME_FACE_GROWTH < other.size / track.size < SAME_FACE_GROWTH
    ]
    distance, nearest = min(near, key=lambda entry: entry[0], default=(np.inf, None))
    return nearest if distance < SAME_FACE_REACH * track.size else None

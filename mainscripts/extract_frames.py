"""The work on frames: many looked at side by side or in groups, faces cut out and written."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from core.errors import AlignmentError, SampleError
from core.imageio import write_image
from core.parallel import stay_ahead
from core.parallel import threads as workers
from core.system import cpu_count
from facelib.alignment import transform_mat, transform_points
from facelib.drawing import draw_debug
from facelib.face_jpeg import write_face
from facelib.face_types import face_type_spec
from facelib.metadata import FaceMetadata
from facelib.pipeline import DetectedFace, Pipeline
from facelib.resample import crop_face
from mainscripts.extract_sources import Frame

DEBUG_QUALITY = 50  # DFL's; these pictures are for a glance
GROUP = 8  # frames that networks look at together ...
GROUP_PIXELS = 20_000_000  # ... unless they are so large that fewer hold as many pixels
CHECKED_TYPES = 3  # face types up to this number are checked for their area, as DFL does
SPARE_THREADS = 1  # one waits for the disk to have its faces; two more would get in the way
SWITCH_SECONDS = 0.001  # Python's turns are short between the networks; its own 5 ms let cores wait
MOST_AREA = 4  # of a crop in the frame, over the area of the detector's box

Result = TypeVar("Result")


@dataclass(frozen=True)
class Target:
    """Where faces go, and in what form."""

    output: Path
    debug: Path | None  # folder of the debug pictures
    face_type: str  # DFL's name
    size: int
    quality: int
    check_area: bool = False  # leave out faces whose crop is far larger than their box


def write_faces(
    name: str, image: np.ndarray, faces: Sequence[DetectedFace], target: Target, folders: Sequence[str] = ()
) -> tuple[str, ...]:
    """Write the faces of one frame, `<stem>_<k>.jpg`, and its debug picture, `<stem>.jpg`.

    A face whose landmarks determine no alignment is left out and the others take the numbers, as in DFL.

    Args:
        name: Of the frame, for the metadata.
        image: (H, W, 3) uint8 BGR.
        faces: In the order of their numbers.
        target: Where to.
        folders: A subfolder for each face; none of them without.

    Returns:
        The names of the files, below `target.output`.

    Raises:
        AlignmentError: None of the faces can be written, and the landmarks of one coincide.
    """
    kept, unaligned = [], None
    for number, face in enumerate(faces):
        try:
            aligned = _aligned(image, face, target, name)
        except AlignmentError as err:
            unaligned = err
            continue
        if aligned is not None:
            kept.append((*aligned, folders[number] if folders else ""))
    if unaligned is not None and not kept:
        raise unaligned
    stem, names = Path(name).stem, []
    for number, (crop, metadata, folder) in enumerate(kept):
        names.append(f"{folder}/{stem}_{number}.jpg" if folder else f"{stem}_{number}.jpg")
        write_face(target.output / names[-1], crop, metadata, quality=target.quality)
    if target.debug is not None:
        shown = [(metadata.source_rect, metadata.source_landmarks) for _, metadata, _ in kept]
        picture = draw_debug(image, shown, target.face_type)
        write_image(target.debug / f"{stem}.jpg", picture, DEBUG_QUALITY)
    return tuple(names)


def _aligned(
    image: np.ndarray, face: DetectedFace, target: Target, frame_name: str
) -> tuple[np.ndarray, FaceMetadata] | None:
    """The aligned face and its metadata; for `mark_only` the whole frame without a matrix.

    None where the points make a face far larger than the box that they were found in: they are wrong.
    """
    if target.face_type == "mark_only":
        crop, matrix, landmarks = image, None, face.landmarks
    else:
        matrix = transform_mat(face.landmarks, target.size, target.face_type)
        if target.check_area and _is_oversized(face, matrix, target):
            return None
        crop, landmarks = crop_face(image, matrix, target.size), transform_points(face.landmarks, matrix)
    metadata = FaceMetadata(
        face_type=target.face_type,
        landmarks=np.asarray(landmarks, np.float32),
        source_filename=frame_name,
        source_rect=np.array(face.rect),
        source_landmarks=face.landmarks,
        image_to_face_mat=matrix,
    )
    return crop, metadata


def _is_oversized(face: DetectedFace, matrix: np.ndarray, target: Target) -> bool:
    if face_type_spec(target.face_type).number > CHECKED_TYPES:
        return False
    last = target.size - 1
    corners = np.array([(0, 0), (0, last), (last, last), (last, 0)], np.float32)
    in_frame = transform_points(corners, cv2.invertAffineTransform(matrix)).round()
    left, top, right, bottom = face.rect
    area = cv2.contourArea(in_frame.astype(np.float32))
    return area > MOST_AREA * abs((right - left) * (bottom - top))


def look_at_frames(
    frames: Iterable[Frame],
    pipeline: Pipeline,
    finish: Callable[[str, np.ndarray, list[DetectedFace]], Result],
    ahead: int,
    threads: int | None = None,
) -> Iterator[tuple[str, Result | SampleError]]:
    """Find the faces of many frames and finish each with (name, image, faces), in order.

    Networks that like batches see frames in groups, one group at a time on all cores, while others are
    decoded and written; else each thread takes a frame from file to files. Either way a bounded number of
    frames is held. However the consumer stops (an error, Ctrl-C), what was begun is finished before this
    returns.

    Args:
        frames: What to look at; asked for as it is needed.
        pipeline: Finds the faces.
        finish: What to do with them, in a thread.
        ahead: Frames held beyond those in work, for each thread.
        threads: SPARE_THREADS more than cores by default: some wait for the disk.

    Yields:
        The name of a frame with what `finish` returned, or with the error that makes the frame unusable.
    """
    threads = threads or cpu_count() + SPARE_THREADS
    if pipeline.batched:
        return _in_groups(frames, pipeline, finish, ahead, threads)

    def work(frame: Frame) -> Result:
        image = frame.read()
        return finish(frame.name, image, pipeline.faces(image))

    return map_frames(frames, work, ahead, threads)


def map_frames(
    frames: Iterable[Frame], work: Callable[[Frame], Result], ahead: int, threads: int | None = None
) -> Iterator[tuple[str, Result | SampleError]]:
    """Do `work` on frames side by side, in order; see `look_at_frames`."""
    threads = threads or cpu_count() + SPARE_THREADS

    def tried(frame: Frame) -> tuple[str, Result | SampleError]:
        try:
            return frame.name, work(frame)
        except SampleError as err:
            return frame.name, err

    with workers(threads) as pool, _tuned_for_threads():
        yield from stay_ahead(pool, tried, frames, threads * (1 + ahead))


def _in_groups(
    frames: Iterable[Frame],
    pipeline: Pipeline,
    finish: Callable[[str, np.ndarray, list[DetectedFace]], Result],
    ahead: int,
    threads: int,
) -> Iterator[tuple[str, Result | SampleError]]:
    def read(frame: Frame) -> tuple[str, np.ndarray | SampleError]:
        try:
            return frame.name, frame.read()
        except SampleError as err:
            return frame.name, err

    def look(group: list[tuple[str, np.ndarray | SampleError]]) -> list[_Looked]:
        images = [image for _, image in group if not isinstance(image, SampleError)]
        found = iter(pipeline.faces_batch(images) if images else [])
        return [(name, image, [] if isinstance(image, SampleError) else next(found)) for name, image in group]

    def finished(looked: _Looked) -> tuple[str, Result | SampleError]:
        name, image, faces = looked
        if isinstance(image, SampleError):
            return name, image
        try:
            return name, finish(name, image, faces)
        except SampleError as err:
            return name, err

    with workers(threads) as pool, workers(1) as network, _tuned_for_threads():
        images = stay_ahead(pool, read, frames, threads)
        groups = stay_ahead(network, look, _grouped(images), 1)
        yield from stay_ahead(pool, finished, (looked for group in groups for looked in group), threads)


_Looked = tuple[str, "np.ndarray | SampleError", list[DetectedFace]]


def _grouped(
    images: Iterable[tuple[str, np.ndarray | SampleError]],
) -> Iterator[list[tuple[str, np.ndarray | SampleError]]]:
    group: list[tuple[str, np.ndarray | SampleError]] = []
    pixels = 0
    for name, image in images:
        group.append((name, image))
        pixels += 0 if isinstance(image, SampleError) else image.shape[0] * image.shape[1]
        if len(group) == GROUP or pixels >= GROUP_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group


@contextlib.contextmanager
def _tuned_for_threads() -> Iterator[None]:
    """Frames side by side use the cores better than OpenCV's own threads, and take short turns in Python."""
    threads, interval = cv2.getNumThreads(), sys.getswitchinterval()
    cv2.setNumThreads(1)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        sys.setswitchinterval(interval)

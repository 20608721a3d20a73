"""The work on one frame of `extract`, and the threads that do it for many at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from core.errors import SampleError
from core.imageio import read_image, write_image
from facelib.alignment import transform_mat, transform_points
from facelib.drawing import draw_debug
from facelib.face_jpeg import write_face
from facelib.metadata import FaceMetadata
from facelib.pipeline import DetectedFace, Pipeline
from facelib.resample import crop_face

DEBUG_QUALITY = 50  # DFL's; these pictures are for a glance
AHEAD = 3  # frames handed out beyond those in work, for each thread


@dataclass(frozen=True)
class Target:
    """Where faces go, and in what form."""

    output: Path
    debug: Path | None  # folder of the debug pictures
    face_type: str  # DFL's name
    size: int
    quality: int


@dataclass(frozen=True)
class FrameResult:
    """What became of one frame: the names of its faces, or why it could not be used."""

    frame: Path
    faces: tuple[str, ...] = ()
    error: str = ""


def extract_frame(frame: Path, pipeline: Pipeline, target: Target) -> FrameResult:
    """Find the faces of one frame and write them, `<stem>_<k>.jpg`, and its debug picture, `<stem>.jpg`.

    An unreadable frame is reported in the result; failures to write are raised.
    """
    try:
        image = read_image(frame)
        faces = [_aligned(image, face, target, frame.name) for face in pipeline.faces(image)]
    except SampleError as err:
        return FrameResult(frame, error=str(err))
    names = []
    for number, (crop, metadata) in enumerate(faces):
        names.append(f"{frame.stem}_{number}.jpg")
        write_face(target.output / names[-1], crop, metadata, quality=target.quality)
    if target.debug is not None:
        shown = [(metadata.source_rect, metadata.source_landmarks) for _, metadata in faces]
        picture = draw_debug(image, shown, target.face_type)
        write_image(target.debug / f"{frame.stem}.jpg", picture, DEBUG_QUALITY)
    return FrameResult(frame, tuple(names))


def _aligned(
    image: np.ndarray, face: DetectedFace, target: Target, frame_name: str
) -> tuple[np.ndarray, FaceMetadata]:
    """The aligned face and its metadata; for `mark_only` the whole frame without a matrix."""
    if target.face_type == "mark_only":
        crop, matrix, landmarks = image, None, face.landmarks
    else:
        matrix = transform_mat(face.landmarks, target.size, target.face_type)
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


def extract_frames(
    frames: list[Path], pipeline: Pipeline, target: Target, threads: int
) -> Iterator[FrameResult]:
    """Extract many frames side by side and yield each as it is finished, roughly in order.

    Each thread takes a frame from file to files: decoding, networks, warping and encoding all release
    Python's lock. However the consumer stops (an error, Ctrl-C), frames that were begun are finished before
    this returns.
    """
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # frames side by side use the cores better than OpenCV's own threads
    waiting, running = deque(frames), set[Future]()
    stopped = threading.Event()

    def work(frame: Path) -> FrameResult | None:
        return None if stopped.is_set() else extract_frame(frame, pipeline, target)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="extract")
    try:
        while waiting or running:
            while waiting and len(running) < threads * (1 + AHEAD):
                running.add(pool.submit(work, waiting.popleft()))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=id):
                yield future.result()
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(cv2_threads)

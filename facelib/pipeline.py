"""An image in, its faces out: a detector's boxes, and a landmarker's 68 points in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from core.errors import UsageError
from core.system import cpu_count
from facelib import detectors, landmarkers
from facelib.choice import choose
from facelib.detected import DetectedFace, LandmarkedFace, rect_area
from facelib.detectors import Detection, create_detector
from facelib.detectors.boxes import areas, intersections
from facelib.landmarkers import create_landmarker

__all__ = ["DetectedFace", "Pipeline"]

COVERED = 0.5  # faces that share more of the smaller one's box than this are the same one ...
APART = 0.4  # ... unless their middles are further apart than this part of the larger one's side
# Over a wide open mouth the mesh settles in two ways, its chin on the chin or on the lower lip; where both
# are nearly as sure, the larger one is right.
AS_SURE, LARGER = 0.85, 1.1
# A picture without faces, or with one that seems to lie, is tried on its sides and upside down (clockwise
# turns, in DFL's order); of what is found both ways the better one stays.
TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 270: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180}


class Pipeline:
    """Detector and landmarker in one; safe to call from many threads.

    Attributes:
        name: What is in use, as in `blazeface+facemesh`.
        batched: Many images at once are quicker than one by one, and threads of the caller bring nothing.
        detector: The detector.
        landmarker: The landmarker.
    """

    def __init__(
        self,
        detector: str = "auto",
        landmarker: str = "auto",
        max_faces: int = 0,
        samples: int = 2,
        face_type: str = "whole_face",
        say: Callable[[str], object] = print,
        cpu_only: bool = False,
        devices: Sequence[int] | None = None,
        precision: str = "auto",
    ) -> None:
        """Choose the networks.

        Args:
            detector: `auto` (see `facelib.choice`) or one of `facelib.detectors.DETECTORS`.
            landmarker: `auto` or one of `facelib.landmarkers.LANDMARKERS`.
            max_faces: Keep only so many of the largest faces; 0 keeps all.
            samples: Looks at a face that facemesh averages.
            face_type: What the landmarks are for (DFL's name); for heads, `fan` means 3DFAN.
            say: Gets a line where something else is taken than was asked for; `name` tells what is in use.
            cpu_only: TensorFlow's networks leave every GPU alone.
            devices: Numbers of the GPUs they use; None takes the best one.
            precision: What they compute in: `auto`, `float32` (DFL's own numbers) or `bfloat16`.

        Raises:
            UsageError: A name is unknown or a number out of range.
            SwapError: A package is missing.
        """
        if max_faces < 0 or samples < 1:
            raise UsageError("max_faces must be at least 0, samples at least 1")
        choice = choose(detector, landmarker, face_type, say=say)
        detector, landmarker = choice.detector, choice.landmarker
        if detector in detectors.ON_TENSORFLOW or landmarker in landmarkers.ON_TENSORFLOW:
            from core.nn.devices import prepare

            prepare(cpu_only, devices)
        told: dict[str, Any] = {"precision": precision} if detector in detectors.ON_TENSORFLOW else {}
        self._verifies = landmarker == "facemesh"  # it tells what is no face; others put points into anything
        if not self._verifies:
            told |= detectors.UNVERIFIED.get(detector, {})
        self.detector = create_detector(detector, **told)
        self.landmarker = create_landmarker(
            landmarker, **self._landmarker_options(landmarker, samples, precision)
        )
        self._max_faces = max_faces
        # boxes beside a face slide onto it once they are landmarked
        self._repeats = self.detector.name not in detectors.DISTINCT or self._verifies
        # DFL's networks measure from the corner of a picture, others from the middle of its first pixel.
        self._from_corner = landmarker in landmarkers.ON_TENSORFLOW
        self._box_from_corner = self._from_corner and self.detector.name == "s3fd"
        self._batched_boxes = getattr(self.detector, "batched", False)
        self.batched = self._batched_boxes or self.landmarker.batched
        self.name = f"{self.detector.name}+{self.landmarker.name}"

    def _landmarker_options(self, landmarker: str, samples: int, precision: str) -> dict[str, Any]:
        if landmarker == "facemesh":
            return {"samples": samples}
        if landmarker not in landmarkers.ON_TENSORFLOW:
            return {}
        shared = self.detector if self.detector.name == "s3fd" else None  # for its second look
        return {"detector": shared, "precision": precision}

    def faces(self, image: np.ndarray) -> list[DetectedFace]:
        """Find the faces of one image, largest first.

        Args:
            image: (H, W, 3) uint8 BGR.
        """
        return self._search([image], threads=1)[0]

    def faces_batch(
        self, images: Sequence[np.ndarray], threads: int | None = None
    ) -> list[list[DetectedFace]]:
        """Find the faces of several images: together where networks like batches, else side by side."""
        threads = min(threads or cpu_count(), max(len(images), 1))
        if self.batched:
            return self._search(images, threads)
        if threads == 1:
            return [self.faces(image) for image in images]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.faces, images))

    def _search(self, images: Sequence[np.ndarray], threads: int) -> list[list[DetectedFace]]:
        """The faces of images that are looked at together, turn by turn while any is without."""
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(f"expected (H, W, 3) uint8 BGR, got {image.shape} {image.dtype}")
        if self.detector.name == "s3fd":
            images = [_even(image) for image in images]
        found: list[list[LandmarkedFace]] = [[] for _ in images]
        open_ = list(range(len(images)))  # those that are to be tried in one more turn
        for degrees, turn in TURNS.items():
            turned = [images[i] if turn is None else cv2.rotate(images[i], turn) for i in open_]
            for i, faces in zip(open_, self._landmarked(turned, threads)):
                more = [self._turn_back(face, degrees, images[i].shape) for face in faces]
                found[i] = _without_repeats(found[i] + more) if self._repeats else found[i] + more
            open_ = [i for i in open_ if not found[i] or any(face.doubtful for face in found[i])]
            if not open_:
                break
        return [self._finished(image, faces) for image, faces in zip(images, found)]

    def _landmarked(self, images: list[np.ndarray], threads: int) -> list[list[LandmarkedFace]]:
        """What detector and landmarker see in images as they are."""
        boxes = self._boxes(images, threads)
        if self._repeats and not self._verifies:  # before FAN looks at each six times
            boxes = [_without_repeated_boxes(found) for found in boxes]
        if self._max_faces and not self._repeats:  # the largest boxes become the largest faces
            boxes = [sorted(found, key=lambda d: -areas(d.rect)[0])[: self._max_faces] for found in boxes]
        return self.landmarker.find(images, boxes)

    def _boxes(self, images: list[np.ndarray], threads: int) -> list[list[Detection]]:
        if self._batched_boxes:
            return self.detector.detect_batch(images)
        if threads == 1 or len(images) == 1:
            return [self.detector.detect(image) for image in images]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.detector.detect, images))

    def _turn_back(self, found: LandmarkedFace, degrees: int, shape: tuple[int, ...]) -> LandmarkedFace:
        """A face found in the image turned clockwise by `degrees`, in the image itself of `shape`."""
        if degrees == 0:
            return found
        corners = np.array(found.face.rect).reshape(2, 2)
        corners = turned_back(corners, degrees, shape, self._box_from_corner)
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        landmarks = turned_back(found.face.landmarks, degrees, shape, self._from_corner)
        face = replace(found.face, rect=(left, top, right, bottom), landmarks=landmarks)
        points = None if found.points is None else turned_back(found.points, degrees, shape)
        return LandmarkedFace(face, doubtful=False, points=points)

    def _finished(self, image: np.ndarray, found: list[LandmarkedFace]) -> list[DetectedFace]:
        faces = [face.face if face.points is None else self.landmarker.finish(image, face) for face in found]
        faces.sort(key=lambda face: -rect_area(face.rect))
        return faces[: self._max_faces] if self._max_faces else faces


def _without_repeats(found: list[LandmarkedFace]) -> list[LandmarkedFace]:
    """Drop every face that is the same as a better one: boxes beside a face slide onto it.

    Two people cheek to cheek overlap as well, but the middles of their faces are further apart.
    """
    kept: list[LandmarkedFace] = []
    for face in sorted(found, key=lambda f: -f.face.score):
        for number, other in enumerate(kept):
            if _same_face(face.bounds, other.bounds):
                if _is_fuller(face, other):
                    kept[number] = face
                break
        else:
            kept.append(face)
    return kept


def _without_repeated_boxes(found: list[Detection]) -> list[Detection]:
    """Drop every box that lies on the same face as a better one."""
    kept: list[Detection] = []
    for box in sorted(found, key=lambda d: -d.score):
        if not any(_same_face(box.rect, other.rect) for other in kept):
            kept.append(box)
    return kept


def _is_fuller(face: LandmarkedFace, other: LandmarkedFace) -> bool:
    """Whether a face that is less sure than the other, which is the same one, shows more of it."""
    return (
        face.face.score >= AS_SURE * other.face.score
        and areas(face.bounds)[0] > LARGER * areas(other.bounds)[0]
        and not (face.doubtful or other.doubtful)
    )


def _same_face(rect: np.ndarray, other: np.ndarray) -> bool:
    both = np.stack([rect, other])
    shared = intersections(rect, other)[0]
    apart = np.linalg.norm((both[0, :2] + both[0, 2:] - both[1, :2] - both[1, 2:]) / 2)
    return bool(shared > COVERED * areas(both).min() and apart < APART * (both[:, 2:] - both[:, :2]).max())


def _even(image: np.ndarray) -> np.ndarray:
    """The image without the last row and column where their number is odd, which is how DFL looks at it."""
    height, width = image.shape[:2]
    return image if min(height, width) < 2 else image[: height & ~1, : width & ~1]


def turned_back(
    points: np.ndarray, degrees: int, shape: tuple[int, ...], from_corner: bool = False
) -> np.ndarray:
    """(N, 2) pixels of an image turned clockwise by `degrees`, as pixels of the image itself of `shape`.

    `from_corner`: (0, 0) is the corner of the first pixel, as DFL reckons with its networks, not its middle.
    """
    height, width = shape[:2]
    right, bottom = (width, height) if from_corner else (width - 1, height - 1)
    x, y = points.T
    back = {90: (y, bottom - x), 180: (right - x, bottom - y), 270: (right - y, x)}[degrees]
    return np.stack(back, axis=1)

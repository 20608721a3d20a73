"""An image in, its faces out: boxes, verified one by one, with 68 landmarks each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from core.errors import UsageError
from core.system import cpu_count
from facelib.detectors import Detection, create_detector
from facelib.detectors.boxes import areas, intersections
from facelib.facemesh import FaceMesh, Mesh, Square, square_around_mesh, square_around_rect

LANDMARKERS = ("facemesh",)
SURE = 0.999  # presence from which the head's turning is beyond doubt
TILTED = 0.7  # radians; heads tilted by more are looked at from their own side
STEADY = 0.2  # radians; a crop that turns by less is upright enough
MOST_RUNS = 5
PRESENCE = 0.5  # smallest probability of a face, asked on the mesh's own crop
SMALL_SIDE = 128  # pixels of a mesh's square; smaller faces' landmarks are worth more samples
SMALL_SAMPLES = 6
COVERED = 0.5  # meshes that share more of the smaller one's box than this are the same face ...
APART = 0.4  # ... unless their middles are further apart than this part of the larger one's side
# A picture without faces, or with one that seems to lie, is tried on its sides and upside down (clockwise
# turns, in DFL's order); of what is found both ways the better one stays.
TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 270: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180}


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """A face of an image.

    Attributes:
        rect: (left, top, right, bottom) of the face from forehead to chin, whole pixels, inside the image.
        landmarks: (68, 2) float32, x before y, iBUG order, pixels; may lie outside the image.
        score: How sure the detector and the mesh are together, 0 to 1.
    """

    rect: tuple[int, int, int, int]
    landmarks: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """A box that the mesh took for a face."""

    mesh: Mesh
    score: float  # presence times the detector's score
    doubtful: bool  # it may be lying on its side, where detector and mesh are easily wrong about the angle


class Pipeline:
    """Detector, verifier and landmarker in one; safe to call from many threads."""

    def __init__(
        self,
        detector: str = "auto",
        landmarker: str = "auto",
        max_faces: int = 0,
        samples: int = 2,
    ) -> None:
        """Choose the networks.

        Args:
            detector: `auto`, `blazeface`, or `mtcnn` (slower, better at many small faces).
            landmarker: `auto` or `facemesh`.
            max_faces: Keep only so many of the largest faces; 0 keeps all.
            samples: Average the landmarks over so many slightly moved crops, every other one mirrored:
                steadier and closer, 1 ms each. Small faces get SMALL_SAMPLES at least.

        Raises:
            UsageError: A name is unknown or a number out of range.
            SwapError: A package is missing.
        """
        if landmarker != "auto" and landmarker not in LANDMARKERS:
            raise UsageError(f"landmarker {landmarker!r} is unknown; choose auto, {', '.join(LANDMARKERS)}")
        if max_faces < 0 or samples < 1:
            raise UsageError("max_faces must be at least 0, samples at least 1")
        self._detector = create_detector(detector)
        self._mesh = FaceMesh()
        self._max_faces = max_faces
        self._shifts = _crop_shifts(samples)
        self._small_shifts = _crop_shifts(max(samples, SMALL_SAMPLES))
        self.name = f"{self._detector.name}+facemesh"

    def faces(self, image: np.ndarray) -> list[DetectedFace]:
        """Find the faces of one image, largest first.

        Args:
            image: (H, W, 3) uint8 BGR.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"expected (H, W, 3) uint8 BGR, got {image.shape} {image.dtype}")
        found: list[Candidate] = []
        for degrees, turn in TURNS.items():
            turned = image if turn is None else cv2.rotate(image, turn)
            more = [_turn_back(candidate, degrees, image.shape) for candidate in self._candidates(turned)]
            found = _without_repeats(found + more)
            if found and not any(candidate.doubtful for candidate in found):
                break
        faces = [self._describe(image, candidate) for candidate in found]
        faces.sort(key=lambda face: -_area(face.rect))
        return faces[: self._max_faces] if self._max_faces else faces

    def faces_batch(
        self, images: Sequence[np.ndarray], threads: int | None = None
    ) -> list[list[DetectedFace]]:
        """Find the faces of several images, side by side; the networks are too small for batches."""
        threads = min(threads or cpu_count(), max(len(images), 1))
        if threads == 1:
            return [self.faces(image) for image in images]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.faces, images))

    def _candidates(self, image: np.ndarray) -> list[Candidate]:
        """Boxes of the detector in which the mesh sees a face."""
        verified = (self._verify(image, detection) for detection in self._detector.detect(image))
        return [candidate for candidate in verified if candidate is not None]

    def _verify(self, image: np.ndarray, detection: Detection) -> Candidate | None:
        """The mesh in a box, or None where a second look shows no face.

        The presence on the detector's own box is not trusted: it is high on some things that are no faces,
        and falls once the crop follows the points found there. Faces lying down or upside down are often
        boxed with the angle of upright ones, so a mesh that is not sure is tried the other ways around too.
        """
        square = square_around_rect(detection.rect, detection.angle)
        first = best = self._settle(image, square)
        if first.presence < SURE:
            for quarter in (1, 3, 2):
                other = self._settle(image, square.moved(0, 0, quarter * np.pi / 2))
                if other.presence > max(best.presence, SURE):
                    best = other
        if best.presence <= PRESENCE:
            return None
        tilt = abs(square_around_mesh(best.points).angle)
        return Candidate(best, best.presence * detection.score, first.presence < SURE or tilt > TILTED)

    def _settle(self, image: np.ndarray, square: Square) -> Mesh:
        """The mesh on the crop that its own points ask for; run again while they still turn the crop."""
        for runs in range(1, MOST_RUNS + 1):
            mesh = self._mesh.run(image, square)
            following = square_around_mesh(mesh.points)
            turn = abs(np.angle(np.exp(1j * (following.angle - square.angle))))
            if runs >= 2 and turn < STEADY:
                break
            square = following
        return mesh

    def _describe(self, image: np.ndarray, candidate: Candidate) -> DetectedFace:
        square = square_around_mesh(candidate.mesh.points)
        shifts = self._small_shifts if square.side < SMALL_SIDE else self._shifts
        found = [
            self._mesh.landmarks(image, square.moved(*shift), mirrored=bool(number % 2))
            for number, shift in enumerate(shifts)
        ]
        landmarks = np.mean(found, axis=0).astype(np.float32)
        rect = _rect_inside(candidate.mesh.rect, image.shape)
        return DetectedFace(rect, landmarks, candidate.score)


def _crop_shifts(samples: int) -> list[tuple[float, float, float]]:
    """Small moves (x, y, angle) of a crop, in its sides and radians: none for the first two, then a ring."""
    ring = np.linspace(0, 2 * np.pi, max(samples - 2, 0), endpoint=False)
    moves = [
        (0.03 * float(np.cos(a)), 0.03 * float(np.sin(a)), 0.04 * float(np.sin(2 * a + 1))) for a in ring
    ]
    return [(0.0, 0.0, 0.0)] * min(samples, 2) + moves


def _without_repeats(candidates: list[Candidate]) -> list[Candidate]:
    """Drop every mesh that is the same face as a better one: boxes beside a face slide onto it.

    Two people cheek to cheek overlap as well, but the middles of their faces are further apart.
    """
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        if not any(_same_face(candidate.mesh.rect, other.mesh.rect) for other in kept):
            kept.append(candidate)
    return kept


def _same_face(rect: np.ndarray, other: np.ndarray) -> bool:
    both = np.stack([rect, other])
    shared = intersections(rect, other)[0]
    apart = np.linalg.norm((both[0, :2] + both[0, 2:] - both[1, :2] - both[1, 2:]) / 2)
    return bool(shared > COVERED * areas(both).min() and apart < APART * (both[:, 2:] - both[:, :2]).max())


def _rect_inside(rect: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels, at least one wide, within an image of `shape`."""
    height, width = shape[:2]
    left, right = (int(np.clip(round(v), 0, width - 1)) for v in rect[[0, 2]])
    top, bottom = (int(np.clip(round(v), 0, height - 1)) for v in rect[[1, 3]])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _area(rect: tuple[int, int, int, int]) -> int:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _turn_back(candidate: Candidate, degrees: int, shape: tuple[int, ...]) -> Candidate:
    """A face found in the image turned clockwise by `degrees`, in the image itself of `shape`."""
    if degrees == 0:
        return candidate
    height, width = shape[:2]
    x, y = candidate.mesh.points.T
    points = {90: (y, height - 1 - x), 180: (width - 1 - x, height - 1 - y), 270: (width - 1 - y, x)}[degrees]
    return replace(candidate, mesh=replace(candidate.mesh, points=np.stack(points, axis=1)), doubtful=False)

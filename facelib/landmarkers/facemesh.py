"""FaceMesh as a landmarker: boxes are verified by the mesh itself, its points averaged and reduced to 68."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facelib.detected import DetectedFace, LandmarkedFace, rect_inside
from facelib.detectors.boxes import Detection
from facelib.facemesh import FaceMesh, Mesh, Square, square_around_mesh, square_around_rect
from facelib.mesh_to_68 import VERTICES

SURE = 0.999  # presence from which the head's turning is beyond doubt
TILTED = 0.7  # radians; heads tilted by more are looked at from their own side
STEADY = 0.2  # radians; a crop that turns by less is upright enough
MOST_RUNS = 5
PRESENCE = 0.5  # smallest probability of a face, asked on the mesh's own crop
SMALL_SIDE = 128  # pixels of a mesh's square; smaller faces' landmarks are worth more samples
SMALL_SAMPLES = 6


class FaceMeshLandmarker:
    """Verifier and landmarker in one; safe to call from many threads."""

    name = "facemesh"
    batched = False  # the network is too small for batches

    def __init__(self, samples: int = 2) -> None:
        """Load the network.

        Args:
            samples: Average the landmarks over so many slightly moved crops, every other one mirrored:
                steadier and closer, 1 ms each. Small faces get SMALL_SAMPLES at least.

        Raises:
            SwapError: A package is missing.
        """
        self._mesh = FaceMesh()
        self._shifts = _crop_shifts(samples)
        self._small_shifts = _crop_shifts(max(samples, SMALL_SAMPLES))

    def find(
        self, images: Sequence[np.ndarray], detections: Sequence[Sequence[Detection]]
    ) -> list[list[LandmarkedFace]]:
        """The boxes in which the mesh sees a face; `finish` makes the landmarks exact."""
        result = []
        for image, boxes in zip(images, detections, strict=True):
            verified = (self._verify(image, detection) for detection in boxes)
            result.append([found for found in verified if found is not None])
        return result

    def finish(self, image: np.ndarray, found: LandmarkedFace) -> DetectedFace:
        """The face with its landmarks averaged over several looks at it."""
        rect = rect_inside(found.bounds, image.shape)
        return DetectedFace(rect, self._landmarks(image, found.points), found.face.score)

    def points(self, image: np.ndarray, rect: np.ndarray, *, second_pass: bool = False) -> np.ndarray | None:
        """(68, 2) float32 in a rect drawn by hand; where the mesh sees no face, its points stay in there."""
        square = square_around_rect(np.asarray(rect, np.float64))
        settled = self._settle(image, square)
        if settled.presence <= PRESENCE:
            return self._mesh.landmarks(image, square).astype(np.float32)
        if second_pass:
            return self._landmarks(image, settled.points)
        return self._mesh.landmarks(image, square_around_mesh(settled.points)).astype(np.float32)

    def _verify(self, image: np.ndarray, detection: Detection) -> LandmarkedFace | None:
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
        rough = best.points[VERTICES].astype(np.float32)  # `finish` does it well
        face = DetectedFace(rect_inside(best.rect, image.shape), rough, best.presence * detection.score)
        return LandmarkedFace(face, first.presence < SURE or tilt > TILTED, best.points)

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

    def _landmarks(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(68, 2) float32, the mean over moved and mirrored crops about the mesh's points."""
        square = square_around_mesh(points)
        shifts = self._small_shifts if square.side < SMALL_SIDE else self._shifts
        found = [
            self._mesh.landmarks(image, square.moved(*shift), mirrored=bool(number % 2))
            for number, shift in enumerate(shifts)
        ]
        return np.mean(found, axis=0).astype(np.float32)


def _crop_shifts(samples: int) -> list[tuple[float, float, float]]:
    """Small moves (x, y, angle) of a crop, in its sides and radians: none for the first two, then a ring."""
    ring = np.linspace(0, 2 * np.pi, max(samples - 2, 0), endpoint=False)
    moves = [
        (0.03 * float(np.cos(a)), 0.03 * float(np.sin(a)), 0.04 * float(np.sin(2 * a + 1))) for a in ring
    ]
    return [(0.0, 0.0, 0.0)] * min(samples, 2) + moves

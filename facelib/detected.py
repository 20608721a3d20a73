"""A face of an image, as the networks report it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """A face of an image.

    Attributes:
        rect: (left, top, right, bottom) of the face from forehead to chin, whole pixels. S3FD's may reach
            beyond the image, as DFL's do.
        landmarks: (68, 2) float32, x before y, iBUG order, pixels; may lie outside the image.
        score: How sure detector and landmarker are together, 0 to 1.
    """

    rect: tuple[int, int, int, int]
    landmarks: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class LandmarkedFace:
    """A face as a landmarker finds it in a picture that may have been turned.

    Attributes:
        face: The face.
        doubtful: It may be lying on its side, where networks are easily wrong about the angle: the picture
            should be tried turned, too.
        points: (N, 2) float64 pixels that the landmarker measured; it wants them back, turned with the
            picture, in `finish`. None where `face` is final.
    """

    face: DetectedFace
    doubtful: bool = False
    points: np.ndarray | None = None

    @property
    def bounds(self) -> np.ndarray:
        """(4,) float64 left, top, right, bottom: of the points where there are any, else the rect."""
        if self.points is None:
            return np.array(self.face.rect, np.float64)
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])


def rect_inside(rect: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels of a rect (4,), at least one wide, within an image of `shape`."""
    height, width = shape[:2]
    left, right = (int(np.clip(round(v), 0, width - 1)) for v in rect[[0, 2]])
    top, bottom = (int(np.clip(round(v), 0, height - 1)) for v in rect[[1, 3]])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def rect_area(rect: tuple[int, int, int, int]) -> int:
    """Area of a rect in pixels."""
    return (rect[2] - rect[0]) * (rect[3] - rect[1])

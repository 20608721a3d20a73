"""The small records of manual extraction: what is selected, asked for and decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import AlignmentError
from facelib.alignment import unit_from_image
from facelib.detected import DetectedFace

SMALLEST_HALF = 5  # of a square's side, pixels

Point = tuple[float, float]
Rect = tuple[int, int, int, int]


@dataclass(frozen=True)
class LandmarkRequest:
    """Landmarks that the session needs."""

    frame: int
    rect: Rect  # left, top, right, bottom in pixels of the frame; may reach outside
    accurate: bool  # DFL's second pass


@dataclass(frozen=True, eq=False)
class ManualResult:
    """What was decided for a frame; a later one for the same frame replaces it.

    Attributes:
        frame: Name of the frame.
        face: The face, or None where the frame was skipped.
        error: Why the frame could not be read; nothing was decided then.
    """

    frame: str
    face: DetectedFace | None
    error: str = ""


@dataclass(frozen=True, eq=False)
class Selection:
    """Where the square is, and whose face it is."""

    centre: Point
    half: int
    locked: bool = False
    across: Point | None = None  # the mean face is placed by hand; see `place_mean_face`
    landmarks: np.ndarray | None = None  # (68, 2), the latest found; perhaps of a rectangle just left
    final: bool = False  # the landmarks are those of this very rectangle and accuracy

    @property
    def rect(self) -> Rect:
        (x, y), half = self.centre, self.half
        return int(x - half), int(y - half), int(x + half), int(y + half)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a frame got: a face and the selection it came from, or neither."""

    face: DetectedFace | None = None
    selection: Selection | None = None


def can_be_aligned(landmarks: np.ndarray) -> bool:
    """Whether a face can be cut out by these landmarks."""
    try:
        unit_from_image(landmarks)
    except AlignmentError:
        return False
    return True


def same_face(one: DetectedFace | None, other: DetectedFace | None) -> bool:
    """Whether two decisions say the same."""
    if one is None or other is None:
        return one is other
    return one.rect == other.rect and np.array_equal(one.landmarks, other.landmarks)


def square_of(rect: Rect) -> tuple[Point, int]:
    """Centre and half the side of the square around a rectangle."""
    left, top, right, bottom = rect
    half = max(SMALLEST_HALF, max(right - left, bottom - top) // 2)
    return ((left + right) / 2, (top + bottom) / 2), half

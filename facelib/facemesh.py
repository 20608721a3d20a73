"""FaceMesh: 468 points of a face and the probability that there is a face at all.

Network: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019. It
wants a square around an upright face, half as large again as the face; its own points give a better such
square, so it is run again on that (once halves the error of a rough box; the detector's box hardly matters
then).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facelib.landmarks import mirror_landmarks
from facelib.litert import LiteModel
from facelib.mesh_to_68 import LEFT_EYE, RIGHT_EYE, landmarks_from_mesh

MODEL_FILE = "face_landmark.tflite"
SIDE = 192  # input of the network
CROP_SCALE = (
    1.5  # side of the square over the longer side of the face's box; 1.25, 1.35 and 1.75 measured worse
)


@dataclass(frozen=True)
class Square:
    """A rotated square in an image: what the network is shown."""

    centre: tuple[float, float]  # x, y in image pixels
    side: float  # image pixels
    angle: float  # radians, clockwise on screen

    def crop_from_image(self, size: int) -> np.ndarray:
        """(2, 3) affine from image pixels to the pixels of a crop of size x size (pixel centres whole)."""
        scale = size / self.side
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        linear = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([linear, (size - 1) / 2 - linear @ np.array(self.centre)])

    def moved(self, x: float, y: float, angle: float) -> Square:
        """The square shifted by parts of its side along its own axes, and turned by radians."""
        cos, sin = np.cos(self.angle) * self.side, np.sin(self.angle) * self.side
        centre = (self.centre[0] + cos * x - sin * y, self.centre[1] + sin * x + cos * y)
        return Square(centre, self.side, self.angle + angle)


@dataclass(frozen=True)
class Mesh:
    """What the network found in a square."""

    points: np.ndarray  # (468, 2) float64, image pixels
    presence: float  # probability of a face, 0 to 1

    @property
    def rect(self) -> np.ndarray:
        """(4,) left, top, right, bottom of the points."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])


def square_around_rect(rect: np.ndarray, angle: float = 0.0, scale: float = CROP_SCALE) -> Square:
    """The square to show the network for a detector's box (4,)."""
    left, top, right, bottom = (float(v) for v in rect)
    return Square(((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top, 2) * scale, angle)


def square_around_mesh(points: np.ndarray, scale: float = CROP_SCALE) -> Square:
    """The upright square to show the network next, from its own points (468, 2)."""
    axis = points[LEFT_EYE] - points[RIGHT_EYE]
    angle = float(np.arctan2(axis[1], axis[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    upright = points @ np.array([[cos, -sin], [sin, cos]])  # turned so that the eyes are level
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
    return Square((float(centre[0]), float(centre[1])), float(max(*(high - low), 2)) * scale, angle)


def crop_square(image: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Cut a rotated square out of an image, size x size, black outside.

    Large squares are shrunk by area first, so that the bilinear step never skips pixels (which makes
    landmarks tremble from frame to frame).
    """
    matrix = square.crop_from_image(size)
    factor = int(square.side / (1.5 * size))
    if factor >= 2:
        image, matrix = _shrink_for_crop(image, square, matrix, factor)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _shrink_for_crop(
    image: np.ndarray, square: Square, matrix: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image under the square, `factor` times smaller, and the matrix that fits it."""
    height, width = image.shape[:2]
    reach = square.side * 0.7072 + factor  # half a diagonal
    left, top = (int(np.clip(c - reach, 0, limit)) for c, limit in zip(square.centre, (width, height)))
    right, bottom = (int(np.clip(c + reach, 0, limit)) for c, limit in zip(square.centre, (width, height)))
    columns, rows = max((right - left) // factor, 1), max((bottom - top) // factor, 1)
    part = image[top : top + rows * factor, left : left + columns * factor]
    if part.size == 0:
        return image, matrix
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    scale_x, scale_y = part.shape[1] / columns, part.shape[0] / rows
    # image = scale * (small + 0.5) - 0.5 + corner
    offset = np.array([0.5 * scale_x - 0.5 + left, 0.5 * scale_y - 0.5 + top])
    linear = matrix[:, :2] * np.array([scale_x, scale_y])
    return small, np.column_stack([linear, matrix[:, :2] @ offset + matrix[:, 2]])


class FaceMesh:
    """The landmark network; safe to call from many threads."""

    def __init__(self) -> None:
        self._model = LiteModel(MODEL_FILE)

    def run(self, image: np.ndarray, square: Square) -> Mesh:
        """Find the points of the face in a square of the image.

        Args:
            image: (H, W, 3) uint8 BGR.
            square: Where to look; it may reach beyond the image.
        """
        points, presence = self._infer(crop_square(image, square, SIDE))
        return Mesh(_to_image(points[:, :2], square), presence)

    def landmarks(self, image: np.ndarray, square: Square, mirrored: bool = False) -> np.ndarray:
        """The 68 landmarks of the face in a square of the image.

        Args:
            image: (H, W, 3) uint8 BGR.
            square: Where to look, best around the mesh of an earlier run.
            mirrored: Show the network the mirror image. Its errors on that differ, so the mean of both is
                better.

        Returns:
            (68, 2) float64, image pixels.
        """
        crop = crop_square(image, square, SIDE)
        points, _ = self._infer(crop[:, ::-1] if mirrored else crop)
        landmarks = landmarks_from_mesh(points)
        return _to_image(mirror_landmarks(landmarks, SIDE) if mirrored else landmarks, square)

    def _infer(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Vertices (468, 3) float64 in pixels of the crop, depth in the same unit, and the presence."""
        tensor = np.multiply(crop[None, :, :, ::-1], np.float32(1 / 255), dtype=np.float32)
        outputs = self._model.run(np.ascontiguousarray(tensor))
        raw, logit = sorted((output.reshape(-1) for output in outputs), key=len, reverse=True)
        presence = float(1 / (1 + np.exp(-np.clip(float(logit[0]), -60, 60))))
        return raw.reshape(-1, 3).astype(np.float64), presence


def _to_image(points: np.ndarray, square: Square) -> np.ndarray:
    """(N, 2) points of the network's crop in image pixels."""
    matrix = square.crop_from_image(SIDE)
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T

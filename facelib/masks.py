"""Masks drawn from landmarks: the face's hull, the eyes, the mouth; pixel for pixel as DFL fills them."""

from __future__ import annotations

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.landmarks import INNER_MOUTH, LEFT_EYE, RIGHT_EYE

__all__ = ["expand_eyebrows", "eyes_mask", "hull_mask", "mouth_mask"]

# Each group's convex hull is filled; together they follow the face's outline, which is not convex.
_HULL_GROUPS = tuple(
    np.array(rows)
    for rows in (
        [*range(0, 9), 17],  # right jaw
        [*range(8, 17), 26],  # left jaw
        [*range(17, 20), 8],  # right cheek
        [*range(24, 27), 8],  # left cheek
        [*range(19, 25), 8],  # nose ridge
        [*range(17, 22), 27, *range(31, 36), 8],  # right eye
        [*range(22, 27), 27, *range(31, 36), 8],  # left eye
        [*range(27, 31), *range(31, 36)],  # nose
    )
)


def _pixel_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """(68, 2) int64, truncated toward zero as DFL does."""
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (68, 2):
        raise AlignmentError(f"68 landmarks are needed, found an array of shape {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise AlignmentError("landmarks hold values that are not finite; detect this face again")
    # OpenCV takes 32-bit points; landmarks that far away are outside any image all the same.
    return np.clip(landmarks, -(2**20), 2**20).astype(np.int64)


def expand_eyebrows(landmarks: np.ndarray, eyebrows_expand_mod: float = 1.0) -> np.ndarray:
    """Landmarks with the brows raised away from the eyes, so that the hull takes in some forehead.

    Args:
        landmarks: (68, 2), truncated to whole pixels first.
        eyebrows_expand_mod: Height of the step; 1 is half the distance from eye to brow, 2 the whole of it.

    Returns:
        (68, 2) int64.
    """
    points = _pixel_landmarks(landmarks)
    right_mid, left_mid = (points[36] + points[0]) // 2, (points[16] + points[45]) // 2
    right_side, left_side = (points[36] + right_mid) // 2, (points[45] + left_mid) // 2
    bottoms = np.stack([right_side, *points[36:40], *points[42:46], left_side])
    brows = points[17:27]
    expanded = points.copy()
    expanded[17:27] = (brows + eyebrows_expand_mod * 0.5 * (brows - bottoms)).astype(np.int64)
    return expanded


def hull_mask(shape: tuple[int, ...], landmarks: np.ndarray, eyebrows_expand_mod: float = 1.0) -> np.ndarray:
    """The face's hull: jaw line, cheeks and raised brows.

    Args:
        shape: (H, W, ...) of the image whose pixels the landmarks are in.
        landmarks: (68, 2) float, x before y.
        eyebrows_expand_mod: See `expand_eyebrows`.

    Returns:
        (H, W, 1) float32, 0 or 1.

    Raises:
        AlignmentError: The landmarks are not 68 or not finite.
    """
    points = expand_eyebrows(landmarks, eyebrows_expand_mod).astype(np.int32)
    mask = np.zeros((*shape[:2], 1), np.float32)
    for rows in _HULL_GROUPS:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[rows]), (1,))
    return mask


def eyes_mask(shape: tuple[int, ...], landmarks: np.ndarray) -> np.ndarray:
    """Both eyes, grown and softened in proportion to the image's height.

    Returns:
        (H, W, 1) float32 in [0, 1].

    Raises:
        AlignmentError: The landmarks are unusable, or the image is lower than 32 pixels.
    """
    return _soft_hulls(shape, landmarks, (RIGHT_EYE, LEFT_EYE))


def mouth_mask(shape: tuple[int, ...], landmarks: np.ndarray) -> np.ndarray:
    """The inner mouth, grown and softened; shapes and errors as in `eyes_mask`."""
    return _soft_hulls(shape, landmarks, (INNER_MOUTH,))


def _soft_hulls(shape: tuple[int, ...], landmarks: np.ndarray, groups: tuple[slice, ...]) -> np.ndarray:
    height, width = shape[:2]
    if height < 32:
        raise AlignmentError(f"eyes and mouth need an image at least 32 pixels high, found {height}")
    points = _pixel_landmarks(landmarks).astype(np.int32)
    mask = np.zeros((height, width, 1), np.float32)
    for rows in groups:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[rows]), (1,))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (height // 32, height // 32))
    blur = height // 16 | 1  # odd
    mask = cv2.GaussianBlur(cv2.dilate(mask, kernel), (blur, blur), 0)
    return mask.reshape(height, width, 1)

"""Landmarks, rectangles and crops drawn on a picture, in the colours and shapes that DFL's users know."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from facelib.alignment import transform_mat, transform_points
from facelib.landmarks import JAW, LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE
from facelib.masks import hull_mask

__all__ = ["draw_debug", "draw_landmarks"]

GREEN, BLUE, RED = (0, 255, 0), (255, 0, 0), (0, 0, 255)  # BGR

_CROP_SIZE = 256  # frame of the crop's outline; any size gives the same outline up to one of its pixels


def draw_landmarks(
    image: np.ndarray,
    landmarks: np.ndarray,
    color: tuple[int, int, int] = GREEN,
    circles: bool = True,
    thickness: int = 1,
    darken_hull: bool = False,
) -> np.ndarray:
    """A copy of the image with the 68 landmarks on it.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (68, 2) in its pixels.
        color: BGR.
        circles: Also mark every point, those of the jaw larger.
        thickness: Of the lines in pixels.
        darken_hull: Halve the brightness inside the face's hull.
    """
    picture = np.ascontiguousarray(image).copy()
    points = np.clip(landmarks, -(2**15), 2**15).astype(np.int32)
    ridge = np.concatenate([points[NOSE], points[30:31]])  # from the last nostril back to the tip
    for group in (points[RIGHT_BROW], points[JAW], points[LEFT_BROW], ridge):
        cv2.polylines(picture, [group], False, color, thickness, cv2.LINE_AA)
    for group in (points[RIGHT_EYE], points[LEFT_EYE], points[MOUTH]):
        cv2.polylines(picture, [group], True, color, thickness, cv2.LINE_AA)
    if circles:
        for index, point in enumerate(points.tolist()):
            cv2.circle(picture, point, 2 if index < JAW.stop else 1, color, 1, cv2.LINE_AA)
    if darken_hull:
        picture = (picture * (1 - hull_mask(picture.shape, landmarks) / 2)).astype(np.uint8)
    return picture


def draw_debug(
    image: np.ndarray,
    faces: Iterable[tuple[np.ndarray | None, np.ndarray]],
    face_type: str,
) -> np.ndarray:
    """A copy of a frame with its faces: landmarks, detector's rectangle in blue, crop in red.

    A small triangle marks the crop's top-left corner, so that its turning can be seen.

    Args:
        image: (H, W, 3) uint8 BGR.
        faces: (rect (4,) left, top, right, bottom or None, landmarks (68, 2)) of each.
        face_type: What is cropped; `mark_only` shows the full face's outline.
    """
    picture = image
    for rect, landmarks in faces:
        picture = draw_landmarks(picture, landmarks, darken_hull=True)
        if rect is not None:
            left, top, right, bottom = np.asarray(rect).astype(int).tolist()
            cv2.rectangle(picture, (left, top), (right, bottom), BLUE, 2)
        _draw_crop(picture, landmarks, "full_face" if face_type == "mark_only" else face_type)
    return picture.copy() if picture is image else picture


def _draw_crop(picture: np.ndarray, landmarks: np.ndarray, face_type: str) -> None:
    face_from_image = transform_mat(landmarks, _CROP_SIZE, face_type)
    last, mark = _CROP_SIZE - 1, _CROP_SIZE * 0.1
    outline = [(0, 0), (0, last), (last, last), (last, 0)]
    corner = [(mark / 2, 0), (mark, mark), (0, mark / 2)]
    for shape in (outline, corner):
        points = transform_points(np.array(shape, np.float32), face_from_image, inverse=True)
        cv2.polylines(picture, [points.astype(np.int32)], True, RED, 2, cv2.LINE_AA)

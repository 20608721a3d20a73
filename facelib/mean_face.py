"""The mean face with its jaw, and the mean face put somewhere by hand."""

from __future__ import annotations

from functools import cache

import numpy as np

from facelib.landmarks import JAW, MEAN_FACE_17_67, MEAN_HEAD_3D

__all__ = ["mean_face", "place_mean_face"]

NOSE_TIP = 30


@cache
def _mean_face() -> np.ndarray:
    """The linear view of the mean head that comes closest to the template, which has no jaw of its own.

    It misses the template's points by 0.005 at most; those are taken as they are.
    """
    head = np.column_stack([MEAN_HEAD_3D, np.ones(len(MEAN_HEAD_3D))]).astype(np.float64)
    view, *_ = np.linalg.lstsq(head[JAW.stop :], MEAN_FACE_17_67.astype(np.float64), rcond=None)
    return np.concatenate([head[JAW] @ view, MEAN_FACE_17_67]).astype(np.float32)


def mean_face() -> np.ndarray:
    """(68, 2) float32 landmarks of the mean face in the unit square of `MEAN_FACE_17_67`.

    The jaw reaches outside: about -0.1 to 1.1 across, 1.2 down.
    """
    return _mean_face().copy()


def place_mean_face(nose: tuple[float, float], across: tuple[float, float]) -> np.ndarray:
    """Landmarks of a mean face that is placed by its nose and a direction.

    Args:
        nose: (x, y) in pixels, where landmark 30 goes.
        across: (x, y) in pixels from the person's right to the left, as long as the unit square is wide;
            (n, 0) is an upright face.

    Returns:
        (68, 2) float32 in pixels.
    """
    points = mean_face().astype(np.float64)
    points -= points[NOSE_TIP]
    x, y = across
    return (points @ np.array([[x, y], [-y, x]]) + np.array(nose)).astype(np.float32)

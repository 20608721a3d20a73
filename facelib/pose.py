"""Where a face looks: pitch, yaw and roll of an aligned face by fitting a rigid 3-D head to its landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.landmarks import MEAN_HEAD_3D

__all__ = ["estimate_pose"]

# Jaw, brows and lower nose: the points that a talking, blinking face moves least against its skull.
_POSE_ROWS = np.array([*range(27), *range(30, 36)])
_MODEL = MEAN_HEAD_3D[_POSE_ROWS].astype(np.float64)


def estimate_pose(landmarks: np.ndarray, size: int) -> tuple[float, float, float]:
    """Pitch, yaw and roll of an aligned face.

    Perspective-n-point for a camera with focal length `size` and its axis through the middle of the crop;
    the iterative solver, as in DFL. Where that ends behind the camera, it runs again from a start before it.

    Args:
        landmarks: (68, 2) float in pixels of the aligned face.
        size: Side (width) of the aligned face.

    Returns:
        Radians, each within +-pi/2: pitch is positive looking up, yaw positive with the nose to the viewer's
        left.

    Raises:
        AlignmentError: The landmarks are not 68, not finite, or no pose fits them.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise AlignmentError(f"68 finite landmarks are needed, found an array of shape {landmarks.shape}")
    image_points = np.ascontiguousarray(landmarks[_POSE_ROWS])
    camera = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float64)
    try:
        found, rotation, shift = cv2.solvePnP(_MODEL, image_points, camera, None)
        if not found or not _in_front(rotation, shift):
            start = _upright_start(image_points, size)
            found, rotation, shift = cv2.solvePnP(
                _MODEL, image_points, camera, None, *start, useExtrinsicGuess=True
            )
    except cv2.error as err:
        raise AlignmentError(f"no head pose fits the landmarks ({err.err})") from err
    if not (found and np.isfinite(rotation).all()):
        raise AlignmentError("no head pose fits the landmarks; detect this face again")
    return _angles(cv2.Rodrigues(rotation)[0])


def _in_front(rotation: np.ndarray, shift: np.ndarray) -> bool:
    depths = _MODEL @ cv2.Rodrigues(rotation)[0][2] + shift[2]
    return bool(depths.min() > 0)  # nan is not


def _upright_start(image_points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A head that faces the camera, at the depth and place at which it has the landmarks' size and centre."""
    model_centre, image_centre = _MODEL.mean(axis=0), image_points.mean(axis=0)
    model_spread = np.sqrt(((_MODEL[:, 1] - model_centre[1]) ** 2).sum())
    image_spread = np.sqrt(((image_points[:, 1] - image_centre[1]) ** 2).sum())
    # Heights, not widths: turning the head narrows it but hardly changes its height.
    depth = size * model_spread / max(image_spread, 1e-6)
    across = (image_centre - size / 2) * depth / size
    shift = np.array([*across, depth]) - model_centre
    return np.zeros((3, 1)), shift.reshape(3, 1)


def _angles(matrix: np.ndarray) -> tuple[float, float, float]:
    planar = np.hypot(matrix[0, 0], matrix[1, 0])
    yaw = np.arctan2(-matrix[2, 0], planar)
    if planar >= 1e-6:
        tilt, roll = np.arctan2(matrix[2, 1], matrix[2, 2]), np.arctan2(matrix[1, 0], matrix[0, 0])
    else:  # looking straight sideways: pitch and roll turn about the same axis, all of it is called pitch
        tilt, roll = np.arctan2(-matrix[1, 2], matrix[1, 1]), 0.0
    limit = np.pi / 2
    pitch, yaw, roll = np.clip([-tilt, yaw, roll], -limit, limit)
    return float(pitch), float(yaw), float(roll)

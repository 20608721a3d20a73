"""From landmarks to the aligned face: the crop's affine matrix, points and pixels carried through it.

The matrix repeats DFL's arithmetic with its float32 points in between, so that both programs' faces agree.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.face_types import FaceTypeSpec, face_type_spec
from facelib.landmarks import ALIGNED_ROWS, MEAN_FACE_ALIGNED

__all__ = [
    "averaged_yaw",
    "fit_similarity",
    "rect_from_landmarks",
    "transform_mat",
    "transform_points",
    "unit_from_image",
    "warp_face",
]

WHOLE_FACE_LIFT = 0.07  # of the unit square's height, towards the forehead
HEAD_LIFT = 0.50

_EPSILON = 2 * np.finfo(np.float64).eps
_UNIT_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)], np.float32)


def fit_similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Fit rotation, one scale and a shift that carry `points` onto `template`, never a reflection.

    Least squares (Umeyama, PAMI 1991, eq. 34-43).

    Args:
        points: (N, 2) float, x before y.
        template: (N, 2) float, the same points in the target frame.

    Returns:
        (2, 3) float64 affine matrix M with `template ~ M[:, :2] @ point + M[:, 2]`.

    Raises:
        AlignmentError: The points are not finite or coincide, so they show neither scale nor rotation.
    """
    points, template = np.asarray(points, np.float64), np.asarray(template, np.float64)
    if not np.isfinite(points).all():
        raise AlignmentError("landmarks hold values that are not finite; detect this face again")
    points_mean, template_mean = points.mean(axis=0), template.mean(axis=0)
    centred, target = points - points_mean, template - template_mean
    spread = np.mean(centred**2, axis=0).sum()
    if spread < 1e-12:
        raise AlignmentError(f"all {len(points)} landmarks lie at {points_mean.round(1).tolist()}")
    covariance = target.T @ centred / len(points)  # eq. 38
    u, singular, vt = np.linalg.svd(covariance)
    signs = np.array([1.0, -1.0 if np.linalg.det(covariance) < 0 else 1.0])  # eq. 39
    # Points on a line: the determinant is 0 and tells no reflection, its factors still do (eq. 43).
    if singular[1] <= singular[0] * _EPSILON and np.linalg.det(u) * np.linalg.det(vt) < 0:
        signs[1] = -1.0
    scale = singular @ signs / spread  # eq. 42
    if scale <= 0:
        raise AlignmentError("landmarks do not resemble a face; detect this face again")
    linear = scale * ((u * signs) @ vt)  # eq. 40
    return np.column_stack([linear, template_mean - linear @ points_mean])  # eq. 41


def unit_from_image(landmarks: np.ndarray) -> np.ndarray:
    """(2, 3) float64 similarity from image pixels to the mean face's unit square.

    Raises:
        AlignmentError: The landmarks coincide, are not finite or are not 68.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (68, 2):
        raise AlignmentError(f"68 landmarks are needed, found an array of shape {landmarks.shape}")
    return fit_similarity(landmarks[ALIGNED_ROWS], MEAN_FACE_ALIGNED)


def transform_points(points: np.ndarray, matrix: np.ndarray, inverse: bool = False) -> np.ndarray:
    """Carry points through an affine matrix.

    Args:
        points: (N, 2) float32 or float64 (anything else is taken as float64), x before y.
        matrix: (2, 3) affine.
        inverse: Go the matrix's way backwards.

    Returns:
        (N, 2) in the dtype of the points.
    """
    points = np.asarray(points)
    if points.dtype != np.float32:
        points = points.astype(np.float64)
    if inverse:
        matrix = cv2.invertAffineTransform(np.asarray(matrix, np.float64))
    # OpenCV's transform rounds float32 points as DFL's did; plain numpy would work in float64.
    return cv2.transform(points.reshape(-1, 1, 2), np.asarray(matrix, np.float64)).reshape(-1, 2)


def averaged_yaw(unit_landmarks: np.ndarray) -> float:
    """How far the nose ridge is off the middle of the jaw, in unit squares; positive to the viewer's left.

    Args:
        unit_landmarks: (68, 2) landmarks in the mean face's unit square, see `unit_from_image`.
    """
    x = np.asarray(unit_landmarks)[:, 0]
    left = ((x[27] - x[0]) + (x[28] - x[1]) + (x[29] - x[2])) / 3.0
    right = ((x[16] - x[27]) + (x[15] - x[28]) + (x[14] - x[29])) / 3.0
    return float(right - left)


def transform_mat(landmarks: np.ndarray, size: int, face_type: str, scale: float = 1.0) -> np.ndarray:
    """Affine from image pixels to the aligned face's pixels (DFL's `image_to_face_mat`).

    Args:
        landmarks: (68, 2) float, x before y, in image pixels.
        size: Side of the aligned face in pixels.
        face_type: DFL's name, `whole_face` and so on; not `mark_only`, which has no crop.
        scale: Above 1 shows less around the face.

    Returns:
        (2, 3) float64.

    Raises:
        AlignmentError: The landmarks do not determine an alignment.
        UsageError: There is no such face type.
    """
    spec = face_type_spec(face_type)
    if spec.name == "mark_only":
        raise AlignmentError("a mark_only face is the whole frame and has no alignment")
    landmarks = np.asarray(landmarks)
    to_unit = unit_from_image(landmarks)
    square = transform_points(_UNIT_CORNERS, to_unit, inverse=True)  # float32
    # Half of the crop's diagonal in image pixels.
    reach = (1.0 / scale) * (np.linalg.norm(square[0] - square[2]) * (spec.padding * math.sqrt(2.0) + 0.5))
    centre = _crop_centre(spec, square, landmarks, to_unit)
    corners = _rotated_corners(square, centre, reach)
    if not spec.rotated:
        corners = _upright_corners(corners, centre)
    target = np.array([(0, 0), (size, 0), (size, size)], np.float32)
    return cv2.getAffineTransform(corners[:3].astype(np.float32), target)


def _unit_vector(vector: np.ndarray) -> tuple[np.ndarray, np.float32]:
    length = np.linalg.norm(vector)
    return vector / length, length


def _crop_centre(
    spec: FaceTypeSpec, square: np.ndarray, landmarks: np.ndarray, to_unit: np.ndarray
) -> np.ndarray:
    """(2,) float32 centre of the crop in image pixels; only whole faces and heads move it."""
    centre = square[4]
    if spec.name not in ("whole_face", "head"):
        return centre
    up, height = _unit_vector(square[0] - square[3])
    if spec.name == "whole_face":
        return centre + up * height * np.float32(WHOLE_FACE_LIFT)
    # A turned head reaches further back than its face: shift towards the back of the head.
    yaw = averaged_yaw(transform_points(landmarks, to_unit))
    yaw *= abs(math.tanh(yaw * 2))
    leftwards, width = _unit_vector(square[0] - square[1])
    centre = centre - leftwards * np.float32(yaw * float(width) / 2.0)
    return centre + up * height * np.float32(HEAD_LIFT)


def _rotated_corners(square: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """(4, 2) float32 corners of the crop, from the top-left one clockwise, turned as the face is."""
    falling, _ = _unit_vector(square[2] - square[0])
    rising, _ = _unit_vector(square[1] - square[3])
    reach = np.float32(reach)
    return np.stack(
        [
            centre - falling * reach,
            centre + rising * reach,
            centre + falling * reach,
            centre - rising * reach,
        ]
    )


def _upright_corners(corners: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(3, 2) float32 corners of the square of the same area and centre that is parallel to the image."""
    x, y = corners[:, 0], corners[:, 1]
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    half = np.float32(math.sqrt(area) / 2)
    return np.stack([centre + np.array(sign, np.float32) * half for sign in ((-1, -1), (1, -1), (1, 1))])


def rect_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """(4,) float32 left, top, right, bottom of the upright full-face crop in image pixels.

    Raises:
        AlignmentError: The landmarks do not determine an alignment.
    """
    matrix = transform_mat(landmarks, 256, "full_face_no_align")
    # 255, not 256: DFL maps the last pixel's centre.
    return transform_points(np.array([(0, 0), (255, 255)], np.float32), matrix, inverse=True).ravel()


def warp_face(
    image: np.ndarray, matrix: np.ndarray, size: int, interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """Cut the aligned face out of an image; black where the image ends.

    Args:
        image: (H, W, C) in the image's frame.
        matrix: (2, 3) from `transform_mat`.
        size: Side of the result.
        interpolation: Bilinear gives DFL's pixels (its crops are bilinear although it asks for Lanczos).

    Returns:
        (size, size, C) in the image's dtype.
    """
    warped = cv2.warpAffine(image, matrix, (size, size), flags=interpolation)
    return warped if warped.ndim == image.ndim else warped[..., np.newaxis]

"""Cutting a face out of an image without aliasing and without softness."""

from __future__ import annotations

import math

import cv2
import numpy as np

from facelib.alignment import warp_face

MAX_SUPERSAMPLING = 8


def crop_face(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cut out the aligned face that `matrix` describes; black where the image ends.

    DFL's crops are bilinear: soft where the face is enlarged, jagged where it is shrunk. Here enlarging is
    bicubic, and shrinking averages all the pixels that fall on one (bilinear at a multiple of the size, then
    area mean).

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) affine from image to face pixels, as `transform_mat` gives.
        size: Side of the face in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    scale = math.sqrt(max(abs(float(np.linalg.det(matrix[:, :2]))), 1e-12))
    if scale >= 1:
        return warp_face(image, matrix, size, cv2.INTER_CUBIC)
    if scale > 0.9:  # too close to 1 for aliasing; averaging would only blur
        return warp_face(image, matrix, size, cv2.INTER_LINEAR)
    factor = min(MAX_SUPERSAMPLING, math.ceil(1 / scale))
    # A pixel's centre x becomes factor * x + (factor - 1) / 2 among the finer pixels.
    finer = matrix * factor + np.array([[0, 0, 1], [0, 0, 1]]) * ((factor - 1) / 2)
    large = warp_face(image, finer, size * factor, cv2.INTER_LINEAR)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)

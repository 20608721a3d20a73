"""The mask of a merged face: which learned masks it is made of, shrunk or grown, and softened."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

MASK_GRID = 4  # the mask is worked on at this many times the model's resolution, as in DFL
FAINT = 1 / 255  # what is below shows in no 8-bit picture

Combine = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# (hull of the landmarks, mask of the source decoder, mask of the destination decoder) -> mask; in DFL's order
COMBINATIONS: dict[str, Combine] = {
    "full": lambda hull, prd, dst: np.ones_like(prd),
    "dst": lambda hull, prd, dst: hull,
    "learned-prd": lambda hull, prd, dst: prd,
    "learned-dst": lambda hull, prd, dst: dst,
    "learned-prd*learned-dst": lambda hull, prd, dst: prd * dst,
    "learned-prd+learned-dst": lambda hull, prd, dst: np.minimum(prd + dst, 1),
}


def combine_masks(mode: str, hull: np.ndarray | None, prd: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """The working mask of `mode`, enlarged to the mask grid.

    Args:
        mode: Key of `COMBINATIONS`.
        hull: (R, R) float32 hull of the landmarks, needed by mode `dst` only.
        prd: (R, R) float32, the source decoder's mask of the predicted face.
        dst: (R, R) float32, the destination decoder's mask.

    Returns:
        (4R, 4R) float32; cubic interpolation may leave [0, 1] by a few percent, as in DFL.
    """
    mask = COMBINATIONS[mode](hull, prd, dst).copy()
    mask[mask < FAINT] = 0
    side = MASK_GRID * prd.shape[0]
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_CUBIC)


def shape_mask(mask: np.ndarray, erode: int, blur: int) -> np.ndarray:
    """Shrink (`erode` > 0) or grow (`erode` < 0) a mask of the mask grid, then feather it by `blur`.

    With `blur` the mask is first cleared near the border of the face square, so that its feather ends inside.

    Args:
        mask: (4R, 4R) float32.
        erode: Diameter of the elliptical kernel in pixels of the grid, negative to grow.
        blur: Diameter of the Gaussian kernel in pixels of the grid.

    Returns:
        (4R, 4R) float32 in [0, 1].
    """
    # DFL pads the mask for this; zeros beyond the border are the same, since only the inside is kept.
    mask = np.clip(mask, 0, 1)
    if erode:
        mask = _grow(mask, erode)
    if blur:
        edge = min(blur // 2, mask.shape[0] // 2)
        cleared = np.zeros_like(mask)
        inner = slice(edge, mask.shape[0] - edge)
        cleared[inner, inner] = mask[inner, inner]
        side = blur + 1 - blur % 2
        mask = cv2.GaussianBlur(cleared, (side, side), 0, borderType=cv2.BORDER_CONSTANT)
    return mask


def _grow(mask: np.ndarray, erode: int) -> np.ndarray:
    """Erosion or, below 0, dilation; in 8 bits: four times as fast, and as fine as what is written."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(erode), abs(erode)))
    change = cv2.erode if erode > 0 else cv2.dilate
    levels = np.rint(mask * np.float32(255)).astype(np.uint8)
    changed = change(levels, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return changed.astype(np.float32) * np.float32(1 / 255)

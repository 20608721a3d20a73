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
    if erode == 0 and blur == 0:
        return np.clip(mask, 0, 1)
    pad = mask.shape[0] // MASK_GRID
    mask = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    if erode:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(erode), abs(erode)))
        mask = cv2.erode(mask, kernel) if erode > 0 else cv2.dilate(mask, kernel)
    if blur:
        edge = pad + blur // 2
        inner = slice(edge, max(edge, mask.shape[0] - edge))
        cleared = np.zeros_like(mask)
        cleared[inner, inner] = mask[inner, inner]
        side = blur + 1 - blur % 2
        mask = cv2.GaussianBlur(cleared, (side, side), 0)
    return np.clip(mask[pad:-pad, pad:-pad], 0, 1)

"""Masks: which learned masks they are made of, and their shaping on the grid of four times the resolution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from merger.masks import COMBINATIONS, combine_masks, shape_mask
from merger.options import MASK_MODES

RESOLUTION = 24
SIDE = 4 * RESOLUTION


def soft_disc(radius: float = 0.3, side: int = RESOLUTION) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    return np.clip((radius + 0.1 - np.hypot(x, y)) / 0.1, 0, 1).astype(np.float32)


def padded_reference(mask: np.ndarray, erode: int, blur: int) -> np.ndarray:
    """DFL's way: on a padded picture, in float32."""
    pad = RESOLUTION
    wide = np.pad(mask, pad)
    if erode:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(erode), abs(erode)))
        wide = cv2.erode(wide, kernel) if erode > 0 else cv2.dilate(wide, kernel)
    if blur:
        inset = pad + blur // 2
        kept = wide[inset:-inset, inset:-inset].copy()
        wide[:] = 0
        wide[inset:-inset, inset:-inset] = kept
        wide = cv2.GaussianBlur(wide, (blur | 1, blur | 1), 0)
    return np.clip(wide[pad:-pad, pad:-pad], 0, 1)


def test_there_is_a_combination_for_every_mode():
    assert tuple(COMBINATIONS) == MASK_MODES


def test_combinations_are_what_their_names_say():
    hull, prd, dst = (np.full((RESOLUTION, RESOLUTION), value, np.float32) for value in (1.0, 0.8, 0.5))
    middle = {mode: combine_masks(mode, hull, prd, dst)[SIDE // 2, SIDE // 2] for mode in MASK_MODES}
    assert middle == pytest.approx(
        {
            "full": 1,
            "dst": 1,
            "learned-prd": 0.8,
            "learned-dst": 0.5,
            "learned-prd*learned-dst": 0.4,
            "learned-prd+learned-dst": 1,
        },
        abs=1e-6,
    )


def test_faint_values_are_dropped():
    faint = np.full((RESOLUTION, RESOLUTION), 0.9 / 255, np.float32)
    assert not combine_masks("learned-prd", None, faint, faint).any()


@pytest.mark.parametrize("erode", [-40, -7, 0, 1, 8, 30])
@pytest.mark.parametrize("blur", [0, 1, 10, 31])
@pytest.mark.parametrize("full", [False, True])
def test_shaping_is_that_of_dfl(erode, blur, full):
    mask = np.ones((SIDE, SIDE), np.float32) if full else soft_disc(0.45, SIDE)
    shaped = shape_mask(mask, erode, blur)
    np.testing.assert_allclose(shaped, padded_reference(mask, erode, blur), atol=0.6 / 255)


@pytest.mark.parametrize("blur", [40, 95, 400])
def test_a_blurred_mask_ends_inside_the_square(blur):
    shaped = shape_mask(np.ones((SIDE, SIDE), np.float32), 0, blur)
    border = np.concatenate([shaped[0], shaped[-1], shaped[:, 0], shaped[:, -1]])
    assert border.max() < 0.05


@pytest.mark.parametrize(("erode", "blur"), [(400, 0), (-400, 0), (400, 400), (0, 400), (1, 1), (2, 2)])
def test_extreme_values_are_no_error(erode, blur):
    shaped = shape_mask(soft_disc(side=SIDE), erode, blur)
    assert shaped.shape == (SIDE, SIDE)
    assert shaped.min() >= 0 and shaped.max() <= 1

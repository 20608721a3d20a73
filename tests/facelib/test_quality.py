"""Sharpness as DFL's sorter measures it, against its values and a plain pixel-by-pixel version; landmarks."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from core.errors import AlignmentError
from facelib.landmarks import MEAN_HEAD_3D
from facelib.quality import cpbd_sharpness, landmark_error, masked_grey, motion_sharpness


def plain_canny(image):
    """Canny of sigma 1 and thresholds 0.1 and 0.2, written pixel by pixel."""
    ones = np.ones_like(image)
    smooth = ndimage.gaussian_filter(image, 1, mode="constant") / ndimage.gaussian_filter(
        ones, 1, mode="constant"
    )
    down, across = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    magnitude = np.hypot(down, across)
    thin = np.zeros(image.shape, bool)
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            if magnitude[y, x] <= 0:
                continue
            dy, dx = down[y, x], across[y, x]
            step = (int(np.sign(dy)), 0) if abs(dy) > abs(dx) else (0, int(np.sign(dx)))
            diagonal = (int(np.sign(dy)), int(np.sign(dx)))
            share = min(abs(dx), abs(dy)) / max(abs(dx), abs(dy))
            thin[y, x] = all(
                share * magnitude[y + side * diagonal[0], x + side * diagonal[1]]
                + (1 - share) * magnitude[y + side * step[0], x + side * step[1]]
                <= magnitude[y, x]
                for side in (1, -1)
            )
    labels, count = ndimage.label(thin & (magnitude >= 0.1), np.ones((3, 3)))
    strong = ndimage.maximum(thin * magnitude, labels, range(1, count + 1)) if count else []
    return np.isin(labels, 1 + np.flatnonzero(np.asarray(strong) >= 0.2)) & (labels > 0)


def plain_widths(image):
    """Edge widths by walking from every edge pixel."""
    slope = ndimage.correlate(image, np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8, mode="reflect")
    strength = slope**2
    strength[strength <= 2 * math.sqrt(strength.mean())] = 0
    padded = np.pad(strength, 1)
    height, width = image.shape
    widths = np.zeros(image.shape)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here, near = strength[y, x], padded[y : y + 3, x : x + 3]
            if not ((here > near[1, 0] and here > near[1, 2]) or (here > near[0, 1] and here > near[2, 1])):
                continue
            gx, gy = (image[y, x + 1] - image[y, x - 1]) / 2, (image[y + 1, x] - image[y - 1, x]) / 2
            angle = 0 if gx == 0 else 45 * round(math.degrees(math.atan2(gy, gx)) / 45)
            if angle not in (0, 180, -180):
                continue
            sign = 1 if angle == 0 else -1
            for side in (-1, 1):
                steps = 1
                while steps < 101:
                    inner, outer = x + side * steps, x + side * (steps + 1)
                    if not 0 <= outer < width or (image[y, outer] - image[y, inner]) * side * sign <= 0:
                        break
                    steps += 1
                widths[y, x] += steps
    return widths


def plain_cpbd(grey):
    image = grey.astype(float)
    canny, widths = plain_canny(image), plain_widths(image)
    bins = np.zeros(101)
    for y in range(0, grey.shape[0] - 63, 64):
        for x in range(0, grey.shape[1] - 63, 64):
            block = (slice(y, y + 64), slice(x, x + 64))
            if canny[block].sum() <= 0.002 * 64 * 64:
                continue
            w = 5 if int(image[block].max() - image[block].min()) <= 50 else 3
            for v in widths[block][widths[block] > 0]:
                bins[round(100 * (1 - math.exp(-(abs(v / w) ** 3.6))))] += 1
    return bins[:64].sum() / bins.sum() if bins.sum() else math.nan


def noise(kernel: int) -> np.ndarray:
    image = np.random.RandomState(0).randint(0, 256, (256, 256)).astype(np.uint8)
    return cv2.GaussianBlur(image, (kernel, kernel), 0) if kernel else image


@pytest.mark.parametrize("kernel, value", [(0, 0.8988893546), (3, 0.7457034373), (5, 0.5735533601)])
def test_sharpness_has_the_values_of_the_reference(kernel, value):
    assert cpbd_sharpness(noise(kernel)) == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_sharpness_equals_the_plain_version(seed):
    """On a shape with soft and hard edges, flat blocks, weak noise and a size that 64 does not divide."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((150, 201), np.uint8)
    cv2.ellipse(grey, (90, 70), (60, 50), 20 * seed, 0, 360, 180, -1)
    cv2.rectangle(grey, (150, 10), (180, 140), 40, -1)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.5 + seed)
    grey[:, :70] = np.clip(grey[:, :70].astype(int) + rng.integers(-3, 4, (150, 70)), 0, 255)
    assert cpbd_sharpness(grey) == pytest.approx(plain_cpbd(grey), abs=1e-12)


def test_nothing_to_judge_by_is_no_number():
    assert math.isnan(cpbd_sharpness(np.full((128, 128), 90, np.uint8)))
    assert math.isnan(cpbd_sharpness(noise(0)[:40]))


def test_blur_lowers_both_measures():
    mask = np.zeros((256, 256, 1), np.float32)
    mask[40:200, 40:200] = 1
    sharp = cv2.cvtColor(noise(3), cv2.COLOR_GRAY2BGR)
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert motion_sharpness(soft, mask) < motion_sharpness(sharp, mask)
    assert cpbd_sharpness(masked_grey(soft, mask)) < cpbd_sharpness(masked_grey(sharp, mask))


def head(turn: float) -> np.ndarray:
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    return np.column_stack([x * np.cos(turn) + z * np.sin(turn), y]) * 1.5 + 200


@pytest.mark.parametrize("turn", [0, 0.5, -1.0])
def test_a_turned_head_has_no_landmark_error_and_scattered_points_have_more(turn):
    points = head(turn)
    moved = points + np.random.default_rng(0).normal(size=(68, 2)) * 8
    assert landmark_error(points) < 1e-6 < 0.03 < landmark_error(moved)


def test_landmark_error_does_not_ask_where_and_how_large():
    points = head(0.3) + np.random.default_rng(1).normal(size=(68, 2))
    turned = 3 * points @ np.array([[0.6, -0.8], [0.8, 0.6]]) + 50
    assert landmark_error(turned) == pytest.approx(landmark_error(points))


def test_landmarks_in_one_place_are_refused():
    with pytest.raises(AlignmentError):
        landmark_error(np.full((68, 2), 7.0))

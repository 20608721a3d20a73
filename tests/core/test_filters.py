"""Filters of the merger: DFL's numbers, neutral settings, direction of effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.imagelib import filters

SIZE = 20


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).uniform(0.1, 0.9, (SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> dict[str, np.ndarray]:
    with np.load(shared_data / "dfl" / "color" / "reference.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays |= {f"crop_{side}": arrays[f"crop_{side}_u8"].astype(np.float32) / 255 for side in "ab"}
    return arrays


@pytest.mark.parametrize("name", ["crop", "syn"])
def test_filters_give_the_numbers_of_dfl(reference, name):
    src, dst = reference[f"{name}_a"], reference[f"{name}_b"]
    matched = filters.histogram_match(src, dst, 238)
    np.testing.assert_allclose(matched, reference[f"{name}_hist_match"], atol=1e-6)
    for mode, number, amount in (("box", 1, 60), ("gaussian", 2, 60), ("none", 1, -35)):
        result = filters.blursharpen(src, mode, 5, amount)
        np.testing.assert_allclose(result, reference[f"{name}_blursharpen_{number}_{amount}"], atol=1e-5)


def test_histogram_match_reaches_the_distribution(image):
    dst = (image * 0.5 + 0.3)[::-1]
    np.testing.assert_allclose(filters.histogram_match(image, dst), image * 0.5 + 0.3, atol=1e-6)


def test_histogram_match_measures_inside_the_mask(image):
    mask = np.zeros((SIZE, SIZE, 1), np.float32)
    mask[:10] = 1
    dst = image * 0.5
    dst[10:] = 1.0
    np.testing.assert_allclose(
        filters.histogram_match(image, dst, 255, mask)[:10], image[:10] * 0.5, atol=1e-6
    )
    np.testing.assert_array_equal(filters.histogram_match(image, dst, 255, 0 * mask), image)


@pytest.mark.parametrize(
    "neutral",
    [
        lambda x: filters.blursharpen(x, "none", 3, 50),
        lambda x: filters.blursharpen(x, "box", 3, 0),
        lambda x: filters.denoise(x, 0),
        lambda x: filters.bicubic_degrade(x, 0),
        lambda x: filters.color_degrade(x, 0),
        lambda x: filters.motion_blur(x, 1, 30),
    ],
)
def test_neutral_settings_copy(image, neutral):
    result = neutral(image)
    np.testing.assert_array_equal(result, image)
    assert result is not image


def roughness(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean())


def test_more_power_means_more_effect(image):
    smooth = [roughness(filters.denoise(image, power)) for power in (0, 50, 100, 500)]
    assert smooth == sorted(smooth, reverse=True) and smooth[0] > smooth[1]
    degraded = [roughness(filters.bicubic_degrade(image, power)) for power in (0, 50, 90)]
    assert degraded == sorted(degraded, reverse=True)
    sharp = [roughness(filters.blursharpen(image, "gaussian", 3, amount)) for amount in (-100, -5, 0, 5, 50)]
    assert sharp == sorted(sharp)


def test_denoise_follows_the_schedule_of_dfl(image):
    import cv2

    expected = cv2.medianBlur(image, 5)  # 100: one full pass, then 90, 80 .. 10 percent
    for weight in range(90, 0, -10):
        expected = (
            expected * (1 - weight / 100) + cv2.medianBlur(expected.astype(np.float32), 5) * weight / 100
        )
    np.testing.assert_allclose(filters.denoise(image, 100), expected, atol=1e-5)


def test_motion_blur_smears_along_its_angle():
    dot = np.zeros((21, 21, 3), np.float32)
    dot[10, 10] = 1
    lying, standing = filters.motion_blur(dot, 7, 0), filters.motion_blur(dot, 7, 90)
    assert np.count_nonzero(lying[10, :, 0] > 0.1) == 7 and np.count_nonzero(lying[..., 0] > 0.1) == 7
    np.testing.assert_allclose(standing, lying.transpose(1, 0, 2), atol=1e-6)
    rising = filters.motion_blur(dot, 7, 45)[..., 0]
    assert rising[8, 12] > 0.05 > rising[12, 12]  # counter-clockwise: up and to the right
    for blurred in (lying, standing, rising[..., np.newaxis]):
        assert blurred[..., 0].sum() == pytest.approx(1, abs=1e-5)


def test_even_kernels_grow_by_one(image):
    np.testing.assert_array_equal(
        filters.blursharpen(image, "box", 4, 10), filters.blursharpen(image, "box", 5, 10)
    )


def test_reduce_colors_leaves_few():
    image = np.random.default_rng(0).uniform(0, 1, (40, 40, 3)).astype(np.float32)
    reduced = filters.reduce_colors(image, 16)
    assert len(np.unique(reduced.reshape(-1, 3), axis=0)) <= 16
    assert np.abs(reduced - image).mean() < 0.2
    np.testing.assert_array_equal(filters.color_degrade(image, 100), filters.reduce_colors(image))


def test_one_channel_keeps_its_axis():
    mask = np.random.default_rng(0).uniform(0, 1, (SIZE, SIZE, 1)).astype(np.float32)
    for result in (
        filters.blursharpen(mask, "box", 3, 5),
        filters.blursharpen(mask, "none", 3, -50),
        filters.motion_blur(mask, 5, 10),
        filters.bicubic_degrade(mask, 30),
    ):
        assert result.shape == mask.shape

"""The random geometry of training samples: ours has no bias, DFL's is repeated number for number."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.imagelib.augment import ColorJitter, HsvShift
from core.imagelib.dfl_warp import DflWarp
from core.imagelib.warp import (
    WARP_AMPLITUDE,
    Jitter,
    JitterLimits,
    WarpGrid,
    apply_affine,
    compose,
    invert,
    warp_map,
)

SEEDS = st.integers(0, 2**32 - 1)
SAEHD_LIMITS = JitterLimits(scale=(-0.15, 0.15))


def test_dfl_draws_agree_with_the_published_check_values():
    warp = DflWarp.sample(1, 128, JitterLimits(scale=(-0.15, 0.15), flip=True))
    expected = [[1.07111979, -0.03103343, -8.96406287], [0.03103343, 1.07111979, -9.06794936]]
    np.testing.assert_allclose(warp.matrix, expected, atol=1e-8)
    assert warp.flip
    assert warp.map_x[40, 70] == pytest.approx(70.16461, abs=1e-4)
    assert warp.map_y[40, 70] == pytest.approx(33.69327, abs=1e-4)


@pytest.mark.parametrize("case", range(4))
def test_dfl_warp_agrees_with_what_dfl_made(shared_data, case):
    reference = np.load(shared_data / "dfl" / "warp" / "reference.npz")
    size = int(reference[f"{case}_w"])
    warp = DflWarp.sample(100 + case, size, SAEHD_LIMITS, warp_seed=200 + case)
    np.testing.assert_allclose(warp.matrix, reference[f"{case}_rmat"], atol=1e-12)
    np.testing.assert_allclose(warp.map_x, reference[f"{case}_mapx"], atol=1e-4)
    np.testing.assert_allclose(warp.map_y, reference[f"{case}_mapy"], atol=1e-4)
    assert warp.flip == bool(reference[f"{case}_flip"])
    image = reference["img"] if size == 128 else cv2.resize(reference["img"], (size, size))
    # OpenCV before 5 rounds sampling positions to 1/32 pixel; ours may be exact.
    np.testing.assert_allclose(warp.apply(image, warp=False), reference[f"{case}_nowarp"], atol=0.004)
    difference = np.abs(warp.apply(image, warp=True) - reference[f"{case}_warp"])
    assert difference.max() < 0.03 and difference.mean() < 1e-3


@given(SEEDS, st.integers(48, 300))
@settings(max_examples=25, deadline=None)
def test_dfl_maps_are_transposes_and_sized(seed, size):
    warp = DflWarp.sample(seed, size, SAEHD_LIMITS)
    np.testing.assert_array_equal(warp.map_y, warp.map_x.T)
    assert warp.apply(np.ones((size, size, 3), np.float32), warp=True).shape == (size, size, 3)


@given(SEEDS, st.booleans(), st.integers(16, 640))
def test_jitter_stays_within_its_limits_and_inverts(seed, flip, size):
    limits = JitterLimits(rotation=(-10, 10), scale=(-0.15, 0.15), shift=(-0.05, 0.05), flip=flip)
    jitter = Jitter.sample(np.random.default_rng(seed), limits)
    assert -10 <= jitter.rotation <= 10 and 1 / 1.15 <= jitter.scale <= 1.15
    assert max(map(abs, jitter.shift)) <= 0.05 and (flip or not jitter.flip)
    matrix = jitter.matrix(size)
    np.testing.assert_allclose(compose(matrix, invert(matrix)), np.eye(2, 3), atol=1e-9)
    centre = np.array([[(size - 1) / 2] * 2])
    moved = apply_affine(matrix, centre) - centre
    sign = -1 if jitter.flip else 1
    np.testing.assert_allclose(moved[0], np.multiply(jitter.shift, (sign * size, size)), atol=1e-6)


def test_rotation_is_counter_clockwise_on_screen():
    right_of_centre = np.array([[10.0, 5.0]])
    x, y = apply_affine(Jitter(rotation=90).matrix(11), right_of_centre)[0]
    assert (x, y) == pytest.approx((5, 0), abs=1e-6)


def test_a_flip_mirrors_pixels_exactly():
    image = np.random.default_rng(0).integers(0, 256, (33, 33), np.uint8)
    matrix = Jitter(flip=True).matrix(33)
    np.testing.assert_array_equal(cv2.warpAffine(image, matrix, (33, 33)), image[:, ::-1])


def test_drawing_takes_the_same_numbers_whatever_the_limits():
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    Jitter.sample(first, JitterLimits())
    Jitter.sample(second, JitterLimits((0, 0), (0, 0), (0, 0), flip=True))
    assert first.random() == second.random()


@pytest.mark.parametrize("size", [64, 96, 97, 128])
def test_a_still_grid_moves_nothing_by_not_even_half_a_pixel(size):
    grid = WarpGrid(np.zeros((2, 5, 5), np.float32))
    y, x = np.mgrid[0:size, 0:size]
    np.testing.assert_allclose(warp_map(grid, np.eye(2, 3), size), np.dstack([x, y]), atol=1e-4)


@given(SEEDS, st.integers(32, 256))
@settings(max_examples=40, deadline=None)
def test_the_warp_is_bounded_and_dies_out_towards_the_border(seed, size):
    grid = WarpGrid.sample(np.random.default_rng(seed))
    field = grid.displacement(size)
    cells = grid.offsets.shape[1] - 1
    largest = WARP_AMPLITUDE * size / cells
    assert field.shape == (size, size, 2) and np.abs(field).max() <= largest + 1e-4
    border = np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])
    assert np.abs(border).max() <= largest * cells / size * 0.5 + 1e-4  # half a pixel inside the edge
    y, x = np.mgrid[0:size, 0:size].reshape(2, -1)
    at = grid.displacement_at(np.column_stack([x, y]), size).reshape(size, size, 2)
    np.testing.assert_allclose(at, field, atol=1e-3)


def test_the_warp_has_no_bias_and_independent_axes():
    rng = np.random.default_rng(1)
    fields = np.array([WarpGrid.sample(rng).displacement(64)[20:44, 20:44] for _ in range(2000)])
    assert np.abs(fields.mean(axis=(0, 1, 2))).max() < 0.1  # pixels; the half-pixel bias of DFL would show
    dx, dy = fields[..., 0].ravel(), fields[..., 1].ravel()
    transposed = fields[..., 1].transpose(0, 2, 1).ravel()
    assert abs(np.corrcoef(dx, dy)[0, 1]) < 0.1 and abs(np.corrcoef(dx, transposed)[0, 1]) < 0.1


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_points_are_carried_to_where_the_warp_shows_them(seed):
    rng = np.random.default_rng(seed)
    grid = WarpGrid.sample(rng)
    points = rng.uniform(0, 95, (68, 2))
    carried = grid.carry_points(points, 96)
    np.testing.assert_allclose(carried + grid.displacement_at(carried, 96), points, atol=0.01)


def test_a_white_image_stays_white():
    rng = np.random.default_rng(3)
    white = np.full((96, 96, 3), 255, np.uint8)
    for _ in range(20):
        jitter, grid = Jitter.sample(rng, SAEHD_LIMITS), WarpGrid.sample(rng)
        positions = warp_map(grid, invert(jitter.matrix(96)), 96)
        warped = cv2.remap(white, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert warped.min() == 255


@given(SEEDS, st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_colour_changes_stay_in_range_and_zero_changes_nothing(seed, amount):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (8, 8, 3), np.uint8)
    shifted = HsvShift.sample(rng, amount).apply(image.astype(np.float32) / 255)
    assert shifted.dtype == np.float32 and shifted.min() >= 0 and shifted.max() <= 1
    assert ColorJitter.sample(rng, amount).apply(image).shape == image.shape
    np.testing.assert_array_equal(ColorJitter.sample(rng, 0.0).apply(image), image)
    np.testing.assert_allclose(
        HsvShift(0, 0.0, 0.0).apply(image.astype(np.float32) / 255), image / 255, atol=1e-4
    )

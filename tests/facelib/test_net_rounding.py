"""Kernels in bfloat16: their taps keep their sum."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rounded():
    from facelib.nets.common import rounded

    return rounded


def bfloat16():
    import ml_dtypes

    return ml_dtypes.bfloat16


@pytest.mark.parametrize("size", [1, 3, 7])
def test_taps_are_bfloat16_numbers_near_their_own(rounded, size):
    kernel = np.random.default_rng(size).normal(size=(size, size, 5, 6)).astype(np.float32)
    found = rounded(kernel, bfloat16())
    assert found.dtype == bfloat16() and found.shape == kernel.shape
    # half a step of its own (2**-9) and what the larger ones lost
    assert np.abs(found.astype(np.float32) - kernel).max() <= 2**-7 * np.abs(kernel).max()
    if size == 1:
        np.testing.assert_array_equal(found, kernel.astype(bfloat16()))


def test_the_sum_of_the_taps_is_kept_far_better_than_by_the_nearest_numbers(rounded):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)

    def error(found):
        return np.abs(found.astype(np.float64).sum(axis=(0, 1)) - kernel.sum(axis=(0, 1))).mean()

    assert error(rounded(kernel, bfloat16())) < 0.1 * error(kernel.astype(bfloat16()))


def test_a_map_without_detail_passes_with_a_tenth_of_the_error(rounded):
    import tensorflow as tf

    kernel = np.random.default_rng(1).normal(size=(3, 3, 32, 16)).astype(np.float32)
    flat = np.broadcast_to(np.random.default_rng(2).random(32).astype(np.float32), (1, 9, 9, 32))

    def through(weights):
        return tf.nn.conv2d(flat, weights.astype(np.float32), 1, "VALID").numpy()

    wanted = through(kernel)
    ours = np.abs(through(rounded(kernel, bfloat16())) - wanted).mean()
    assert ours < 0.1 * np.abs(through(kernel.astype(bfloat16())) - wanted).mean()

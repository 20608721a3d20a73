"""Losses against values that DeepFaceLab computed (model reference, section 14) and plain formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests import dfl_vectors


@pytest.fixture(scope="module")
def losses():
    from core.nn import devices

    devices.prepare(cpu_only=True)
    from core.nn import losses

    return losses


def waves() -> np.ndarray:
    return dfl_vectors.waves(2, 128)


def noise() -> np.ndarray:
    return dfl_vectors.uniform((2, 128, 128, 3), 7).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, (0.495232, 0.494988, 0.495149)),
        (11, (0.495475, 0.495308, 0.495337)),
        (22, (0.495353, 0.494977, 0.495023)),
    ],
)
def test_dssim(losses, size, expected):
    np.testing.assert_allclose(losses.dssim(waves(), noise(), (size,))[0], expected, atol=2e-6)


def test_gaussian_blur(losses):
    blurred = losses.gaussian_blur(noise(), 4.0).numpy()
    np.testing.assert_allclose(blurred[0, 0, 0], (0.167106, 0.160161, 0.149635), atol=2e-6)
    np.testing.assert_allclose(blurred[0, 64, 64], (0.485102, 0.491422, 0.530984), atol=2e-6)


@pytest.mark.parametrize(
    ("sigma", "expected"), [(16, (2.30340e-4, 5.0637e-6)), (0, (5.09297e-5, 3.34552e-5))]
)
def test_style_loss(losses, sigma, expected):
    np.testing.assert_allclose(losses.style_loss(waves(), noise(), sigma), expected, rtol=2e-4)


def test_total_variation(losses):
    np.testing.assert_allclose(losses.total_variation(noise()), (16311.09, 16131.43), rtol=1e-5)


def test_equal_images_cost_nothing(losses):
    assert np.abs(losses.dssim(noise(), noise(), (8,))).max() < 1e-6
    assert np.abs(losses.squared_error(noise(), noise())).max() == 0


@pytest.mark.parametrize("sizes", [(8,), (11,), (11, 5)])
def test_dssim_and_its_gradient_are_those_of_the_plain_formula(losses, sizes):
    import tensorflow as tf

    a, b = (tf.constant(image()[:, :24, :28]) for image in (waves, noise))

    def plain(a, b, size):
        window = losses.gaussian_window(size, 1.5)
        ma, mb, mab, mq = (losses.filter_separable(x, window, "VALID") for x in (a, b, a * b, a * a + b * b))
        ssim = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
        ssim *= (2 * mab - 2 * ma * mb + 9e-4) / (mq - ma**2 - mb**2 + 9e-4)
        return (1 - tf.reduce_mean(ssim, axis=(1, 2))) / 2

    weights = tf.constant([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]])  # each plane is paid for apart
    results = []
    for function in (
        lambda a, b: sum(plain(a, b, size) for size in sizes) / len(sizes),
        lambda a, b: losses.dssim(a, b, sizes),
    ):
        with tf.GradientTape() as tape:
            tape.watch(b)
            found = function(a, b)
            total = tf.reduce_sum(weights * found)
        results.append([found, tape.gradient(total, b)])
    for wanted, found in zip(*results):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


def test_wide_blur_is_that_of_a_filter(losses):
    image = noise()[:, :96, :80, :1]
    blurred = losses.gaussian_blur(image, 12.0)
    wanted = losses.filter_separable(image, losses.gaussian_window(49, 12.0), "SAME")
    np.testing.assert_allclose(blurred, wanted, atol=2e-6)


def test_sigmoid_cross_entropy(losses):
    logits = noise()[:, :5, :4, :1] * 8 - 4
    found = [losses.sigmoid_cross_entropy(label, logits) for label in (0.0, 1.0)]
    wanted = [np.log1p(np.exp(sign * logits)).mean(axis=(1, 2, 3)) for sign in (1, -1)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def gradient_through_copies(copies):
    import tensorflow as tf

    weight = tf.constant(noise()[0, :64, :64, 0])

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            a, b, c, d = copies(tf.matmul(x, weight) / 16, 4)
            terms = [tf.sin(a), tf.cos(b * 2.0), tf.tanh(c), tf.exp(-d * d)]
        return tape.gradient(terms, x)

    return gradient


def test_copies_gradients_add_up_without_wide_sums(losses, wide_sums):
    x = noise()[1, :64, :64, 0]
    fanned, plain = (gradient_through_copies(copies) for copies in (losses.fan_out, lambda x, n: [x] * n))
    np.testing.assert_allclose(fanned(x), plain(x), rtol=1e-5, atol=1e-6)
    assert len({fanned(x).numpy().tobytes() for _ in range(5)}) == 1
    assert not wide_sums(fanned, x)
    assert wide_sums(plain, x), "the test sees no wide sum at all"

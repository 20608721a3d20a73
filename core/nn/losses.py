"""Image losses. Each compares batches (N, H, W, C) and returns one number per sample, (N,), in float32.

No tensor here is used in three places that gradients come back from: TensorFlow would add those with AddN,
which on a CPU begins with whichever buffer is free, so that three terms round differently from run to run.
Resuming a training bit for bit rests on this (`tests/models/test_quick96.py` looks for such nodes). Whoever
uses a tensor that often takes its copies from `fan_out`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def fan_out(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` copies of `x`, one for each place that uses it; their gradients are added one after another.

    The order of the sum is that of the copies, so it rounds alike in every run. A copy costs nothing. Use
    every one: the gradient of an unused copy is a tensor of zeros that is added, too. The weights of a
    network called three times need the same care: join its batches and call it once or twice instead.

    Args:
        x: Any shape and float type.
        count: At least 1.
    """

    @tf.custom_gradient
    def split(x: tf.Tensor):
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            total = _fenced(upstream[0])
            for term in upstream[1:]:
                total = _fenced(total + _fenced(term))
            return total

        return [tf.identity(x) for _ in range(count)], gradient

    return split(x)


def _fenced(x: tf.Tensor) -> tf.Tensor:
    """`x`, not copied, behind an operation across which Grappler joins no sums into one AddN."""
    return tf.ensure_shape(x, x.shape)


def gaussian_window(size: int, sigma: float) -> np.ndarray:
    """(size,) float32 Gaussian weights about the middle, (size - 1) / 2, summing to 1."""
    distance = np.arange(size, dtype=np.float64) - (size - 1) / 2
    weights = np.exp(-(distance**2) / (2.0 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def filter_separable(x: tf.Tensor, window: np.ndarray, padding: str) -> tf.Tensor:
    """Correlate every channel with the outer product of `window` and itself, in two 1-D passes."""
    channels, size = x.shape[-1], len(window)
    column = tf.constant(np.tile(window.reshape(size, 1, 1, 1), (1, 1, channels, 1)))
    row = tf.constant(np.tile(window.reshape(1, size, 1, 1), (1, 1, channels, 1)))
    x = tf.nn.depthwise_conv2d(x, column, (1, 1, 1, 1), padding)
    return tf.nn.depthwise_conv2d(x, row, (1, 1, 1, 1), padding)


def gaussian_blur(x: tf.Tensor, sigma: float) -> tf.Tensor:
    """Blur (N, H, W, C), zeros outside; the window has DFL's size, `4 sigma` made odd, at least 3.

    Two products with banded matrices: for three channels of 256 x 256 and a window of 129 that takes an
    eighth of the time of depthwise convolutions, and for the narrowest windows no more.
    """
    size, (height, width, channels) = max(3, int(4 * sigma)), x.shape[1:]
    window = gaussian_window(size + 1 - size % 2, sigma)
    planes = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, width))  # (N C H, W)
    planes = tf.reshape(tf.matmul(planes, _band(width, window)), (-1, height, width))
    planes = tf.reshape(tf.matmul(_band(height, window), planes), (-1, channels, height, width))
    return tf.transpose(planes, (0, 2, 3, 1))


def _band(side: int, window: np.ndarray) -> tf.Tensor:
    """(side, side) matrix that filters a row of `side` numbers with a symmetric window, zeros outside."""
    offset = np.arange(side)[:, None] - np.arange(side) + len(window) // 2
    inside = (offset >= 0) & (offset < len(window))
    return tf.constant(np.where(inside, window[np.clip(offset, 0, len(window) - 1)], np.float32(0.0)))


def dssim(a: tf.Tensor, b: tf.Tensor, size: int, max_val: float = 1.0) -> tf.Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 per channel, (N, C).

    Wang et al., "Image quality assessment", IEEE TIP 2004, with k1 = 0.01, k2 = 0.03 and a Gaussian window of
    sigma 1.5 and any `size`, also an even one; only places where the window fits count. The four means are
    taken in one pass over stacked channels, each as two one-dimensional filters.
    """
    c1, c2 = (0.01 * max_val) ** 2, (0.03 * max_val) ** 2
    channels = a.shape[-1]
    means = filter_separable(_products(a, b), gaussian_window(max(1, size), 1.5), "VALID")
    mean_a, mean_b, mean_ab, mean_squares = tf.split(means, [channels] * 4, axis=-1)
    product, squares = mean_a * mean_b * 2.0, tf.square(mean_a) + tf.square(mean_b)
    luminance = (product + c1) / (squares + c1)
    contrast = (2.0 * mean_ab - product + c2) / (mean_squares - squares + c2)
    return (1.0 - tf.reduce_mean(luminance * contrast, axis=(1, 2))) / 2.0


@tf.custom_gradient
def _products(a: tf.Tensor, b: tf.Tensor):
    """a, b, a b and a^2 + b^2 stacked along the channels, (N, H, W, 4C)."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_a, of_b, of_ab, of_squares = tf.split(upstream, 4, axis=-1)
        twice = -2.0 * of_squares
        # Subtracted, because Grappler turns a sum of three into AddN; see the module's docstring.
        return (of_a + b * of_ab) - a * twice, (of_b + a * of_ab) - b * twice

    return tf.concat([a, b, a * b, tf.square(a) + tf.square(b)], axis=-1), gradient


def squared_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean squared difference, (N,)."""
    return tf.reduce_mean(tf.math.squared_difference(a, b), axis=(1, 2, 3))


def sigmoid_cross_entropy(label: float, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy between one `label`, 0 or 1, for the whole map and `logits` (N, H, W, C); (N,)."""
    # One operation for labels 0 and 1: TensorFlow's own function uses the logits in four places.
    terms = tf.math.softplus((1.0 - 2.0 * label) * tf.cast(logits, tf.float32))
    return tf.reduce_mean(terms, axis=(1, 2, 3))


def style_loss(a: tf.Tensor, b: tf.Tensor, sigma: float = 0.0, weight: float = 1.0) -> tf.Tensor:
    """Squared difference of the channels' means and deviations, after a blur of `sigma` (0: none), (N,)."""
    if sigma > 0:
        a, b = gaussian_blur(a, sigma), gaussian_blur(b, sigma)
    mean_a, variance_a = tf.nn.moments(a, axes=(1, 2))
    mean_b, variance_b = tf.nn.moments(b, axes=(1, 2))
    means = tf.math.squared_difference(mean_a, mean_b)
    deviations = tf.math.squared_difference(tf.sqrt(variance_a + 1e-5), tf.sqrt(variance_b + 1e-5))
    return weight * tf.reduce_mean(means + deviations, axis=-1)


@tf.custom_gradient
def total_variation(x: tf.Tensor):
    """Sum of squared differences between neighbouring rows and columns, (N,).

    Its own gradient takes a sixth of the time of TensorFlow's, which fills a map of zeros for each of four
    slices.
    """
    rows, columns = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        of_rows = _between(rows, [1, 0], [0, 0]) - _between(rows, [0, 1], [0, 0])
        of_columns = _between(columns, [0, 0], [1, 0]) - _between(columns, [0, 0], [0, 1])
        return 2.0 * upstream[:, None, None, None] * (of_rows + of_columns)

    total = tf.reduce_sum(tf.square(rows), axis=(1, 2, 3))
    return total + tf.reduce_sum(tf.square(columns), axis=(1, 2, 3)), gradient


def _between(x: tf.Tensor, rows: list[int], columns: list[int]) -> tf.Tensor:
    """(N, H, W, C) between so many rows and columns of zeros before and after it."""
    return tf.pad(x, [[0, 0], rows, columns, [0, 0]])

"""Image losses. Each compares batches (N, H, W, C) and returns one number per sample, (N,), in float32.

No tensor here is used in three places that gradients come back from: TensorFlow would add those with AddN,
which on a CPU begins with whichever buffer is free, so that three terms round differently from run to run.
Resuming a training bit for bit rests on this (`tests/models/test_quick96.py` looks for such nodes). Whoever
uses a tensor that often takes its copies from `fan_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    for taps in _column_and_row(window, x):
        x = tf.nn.depthwise_conv2d(x, taps, (1, 1, 1, 1), padding)
    return x


def _filter_back(gradient: tf.Tensor, window: np.ndarray) -> tf.Tensor:
    """The gradient of what `filter_separable` was given, (N, H, W, C), from that of its unpadded result."""
    column, row = _column_and_row(window, gradient)
    for taps, lost in ((row, (0, 0, 1, 0)), (column, (0, 1, 0, 0))):
        size = tf.shape(gradient) + np.multiply(lost, len(window) - 1)
        gradient = tf.nn.depthwise_conv2d_backprop_input(size, taps, gradient, (1, 1, 1, 1), "VALID")
    return gradient


def _column_and_row(window: np.ndarray, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`window` as depthwise kernels for `x`, (size, 1, C, 1) and (1, size, C, 1)."""
    channels = [1, 1, tf.shape(x)[-1] if x.shape[-1] is None else x.shape[-1], 1]
    return tuple(tf.tile(window.reshape(shape), channels) for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)))


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


def dssim(wanted: tf.Tensor, found: tf.Tensor, sizes: Sequence[int], max_val: float = 1.0) -> tf.Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 per channel, its mean over windows of `sizes`, (N, C).

    Wang et al., "Image quality assessment", IEEE TIP 2004, with k1 = 0.01, k2 = 0.03 and Gaussian windows of
    sigma 1.5 and any size, also an even one; only places where the window fits count.

    All channels of all samples lie side by side, the four maps whose means are taken one behind the other:
    then filters use the whole width of a vector, and maps are joined and parted without a copy. With the
    gradient written out that takes half of the time of TensorFlow's own.

    Args:
        wanted: (N, H, W, C); it gets no gradient.
        found: Alike.
    """
    own = tf.stop_gradient(_side_by_side(wanted))

    @tf.custom_gradient
    def run(found: tf.Tensor):
        other = _side_by_side(found)
        maps = [own, other, own * other, tf.square(own) + tf.square(other)]
        per_window = [_similarity(tf.concat(maps, axis=0), size, max_val) for size in sizes]
        similarity = _sum([value for value, _ in per_window]) / len(sizes)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            upstream = tf.reshape(upstream, (1, 1, 1, -1)) * (-0.5 / len(sizes))
            of_found, of_product, of_squares = tf.split(_sum([back(upstream) for _, back in per_window]), 3)
            # One sum inside the other, because Grappler turns a sum of three into AddN; see above.
            return _apart(of_found + own * of_product - -2.0 * other * of_squares, found.shape[-1])

        return tf.reshape((1.0 - similarity) / 2.0, (-1, found.shape[-1])), gradient

    return run(found)


def _sum(terms: list[tf.Tensor]) -> tf.Tensor:
    return sum(terms[1:], start=terms[0])


def _side_by_side(x: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C) as (1, H, W, N C)."""
    samples, height, width, channels = x.shape
    planes = -1 if samples is None else samples * channels
    return tf.reshape(tf.transpose(x, (1, 2, 0, 3)), (1, height, width, planes))


def _apart(x: tf.Tensor, channels: int) -> tf.Tensor:
    """The inverse of `_side_by_side`."""
    _, height, width, planes = x.shape
    samples = -1 if planes is None else planes // channels
    return tf.transpose(tf.reshape(x, (height, width, samples, channels)), (2, 0, 1, 3))


def _similarity(
    maps: tf.Tensor, size: int, max_val: float
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """SSIM of K planes, their mean over all places, for one window.

    Args:
        maps: (4, H, W, K): a, b, a b and a^2 + b^2.

    Returns:
        (K,), and what makes of its gradient, (1, 1, 1, K), that of the last three of `maps`, (3, H, W, K).
    """
    c1, c2 = (0.01 * max_val) ** 2, (0.03 * max_val) ** 2
    window = gaussian_window(max(1, size), 1.5)
    means = filter_separable(maps, window, "VALID")
    mean_a, mean_b, mean_ab, mean_squares = tf.split(means, 4)
    product, squares = 2.0 * mean_a * mean_b, tf.square(mean_a) + tf.square(mean_b)
    under_luminance, under_contrast = 1.0 / (squares + c1), 1.0 / (mean_squares - squares + c2)
    luminance = (product + c1) * under_luminance
    contrast = (2.0 * mean_ab - product + c2) * under_contrast
    similarity = luminance * contrast

    def back(upstream: tf.Tensor) -> tf.Tensor:
        upstream = upstream / (means.shape[1] * means.shape[2])
        of_product = 2.0 * luminance * under_contrast * upstream
        of_mean = 2.0 * contrast * under_luminance * upstream * (mean_a - luminance * mean_b)
        of_mean -= of_product * (mean_a - contrast * mean_b)
        of_squares = -similarity * under_contrast * upstream
        return _filter_back(tf.concat([of_mean, of_product, of_squares], axis=0), window)

    return tf.reduce_mean(similarity, axis=(0, 1, 2)), back


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

"""DFL's FaceEnhancer, a network that gives a face four times the pixels and draws in the detail.

A U-Net whose result is the picture plus a correction, at the same size, twice and four times the size in
turn. Enlarging is TensorFlow's old bilinear way, in which an output pixel 2i is input pixel i itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from facelib.nets.common import Weights, compute_type, convolve

SCALE = 4
LEVELS = 5
SLOPE = 0.1  # of the leaky ReLU
# DFL's two settings of the network, which it never changes
PARAMETERS = {"dense1": 0.2, "dense2": 1.0}

EnhancerNet = Callable[[np.ndarray], np.ndarray]


def build_enhancer(weights: Weights, precision: str = "auto") -> EnhancerNet:
    """Build the network.

    Args:
        weights: DFL's tensors by their names without `:0`; (kh, kw, in, out) kernels, vectors of any shape.
        precision: `auto`, `float32` or `bfloat16`; the pictures are added up in float32 in every case.

    Returns:
        A function from (N, H, W, 3) BGR in [-1, 1], H and W multiples of 32, to (N, 4H, 4W, 3) float32, not
        clipped. Safe to call from many threads.

    Raises:
        UsageError: There is no such precision.
    """
    dtype = compute_type(precision)
    layers = _Layers(weights)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)], autograph=False)
    def graph(images: tf.Tensor) -> tf.Tensor:
        return _enlarge(layers, images, dtype)

    graph.get_concrete_function()

    def run(images: np.ndarray) -> np.ndarray:
        return graph(tf.cast(images, tf.float32)).numpy()

    return run


class _Layers:
    """The network's layers by the names of their weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def linear(self, x: tf.Tensor, name: str, extra: np.ndarray | float = 0.0) -> tf.Tensor:
        """Convolution alone; `extra` (F,) is added to its bias."""
        bias = self._weights[f"{name}/bias"].reshape(-1) + extra
        return convolve(x, self._weights[f"{name}/weight"], bias)

    def conv(self, x: tf.Tensor, name: str, extra: np.ndarray | float = 0.0) -> tf.Tensor:
        """Convolution and leaky ReLU."""
        return tf.nn.leaky_relu(self.linear(x, name, extra), SLOPE)

    def pair(self, x: tf.Tensor, name: str) -> tf.Tensor:
        return self.conv(self.conv(x, f"{name}_conv0"), f"{name}_conv1")

    def correction(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """(N, H, W, 3) float32 in [-1, 1]."""
        y = self.linear(self.conv(x, f"{name}_conv0"), f"{name}_conv1")
        return tf.tanh(tf.cast(y, tf.float32))

    def settings(self) -> np.ndarray:
        """(64,): what the two settings add to each pixel of the first layer."""
        return sum(value * self._weights[f"{name}/weight"].reshape(-1) for name, value in PARAMETERS.items())


def double(x: tf.Tensor) -> tf.Tensor:
    """(N, 2H, 2W, C): output pixel 2i is pixel i, 2i + 1 the mean of i and i + 1, the last one repeated."""
    size = 2 * tf.shape(x)[1:3]
    y = tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=False, half_pixel_centers=False)
    return tf.cast(y, x.dtype)


def _enlarge(layers: _Layers, images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    x = layers.conv(tf.cast(images, dtype), "conv1", layers.settings())
    seen = []
    for level in range(LEVELS):
        x = layers.pair(x, f"e{level}")
        seen.append(x)
        x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
    for number in range(4):
        x = layers.conv(x, f"center_conv{number}")
    for level in reversed(range(LEVELS)):
        x = layers.pair(tf.concat([double(x), seen[level]], axis=-1), f"d{level}")
    picture = images + layers.correction(x, "out1x")
    for name in ("2x", "4x"):
        x = double(layers.pair(x, f"dec{name}"))
        picture = double(picture) + layers.correction(x, f"out{name}")
    return picture

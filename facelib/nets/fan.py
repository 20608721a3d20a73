"""FAN, the landmark network: four stacked hourglasses that end in 68 heatmaps.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D Face Alignment problem?", ICCV 2017, in
DFL's form and with DFL's weight names. 2DFAN and 3DFAN differ in their weights only.

The same function in fewer steps: a normalisation that follows a convolution directly is part of its kernel;
what a stack gives to the next one (`bl_i`, and `al_i` of its heatmaps `l_i`) is one convolution; the heatmaps
of the first three stacks, which nobody reads, are left out.

In bfloat16 only the hourglasses' convolutions are computed in it. The sums that run through the network, and
the layers that everything passes through (those before the first hourglass, and between the stacks), stay
float32: the heatmaps are then off by 0.3 % of their spread in place of 1.1 %, for 25 % of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from facelib.nets.common import Weights, compute_type, convolve

SIDE = 256  # of the input
CELLS = 64  # side of the heatmaps
POINTS = 68
STACKS, DEPTH = 4, 4
STEM = ("conv2/", "conv3/", "conv4/")  # the blocks before the first hourglass
EPSILON = 1e-5
NORM = ("weight", "bias", "running_mean", "running_var")

FanNet = Callable[[np.ndarray], np.ndarray]


def build_fan(weights: Weights, precision: str = "auto") -> FanNet:
    """Build the network.

    Args:
        weights: DFL's tensors by their names without `:0`; (kh, kw, in, out) kernels, vectors of any shape.
        precision: `auto`, `float32` or `bfloat16`.

    Returns:
        A function from (N, 256, 256, 3) float32 RGB in [0, 1] to (N, 68, 64, 64) float32 heatmaps, in the
        layout of DFL's network. Safe to call from many threads.

    Raises:
        UsageError: There is no such precision.
    """
    layers = _Layers(weights, compute_type(precision))

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)], autograph=False)
    def graph(crops: tf.Tensor) -> tf.Tensor:
        return tf.transpose(_heatmaps(layers, crops), [0, 3, 1, 2])

    graph.get_concrete_function()

    def run(crops: np.ndarray) -> np.ndarray:
        return graph(tf.cast(crops, tf.float32)).numpy()

    return run


class _Layers:
    """The network's layers by the names of their weights."""

    def __init__(self, weights: Weights, dtype: tf.DType) -> None:
        """Take the weights, and the type that the blocks' convolutions compute in."""
        self._weights, self._dtype = weights, dtype

    def kernel(self, name: str) -> np.ndarray:
        return self._weights[f"{name}/weight"]

    def vector(self, name: str) -> np.ndarray:
        return self._weights[name].reshape(-1)

    def norm(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scale, offset, mean and variance of a normalisation, (C,) each."""
        scale, offset, mean, variance = (self.vector(f"{name}/{part}") for part in NORM)
        return scale, offset, mean, variance

    def active(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """ReLU of the normalised map."""
        scale, offset, mean, variance = self.norm(name)
        y = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=EPSILON,
            is_training=False,
        )[0]
        return tf.nn.relu(y)

    def conv_active(self, x: tf.Tensor, conv: str, norm: str, stride: int = 1) -> tf.Tensor:
        """ReLU of the normalised convolution in the type of `x`: scale and mean go into kernel and bias."""
        scale, offset, mean, variance = (values.astype(np.float64) for values in self.norm(norm))
        gain = scale / np.sqrt(variance + EPSILON)
        bias = (self.vector(f"{conv}/bias") - mean) * gain + offset
        return tf.nn.relu(convolve(x, self.kernel(conv) * gain, bias, stride))

    def active_conv(self, x: tf.Tensor, norm: str, conv: str) -> tf.Tensor:
        """Convolution of the ReLU of the normalised map."""
        dtype = tf.float32 if conv.startswith(STEM) else self._dtype
        return convolve(tf.cast(self.active(x, norm), dtype), self.kernel(conv))

    def block(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Three convolutions, each on the one before, side by side; plus what came in. Float32 in and out."""
        parts, y = [], x
        for number in (1, 2, 3):
            y = self.active_conv(y, f"{name}/bn{number}", f"{name}/conv{number}")
            parts.append(y)
        if f"{name}/down_conv1/weight" in self._weights:
            x = tf.cast(self.active_conv(x, f"{name}/down_bn1", f"{name}/down_conv1"), tf.float32)
        return tf.cast(tf.concat(parts, axis=-1), tf.float32) + x

    def hourglass(self, x: tf.Tensor, name: str, depth: int) -> tf.Tensor:
        """What is seen at half the size and below, added to what is seen at full size."""
        upper = self.block(x, f"{name}/b1")
        lower = self.block(halve(x), f"{name}/b2")
        if depth > 1:
            lower = self.hourglass(lower, f"{name}/b2_plus", depth - 1)
        else:
            lower = self.block(lower, f"{name}/b2_plus")
        lower = self.block(lower, f"{name}/b3")
        side = upper.shape[1]
        return upper + tf.raw_ops.ResizeNearestNeighbor(images=lower, size=[side, side])

    def handover(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of what stack `number` adds to the next one's input."""
        heat, back = (self.kernel(f"{name}_{number}")[0, 0].astype(np.float64) for name in ("l", "al"))
        kernel = self.kernel(f"bl_{number}")[0, 0] + heat @ back
        bias = self.vector(f"bl_{number}/bias") + self.vector(f"al_{number}/bias")
        return kernel[None, None], bias + self.vector(f"l_{number}/bias") @ back


def halve(x: tf.Tensor) -> tf.Tensor:
    """Mean of each 2x2 square."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def _heatmaps(layers: _Layers, x: tf.Tensor) -> tf.Tensor:
    """(N, 64, 64, 68) float32 of crops (N, 256, 256, 3)."""
    x = layers.conv_active(x, "conv1", "bn1", stride=2)
    x = halve(layers.block(x, "conv2"))
    x = layers.block(layers.block(x, "conv3"), "conv4")
    for number in range(STACKS):
        y = layers.block(layers.hourglass(x, f"m_{number}", DEPTH), f"top_m_{number}")
        y = layers.conv_active(y, f"conv_last_{number}", f"bn_end_{number}")
        if number < STACKS - 1:
            x = x + convolve(y, *layers.handover(number))
    last = f"l_{STACKS - 1}"
    return convolve(y, layers.kernel(last), layers.vector(f"{last}/bias"))

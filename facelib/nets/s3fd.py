"""S3FD, the face detector's network: VGG-16 with a head of scores and boxes on each of six feature maps.

Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", ICCV 2017, in DFL's form and with DFL's
weight names. A head's two convolutions are one here.

In bfloat16 only VGG's convolutions are computed in it, and of those not the last three: they and what follows
are 14 % of the work and box the larger faces, where a relative error is the most pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from facelib.nets.common import Weights, compute_type, constant, convolve

# Caffe's means of B, G, R; DFL subtracts them from R, G, B, so the weights are used to that.
MEANS = (104.0, 117.0, 123.0)
EPSILON = 1e-10
VGG = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)
TAPS = ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")
NORMED = TAPS[:3]
EXACT_FROM = 4  # of VGG's groups the first that is always computed in float32

S3fdNet = Callable[[np.ndarray], list[np.ndarray]]


def build_s3fd(weights: Weights, precision: str = "auto") -> S3fdNet:
    """Build the network.

    Args:
        weights: DFL's tensors by their names without `:0`; (kh, kw, in, out) kernels, vectors of any shape.
        precision: `auto`, `float32` or `bfloat16`.

    Returns:
        A function from (N, H, W, 3) RGB in [0, 255], H and W at least 64, to the 12 outputs of DFL's network
        as float32 arrays: for each of the six levels the probabilities of background and face (N, h, w, 2)
        and the box offsets (N, h, w, 4). Safe to call from many threads.

    Raises:
        UsageError: There is no such precision.
    """
    dtype = compute_type(precision)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)], autograph=False)
    def graph(images: tf.Tensor) -> list[tf.Tensor]:
        features = _features(images - tf.constant(MEANS), weights, dtype)
        return [output for tap in TAPS for output in _head(features[tap], tap, weights)]

    graph.get_concrete_function()

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in graph(tf.cast(images, tf.float32))]

    return run


def _features(x: tf.Tensor, weights: Weights, dtype: tf.DType) -> dict[str, tf.Tensor]:
    """The six maps that heads read, (N, h, w, C) float32 each; VGG computes in `dtype` up to `EXACT_FROM`."""

    def layer(x: tf.Tensor, name: str, stride: int = 1, pad: int | None = None) -> tf.Tensor:
        bias = weights[f"{name}/bias"].reshape(-1)
        return tf.nn.relu(convolve(x, weights[f"{name}/weight"], bias, stride, pad))

    features = {}
    x = tf.cast(x, dtype)  # exact for whole numbers as S3FD is shown
    for number, names in enumerate(VGG):
        x = tf.cast(x, tf.float32) if number >= EXACT_FROM else x
        for name in names:
            x = layer(x, name)
        if number >= 2:
            norm = NORMED[number - 2]
            features[norm] = _l2_norm(x, weights[f"{norm}/weight"])
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    features["fc7"] = x = layer(layer(x, "fc6", pad=3), "fc7")
    features["conv6_2"] = x = layer(layer(x, "conv6_1"), "conv6_2", stride=2)
    features["conv7_2"] = layer(layer(x, "conv7_1"), "conv7_2", stride=2)
    return features


def _l2_norm(x: tf.Tensor, scale: np.ndarray) -> tf.Tensor:
    """Each pixel's channels to unit length, times `scale` (C,); float32."""
    x = tf.cast(x, tf.float32)
    length = tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
    return x / (length + EPSILON) * constant(scale.reshape(-1), tf.float32)


def _head(x: tf.Tensor, tap: str, weights: Weights) -> tuple[tf.Tensor, tf.Tensor]:
    """Probabilities of background and face (N, h, w, 2) and box offsets (N, h, w, 4) of one level."""
    names = (f"{tap}_mbox_conf", f"{tap}_mbox_loc")
    kernel = np.concatenate([weights[f"{name}/weight"] for name in names], axis=-1)
    bias = np.concatenate([weights[f"{name}/bias"].reshape(-1) for name in names])
    y = convolve(x, kernel, bias)
    logits, offsets = y[..., :-4], y[..., -4:]
    if logits.shape[-1] > 2:  # the finest level has several kinds of background
        background = tf.reduce_max(logits[..., :-1], axis=-1, keepdims=True)
        logits = tf.concat([background, logits[..., -1:]], axis=-1)
    return tf.nn.softmax(logits), offsets

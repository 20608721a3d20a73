"""The yardstick of benchmarks/train.py: a Quick96 step as one writes it first, in float32 TensorFlow.

Weights are `tf.Variable`s in a dict by path; the encoder runs once per person, DSSIM takes four passes of a
dense two-dimensional window per person, the head is four convolutions, RMSprop is plain TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

RATE, RHO, EPS = 2e-4, 0.9, 1e-6


class PlainQuick96:
    """A df-ud autoencoder of 96 pixels with its own optimizer."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = {path: tf.Variable(value) for path, value in weights.items()}
        self.squares = {path: tf.Variable(tf.zeros_like(value)) for path, value in weights.items()}
        self.step = tf.function(self._step)

    def _step(self, arrays: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean losses of src and dst for warped, target and mask of src, then of dst; updates the weights."""
        with tf.GradientTape() as tape:
            src = self._loss("decoder_src", *arrays[:3])
            dst = self._loss("decoder_dst", *arrays[3:])
            total = tf.reduce_sum(src) + tf.reduce_sum(dst)
        gradients = tape.gradient(total, list(self.weights.values()))
        for (path, weight), gradient in zip(self.weights.items(), gradients):
            square = self.squares[path]
            square.assign(RHO * square + (1 - RHO) * gradient**2)
            weight.assign_sub(RATE * gradient / (tf.sqrt(square) + EPS))
        return tf.reduce_mean(src), tf.reduce_mean(dst)

    def _loss(self, decoder: str, warped: tf.Tensor, target: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        face, face_mask = self._decode(decoder, self._encode(warped))
        soft = tf.nn.depthwise_conv2d(mask, _window(13, 3.0, 1), (1, 1, 1, 1), "SAME")
        wanted, found = target * soft, face * soft
        loss = 10 * tf.reduce_mean(_dssim(wanted, found), axis=-1)
        loss += 10 * tf.reduce_mean((wanted - found) ** 2, axis=(1, 2, 3))
        return loss + 10 * tf.reduce_mean((mask - face_mask) ** 2, axis=(1, 2, 3))

    def _conv(self, x: tf.Tensor, path: str, stride: int = 1) -> tf.Tensor:
        kernel = self.weights[f"{path}/weight"]
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID") + self.weights[f"{path}/bias"]

    def _up(self, x: tf.Tensor, path: str) -> tf.Tensor:
        return tf.nn.depth_to_space(tf.nn.leaky_relu(self._conv(x, f"{path}/conv1"), 0.1), 2)

    def _encode(self, x: tf.Tensor) -> tf.Tensor:
        for stage in range(4):
            x = tf.nn.leaky_relu(self._conv(x, f"encoder/down1/downs_{stage}/conv1", 2), 0.1)
        x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 18432))
        x = x * tf.math.rsqrt(tf.reduce_mean(x**2, axis=-1, keepdims=True) + 1e-6)
        for layer in ("dense1", "dense2"):
            x = x @ self.weights[f"inter/{layer}/weight"] + self.weights[f"inter/{layer}/bias"]
        return self._up(tf.transpose(tf.reshape(x, (-1, 128, 3, 3)), (0, 2, 3, 1)), "inter/upscale1")

    def _decode(self, part: str, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = code
        for stage in range(3):
            x = self._up(x, f"{part}/upscale{stage}")
            y = tf.nn.leaky_relu(self._conv(x, f"{part}/res{stage}/conv1"), 0.2)
            x = tf.nn.leaky_relu(x + self._conv(y, f"{part}/res{stage}/conv2"), 0.2)
        heads = [self._conv(x, f"{part}/out_conv{number}") for number in ("", 1, 2, 3)]
        mask = code
        for stage in range(4):
            mask = self._up(mask, f"{part}/upscalem{stage}")
        face = tf.nn.depth_to_space(tf.concat(heads, axis=-1), 2)
        return tf.sigmoid(face), tf.sigmoid(self._conv(mask, f"{part}/out_convm"))


def _window(size: int, sigma: float, channels: int) -> tf.Tensor:
    """(size, size, channels, 1) Gaussian window."""
    row = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    window = np.outer(row, row) / row.sum() ** 2
    return tf.constant(np.tile(window[..., None, None], (1, 1, channels, 1)), tf.float32)


def _dssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """(N, C) structural dissimilarity with a dense 8x8 window."""

    def mean(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(x, _window(8, 1.5, 3), (1, 1, 1, 1), "VALID")

    mean_a, mean_b = mean(a), mean(b)
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    covariance = 2 * mean(a * b) - 2 * mean_a * mean_b
    variance = mean(a**2 + b**2) - mean_a**2 - mean_b**2
    ssim = luminance * (covariance + 9e-4) / (variance + 9e-4)
    return (1 - tf.reduce_mean(ssim, axis=(1, 2))) / 2

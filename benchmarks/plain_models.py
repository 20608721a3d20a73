"""The yardsticks of benchmarks/train.py: a training step as one writes it first, in float32 TensorFlow.

Weights are `tf.Variable`s in a dict by path. Each person goes through the networks alone, in liae and AMP
twice through those that both share; DSSIM takes four passes of a dense two-dimensional window per person, the
head of option d is four convolutions, the optimizer is a loop over the weights. The losses are those of the
default options (sections 7.3 and 8.4 of the model reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

RMSPROP_RATE, RHO = 2e-4, 0.9
ADABELIEF_RATE, BETA1, BETA2 = 5e-5, 0.9, 0.999
EPS = 1e-6


@dataclass(frozen=True)
class Plan:
    """What the weights do not tell."""

    family: str  # df, liae or amp
    letters: str  # of u, d and t
    resolution: int
    windows: tuple[int, ...]  # sides of DSSIM's windows
    doubled: bool = True  # the blurred mask is doubled and clipped; Quick96 takes it as it is
    adabelief: bool = True  # else RMSprop


class PlainModel:
    """Networks of two persons with their own optimizer."""

    def __init__(self, plan: Plan, weights: Mapping[str, np.ndarray]) -> None:
        self.plan = plan
        self.weights = {path: tf.Variable(value) for path, value in weights.items()}
        self.means = {path: tf.Variable(tf.zeros_like(value)) for path, value in weights.items()}
        self.squares = {path: tf.Variable(tf.zeros_like(value)) for path, value in weights.items()}
        self.steps = tf.Variable(0.0)
        self.step = tf.function(self._step)

    def _step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mean losses by side; updates the weights. Takes the product's arrays by their names."""
        with tf.GradientTape() as tape:
            faces = self._faces(batch)
            losses = {side: self._loss(batch, side, *faces[side]) for side in ("src", "dst")}
            total = tf.reduce_sum(losses["src"]) + tf.reduce_sum(losses["dst"])
            if self.plan.family == "amp":
                total += tf.reduce_sum(self._border(batch, faces["dst"][0]))
        gradients = tape.gradient(total, list(self.weights.values()))
        self._update(gradients)
        return {side: tf.reduce_mean(loss) for side, loss in losses.items()}

    # The networks

    def _faces(self, batch: dict[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Reconstruction and its mask by side."""
        src, dst = (self._encode(batch[f"warped_{side}"]) for side in ("src", "dst"))
        if self.plan.family == "df":
            return {
                "src": self._decode("decoder_src", self._inter("inter", src)),
                "dst": self._decode("decoder_dst", self._inter("inter", dst)),
            }
        if self.plan.family == "liae":
            of_src, of_dst = self._inter("inter_AB", src), self._inter("inter_AB", dst)
            code_src = tf.concat([of_src, of_src], axis=-1)
            code_dst = tf.concat([self._inter("inter_B", dst), of_dst], axis=-1)
        else:
            chosen = batch["src_channels"][:, None, None, :]
            code_src = self._inter("inter_src", src) * chosen + self._inter("inter_dst", src) * (1 - chosen)
            code_dst = self._inter("inter_dst", dst)
        return {"src": self._decode("decoder", code_src), "dst": self._decode("decoder", code_dst)}

    def _conv(self, x: tf.Tensor, path: str, stride: int = 1) -> tf.Tensor:
        kernel = self.weights[f"{path}/weight"]
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID") + self.weights[f"{path}/bias"]

    def _down(self, x: tf.Tensor, path: str) -> tf.Tensor:
        return tf.nn.leaky_relu(self._conv(x, f"{path}/conv1", 2), 0.1)

    def _up(self, x: tf.Tensor, path: str) -> tf.Tensor:
        return tf.nn.depth_to_space(tf.nn.leaky_relu(self._conv(x, f"{path}/conv1"), 0.1), 2)

    def _residual(self, x: tf.Tensor, path: str) -> tf.Tensor:
        y = tf.nn.leaky_relu(self._conv(x, f"{path}/conv1"), 0.2)
        return tf.nn.leaky_relu(x + self._conv(y, f"{path}/conv2"), 0.2)

    def _dense(self, x: tf.Tensor, path: str) -> tf.Tensor:
        return x @ self.weights[f"{path}/weight"] + self.weights[f"{path}/bias"]

    def _encode(self, x: tf.Tensor) -> tf.Tensor:
        if "t" in self.plan.letters:
            x = self._residual(self._down(x, "encoder/down1"), "encoder/res1")
            for stage in range(2, 6):
                x = self._down(x, f"encoder/down{stage}")
            x = self._residual(x, "encoder/res5")
        else:
            for stage in range(4):
                x = self._down(x, f"encoder/down1/downs_{stage}")
        _, height, width, channels = x.shape
        x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, height * width * channels))
        if "u" in self.plan.letters:
            x = x * tf.math.rsqrt(tf.reduce_mean(x**2, axis=-1, keepdims=True) + 1e-6)
        return self._dense(x, "encoder/dense1") if self.plan.family == "amp" else x

    def _inter(self, part: str, x: tf.Tensor) -> tf.Tensor:
        if self.plan.family != "amp":
            x = self._dense(x, f"{part}/dense1")
        side = self.plan.resolution // (32 if "d" in self.plan.letters else 16)
        x = self._dense(x, f"{part}/dense2")
        x = tf.transpose(tf.reshape(x, (-1, x.shape[-1] // side**2, side, side)), (0, 2, 3, 1))
        return x if "t" in self.plan.letters else self._up(x, f"{part}/upscale1")

    def _decode(self, part: str, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        levels = 4 if "t" in self.plan.letters else 3
        x, mask = code, code
        for stage in range(levels):
            x = self._residual(self._up(x, f"{part}/upscale{stage}"), f"{part}/res{stage}")
        if "d" in self.plan.letters:
            heads = [self._conv(x, f"{part}/out_conv{number}") for number in ("", 1, 2, 3)]
            face = tf.nn.depth_to_space(tf.concat(heads, axis=-1), 2)
            levels += 1
        else:
            face = self._conv(x, f"{part}/out_conv")
        for stage in range(levels):
            mask = self._up(mask, f"{part}/upscalem{stage}")
        return tf.sigmoid(face), tf.sigmoid(self._conv(mask, f"{part}/out_convm"))

    # The losses

    def _soft(self, mask: tf.Tensor) -> tf.Tensor:
        sigma = max(1, self.plan.resolution // 32)
        soft = tf.nn.depthwise_conv2d(mask, _window(4 * sigma + 1, sigma, 1), (1, 1, 1, 1), "SAME")
        return 2 * tf.clip_by_value(soft, 0, 0.5) if self.plan.doubled else soft

    def _loss(
        self, batch: dict[str, tf.Tensor], side: str, face: tf.Tensor, face_mask: tf.Tensor
    ) -> tf.Tensor:
        target, mask = batch[f"target_{side}"], batch[f"target_{side}_mask"]
        soft = self._soft(mask)
        wanted, found = target * soft, face * soft
        loss = 10 * tf.reduce_mean((wanted - found) ** 2, axis=(1, 2, 3))
        loss += 10 * tf.reduce_mean((mask - face_mask) ** 2, axis=(1, 2, 3))
        for size in self.plan.windows:
            share = 10 / len(self.plan.windows)
            loss += share * tf.reduce_mean(_dssim(wanted, found, size), axis=-1)
        if self.plan.family == "amp":
            eyes = batch[f"target_{side}_eyes"]
            loss += 300 * tf.reduce_mean(tf.abs(target * eyes - face * eyes), axis=(1, 2, 3))
        return loss

    def _border(self, batch: dict[str, tf.Tensor], face: tf.Tensor) -> tf.Tensor:
        outside = 1 - self._soft(batch["target_dst_mask"])
        loss = 0.1 * tf.reduce_mean(((face - batch["target_dst"]) * outside) ** 2, axis=(1, 2, 3))
        around = face * outside
        rows = tf.reduce_sum((around[:, 1:] - around[:, :-1]) ** 2, axis=(1, 2, 3))
        columns = tf.reduce_sum((around[:, :, 1:] - around[:, :, :-1]) ** 2, axis=(1, 2, 3))
        return loss + 1e-6 * (rows + columns)

    # The optimizer

    def _update(self, gradients: list[tf.Tensor]) -> None:
        self.steps.assign_add(1.0)
        for (path, weight), gradient in zip(self.weights.items(), gradients):
            mean, square = self.means[path], self.squares[path]
            if not self.plan.adabelief:
                square.assign(RHO * square + (1 - RHO) * gradient**2)
                weight.assign_sub(RMSPROP_RATE * gradient / (tf.sqrt(square) + EPS))
                continue
            mean.assign(BETA1 * mean + (1 - BETA1) * gradient)
            square.assign(BETA2 * square + (1 - BETA2) * (gradient - mean) ** 2)
            root = tf.sqrt(square / (1 - BETA2**self.steps)) + EPS
            weight.assign_sub(ADABELIEF_RATE * mean / (1 - BETA1**self.steps) / root)


def _window(size: int, sigma: float, channels: int) -> tf.Tensor:
    """(size, size, channels, 1) Gaussian window."""
    row = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    window = np.outer(row, row) / row.sum() ** 2
    return tf.constant(np.tile(window[..., None, None], (1, 1, channels, 1)), tf.float32)


def _dssim(a: tf.Tensor, b: tf.Tensor, size: int) -> tf.Tensor:
    """(N, C) structural dissimilarity with a dense window."""

    def mean(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(x, _window(size, 1.5, 3), (1, 1, 1, 1), "VALID")

    mean_a, mean_b = mean(a), mean(b)
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    covariance = 2 * mean(a * b) - 2 * mean_a * mean_b
    variance = mean(a**2 + b**2) - mean_a**2 - mean_b**2
    ssim = luminance * (covariance + 9e-4) / (variance + 9e-4)
    return (1 - tf.reduce_mean(ssim, axis=(1, 2))) / 2

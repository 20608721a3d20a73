"""The yardstick for S3FD and FAN: what DFL does, step by step, for `benchmarks/extract.py` and the tests.

Float32, one picture or one crop per call of a network, every padding, bias and normalisation an operation of
its own, all four stacks' heatmaps computed, boxes found cell by cell. Written from the description of DFL
alone and apart from `facelib.nets`, `facelib.detectors.s3fd` and `facelib.landmarkers.fan`, which it judges.

    detector = PlainS3fd(facelib.weights.load("S3FD"))
    landmarker = PlainFan(facelib.weights.load("2DFAN"))
    rects = detector.rects(image)
    points = landmarker.points(image, rects, second=detector)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf

from facelib.alignment import transform_mat, transform_points

Rect = tuple[int, int, int, int]
Weights = Mapping[str, np.ndarray]
TAPS = ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")


class _Net:
    """Layers as single operations on the weights of one network."""

    def __init__(self, weights: Weights) -> None:
        self._weights = {name: tf.constant(values, tf.float32) for name, values in weights.items()}

    def vector(self, name: str) -> tf.Tensor:
        return tf.reshape(self._weights[name], (1, 1, 1, -1))

    def conv(self, x: tf.Tensor, name: str, stride: int = 1, pad: int | None = None) -> tf.Tensor:
        kernel = self._weights[f"{name}/weight"]
        pad = int(kernel.shape[0]) // 2 if pad is None else pad
        if pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        x = tf.nn.conv2d(x, kernel, stride, "VALID")
        if f"{name}/bias" in self._weights:
            x = x + self.vector(f"{name}/bias")
        return x

    def norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        x = (x - self.vector(f"{name}/running_mean")) / tf.sqrt(self.vector(f"{name}/running_var") + 1e-5)
        return x * self.vector(f"{name}/weight") + self.vector(f"{name}/bias")

    def block(self, x: tf.Tensor, name: str) -> tf.Tensor:
        y1 = self.conv(tf.nn.relu(self.norm(x, f"{name}/bn1")), f"{name}/conv1")
        y2 = self.conv(tf.nn.relu(self.norm(y1, f"{name}/bn2")), f"{name}/conv2")
        y3 = self.conv(tf.nn.relu(self.norm(y2, f"{name}/bn3")), f"{name}/conv3")
        if f"{name}/down_conv1/weight" in self._weights:
            x = self.conv(tf.nn.relu(self.norm(x, f"{name}/down_bn1")), f"{name}/down_conv1")
        return tf.concat([y1, y2, y3], axis=3) + x

    def hourglass(self, x: tf.Tensor, name: str, depth: int) -> tf.Tensor:
        upper = self.block(x, f"{name}/b1")
        lower = self.block(tf.nn.avg_pool2d(x, 2, 2, "VALID"), f"{name}/b2")
        below = f"{name}/b2_plus"
        lower = self.hourglass(lower, below, depth - 1) if depth > 1 else self.block(lower, below)
        lower = self.block(lower, f"{name}/b3")
        return upper + tf.repeat(tf.repeat(lower, 2, axis=1), 2, axis=2)


class PlainS3fd:
    """DFL's detector, one picture at a time."""

    def __init__(self, weights: Weights) -> None:
        net = _Net(weights)

        @tf.function(reduce_retracing=True)
        def run(x: tf.Tensor) -> list[tf.Tensor]:
            x = x - tf.constant([104.0, 117.0, 123.0])
            taps = {}
            for number, count in enumerate((2, 2, 3, 3, 3), start=1):
                for letter in range(1, count + 1):
                    x = tf.nn.relu(net.conv(x, f"conv{number}_{letter}"))
                if number > 2:
                    norm = f"conv{number}_3_norm"
                    length = tf.sqrt(tf.reduce_sum(x**2, axis=3, keepdims=True)) + 1e-10
                    taps[norm] = x / length * net.vector(f"{norm}/weight")
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            x = tf.nn.relu(net.conv(x, "fc6", pad=3))
            taps["fc7"] = x = tf.nn.relu(net.conv(x, "fc7"))
            x = tf.nn.relu(net.conv(x, "conv6_1"))
            taps["conv6_2"] = x = tf.nn.relu(net.conv(x, "conv6_2", stride=2))
            x = tf.nn.relu(net.conv(x, "conv7_1"))
            taps["conv7_2"] = tf.nn.relu(net.conv(x, "conv7_2", stride=2))
            outputs = []
            for tap in TAPS:
                conf = net.conv(taps[tap], f"{tap}_mbox_conf")
                if tap == TAPS[0]:
                    background = tf.reduce_max(conf[..., 0:3], axis=3, keepdims=True)
                    conf = tf.concat([background, conf[..., 3:4]], axis=3)
                outputs += [tf.nn.softmax(conf), net.conv(taps[tap], f"{tap}_mbox_loc")]
            return outputs

        self._run = run

    def rects(self, image: np.ndarray) -> list[Rect]:
        """The faces in an (H, W, 3) uint8 BGR image, largest first."""
        height, width = image.shape[:2]
        if min(height, width) < 128:
            return []
        longest = max(height, width)
        scale = longest / max(640 if longest >= 1280 else longest / 2, 64)
        small = cv2.resize(
            image[:, :, ::-1], (int(width / scale), int(height / scale)), interpolation=cv2.INTER_LINEAR
        )
        outputs = self.outputs(small[None].astype(np.float32))
        return image_rects(refine([output[0] for output in outputs]), scale)

    def outputs(self, picture: np.ndarray) -> list[np.ndarray]:
        """The network's 12 outputs for a picture (1, H, W, 3) float32 RGB in [0, 255]."""
        return [output.numpy() for output in self._run(tf.constant(picture))]


def refine(outputs: Sequence[np.ndarray]) -> list[Rect]:
    """Boxes in the network's pixels from its 12 outputs for one picture, cell by cell; best first."""
    found = []  # score, box
    for level in range(6):
        probabilities, offsets = outputs[2 * level], outputs[2 * level + 1]
        stride = 2 ** (level + 2)
        side = 4.0 * stride
        for row in range(probabilities.shape[0]):
            for column in np.flatnonzero(probabilities[row, :, 1] > 0.05):
                x, y, w, h = (float(v) for v in offsets[row, column])
                x, y = (
                    column * stride + stride / 2 + 0.1 * x * side,
                    row * stride + stride / 2 + 0.1 * y * side,
                )
                w, h = side * math.exp(0.2 * w), side * math.exp(0.2 * h)
                box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                found.append((float(probabilities[row, column, 1]), box))
    kept: list[tuple[float, ...]] = []
    for score, box in sorted(found, key=lambda item: -item[0]):
        if all(_overlap(box, other) <= 0.3 for other, _ in kept):
            kept.append((box, score))
    return [tuple(int(edge) for edge in box) for box, score in kept if score >= 0.5]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def image_rects(boxes: Sequence[Rect], scale: float) -> list[Rect]:
    """Boxes in the picture's pixels: none below 40 pixels, 10 % more at the chin; largest first."""
    rects = []
    for box in boxes:
        left, top, right, bottom = (edge * scale for edge in box)
        height = bottom - top
        if min(right - left, height) >= 40:
            rects.append((int(left), int(top), int(right), int(bottom + height * 0.1)))
    return sorted(rects, key=lambda r: (r[2] - r[0]) * (r[3] - r[1]), reverse=True)


class PlainFan:
    """DFL's landmarker, one crop at a time."""

    def __init__(self, weights: Weights) -> None:
        net = _Net(weights)

        @tf.function
        def run(x: tf.Tensor) -> tf.Tensor:
            x = tf.nn.relu(net.norm(net.conv(x, "conv1", stride=2), "bn1"))
            x = tf.nn.avg_pool2d(net.block(x, "conv2"), 2, 2, "VALID")
            x = net.block(net.block(x, "conv3"), "conv4")
            for stack in range(4):
                y = net.block(net.hourglass(x, f"m_{stack}", 4), f"top_m_{stack}")
                y = tf.nn.relu(net.norm(net.conv(y, f"conv_last_{stack}"), f"bn_end_{stack}"))
                heat = net.conv(y, f"l_{stack}")
                if stack < 3:
                    x = x + net.conv(y, f"bl_{stack}") + net.conv(heat, f"al_{stack}")
            return tf.transpose(heat, (0, 3, 1, 2))

        self._run = run

    def points(
        self, image: np.ndarray, rects: Sequence[Rect], second: PlainS3fd | None = None
    ) -> list[np.ndarray]:
        """(68, 2) float64 points for each rect in an (H, W, 3) uint8 BGR image.

        Args:
            image: The picture.
            rects: Its faces.
            second: Boxes each face once more, for the second look; None looks once.
        """
        found = [self._average(image, rect, moves=((0, 0),)) for rect in rects]
        if second is None:
            return found
        for number, points in enumerate(found):
            matrix = transform_mat(points, 256, "full_face")
            face = cv2.warpAffine(image, matrix, (256, 256))
            inner = second.rects(face)
            if len(inner) == 1:
                moves = ((0, 0), (-1, -1), (1, -1), (1, 1), (-1, 1))
                found[number] = transform_points(self._average(face, inner[0], moves), matrix, inverse=True)
        return found

    def heatmaps(self, crop: np.ndarray) -> np.ndarray:
        """(1, 68, 64, 64) float32 of a crop (1, 256, 256, 3) float32 RGB in [0, 1]."""
        return self._run(tf.constant(crop)).numpy()

    def _average(self, image: np.ndarray, rect: Rect, moves: Sequence[tuple[int, int]]) -> np.ndarray:
        scale = (rect[2] - rect[0] + rect[3] - rect[1]) / 195
        results = []
        for move_x, move_y in moves:
            centre = ((rect[0] + rect[2]) / 2 + move_x, (rect[1] + rect[3]) / 2 + move_y)
            crop = cut(image, centre, scale)[:, :, ::-1].astype(np.float32) / np.float32(255)
            heatmaps = self.heatmaps(crop[None])[0]
            results.append(np.array([decode_one(heatmap, centre, scale) for heatmap in heatmaps]))
        return np.mean(results, axis=0)


def cut(image: np.ndarray, centre: tuple[float, float], scale: float) -> np.ndarray:
    """(256, 256, 3) uint8 crop of 200 * scale pixels around `centre`."""
    side = 200 * scale
    left, right, top, bottom = (int(c + (p - 128) * side / 256) for c in centre for p in (1, 256))
    margin = max(0, -left, -top, right - image.shape[1], bottom - image.shape[0])
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    square = padded[top + margin : bottom + margin, left + margin : right + margin]
    return cv2.resize(square, (256, 256), interpolation=cv2.INTER_LINEAR)


def decode_one(heatmap: np.ndarray, centre: tuple[float, float], scale: float) -> tuple[float, float]:
    """The point of one (64, 64) heatmap in image pixels."""
    y, x = (int(v) for v in np.unravel_index(np.argmax(heatmap), heatmap.shape))
    px, py = float(x), float(y)
    if 0 < x < 63 and 0 < y < 63:
        px += 0.25 * float(np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]))
        py += 0.25 * float(np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]))
    side = 200 * scale
    return centre[0] + (px + 0.5 - 32) * side / 64, centre[1] + (py + 0.5 - 32) * side / 64

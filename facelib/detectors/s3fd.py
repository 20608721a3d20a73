"""S3FD, DFL's detector: steps before and after the network as DFL takes them, its roundings included.

The picture is shown to the network at half its size, or 640 pixels wide where it is wider than 1280. Boxes
are cut to whole pixels there, so their edges lie on a coarse grid in the picture. That is kept: the same
weights give the same boxes as in DFL.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from facelib.detectors.boxes import Detection

SMALLEST_IMAGE = 128  # short side; DFL looks for no faces in smaller pictures
NETWORK_SIDE, LEAST_NETWORK_SIDE = 640, 64  # long side of what the network sees
SMALLEST_FACE = 40  # pixels of the image
SCORE = 0.5  # DFL suppresses from 0.05 on, but a box never suppresses one with a higher score
OVERLAP = 0.3
CHIN = 0.1  # of its height, by which a box is made longer at the bottom
CENTRE_VARIANCE, SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)
ANCHOR = 4  # side of an anchor in strides
FIRST_STRIDE = 4
# Pixels the network sees in one call: some 600 bytes of memory each. The CPU gains 8 % in float32 from the
# second picture, nothing from more.
PIXELS_PER_CALL, PIXELS_PER_CALL_ON_GPU = 2 * 640 * 640, 8 * 640 * 640


Network = Callable[[np.ndarray], list[np.ndarray]]


class S3fd:
    """Detector for faces from 40 pixels; safe to call from many threads, which then wait for each other."""

    name = "s3fd"
    batched = True

    def __init__(self, weights: Mapping[str, np.ndarray] | None = None, precision: str = "auto") -> None:
        """Build the network, which brings TensorFlow in.

        Args:
            weights: DFL's tensors; None takes the installed file.
            precision: `auto`, `float32` (DFL's own numbers) or `bfloat16`.

        Raises:
            SwapError: The weights are missing or wrong.
            UsageError: There is no such precision.
        """
        from core.nn import devices

        if weights is None:
            from facelib.weights import load

            weights = load("S3FD")
        self._pixels = PIXELS_PER_CALL_ON_GPU if devices.prepare().on_gpu else PIXELS_PER_CALL
        from facelib.nets.s3fd import build_s3fd

        self._weights, self._precision = weights, precision
        self._network: Network = build_s3fd(weights, precision)
        self._lock = threading.Lock()  # one call has all cores or the GPU; two at once would cost memory

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find faces in an (H, W, 3) uint8 BGR image, largest first; see `detect_batch`."""
        return self.detect_batch([image])[0]

    @functools.cached_property
    def _exact_network(self) -> Network:
        """The network in float32; made when first asked for."""
        from facelib.nets.common import is_exact
        from facelib.nets.s3fd import build_s3fd

        return self._network if is_exact(self._precision) else build_s3fd(self._weights, "float32")

    def detect_batch(self, images: Sequence[np.ndarray], exact: bool = False) -> list[list[Detection]]:
        """Find the faces of each image, largest first, with as few calls of the network as memory allows.

        Args:
            images: (H, W, 3) uint8 BGR each; images of one size share a call.
            exact: In float32 whatever the precision; for pictures small enough that it costs little.

        Returns:
            Detections of each image in its pixels; whole numbers, which may lie beyond the image. None where
            the short side is below 128 pixels.
        """
        found: list[list[Detection]] = [[] for _ in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            height, width = image.shape[:2]
            if min(height, width) >= SMALLEST_IMAGE:
                groups.setdefault(network_size(width, height)[0], []).append(number)
        for (width, height), numbers in groups.items():
            per_call = max(1, self._pixels // (width * height))
            for start in range(0, len(numbers), per_call):
                chunk = numbers[start : start + per_call]
                boxes = self._boxes([images[n] for n in chunk], (width, height), exact)
                for number, seen in zip(chunk, boxes):
                    found[number] = seen
        return found

    def _boxes(
        self, images: Sequence[np.ndarray], size: tuple[int, int], exact: bool
    ) -> list[list[Detection]]:
        batch = np.stack(
            [
                cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
                for image in images
            ]
        )
        with self._lock:
            outputs = (self._exact_network if exact else self._network)(batch)
        found = []
        for number, image in enumerate(images):
            rects, scores = refine([output[number] for output in outputs])
            scale = network_size(image.shape[1], image.shape[0])[1]
            found.append(to_image(rects, scores, scale))
        return found


def network_size(width: int, height: int) -> tuple[tuple[int, int], float]:
    """(width, height) of what the network sees of a picture, and the picture's pixels per pixel there."""
    longest = max(width, height)
    side = NETWORK_SIDE if longest >= 2 * NETWORK_SIDE else longest / 2
    scale = longest / max(side, LEAST_NETWORK_SIDE)
    return (int(width / scale), int(height / scale)), scale


def refine(outputs: Sequence[np.ndarray], score: float = SCORE) -> tuple[np.ndarray, np.ndarray]:
    """Boxes from the network's outputs for one picture.

    Args:
        outputs: For each level the probabilities (h, w, 2) and the offsets (h, w, 4), float32, finest first.
        score: Least probability of a face.

    Returns:
        (M, 4) int64 left, top, right, bottom in the network's pixels, most probable first, and (M,) float64.
    """
    boxes, scores = [np.empty((0, 4))], [np.empty(0, np.float32)]
    for level, (likely, offsets) in enumerate(zip(outputs[::2], outputs[1::2])):
        stride = FIRST_STRIDE << level
        rows, columns = np.nonzero(likely[..., 1] >= score)
        boxes.append(decode_boxes(offsets[rows, columns], rows, columns, stride))
        scores.append(likely[rows, columns, 1])
    rects, likelihood = np.concatenate(boxes), np.concatenate(scores).astype(np.float64)
    kept = suppress(rects, likelihood, OVERLAP)
    return np.trunc(rects[kept]).astype(np.int64), likelihood[kept]


def decode_boxes(offsets: np.ndarray, rows: np.ndarray, columns: np.ndarray, stride: int) -> np.ndarray:
    """Boxes of some cells of one level.

    Args:
        offsets: (N, 4) float32: shift of the centre and logarithm of the size, against the anchor.
        rows: (N,) cells.
        columns: (N,) cells.
        stride: Pixels of the network's input per cell.

    Returns:
        (N, 4) float64 left, top, right, bottom in pixels of the network's input.
    """
    side = float(ANCHOR * stride)
    centres = np.stack([columns, rows], axis=1) * stride + stride / 2
    centres = centres + (offsets[:, :2] * CENTRE_VARIANCE).astype(np.float64) * side
    sizes = np.exp(offsets[:, 2:] * SIZE_VARIANCE).astype(np.float64) * side
    corner = centres - sizes / 2
    return np.concatenate([corner, corner + sizes], axis=1)


def suppress(rects: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Greedy suppression with the old convention that a box of two equal edges is one pixel wide.

    Args:
        rects: (N, 4) float64.
        scores: (N,).
        overlap: Boxes whose intersection over union with a better one is larger are dropped.

    Returns:
        (M,) indices, best first.
    """
    left, top, right, bottom = rects.T
    areas = (right - left + 1) * (bottom - top + 1)
    order, kept = scores.argsort()[::-1], []
    while len(order):
        best, others = order[0], order[1:]
        kept.append(best)
        widths = np.minimum(right[best], right[others]) - np.maximum(left[best], left[others]) + 1
        heights = np.minimum(bottom[best], bottom[others]) - np.maximum(top[best], top[others]) + 1
        shared = np.maximum(widths, 0) * np.maximum(heights, 0)
        order = others[shared / (areas[best] + areas[others] - shared) <= overlap]
    return np.array(kept, np.int64)


def to_image(rects: np.ndarray, scores: np.ndarray, scale: float) -> list[Detection]:
    """Detections in the picture's pixels, largest first: small ones dropped, the others longer at the chin.

    Args:
        rects: (N, 4) whole numbers in the network's pixels.
        scores: (N,).
        scale: The picture's pixels per pixel of the network.
    """
    found = []
    for rect, score in zip(rects, scores):
        left, top, right, bottom = (float(edge) * scale for edge in rect)
        if min(right - left, bottom - top) < SMALLEST_FACE:
            continue
        bottom += (bottom - top) * CHIN
        found.append(Detection(np.trunc([left, top, right, bottom]), float(score)))
    return sorted(found, key=_area, reverse=True)


def _area(detection: Detection) -> float:
    left, top, right, bottom = detection.rect
    return (right - left) * (bottom - top)

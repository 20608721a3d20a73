"""dlib's face detectors: HOG (quick, upright faces) and a small network (slow without a GPU). Optional.

HOG: Dalal and Triggs 2005 with the structural SVM of King, "Max-Margin Object Detection", 2015; the network
is trained with the same loss. Both look for faces of 80 pixels or more, so small pictures are enlarged first.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from facelib.detectors.boxes import Detection, shrink_to
from facelib.dlib_models import import_dlib, load_model

HOG_SIDE = 2560  # long side that HOG sees at most; enlarged twofold where that fits, shrunk where it must
CNN_SIDE = 1280  # the same for the network: 4 s on a core for 1280x720
CNN_LEAST = 16  # short side of what the network is shown: less holds no face, and one row is an error in dlib
CNN_BATCH = 8  # pictures of one size on a GPU


class DlibHog:
    """Detector for upright faces, frontal to three quarters, from 40 pixels (80 in pictures over 1280)."""

    name = "dlib-hog"
    batched = False

    def __init__(self) -> None:
        """Prepare the detector.

        Raises:
            SwapError: dlib is not installed.
        """
        self._dlib = import_dlib(f"the detector {self.name}")
        self._own = threading.local()  # its scanner keeps the picture in itself: one for each thread

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find boxes that may hold faces, best first; see `BlazeFace.detect`.

        The boxes are dlib's squares from brow to chin.
        """
        rgb, scale, upsample = _prepare(image, HOG_SIDE)
        rects, margins, _ = self._detector().run(rgb, upsample, 0.0)
        found = [
            Detection(_rect(rect, scale), 1 / (1 + math.exp(-2 * margin)))
            for rect, margin in zip(rects, margins, strict=True)
        ]
        return sorted(found, key=lambda detection: -detection.score)

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The boxes of several images."""
        return [self.detect(image) for image in images]

    def _detector(self) -> Any:
        if not hasattr(self._own, "detector"):
            self._own.detector = self._dlib.get_frontal_face_detector()
        return self._own.detector


class DlibCnn:
    """Detector for faces at more angles than HOG's; seconds for a picture unless dlib was built for CUDA."""

    name = "dlib-cnn"

    def __init__(self) -> None:
        """Load the network.

        Raises:
            SwapError: dlib or its model file is not installed.
        """
        what = f"the detector {self.name}"
        dlib = import_dlib(what)
        self._network = load_model("cnn", what, dlib.cnn_face_detection_model_v1)
        self._lock = threading.Lock()  # the network keeps its activations in itself
        self.batched = bool(getattr(dlib, "DLIB_USE_CUDA", False))

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find boxes that may hold faces, best first; see `BlazeFace.detect`."""
        rgb, scale, upsample = _prepare(image, CNN_SIDE)
        if min(rgb.shape[:2]) < CNN_LEAST:
            return []
        with self._lock:
            found = self._network(rgb, upsample)
        return _detections(found, scale)

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The boxes of several images; those of one size go through the network together."""
        prepared = [_prepare(image, CNN_SIDE) for image in images]
        alike: dict[tuple, list[int]] = defaultdict(list)
        for number, (rgb, _, upsample) in enumerate(prepared):
            if min(rgb.shape[:2]) >= CNN_LEAST:
                alike[rgb.shape, upsample].append(number)
        result: list[list[Detection]] = [[] for _ in images]
        for (_, upsample), numbers in alike.items():
            with self._lock:
                found = self._network([prepared[n][0] for n in numbers], upsample, batch_size=CNN_BATCH)
            for number, boxes in zip(numbers, found, strict=True):
                result[number] = _detections(boxes, prepared[number][1])
        return result


def _prepare(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The picture in RGB, shrunk to `side` at most; (4,) the scale back; how often dlib is to double it."""
    small, scale = shrink_to(image, side)
    return np.ascontiguousarray(small[:, :, ::-1]), np.tile(scale, 2), int(2 * max(image.shape[:2]) <= side)


def _detections(found: Any, scale: np.ndarray) -> list[Detection]:
    """What the network reports; its confidence is a margin above 0."""
    boxes = [Detection(_rect(f.rect, scale), 1 / (1 + math.exp(-2 * f.confidence))) for f in found]
    return sorted(boxes, key=lambda detection: -detection.score)


def _rect(rect: Any, scale: np.ndarray) -> np.ndarray:
    """(4,) float64 of a dlib rectangle of the shrunk picture, in the picture's pixels."""
    return (np.array([rect.left(), rect.top(), rect.right(), rect.bottom()], np.float64) + 0.5) * scale - 0.5

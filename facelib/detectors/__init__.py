"""Face detectors: from images to boxes that may hold faces; looked up in `DETECTORS`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core.errors import UsageError
from facelib.detectors.boxes import Detection

# name -> (module, class); imported when asked for, since some bring TensorFlow or dlib along
DETECTORS = {
    "s3fd": ("facelib.detectors.s3fd", "S3fd"),
    "mtcnn": ("facelib.detectors.mtcnn", "Mtcnn"),
    "blazeface": ("facelib.detectors.blazeface", "BlazeFace"),
    "dlib-hog": ("facelib.detectors.dlib", "DlibHog"),
    "dlib-cnn": ("facelib.detectors.dlib", "DlibCnn"),
}
ON_TENSORFLOW = ("s3fd",)  # devices are prepared before these are made; mtcnn runs on the CPU anyway
DISTINCT = ("s3fd",)  # their boxes are taken as they come, as DFL does; of others' repeats are dropped
# Told to detectors where no landmarker verifies their boxes: BlazeFace takes hands for faces, up to 0.57.
UNVERIFIED = {"blazeface": {"threshold": 0.6}}
AUTO = "blazeface"  # what `auto` means: quick, never wrong on the test clips, needs no TensorFlow

__all__ = [
    "AUTO",
    "DETECTORS",
    "DISTINCT",
    "ON_TENSORFLOW",
    "UNVERIFIED",
    "Detection",
    "Detector",
    "create_detector",
]


class Detector(Protocol):
    """Finds boxes that may hold faces."""

    name: str
    # `batched: bool` where True: `detect_batch` is there, and quicker than `detect` image by image

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Boxes in an (H, W, 3) uint8 BGR image, best first; must be safe to call from many threads."""

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The same for several images, whose sizes may differ; only where `batched` is there and True."""


def create_detector(name: str, **options: Any) -> Detector:
    """Make the detector `name`, one of `DETECTORS` or `auto`.

    Args:
        name: Which one.
        options: For its class: `precision` for those on TensorFlow, and what `UNVERIFIED` says.

    Raises:
        UsageError: There is no such detector.
        SwapError: Its package is not installed.
    """
    name = AUTO if name == "auto" else name
    if name not in DETECTORS:
        raise UsageError(f"detector {name!r} is unknown; choose auto, {', '.join(DETECTORS)}")
    module, attribute = DETECTORS[name]
    return getattr(importlib.import_module(module), attribute)(**options)

"""Face detectors: each has `name` and `detect(image) -> list[Detection]`; looked up in `DETECTORS`."""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np

from core.errors import UsageError
from facelib.detectors.boxes import Detection

# name -> (module, class); imported when asked for, since MTCNN brings TensorFlow along
DETECTORS = {
    "blazeface": ("facelib.detectors.blazeface", "BlazeFace"),
    "mtcnn": ("facelib.detectors.mtcnn", "Mtcnn"),
}
AUTO = "blazeface"  # what `auto` means: quick, never wrong on the test clips, needs no TensorFlow

__all__ = ["AUTO", "DETECTORS", "Detection", "Detector", "create_detector"]


class Detector(Protocol):
    """Finds boxes that may hold faces."""

    name: str

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Boxes in an (H, W, 3) uint8 BGR image, best first; must be safe to call from many threads."""


def create_detector(name: str) -> Detector:
    """Make the detector `name`, one of `DETECTORS` or `auto`.

    Raises:
        UsageError: There is no such detector.
        SwapError: Its package is not installed.
    """
    name = AUTO if name == "auto" else name
    if name not in DETECTORS:
        raise UsageError(f"detector {name!r} is unknown; choose auto, {', '.join(DETECTORS)}")
    module, attribute = DETECTORS[name]
    return getattr(importlib.import_module(module), attribute)()

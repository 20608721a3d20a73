"""Landmarkers: from boxes to faces with 68 points each; looked up in `LANDMARKERS`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core.errors import UsageError
from facelib.detected import DetectedFace, LandmarkedFace
from facelib.detectors.boxes import Detection

# name -> (module, class); imported when asked for, since FAN brings TensorFlow along
LANDMARKERS = {
    "facemesh": ("facelib.landmarkers.facemesh", "FaceMeshLandmarker"),
    "fan": ("facelib.landmarkers.fan", "Fan2d"),
    "fan3d": ("facelib.landmarkers.fan", "Fan3d"),
    "dlib68": ("facelib.landmarkers.dlib68", "Dlib68"),
}
ON_TENSORFLOW = ("fan", "fan3d")  # devices are prepared before these are made

__all__ = [
    "LANDMARKERS",
    "DetectedFace",
    "LandmarkedFace",
    "Landmarker",
    "create_landmarker",
]


class Landmarker(Protocol):
    """Finds the 68 points of faces."""

    name: str
    batched: bool  # many images at once are quicker than one by one

    def find(
        self, images: Sequence[np.ndarray], detections: Sequence[Sequence[Detection]]
    ) -> list[list[LandmarkedFace]]:
        """The faces in the boxes of each image; boxes that turn out to be no faces are left out.

        Args:
            images: (H, W, 3) uint8 BGR each, sizes may differ.
            detections: The boxes of each image.
        """

    def points(self, image: np.ndarray, rect: np.ndarray, *, second_pass: bool = False) -> np.ndarray | None:
        """(68, 2) float32 of the face in a rect that somebody drew by hand; None where that cannot be.

        Args:
            image: (H, W, 3) uint8 BGR.
            rect: (4,) left, top, right, bottom in pixels.
            second_pass: Slower and closer (DFL's accuracy switch).
        """

    # A landmarker whose `LandmarkedFace`s have `points` also has
    # `finish(image, found: LandmarkedFace) -> DetectedFace`: the last and dearest step, done on the picture
    # as it is, once repeats are gone.


def create_landmarker(name: str, **options: Any) -> Landmarker:
    """Make the landmarker `name`, one of `LANDMARKERS`.

    Args:
        name: Which one.
        options: For its class: `samples` for facemesh, `precision` for those on TensorFlow.

    Raises:
        UsageError: There is no such landmarker.
        SwapError: Its package or its weights are missing.
    """
    if name not in LANDMARKERS:
        raise UsageError(f"landmarker {name!r} is unknown; choose auto, {', '.join(LANDMARKERS)}")
    module, attribute = LANDMARKERS[name]
    return getattr(importlib.import_module(module), attribute)(**options)

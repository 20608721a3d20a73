"""MTCNN: the slow detector, for pictures with many small faces. Needs TensorFlow and the pip package `mtcnn`.

Networks: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
2016.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core.errors import SwapError
from facelib.detectors.boxes import Detection, shrink_to

MIN_FACE = 20  # pixels; the package (1.0.0) finds nothing at all, without an error, when asked for 25 or more
LARGEST = 1920  # long side; larger pictures are shrunk, for this takes a second already
SMALLEST = 48  # short side that the package's image pyramid can do with; smaller pictures get a border


class Mtcnn:
    """Detector for faces from 20 pixels; some 100 ms for a small picture, a second for 1920x1080."""

    name = "mtcnn"

    def __init__(self) -> None:
        """Load the networks, which brings TensorFlow in.

        Raises:
            SwapError: The package is not installed.
        """
        try:
            from core.nn import devices

            devices.prepare()  # quietly: else TensorFlow's log lines stand among ours
            from mtcnn import MTCNN
        except ImportError as err:
            python = Path(sys.executable).name
            raise SwapError(
                f"the detector mtcnn needs the pip packages mtcnn and tensorflow ({err}); install them with "
                f"`{python} -m pip install mtcnn tensorflow`, or choose --detector blazeface"
            ) from err
        self._networks: Any = MTCNN(device="CPU:0")  # small eager networks: a GPU would mostly wait
        self._lock = threading.Lock()  # TensorFlow uses all cores for one picture already

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find boxes that may hold faces, best first; see `BlazeFace.detect`."""
        small, scale = shrink_to(image, LARGEST)
        below, beside = (max(0, SMALLEST - side) for side in small.shape[:2])
        if below or beside:
            small = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        rgb = np.ascontiguousarray(small[:, :, ::-1])
        with self._lock:
            found = self._networks.detect_faces(
                rgb, fit_to_image=False, box_format="xyxy", min_face_size=MIN_FACE
            )
        detections = []
        for face in found:
            points = {name: np.array(point, np.float64) for name, point in face["keypoints"].items()}
            # left and right are the viewer's here; sorted by x, so that neither spelling turns a face over
            first, second = sorted((points["left_eye"], points["right_eye"]), key=lambda point: point[0])
            angle = float(np.arctan2(second[1] - first[1], second[0] - first[0]))
            rect = np.array(face["box"], np.float64).reshape(2, 2)
            rect = ((rect + 0.5) * scale - 0.5).reshape(4)
            if (rect[2:] > rect[:2]).all():
                detections.append(Detection(rect, float(face["confidence"]), angle))
        return sorted(detections, key=lambda detection: -detection.score)

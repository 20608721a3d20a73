"""dlib's 68 points by regression trees, 2 ms a look, for faces that are nearly upright. Optional.

Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", 2014, trained on
the squares of dlib's own detector. Other boxes are first brought to such a square, and the points found there
say where that square should have been.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facelib.detected import DetectedFace, LandmarkedFace, rect_inside
from facelib.detectors.boxes import Detection
from facelib.dlib_models import import_dlib, load_model

TALL = 1.1  # height over width from which a box is taken to reach from the forehead to the chin
# dlib's square in terms of the landmarks' spread (mean of the standard deviations of x and y): its middle,
# seen from their mean, and its side. Medians over 94 of HOG's squares on the shared clips and photos.
MIDDLE = (0.0, -0.27)
SIDE = 3.97
CROP_SIDE = 512  # pixels of the upright picture the trees are shown, the square being half of it: they
# tell whole pixels only, which are too coarse for a small face
PASSES = 3  # looks at a face, each in the square that the one before it asks for
QUICK_PASSES = 2  # while a hand moves the box


class Dlib68:
    """Landmarker on dlib's regression trees; safe to call from many threads."""

    name = "dlib68"
    batched = False

    def __init__(self) -> None:
        """Load the trees (100 MB).

        Raises:
            SwapError: dlib or its model file is not installed.
        """
        what = f"the landmarker {self.name}"
        self._dlib = import_dlib(what)
        self._trees = load_model("68", what, self._dlib.shape_predictor)

    def find(
        self, images: Sequence[np.ndarray], detections: Sequence[Sequence[Detection]]
    ) -> list[list[LandmarkedFace]]:
        """A face for every box: the trees cannot tell what is no face."""
        result = []
        for image, boxes in zip(images, detections, strict=True):
            faces = []
            for box in boxes:
                points = self._points(image, box.rect, box.angle, PASSES)
                face = DetectedFace(rect_inside(box.rect, image.shape), points, box.score)
                faces.append(LandmarkedFace(face))
            result.append(faces)
        return result

    def points(self, image: np.ndarray, rect: np.ndarray, *, second_pass: bool = False) -> np.ndarray | None:
        """(68, 2) float32 in a rect drawn by hand; one more look if asked."""
        return self._points(image, np.asarray(rect, np.float64), 0.0, PASSES if second_pass else QUICK_PASSES)

    def _points(self, image: np.ndarray, rect: np.ndarray, angle: float, passes: int) -> np.ndarray:
        """(68, 2) float32 found from the square in the rect, then from those that the points ask for."""
        square = _square_in(rect)
        for number in range(passes):
            crop_from_image = _crop_matrix(square, angle)
            crop = cv2.warpAffine(
                image, crop_from_image, (CROP_SIDE, CROP_SIDE), borderMode=cv2.BORDER_REPLICATE
            )
            low, high = CROP_SIDE // 4, 3 * CROP_SIDE // 4
            rgb = np.ascontiguousarray(crop[:, :, ::-1])
            shape = self._trees(rgb, self._dlib.rectangle(low, low, high, high))
            found = np.array([(part.x, part.y) for part in shape.parts()], np.float64)
            linear, shift = crop_from_image[:, :2], crop_from_image[:, 2]
            points = (found - shift) @ np.linalg.inv(linear).T
            if number + 1 < passes:
                square = square_around(points)
        return points.astype(np.float32)


def square_around(points: np.ndarray) -> np.ndarray:
    """(4,) the square in which dlib's detector would have reported the face with these landmarks (68, 2)."""
    spread = max(float(points.std(axis=0).mean()), 1.0)
    middle = points.mean(axis=0) + spread * np.array(MIDDLE)
    half = SIDE * spread / 2
    return np.concatenate([middle - half, middle + half])


def _square_in(rect: np.ndarray) -> np.ndarray:
    """(4,) dlib's square in a detector's box: as wide as it; at its foot where it is tall."""
    width, height = rect[2:] - rect[:2]
    if height > TALL * width:
        return np.array([rect[0], rect[3] - width, rect[2], rect[3]])
    side = np.sqrt(max(width * height, 1.0))
    middle = (rect[:2] + rect[2:]) / 2
    return np.concatenate([middle - side / 2, middle + side / 2])


def _crop_matrix(square: np.ndarray, angle: float) -> np.ndarray:
    """(2, 3) affine from the image to the picture whose middle half is the square, turned upright."""
    middle, side = (square[:2] + square[2:]) / 2, max(float(square[2] - square[0]), 1.0)
    scale = CROP_SIDE / (2 * side)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([linear, CROP_SIDE / 2 - linear @ middle])

"""Frames on their side and of odd sizes: what S3FD and FAN find in them lies where DFL says."""

from __future__ import annotations

import numpy as np
import pytest

from facelib import pipeline
from facelib.choice import Choice
from facelib.detected import DetectedFace, LandmarkedFace
from facelib.detectors import Detection

RECT = (30, 40, 90, 120)  # in the turned picture
POINTS = np.random.default_rng(3).uniform(30, 110, (68, 2)).astype(np.float32)


class OnlyTurned:
    """Sees a face in the picture that is `turned`-th to be shown, and remembers what it was shown."""

    name, batched = "s3fd", False

    def __init__(self, turned: int) -> None:
        self._turned = turned
        self.shown: list[tuple[int, ...]] = []

    def detect(self, image):
        self.shown.append(image.shape)
        return [Detection(np.array(RECT, np.float64), 0.9)] if len(self.shown) == self._turned + 1 else []


class SamePoints:
    name, batched = "fan", False

    def find(self, images, detections):
        return [[LandmarkedFace(DetectedFace(RECT, POINTS, 0.9)) for _ in found] for found in detections]


def search(monkeypatch, image, turned, networks):
    detector = OnlyTurned(turned)
    detector.name = networks.split("+")[0]
    monkeypatch.setattr(pipeline, "choose", lambda *_, **__: Choice(*networks.split("+")))
    monkeypatch.setattr(pipeline, "create_detector", lambda _, **options: detector)
    monkeypatch.setattr(pipeline, "create_landmarker", lambda *_, **__: SamePoints())
    (face,) = pipeline.Pipeline().faces(image)
    return face, detector.shown


@pytest.mark.parametrize("shape", [(200, 300), (201, 301)])
@pytest.mark.parametrize("turned", [1, 2, 3])
def test_turned_faces_of_dfls_networks_lie_where_dfl_puts_them(monkeypatch, shape, turned):
    face, shown = search(monkeypatch, np.zeros((*shape, 3), np.uint8), turned, "s3fd+fan")
    height, width = 200, 300  # DFL leaves an odd row and column out
    assert shown[0][:2] == (height, width)
    left, top, right, bottom = RECT
    x, y = POINTS.T
    rect, points = {
        1: ((top, height - right, bottom, height - left), (y, height - x)),
        2: ((width - bottom, left, width - top, right), (width - y, x)),
        3: ((width - right, height - bottom, width - left, height - top), (width - x, height - y)),
    }[turned]
    assert face.rect == rect
    assert np.allclose(face.landmarks, np.stack(points, axis=1))


def test_turned_faces_of_other_networks_keep_the_middle_of_pixels(monkeypatch):
    face, shown = search(monkeypatch, np.zeros((201, 301, 3), np.uint8), 3, "blazeface+dlib68")
    assert shown[0][:2] == (201, 301)
    assert np.allclose(face.landmarks, np.array([300, 200]) - POINTS)


def test_a_picture_of_one_row_has_no_faces(monkeypatch):
    with pytest.raises(ValueError, match="unpack"):  # that is: none are found, and nothing else goes wrong
        search(monkeypatch, np.zeros((1, 301, 3), np.uint8), 9, "s3fd+fan")

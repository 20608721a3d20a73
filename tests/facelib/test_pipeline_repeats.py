"""Two boxes of one face: which of the two meshes stays."""

from __future__ import annotations

import numpy as np
import pytest

from facelib import pipeline
from facelib.choice import Choice
from facelib.detected import DetectedFace, LandmarkedFace
from facelib.detectors import Detection
from facelib.pipeline import Pipeline, _without_repeats


def seen(rect, score, doubtful=False):
    return LandmarkedFace(DetectedFace(rect, np.zeros((68, 2), np.float32), score), doubtful)


TO_THE_LIP, TO_THE_CHIN = (127, 154, 348, 396), (116, 143, 361, 443)


def test_of_two_that_are_nearly_as_sure_the_fuller_stays():
    lip, chin = seen(TO_THE_LIP, 0.615), seen(TO_THE_CHIN, 0.608)
    assert _without_repeats([lip, chin]) == _without_repeats([chin, lip]) == [chin]
    unsure = seen(TO_THE_CHIN, 0.4)
    assert _without_repeats([lip, unsure]) == [lip]
    turned = seen(TO_THE_CHIN, 0.608, doubtful=True)
    assert _without_repeats([lip, turned]) == [lip]
    beside = seen((400, 150, 620, 400), 0.5)
    assert _without_repeats([lip, chin, beside]) == [chin, beside]


def test_an_open_mouth_keeps_its_chin(shared_data):
    """person_a yawns; in frame 74 the chin jumped up by 30 pixels, to the lip."""
    from core.video import decode_frames, probe

    both, chins = Pipeline("blazeface", "facemesh"), []
    for number, frame in enumerate(decode_frames(probe(shared_data / "clips" / "person_a.mp4")), start=1):
        if number > 76:
            break
        if number >= 72:
            (face,) = both.faces(np.ascontiguousarray(frame[:, :, ::-1]))
            chins.append(face.landmarks[8, 1])
    assert np.ptp(chins) < 8, chins


@pytest.mark.parametrize("landmarker, threshold, looked_at", [("fan", 0.6, 2), ("facemesh", None, 3)])
def test_where_nothing_verifies_boxes_they_are_surer_and_one_for_each_face(
    monkeypatch, landmarker, threshold, looked_at
):
    """FAN looks at a face six times, and finds points in anything."""
    told, seen_boxes = {}, []
    boxes = [((95, 121, 384, 410), 0.88), ((90, 141, 227, 279), 0.75), ((500, 100, 700, 300), 0.7)]

    class Detector:
        name = "blazeface"

        def detect(self, image):
            return [Detection(np.array(rect, np.float64), score) for rect, score in boxes]

    class Landmarker:
        name, batched = landmarker, False

        def find(self, images, detections):
            seen_boxes.extend(box for found in detections for box in found)
            return [[seen(tuple(box.rect), box.score) for box in found] for found in detections]

    def create_detector(name, **options):
        told.update(options)
        return Detector()

    monkeypatch.setattr(pipeline, "choose", lambda *_, **__: Choice("blazeface", landmarker))
    monkeypatch.setattr(pipeline, "create_detector", create_detector)
    monkeypatch.setattr(pipeline, "create_landmarker", lambda *_, **__: Landmarker())
    faces = Pipeline().faces(np.zeros((480, 800, 3), np.uint8))
    assert len(seen_boxes) == looked_at and told.get("threshold") == threshold
    assert sorted(face.rect for face in faces) == [(95, 121, 384, 410), (500, 100, 700, 300)]

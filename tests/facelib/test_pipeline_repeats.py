"""Two boxes of one face: which of the two meshes stays."""

from __future__ import annotations

import numpy as np

from facelib.detected import DetectedFace, LandmarkedFace
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

    pipeline, chins = Pipeline("blazeface", "facemesh"), []
    for number, frame in enumerate(decode_frames(probe(shared_data / "clips" / "person_a.mp4")), start=1):
        if number > 76:
            break
        if number >= 72:
            (face,) = pipeline.faces(np.ascontiguousarray(frame[:, :, ::-1]))
            chins.append(face.landmarks[8, 1])
    assert np.ptp(chins) < 8, chins

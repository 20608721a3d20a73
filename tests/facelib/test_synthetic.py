"""The drawn people: found by the shipped detector, landmarks where they say, sound in the clip."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from facelib.landmarks import LEFT_EYE, RIGHT_EYE
from facelib.pose import estimate_pose
from facelib.synthetic import ANNA, BORIS, Motion, build_head, mouth_opening, perform, render, speak

PEOPLE = {"anna": ANNA, "boris": BORIS}


@pytest.fixture(scope="module")
def heads():
    return {name: build_head(person) for name, person in PEOPLE.items()}


@pytest.mark.parametrize("name", PEOPLE)
def test_same_motion_same_pixels(heads, name):
    motion = Motion(yaw=0.2, mouth=0.5)
    first, again = (render(heads[name], motion, size=160, grain=3) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(build_head(PEOPLE[name]).texture, heads[name].texture)


def test_two_people_differ_in_shape_and_colour(heads):
    a, b = (render(head, Motion(), size=240) for head in heads.values())
    assert np.abs(a.landmarks - b.landmarks).max() > 2
    assert (
        np.abs(a.image[100:160, 80:160].mean(axis=(0, 1)) - b.image[100:160, 80:160].mean(axis=(0, 1))).max()
        > 15
    )


@pytest.mark.parametrize(("part", "index"), [("pitch", 0), ("yaw", 1), ("roll", 2)])
def test_the_pose_is_the_one_asked_for(heads, part, index):
    """In the signs of `estimate_pose`."""
    for angle in (-0.25, 0.25):
        landmarks = render(heads["anna"], Motion(**{part: angle}), size=240).landmarks
        assert estimate_pose(landmarks, 240)[index] == pytest.approx(angle, abs=0.08)


def opening(landmarks: np.ndarray, upper: list[int], lower: list[int]) -> float:
    return float((landmarks[lower, 1] - landmarks[upper, 1]).mean())


def test_blinking_closes_the_lids(heads):
    is_open, closed = (render(heads["boris"], Motion(blink=b), size=480).landmarks for b in (0, 1))
    for first in (36, 42):
        upper, lower = [first + 1, first + 2], [first + 5, first + 4]
        assert opening(is_open, upper, lower) > 6 > 2 > opening(closed, upper, lower)


def test_speaking_opens_the_mouth_and_moves_the_chin(heads):
    closed, is_open = (render(heads["anna"], Motion(mouth=m), size=480).landmarks for m in (0, 1))
    assert opening(closed, [61, 62, 63], [67, 66, 65]) < 2
    assert opening(is_open, [61, 62, 63], [67, 66, 65]) > 15
    assert is_open[8, 1] - closed[8, 1] > 8
    np.testing.assert_allclose(closed[36:48], is_open[36:48], atol=1e-3)


def test_the_picture_shows_what_the_landmarks_say(heads):
    """The iris is darker than the skin around the eye, and follows the gaze."""
    frame = render(heads["anna"], Motion(), size=480)
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = frame.landmarks[eye].mean(axis=0).round().astype(int)
        cheek = frame.image[y + 40, x]
        assert frame.image[y - 1 : y + 2, x - 1 : x + 2].mean() < 0.6 * cheek.mean()
    looks = [render(heads["anna"], Motion(gaze=(side * 0.4, 0)), size=480).image for side in (-1, 1)]
    x, y = frame.landmarks[RIGHT_EYE].mean(axis=0).round().astype(int)
    dark = [int(np.argmin(image[y, x - 14 : x + 15].sum(axis=-1))) for image in looks]
    assert dark[1] - dark[0] >= 5


def test_sound_follows_the_mouth():
    sound = speak(BORIS, 4.0, rate=8000).astype(np.float64)
    loud = np.abs(sound).reshape(-1, 400).mean(axis=1)
    opened = mouth_opening(BORIS, (np.arange(len(loud)) + 0.5) * 0.05)
    assert np.corrcoef(loud, opened)[0, 1] > 0.9


def test_people_blink_speak_and_turn():
    motions = perform(ANNA, 8, 25)
    assert len(motions) == 200
    assert 2 <= sum(b.blink > 0.5 >= a.blink for a, b in pairwise(motions)) <= 6
    assert max(m.yaw for m in motions) > 0.25 and min(m.yaw for m in motions) < -0.25
    assert max(m.mouth for m in motions) > 0.6 and min(m.mouth for m in motions) < 0.05


@pytest.mark.parametrize("name", PEOPLE)
def test_the_shipped_detector_finds_them(heads, name):
    """Exactly one face in at least 95 % of the frames, its points near the drawn ones."""
    from facelib.pipeline import Pipeline

    pipeline = Pipeline()
    motions = perform(PEOPLE[name], 8, 25)[::8]
    found, errors = 0, []
    for number, motion in enumerate(motions):
        frame = render(heads[name], motion, grain=number)
        faces = pipeline.faces(frame.image)
        if len(faces) == 1:
            found += 1
            between_eyes = np.linalg.norm(frame.landmarks[45] - frame.landmarks[36])
            distance = np.linalg.norm(faces[0].landmarks - frame.landmarks, axis=1).mean()
            errors.append(distance / between_eyes)
    assert found >= 0.95 * len(motions)
    assert np.median(errors) < 0.055 and np.max(errors) < 0.09


def test_clip_has_picture_and_sound(tmp_path):
    from core.video import probe
    from facelib.synthetic_clip import write_clip

    write_clip(tmp_path / "clip.mp4", BORIS, seconds=0.4, size=160)
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.frames) == (160, 160, 10)
    assert [stream.codec for stream in info.audio] == ["aac"]
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]

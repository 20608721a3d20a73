"""The smoother of landmarks: what it must not change, what it must steady, and that it never lags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from facelib.detected import DetectedFace
from facelib.landmarks import MEAN_HEAD_3D
from facelib.smoothing import _solve, smooth_landmarks, smooth_track
from facelib.synthetic import ANNA, BORIS, build_head, express, perform
from facelib.synthetic import _camera as camera
from facelib.tracking import Track

FACE = MEAN_HEAD_3D[:, :2].astype(np.float64) / 91 * 140 + (320, 240)  # outer eyes 140 pixels apart
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]


def performed(person, seconds=6.0, fps=25, size=480):
    """(T, 68, 2) true landmarks of a drawn person who turns, blinks and speaks; nothing is drawn."""
    head = build_head(person)
    shots = []
    for motion in perform(person, seconds, fps):
        shots.append(camera(motion, size, 0.42).project(express(head, motion))[:, :2])
    return np.array(shots)


def noisy(landmarks, share, seed=0):
    """With white noise of `share` of the outer-eye distance."""
    unit = np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=1).mean()
    return landmarks + np.random.default_rng(seed).normal(size=landmarks.shape) * share * unit


def error(found, truth):
    unit = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1).mean()
    return np.linalg.norm(found - truth, axis=2).mean() / unit


def jitter(landmarks):
    unit = np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=1).mean()
    return np.diff(landmarks, 2, axis=0).std() / unit


def eye_opening(landmarks):
    return (landmarks[:, LOWER_LIDS] - landmarks[:, UPPER_LIDS])[..., 1].mean(axis=1)


def mouth_opening(landmarks):
    return landmarks[:, 66, 1] - landmarks[:, 62, 1]


def track_of(landmarks, frames=None, filled=None):
    count = len(landmarks)
    faces = [DetectedFace((0, 0, 9, 9), points.astype(np.float32), 0.9) for points in landmarks]
    frames = np.arange(count) if frames is None else np.array(frames)
    return Track(0, frames, faces, filled or [False] * count, list(range(count)))


@pytest.fixture(scope="module")
def shaken():
    truth = performed(ANNA)
    return truth, noisy(truth, 0.008)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-0.02, 0.02), st.integers(5, 60), st.floats(0.1, 3))
def test_steady_motion_is_reproduced(vx, vy, growth, count, strength):
    times = np.arange(count)[:, None, None]
    landmarks = 320 + (FACE - 320) * np.exp(growth * times) + times * np.array([vx, vy])

    found = smooth_landmarks(landmarks, strength=strength)

    # growing about another point than the face's middle moves that middle along a curve: within 0.1 px
    atol = 1e-6 if growth == 0 else 0.02 * np.abs(landmarks).max()
    np.testing.assert_allclose(found, landmarks, atol=atol)


@settings(max_examples=10, phases=[Phase.explicit, Phase.generate])
@given(st.floats(-np.pi, np.pi), st.floats(0.2, 5), st.floats(-2000, 2000))
def test_turning_scaling_and_shifting_commute_with_smoothing(angle, scale, shift):
    landmarks = noisy(performed(BORIS, seconds=2), 0.005)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]])

    first = smooth_landmarks(landmarks) @ matrix.T + shift
    second = smooth_landmarks(landmarks @ matrix.T + shift)

    np.testing.assert_allclose(first, second, atol=1e-5 * scale)


def test_time_runs_both_ways(shaken):
    _, landmarks = shaken
    np.testing.assert_allclose(
        smooth_landmarks(landmarks[::-1])[::-1], smooth_landmarks(landmarks), atol=1e-6
    )


def test_no_strength_changes_nothing_and_little_changes_little(shaken):
    _, landmarks = shaken
    np.testing.assert_array_equal(smooth_landmarks(landmarks, strength=0), landmarks)
    track = track_of(landmarks)
    assert smooth_track(track, strength=0) is track
    little = np.abs(smooth_landmarks(landmarks, strength=0.01) - landmarks).max()
    assert little < 0.1 * np.abs(smooth_landmarks(landmarks) - landmarks).max()


@pytest.mark.parametrize("person", [ANNA, BORIS])
@pytest.mark.parametrize("share", [0.003, 0.01])
def test_noise_falls_and_movement_stays(person, share):
    truth = performed(person)
    shaken = noisy(truth, share)

    found = smooth_landmarks(shaken)

    assert error(found, truth) < 0.65 * error(shaken, truth)
    assert jitter(found) < 0.5 * jitter(shaken) or jitter(found) < 1.1 * jitter(truth)
    for opening in (eye_opening, mouth_opening):
        wrong = opening(found) - opening(truth), opening(shaken) - opening(truth)
        assert wrong[0].std() < wrong[1].std()


def test_exact_landmarks_stay_within_half_a_pixel():
    truth = performed(ANNA)
    found = smooth_landmarks(truth)
    assert np.linalg.norm(found - truth, axis=2).mean() < 0.25
    assert np.abs(eye_opening(found) - eye_opening(truth)).max() < 0.15 * np.ptp(eye_opening(truth))


def test_a_blink_of_four_frames_is_as_deep_as_before_and_at_the_same_time():
    landmarks = np.tile(FACE, (60, 1, 1))
    for frame, closed in zip(range(30, 34), (0.5, 1.0, 1.0, 0.5), strict=True):
        gap = landmarks[frame, LOWER_LIDS] - landmarks[frame, UPPER_LIDS]
        landmarks[frame, UPPER_LIDS] += closed * gap
    shaken = noisy(landmarks, 0.002)

    opening = eye_opening(smooth_landmarks(shaken))

    assert opening[:27].min() > 0.8 * opening.max()
    assert opening[31:33].max() < 0.2 * opening.max()
    assert abs(opening[30] - opening[33]) < 0.15 * opening.max()


def test_a_fast_turn_is_followed():
    head = build_head(BORIS)
    steps = np.concatenate([np.zeros(25), np.linspace(0, 1, 7)[1:-1], np.ones(25)])
    yaws = -0.5 + steps * steps * (3 - 2 * steps)
    motion = perform(BORIS, 1, 25)[0]
    truth = np.array(
        [
            camera(m, 480, 0.42).project(express(head, m))[:, :2]
            for m in (replace(motion, yaw=y) for y in yaws)
        ]
    )
    shaken = noisy(truth, 0.004)
    found = smooth_landmarks(shaken)
    during = slice(24, 32)
    assert error(found[during], truth[during]) < 1.1 * error(shaken[during], truth[during])
    assert error(found, truth) < 0.7 * error(shaken, truth)


@pytest.mark.parametrize("count", [1, 2])
def test_a_landmarker_that_changes_its_mind_for_a_moment_is_not_believed(count):
    truth = noisy(np.tile(FACE, (40, 1, 1)), 0.001)
    shaken = truth.copy()
    shaken[20 : 20 + count, :17, 1] -= 14
    shaken[20 : 20 + count, 48:, 1] -= 14
    found = smooth_landmarks(shaken)
    assert np.abs(found - truth).max() < 2


def test_guesses_do_not_count_and_get_what_the_smoother_expects():
    truth = performed(ANNA, seconds=3)
    wild = truth.copy()
    wild[30:33] += 500
    measured = np.ones(len(truth), bool)
    measured[30:33] = False

    found = smooth_landmarks(wild, measured)

    assert np.linalg.norm(found[30:33] - truth[30:33], axis=2).max() < 6
    track = smooth_track(track_of(wild, filled=(~measured).tolist()))
    np.testing.assert_allclose(np.array([f.landmarks for f in track.faces]), found, atol=1e-3)
    assert track.faces[3].landmarks.dtype == np.float32


def test_frames_left_out_keep_their_place_in_time():
    times = np.array([*range(20), *range(25, 45)])
    landmarks = FACE + times[:, None, None] * np.array([3.0, -1.0])
    np.testing.assert_allclose(smooth_landmarks(landmarks, frames=times), landmarks, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 9])
def test_short_tracks_do_no_harm(count):
    landmarks = noisy(np.tile(FACE, (count, 1, 1)), 0.002)
    found = smooth_landmarks(landmarks)
    assert found.shape == landmarks.shape and np.isfinite(found).all()
    assert np.abs(found - landmarks).max() < 3


def test_frozen_faces_and_points_in_one_place_give_finite_numbers():
    assert np.isfinite(smooth_landmarks(np.tile(FACE, (20, 1, 1)))).all()
    assert np.isfinite(smooth_landmarks(np.zeros((20, 68, 2)))).all()


def test_bad_input_is_refused(shaken):
    _, landmarks = shaken
    with pytest.raises(ValueError, match="68"):
        smooth_landmarks(landmarks[:, :5])
    with pytest.raises(ValueError, match="finite"):
        smooth_landmarks(np.full_like(landmarks, np.nan))
    with pytest.raises(ValueError, match="strength"):
        smooth_landmarks(landmarks, strength=-1)


def test_it_is_the_rauch_tung_striebel_smoother():
    """The textbook's two passes give the same numbers as the banded equations."""
    rng = np.random.default_rng(3)
    count, noise, motion = 25, 0.7, 0.3
    measured = np.cumsum(rng.normal(size=count))
    step = np.array([[2.0, -1.0], [1.0, 0.0]])  # state: this value and the one before
    covariance = np.diag([motion, 0.0])
    state, spread = np.array([0.0, 0.0]), np.eye(2) * 1e9
    filtered, predicted = [], []
    for number, value in enumerate(measured):
        if number:
            state, spread = step @ state, step @ spread @ step.T + covariance
        predicted.append((state, spread))
        gain = spread[:, 0] / (spread[0, 0] + noise)
        state, spread = state + gain * (value - state[0]), spread - np.outer(gain, spread[0])
        filtered.append((state, spread))
    smooth = [filtered[-1][0]]
    for number in range(count - 2, -1, -1):
        state, spread = filtered[number]
        ahead_state, ahead_spread = predicted[number + 1]
        back = spread @ step.T @ np.linalg.inv(ahead_spread)
        smooth.append(state + back @ (smooth[-1] - ahead_state))
    textbook = np.array(smooth[::-1])[:, 0]

    banded = _solve(measured[:, None], np.ones(count), np.full(count - 2, noise / motion))[:, 0]

    np.testing.assert_allclose(banded, textbook, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["person_a", "person_b", "distant_c"])
def test_tremor_of_real_faces_is_halved(shared_data, clip):
    from core.video import decode_frames, probe
    from facelib.pipeline import Pipeline

    frames = list(decode_frames(probe(shared_data / "clips" / f"{clip}.mp4")))
    found = Pipeline("blazeface", "facemesh").faces_batch(frames)
    landmarks = np.array([faces[0].landmarks for faces in found], np.float64)
    assert jitter(smooth_landmarks(landmarks)) <= 0.5 * jitter(landmarks)

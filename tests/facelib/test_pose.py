"""Pose: DFL's numbers, its signs, and no head behind the camera."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from core.errors import AlignmentError
from facelib.alignment import transform_mat, transform_points
from facelib.face_types import FACE_TYPES
from facelib.landmarks import MEAN_HEAD_3D, mirror_landmarks
from facelib.pose import estimate_pose
from tests.facelib.faces import CASES


def crop_landmarks(landmarks: np.ndarray, size: int, face_type: str) -> np.ndarray:
    return transform_points(landmarks, transform_mat(landmarks, size, face_type))


def test_poses_are_dfls():
    pose = estimate_pose(crop_landmarks(CASES["A"], 256, "full_face"), 256)
    np.testing.assert_allclose(pose, (0.0379, -0.0121, 0.0064), atol=2e-4)
    pose = estimate_pose(crop_landmarks(CASES["C"], 512, "whole_face"), 512)
    np.testing.assert_allclose(pose, (0.0785, -0.6225, 0.1429), atol=2e-4)


@pytest.mark.parametrize("face_type", [name for name in FACE_TYPES if name != "mark_only"])
def test_dfls_own_poses_are_met(shared_data, face_type):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        cases = zip(reference["landmarks"], reference[f"mat_{face_type}_256"], reference[f"pose_{face_type}"])
    for face, matrix, pose in cases:
        np.testing.assert_allclose(estimate_pose(transform_points(face, matrix), 256), pose, atol=5e-4)


def seen_from_near(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Landmarks of a head before a camera, turned by angles (radians) with the signs of `estimate_pose`."""
    head = MEAN_HEAD_3D.astype(np.float64) - MEAN_HEAD_3D.mean(axis=0)
    about_x = cv2.Rodrigues(np.array([-pitch, 0.0, 0.0]))[0]
    about_y = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    about_z = cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]
    points = head @ (about_z @ about_y @ about_x).T + [0, 0, 300]
    return points[:, :2] / points[:, 2:] * 256 + 128


@settings(deadline=None, max_examples=60)
@given(st.floats(-0.6, 0.6), st.floats(-1.2, 1.2), st.floats(-1.0, 1.0))
def test_angles_are_recovered(pitch, yaw, roll):
    np.testing.assert_allclose(
        estimate_pose(seen_from_near(pitch, yaw, roll), 256), (pitch, yaw, roll), atol=5e-3
    )


def test_signs():
    def pose(pitch: float, yaw: float) -> tuple[float, float, float]:
        return estimate_pose(seen_from_near(pitch, yaw, 0), 256)

    to_viewers_left = seen_from_near(0, 0.5, 0)
    assert to_viewers_left[30, 0] < to_viewers_left[[0, 16], 0].mean()
    assert pose(0, 0.5)[1] > 0.4
    looking_up = seen_from_near(0.4, 0, 0)
    assert looking_up[30, 1] < seen_from_near(0, 0, 0)[30, 1]
    assert pose(0.4, 0)[0] > 0.3


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.4, 0.4), st.floats(-1.0, 1.0))
def test_a_mirrored_face_looks_the_other_way(pitch, yaw):
    landmarks = seen_from_near(pitch, yaw, 0)
    pose = estimate_pose(landmarks, 256)
    mirrored = estimate_pose(mirror_landmarks(landmarks, 257), 256)  # 257: about the camera's axis, x = 128
    np.testing.assert_allclose(mirrored, np.array(pose) * [1, -1, -1], atol=0.06)  # heads are not symmetric


def test_a_solution_behind_the_camera_is_replaced(monkeypatch):
    landmarks = seen_from_near(0.1, 0.4, 0.1)
    sound = estimate_pose(landmarks, 256)
    solve = cv2.solvePnP
    calls = []

    def mirrored_first(*args, **options):
        found, rotation, shift = solve(*args, **options)
        calls.append(options)
        if len(calls) == 1:  # the same projection, seen through the back of the camera
            flip = np.diag([-1.0, -1, 1]) @ cv2.Rodrigues(rotation)[0]
            rotation, shift = cv2.Rodrigues(flip)[0], -shift
        return found, rotation, shift

    monkeypatch.setattr(cv2, "solvePnP", mirrored_first)
    np.testing.assert_allclose(estimate_pose(landmarks, 256), sound, atol=1e-3)
    assert len(calls) == 2 and calls[1]["useExtrinsicGuess"]


@settings(deadline=None, max_examples=60)
@given(st_numpy.arrays(np.float64, (68, 2), elements=st.floats(-1000, 1000)))
def test_any_landmarks_give_angles_in_range_or_our_error(landmarks):
    try:
        pose = estimate_pose(landmarks, 256)
    except AlignmentError:
        return
    assert np.abs(pose).max() <= np.pi / 2


def test_unusable_landmarks_are_refused():
    with pytest.raises(AlignmentError, match="68"):
        estimate_pose(np.zeros((5, 2)), 256)
    with pytest.raises(AlignmentError):
        estimate_pose(np.full((68, 2), np.nan), 256)

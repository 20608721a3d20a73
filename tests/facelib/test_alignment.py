"""Alignment: DFL's matrices, and the properties that make them alignments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AlignmentError, UsageError
from facelib.alignment import (
    averaged_yaw,
    fit_similarity,
    rect_from_landmarks,
    transform_mat,
    transform_points,
    unit_from_image,
    warp_face,
)
from facelib.face_types import FACE_TYPES
from facelib.landmarks import MEAN_FACE_17_67, MEAN_FACE_ALIGNED
from tests.facelib.faces import CASES

CROPPED = [name for name in FACE_TYPES if name != "mark_only"]

# m00, m01, m02, m11, m12 of the 256 pixel crop; m10 is -m01. From the reference, where DFL computed them.
MATRICES = {
    "half_face": {
        "A": (1.420582, -0.008814, -298.6731, 1.420582, -317.3688),
        "B": (1.281582, 0.286237, -789.0907, 1.281582, -135.3572),
        "C": (1.277650, -0.470753, -538.9542, 1.277650, -616.6059),
    },
    "midfull_face": {
        "A": (1.192846, -0.007401, -230.2722, 1.192846, -245.9707),
        "B": (1.076129, 0.240350, -642.0698, 1.076129, -93.1378),
        "C": (1.072828, -0.395286, -432.0335, 1.072828, -497.2367),
    },
    "full_face": {
        "A": (0.889743, -0.005520, -139.2349, 0.889743, -150.9445),
        "B": (0.802684, 0.179276, -446.3945, 0.802684, -36.9466),
        "C": (0.800221, -0.294843, -289.7286, 0.800221, -338.3636),
    },
    "full_face_no_align": {
        "A": (0.889760, 0.0, -140.9604, 0.889760, -149.2811),
        "B": (0.822461, 0.0, -396.6283, 0.822461, -158.1843),
        "C": (0.852811, 0.0, -425.2053, 0.852811, -165.1830),
    },
    "whole_face": {
        "A": (0.666511, -0.004135, -72.1872, 0.666511, -72.5511),
        "B": (0.601295, 0.134297, -302.2820, 0.601295, 12.8454),
        "C": (0.599450, -0.220869, -184.9227, 0.599450, -212.9478),
    },
    "head": {
        "A": (0.476722, -0.002958, -15.0844, 0.476722, 21.4968),
        "B": (0.430076, 0.096056, -194.8837, 0.430076, 82.5766),
        "C": (0.428756, -0.157976, -62.6536, 0.428756, -78.9218),
    },
    "head_no_align": {
        "A": (0.476731, 0.0, -16.1082, 0.476731, -20.5665),
        "B": (0.440672, 0.0, -153.0943, 0.440672, -25.3368),
        "C": (0.456934, 0.0, -168.4057, 0.456934, -29.0866),
    },
}
RECTS = {
    "A": (158.425, 167.777, 445.019, 454.371),
    "B": (482.246, 192.331, 792.291, 502.376),
    "C": (498.593, 193.692, 797.604, 492.703),
}


def full_matrix(m00: float, m01: float, m02: float, m11: float, m12: float) -> np.ndarray:
    return np.array([[m00, m01, m02], [-m01, m11, m12]])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("face_type", CROPPED)
def test_matrices_are_dfls(face_type, case):
    matrix = transform_mat(CASES[case], 256, face_type)
    assert matrix.dtype == np.float64 and matrix.shape == (2, 3)
    expected = full_matrix(*MATRICES[face_type][case])
    np.testing.assert_allclose(matrix[:, :2], expected[:, :2], atol=1e-6)
    np.testing.assert_allclose(matrix[:, 2], expected[:, 2], atol=3e-4)


def test_scale_shows_less():
    expected = full_matrix(0.733162, -0.004549, -92.20586, 0.733162, -92.60622)
    np.testing.assert_allclose(transform_mat(CASES["A"], 256, "whole_face", 1.1), expected, atol=3e-4)


def test_the_unit_square_is_dfls():
    expected = [[0.00554914979, -0.0000344283808, -1.16669156], [0.0000344283808, 0.00554914979, -1.23972179]]
    np.testing.assert_allclose(unit_from_image(CASES["A"]), expected, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_rects_are_dfls(case):
    rect = rect_from_landmarks(CASES[case])
    assert rect.shape == (4,)
    np.testing.assert_allclose(rect, RECTS[case], atol=1.5e-3)


@pytest.mark.parametrize(("case", "yaw"), [("A", -0.0340), ("B", 0.4756), ("C", -0.8300)])
def test_averaged_yaws_are_dfls(case, yaw):
    landmarks = transform_points(CASES[case], unit_from_image(CASES[case]))
    assert averaged_yaw(landmarks) == pytest.approx(yaw, abs=1e-4)


@pytest.mark.parametrize("face_type", CROPPED)
def test_dfls_own_matrices_are_met(shared_data, face_type):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        landmarks = reference["landmarks"]
        expected = reference[f"mat_{face_type}_256"], reference[f"mat_{face_type}_512_s1.1"]
    for face, plain, scaled in zip(landmarks, *expected):
        np.testing.assert_allclose(transform_mat(face, 256, face_type), plain, atol=3e-4)
        np.testing.assert_allclose(transform_mat(face, 512, face_type, 1.1), scaled, atol=3e-4)


def test_dfls_own_rects_and_yaws_are_met(shared_data):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        landmarks, rects, yaws = (
            reference[key] for key in ("landmarks", "rect_from_landmarks", "averaged_yaw")
        )
    for face, rect, yaw in zip(landmarks, rects, yaws):
        np.testing.assert_allclose(rect_from_landmarks(face), rect, atol=5e-4)
        assert averaged_yaw(face) == pytest.approx(yaw, abs=1e-9)


similarities = st.tuples(
    st.floats(-np.pi, np.pi), st.floats(0.1, 10), st.floats(-2000, 2000), st.floats(-2000, 2000)
)


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@settings(deadline=None)
@given(similarities)
def test_any_similarity_is_recovered(parameters):
    image_from_unit = similarity(*parameters)
    points = MEAN_FACE_ALIGNED.astype(np.float64)
    image = transform_points(100 * points, image_from_unit)
    back = transform_points(image, fit_similarity(image, points))
    np.testing.assert_allclose(back, points, atol=1e-8)


@settings(deadline=None)
@given(similarities)
def test_a_reflection_is_never_fitted(parameters):
    mirrored = MEAN_FACE_17_67.astype(np.float64) * [-1, 1]
    linear = fit_similarity(transform_points(mirrored, similarity(*parameters)), MEAN_FACE_17_67)[:, :2]
    assert np.linalg.det(linear) > 0
    assert linear[0, 0] == pytest.approx(linear[1, 1]) and linear[0, 1] == pytest.approx(-linear[1, 0])


@settings(deadline=None)
@given(similarities, st.sampled_from([name for name in CROPPED if FACE_TYPES[name].rotated]))
def test_the_crop_follows_the_face(parameters, face_type):
    image_from_image = similarity(*parameters)
    moved = transform_points(CASES["B"], image_from_image)
    faces = [
        transform_points(points, transform_mat(points, 256, face_type)) for points in (CASES["B"], moved)
    ]
    np.testing.assert_allclose(faces[0], faces[1], atol=0.05)  # float32 points far from the origin


@settings(deadline=None)
@given(similarities)
def test_points_come_back(parameters):
    matrix = similarity(*parameters)
    points = CASES["C"]
    back = transform_points(transform_points(points, matrix), matrix, inverse=True)
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_points_go_x_before_y():
    matrix = np.array([[2.0, 0, 10], [0, 3, 20]])
    np.testing.assert_array_equal(transform_points(np.array([[1, 0], [0, 1]]), matrix), [[12, 20], [10, 23]])
    assert transform_points(np.zeros((1, 2), np.float32), matrix).dtype == np.float32


def test_the_crop_shows_the_face_where_the_landmarks_say():
    image = np.zeros((720, 1280, 3), np.uint8)
    nose = CASES["B"][30]
    x, y = nose.round().astype(int)
    image[y - 6 : y + 7, x - 6 : x + 7] = (10, 20, 250)
    matrix = transform_mat(CASES["B"], 256, "full_face")
    face = warp_face(image, matrix, 256)
    assert face.shape == (256, 256, 3) and face.dtype == np.uint8
    rows, columns = np.nonzero(face[..., 2] > 125)
    np.testing.assert_allclose(
        [columns.mean(), rows.mean()], transform_points(nose[np.newaxis], matrix)[0], atol=0.6
    )
    assert warp_face(image[..., :1], matrix, 256).shape == (256, 256, 1)


def test_unusable_landmarks_are_refused():
    with pytest.raises(AlignmentError, match="lie at"):
        transform_mat(np.full((68, 2), 7.0), 256, "full_face")
    with pytest.raises(AlignmentError, match="finite"):
        transform_mat(np.full((68, 2), np.nan), 256, "full_face")
    with pytest.raises(AlignmentError, match="5, 2"):
        transform_mat(np.zeros((5, 2)), 256, "full_face")
    with pytest.raises(AlignmentError, match="mark_only"):
        transform_mat(CASES["A"], 256, "mark_only")
    with pytest.raises(UsageError, match="wf"):
        transform_mat(CASES["A"], 256, "wf")


def test_points_on_a_line_still_give_a_rotation():
    line = np.column_stack([MEAN_FACE_ALIGNED[:, 0], np.zeros(33)])
    linear = fit_similarity(line, MEAN_FACE_ALIGNED)[:, :2]
    assert np.isfinite(linear).all() and np.linalg.det(linear) > 0

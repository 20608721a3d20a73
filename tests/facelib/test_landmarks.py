"""The landmark tables and mirroring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from facelib import landmarks as tables
from facelib.landmarks import mirror_landmarks
from tests.facelib.faces import CASES

coordinates = st_numpy.arrays(np.float64, (68, 2), elements=st.integers(-4000, 4000).map(lambda n: n / 4))


def test_groups_cover_every_landmark_once():
    groups = (
        tables.JAW,
        tables.RIGHT_BROW,
        tables.LEFT_BROW,
        tables.NOSE,
        tables.RIGHT_EYE,
        tables.LEFT_EYE,
        tables.OUTER_MOUTH,
        tables.INNER_MOUTH,
    )
    rows = np.concatenate([np.arange(68)[group] for group in groups])
    np.testing.assert_array_equal(rows, np.arange(68))
    assert tables.MEAN_FACE_17_67.shape == (51, 2) and tables.MEAN_HEAD_3D.shape == (68, 3)
    assert tables.MEAN_FACE_ALIGNED.shape == (33, 2)


def test_the_tables_are_as_symmetric_as_faces_are():
    for table in (tables.MEAN_HEAD_3D[:, :2], np.pad(tables.MEAN_FACE_17_67, ((17, 0), (0, 0)))):
        order = tables.MIRROR_ORDER
        middle = (table[order] + table)[17:, 0] / 2
        size = np.ptp(table[:, 0])
        assert np.ptp(middle) < 0.05 * size
        assert np.abs(table[order] - table)[17:, 1].max() < 0.05 * size


@settings(deadline=None)
@given(coordinates, st.integers(1, 4096))
def test_mirroring_twice_changes_nothing(points, width):
    np.testing.assert_array_equal(mirror_landmarks(mirror_landmarks(points, width), width), points)


def test_mirroring_follows_the_flipped_image():
    mirrored = mirror_landmarks(CASES["B"], 1280)
    assert mirrored[36, 0] == pytest.approx(1279 - CASES["B"][45, 0])
    assert mirrored[36, 0] < mirrored[45, 0]  # the right eye is still on the viewer's left
    assert mirrored[30, 1] == CASES["B"][30, 1]


def test_dfls_own_mirroring_is_met(shared_data):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        for face, mirrored in zip(reference["landmarks"], reference["mirrored"]):
            np.testing.assert_array_equal(mirror_landmarks(face, 480), mirrored)

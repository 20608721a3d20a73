"""The mean face placed by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facelib.alignment import unit_from_image
from facelib.landmarks import MEAN_FACE_17_67, MEAN_HEAD_3D, MIRROR_ORDER
from facelib.masks import hull_mask
from facelib.mean_face import mean_face, place_mean_face


def test_the_mean_face_is_the_template_with_a_symmetric_jaw_around_it():
    points = mean_face()
    np.testing.assert_array_equal(points[17:], MEAN_FACE_17_67)
    across, down = points[:17].T
    mirrored = points[MIRROR_ORDER][:17]
    np.testing.assert_allclose((across + mirrored[:, 0]) / 2, points[30, 0], atol=0.02)
    assert down.argmax() == 8 and 1.1 < down.max() < 1.3, "the chin is the lowest point, below the mouth"
    assert across[0] < -0.05 and across[16] > 1.05, "the jaw's ends are outside the brows"
    assert len(MEAN_HEAD_3D) == len(points)


@given(
    st.floats(-500, 2000), st.floats(-500, 2000), st.floats(6, 800), st.floats(-np.pi, np.pi)
)  # fmt: skip
def test_a_placed_face_has_its_nose_width_and_angle(x, y, length, angle):
    across = (length * np.cos(angle), length * np.sin(angle))
    points = place_mean_face((x, y), across)
    np.testing.assert_allclose(points[30], (x, y), atol=1e-3)
    unit = unit_from_image(points)
    scale = np.hypot(*unit[0, :2])
    np.testing.assert_allclose(1 / scale, length, rtol=1e-3)
    np.testing.assert_allclose(np.cos(np.arctan2(unit[1, 0], unit[0, 0]) + angle), 1, atol=1e-3)


def test_the_hull_of_a_placed_face_reaches_the_chin():
    points = place_mean_face((100, 90), (80, 0))
    mask = hull_mask((200, 200, 3), points)
    assert mask[int(points[8, 1]) - 3, int(points[8, 0])] == 1
    assert mask[int(points[4, 1]), int(points[4, 0]) + 4] == 1

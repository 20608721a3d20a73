"""Debug pictures: what is drawn where, on copies only."""

from __future__ import annotations

import numpy as np
import pytest

from facelib.drawing import draw_debug, draw_landmarks
from facelib.face_types import FACE_TYPES
from facelib.masks import hull_mask
from tests.facelib.faces import CASES

IMAGE = np.full((720, 1280, 3), 100, np.uint8)


def test_every_landmark_is_marked_on_a_copy():
    picture = draw_landmarks(IMAGE, CASES["B"])
    assert (IMAGE == 100).all()
    for x, y in CASES["B"].astype(int):
        near = picture[y - 3 : y + 4, x - 3 : x + 4]
        assert (near[..., 1].astype(int) > near[..., 0] + 50).any()


def test_the_hull_is_darkened_to_half():
    picture = draw_landmarks(IMAGE, CASES["B"], darken_hull=True)
    inside = (hull_mask(IMAGE.shape, CASES["B"])[..., 0] > 0) & (picture[..., 0] == picture[..., 1])
    assert np.median(picture[inside]) == 50
    assert (picture[0] == 100).all()


@pytest.mark.parametrize("face_type", FACE_TYPES)
def test_debug_pictures_show_rectangle_and_crop(face_type):
    picture = draw_debug(IMAGE, [(np.array([500, 200, 780, 500]), CASES["B"])], face_type)
    assert picture.shape == IMAGE.shape and (IMAGE == 100).all()
    assert picture[300, 500].tolist() == [255, 0, 0]
    assert (picture == (0, 0, 255)).all(axis=-1).sum() > 100


def test_frames_without_faces_are_copied():
    picture = draw_debug(IMAGE, [], "whole_face")
    np.testing.assert_array_equal(picture, IMAGE)
    assert picture is not IMAGE


def test_faces_without_a_rectangle_and_outside_the_frame_are_drawn():
    draw_debug(IMAGE, [(None, CASES["A"] + 5000)], "head")

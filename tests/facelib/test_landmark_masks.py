"""Masks from landmarks: DFL's pixels."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import AlignmentError
from facelib.alignment import transform_mat, transform_points
from facelib.face_types import FACE_TYPES
from facelib.masks import expand_eyebrows, eyes_mask, hull_mask, mouth_mask
from tests.facelib.faces import CASES

SHAPE = (256, 256, 3)


def crop_landmarks(case: str) -> np.ndarray:
    return transform_points(CASES[case], transform_mat(CASES[case], 256, "full_face"))


@pytest.mark.parametrize(
    ("case", "pixels", "half_pixels"), [("A", 32685, 31346), ("B", 32570, 31163), ("C", 30334, 28916)]
)
def test_hulls_have_dfls_size(case, pixels, half_pixels):
    landmarks = crop_landmarks(case)
    mask = hull_mask(SHAPE, landmarks)
    assert mask.shape == (256, 256, 1) and mask.dtype == np.float32 and set(np.unique(mask)) == {0, 1}
    assert int(mask.sum()) == pixels
    assert int(hull_mask(SHAPE, landmarks, 0.5).sum()) == half_pixels


@pytest.mark.parametrize(("case", "eyes", "mouth"), [("A", 1274, 905), ("B", 1210, 909), ("C", 1154, 801)])
def test_eyes_and_mouth_have_dfls_size(case, eyes, mouth):
    landmarks = crop_landmarks(case)
    assert eyes_mask(SHAPE, landmarks).sum() == pytest.approx(eyes, abs=0.5)
    assert mouth_mask(SHAPE, landmarks).sum() == pytest.approx(mouth, abs=0.5)
    assert eyes_mask(SHAPE, landmarks).shape == (256, 256, 1)


def test_brows_are_raised_as_dfl_does():
    expanded = expand_eyebrows(crop_landmarks("A"))
    np.testing.assert_array_equal(expanded[17:20], [(38, 60), (53, 41), (75, 39)])


@pytest.mark.parametrize("face_type", [name for name in FACE_TYPES if name != "mark_only"])
def test_dfls_own_hulls_are_met_pixel_for_pixel(shared_data, face_type):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        cases = zip(reference["landmarks"], reference[f"mat_{face_type}_256"], reference[f"hull_{face_type}"])
    for face, matrix, packed in cases:
        mask = hull_mask(SHAPE, transform_points(face, matrix))
        np.testing.assert_array_equal(mask[..., 0], np.unpackbits(packed, axis=1))


@pytest.mark.parametrize("factor", ["0.5", "1.0", "2.0"])
def test_dfls_own_hulls_in_frames_are_met(shared_data, factor):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        cases = zip(reference["landmarks"], reference[f"hull_img480_e{factor}"])
    for face, packed in cases:
        mask = hull_mask((480, 480), face, float(factor))
        np.testing.assert_array_equal(mask[..., 0], np.unpackbits(packed, axis=1))


def test_dfls_own_eyes_and_mouths_are_met(shared_data):
    with np.load(shared_data / "dfl/landmarks/reference.npz") as reference:
        cases = zip(
            reference["landmarks"],
            reference["mat_whole_face_256"],
            reference["eye_mask_wf256"],
            reference["mouth_mask_wf256"],
        )
    for face, matrix, eyes, mouth in cases:
        landmarks = transform_points(face, matrix)
        np.testing.assert_allclose(eyes_mask(SHAPE, landmarks)[..., 0], eyes, atol=5e-4)  # float16 there
        np.testing.assert_allclose(mouth_mask(SHAPE, landmarks)[..., 0], mouth, atol=5e-4)


def test_faces_outside_the_image_give_an_empty_mask():
    assert hull_mask((64, 48), CASES["A"] + 1e9).sum() == 0
    assert hull_mask((64, 48), CASES["A"] - 1e5).shape == (64, 48, 1)


@pytest.mark.parametrize("draw", [hull_mask, eyes_mask, mouth_mask])
def test_unusable_landmarks_are_refused(draw):
    with pytest.raises(AlignmentError, match="68"):
        draw(SHAPE, np.zeros((5, 2)))
    with pytest.raises(AlignmentError, match="finite"):
        draw(SHAPE, np.full((68, 2), np.inf))


def test_images_too_low_for_eyes_are_refused():
    with pytest.raises(AlignmentError, match="32 pixels"):
        eyes_mask((31, 64), CASES["A"])

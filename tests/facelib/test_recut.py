"""A face at another size or of another type: its metadata still says where everything is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import facelib
from core.errors import SampleError
from facelib import FaceMetadata, SegPoly
from facelib.landmarks import MEAN_HEAD_3D
from facelib.recut import is_cut_from, recut_from_crop, recut_from_frame, shows_more
from facelib.resample import crop_face

TYPES = ("half_face", "midfull_face", "full_face", "whole_face", "head")


def frame_points(yaw: float, roll: float, scale: float) -> np.ndarray:
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    turned = x * np.cos(yaw) + z * np.sin(yaw)
    cos, sin = scale * np.cos(roll), scale * np.sin(roll)
    return np.column_stack([330 + turned * cos - y * sin, 310 + turned * sin + y * cos])


def make_frame(seed: int = 0) -> np.ndarray:
    """(640, 640, 3) uint8: smooth colours, so that two ways of resampling differ little."""
    noise = np.random.default_rng(seed).uniform(0, 255, (20, 20, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (640, 640), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def make_face(frame, points, size, face_type) -> tuple[np.ndarray, FaceMetadata]:
    matrix = facelib.transform_mat(points, size, face_type)
    landmarks = facelib.transform_points(points, matrix)
    polys = (
        SegPoly(True, landmarks[:17].astype(np.float32)),
        SegPoly(False, landmarks[36:42].astype(np.float32)),
    )
    metadata = FaceMetadata(
        face_type=face_type, landmarks=landmarks.astype(np.float32), source_filename="00001.png",
        source_rect=np.array([1, 2, 3, 4]), source_landmarks=points.astype(np.float32),
        image_to_face_mat=matrix, eyebrows_expand_mod=0.5, seg_ie_polys=polys, extra={"other": 5},
    )  # fmt: skip
    mask = cv2.resize(facelib.hull_mask((size, size), landmarks), (256, 256))
    return crop_face(frame, matrix, size), metadata.with_xseg_mask(mask >= 0.5)


def assert_fits(metadata: FaceMetadata, before: FaceMetadata, points: np.ndarray, size: int) -> None:
    """Everything in the metadata is where the new crop shows it."""
    matrix = facelib.transform_mat(points, size, metadata.face_type)
    np.testing.assert_allclose(metadata.landmarks, facelib.transform_points(points, matrix), atol=0.02)
    np.testing.assert_allclose(metadata.image_to_face_mat, matrix, atol=2e-2)
    np.testing.assert_array_equal(metadata.source_landmarks, before.source_landmarks)
    assert (metadata.source_filename, metadata.eyebrows_expand_mod) == ("00001.png", 0.5)
    assert metadata.extra == {"other": 5}
    for poly, rows in zip(metadata.seg_ie_polys, (slice(0, 17), slice(36, 42)), strict=True):
        np.testing.assert_allclose(poly.points, metadata.landmarks[rows], atol=0.05)


@given(st.floats(-0.6, 0.6), st.floats(-1, 1), st.floats(0.8, 2), st.sampled_from(TYPES),
       st.sampled_from(TYPES), st.sampled_from([128, 200, 256, 384]), st.booleans())  # fmt: skip
def test_metadata_follows_to_any_type_and_size(yaw, roll, scale, old, new, size, by_frame):
    points, frame = frame_points(yaw, roll, scale), make_frame()
    image, metadata = make_face(frame, points, 256, old)
    recut = (
        recut_from_frame(frame, metadata, 256, size, new)
        if by_frame
        else recut_from_crop(image, metadata, size, new)
    )
    assert recut.image.shape == (size, size, 3) and recut.metadata.face_type == new
    assert_fits(recut.metadata, metadata, points, size)


@pytest.mark.parametrize("new", TYPES)
@pytest.mark.parametrize("size", [128, 256, 400])
def test_both_ways_show_the_same_where_the_old_crop_has_pixels(new, size):
    points, frame = frame_points(0.3, 0.2, 1.2), make_frame()
    image, metadata = make_face(frame, points, 256, "head")
    by_crop = recut_from_crop(image, metadata, size, new)
    by_frame = recut_from_frame(frame, metadata, 256, size, new)
    assert not by_crop.frame_missed and not shows_more(metadata, 256, size, new)
    inner = slice(size // 20, -size // 20)
    difference = np.abs(by_crop.image[inner, inner].astype(int) - by_frame.image[inner, inner])
    assert difference.mean() < 5  # resizing the same type shifts by up to half a pixel, as DFL's does
    masks = [cut.metadata.decode_xseg_mask() for cut in (by_crop, by_frame)]
    assert masks[0].shape == (256, 256, 1) and np.abs(masks[0] - masks[1]).mean() < 0.01
    hull = facelib.hull_mask((size, size), by_frame.metadata.landmarks)
    assert np.abs(cv2.resize(hull, (256, 256)) - masks[0][..., 0]).mean() < 0.02


def test_a_larger_type_is_black_without_the_frame_and_whole_with_it():
    points, frame = frame_points(0.1, 0.1, 1.0), make_frame() | 64
    image, metadata = make_face(frame, points, 256, "full_face")
    by_crop = recut_from_crop(image, metadata, 256, "head")
    assert by_crop.frame_missed and (by_crop.image[0] == 0).all()
    assert recut_from_frame(frame, metadata, 256, 256, "head").image.min() > 0


def test_the_same_type_keeps_the_mask_s_bytes_and_scales_the_matrix():
    points, frame = frame_points(0.1, 0.1, 1.0), make_frame()
    image, metadata = make_face(frame, points, 256, "whole_face")
    for recut in (
        recut_from_crop(image, metadata, 512, "same"),
        recut_from_frame(frame, metadata, 256, 512, "same"),
    ):
        np.testing.assert_array_equal(recut.metadata.xseg_mask, metadata.xseg_mask)
        assert_fits(recut.metadata, metadata, points, 512)


def test_a_crop_whose_matrix_is_stale_is_fitted_by_its_landmarks():
    points, frame = frame_points(0.1, 0.1, 1.0), make_frame()
    _, metadata = make_face(frame, points, 256, "whole_face")
    stale = replace(metadata, image_to_face_mat=facelib.transform_mat(points, 100, "head"))
    assert_fits(recut_from_frame(frame, stale, 256, 300, "full_face").metadata, metadata, points, 300)


def test_a_frame_of_another_video_is_told():
    points, frame = frame_points(0.1, 0.1, 1.0), make_frame(1)
    image, metadata = make_face(frame, points, 256, "whole_face")
    regraded = np.clip(image * 0.6 + 30, 0, 255).astype(np.uint8)
    assert is_cut_from(image, metadata, frame) and is_cut_from(regraded, metadata, frame)
    assert not is_cut_from(image, metadata, make_frame(2))
    assert not is_cut_from(image, metadata, np.full_like(frame, 90))


def test_what_cannot_be_cut_says_so():
    points, frame = frame_points(0.1, 0.1, 1.0), make_frame()
    image, metadata = make_face(frame, points, 256, "whole_face")
    with pytest.raises(SampleError, match="not square"):
        recut_from_crop(image[:200], metadata, 256, "same")
    with pytest.raises(SampleError, match="mark_only"):
        recut_from_crop(image, replace(metadata, face_type="mark_only"), 256, "same")
    with pytest.raises(SampleError, match="source_landmarks"):
        recut_from_frame(frame, replace(metadata, source_landmarks=None), 256, 256, "same")

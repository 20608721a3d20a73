"""Merging one frame: every mode and mask, the mask's border, faces that do not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import AlignmentError
from core.imageio import read_image, write_image
from core.imagelib.color_transfer import MODES as COLOR_MODES
from merger.blend import Motion
from merger.merge_face import FrameFace, Prediction
from merger.options import MASK_MODES, MODES, MergeOptions
from merger.placement import place_face

GOLDEN = Path(__file__).parents[1] / "golden" / "merger_modes.png"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mask_mode", MASK_MODES)
def test_every_mode_and_mask_runs_on_a_tiny_face(frame, landmarks, merge, stranger, mode, mask_mode):
    merged = merge(frame, [landmarks(60, 45)], stranger, mode=mode, mask_mode=mask_mode)
    side = (16, 16) if mode == "raw-predict" else frame.shape[:2]
    assert merged.image.shape == (*side, 3) and merged.mask.shape == side
    assert merged.image.dtype == merged.mask.dtype == np.uint8
    assert merged.mask.max() > 200 and not merged.notes


@pytest.mark.parametrize("mode", COLOR_MODES)
def test_every_colour_mode_runs_on_a_tiny_face(frame, landmarks, merge, stranger, mode):
    face = [landmarks(60, 45)]
    merged = merge(frame, face, stranger, color_transfer_mode=mode)
    core = merged.mask > 250
    plain = merge(frame, face, stranger, color_transfer_mode="none").image
    miss, plain_miss = (
        np.abs(image[core].mean(0) - frame[core].mean(0)).max() for image in (merged.image, plain)
    )
    assert miss <= plain_miss
    if mode in ("rct", "mkl-m", "lct-m"):
        assert miss < 8


@pytest.mark.parametrize(
    "options",
    [
        {"sharpen_mode": "box", "blursharpen_amount": 10},
        {"sharpen_mode": "gaussian", "blursharpen_amount": 10},
        {"blursharpen_amount": -60},
        {"motion_blur_power": 100},
        {"erode_mask_modifier": 10, "blur_mask_modifier": 12},
        {"erode_mask_modifier": -10},
        {"erode_mask_modifier": 400},
        {"blur_mask_modifier": 400},
        {"output_face_scale": 50},
        {"output_face_scale": -50},
        {"hist_match_threshold": 100, "mode": "hist-match", "masked_hist_match": False},
        {"dfl_exact": True},
        {"dfl_exact": True, "mode": "hist-match"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["overlay", "seamless"])
def test_pixels_outside_the_mask_are_exactly_the_frame(frame, landmarks, merge, stranger, options, mode):
    face = FrameFace(landmarks(55, 40, roll=0.3), Motion(20.0, 30.0))
    merged = merge(frame, [face], stranger, **{"mode": mode, **options})
    # where the mask rounds to 0 a change of half a level may remain
    outside = cv2.dilate(merged.mask, np.ones((3, 3), np.uint8)) == 0
    np.testing.assert_array_equal(merged.image[outside], frame[outside])
    assert outside.any()


@pytest.mark.parametrize("mode", ["overlay", "hist-match", "seamless", "raw-rgb"])
def test_a_model_that_predicts_what_it_sees_returns_nearly_the_frame(landmarks, merge, identity, mode):
    smooth = cv2.resize(
        np.random.default_rng(1).uniform(60, 190, (4, 5, 3)).astype(np.float32),
        (120, 90),
        interpolation=cv2.INTER_LINEAR,
    ).astype(np.uint8)
    merged = merge(smooth, [landmarks(60, 45)], identity, mode=mode)
    difference = np.abs(merged.image.astype(int) - smooth)
    assert difference.mean() < 0.5 and difference.max() <= 12


def test_original_is_the_frame_and_its_mask(frame, landmarks, merge, stranger):
    face = [landmarks(60, 45)]
    merged = merge(frame, face, stranger, mode="original", image_denoise_power=100, color_degrade_power=50)
    np.testing.assert_array_equal(merged.image, frame)
    np.testing.assert_array_equal(merged.mask, merge(frame, face, stranger, mode="overlay").mask)


def test_no_box_shows_with_a_full_mask_and_blur(frame, landmarks, merge, stranger):
    """A feathered mask ends inside the face square: neighbouring pixels change alike everywhere."""
    merged = merge(frame, [landmarks(60, 45)], stranger, mask_mode="full", blur_mask_modifier=30)
    steps = [np.abs(np.diff(merged.mask.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 60 and merged.mask.max() > 250


def test_erosion_shrinks_and_blur_softens(frame, landmarks, merge, stranger):
    def area(**options) -> float:
        return float(merge(frame, [landmarks(60, 45)], stranger, mode="original", **options).mask.sum())

    areas = [area(erode_mask_modifier=erode) for erode in (-12, -4, 0, 4, 12)]
    assert areas == sorted(areas, reverse=True) and areas[0] > areas[-1]


def test_larger_scale_means_a_smaller_face(frame, landmarks, merge, stranger):
    areas = [
        (
            merge(frame, [landmarks(60, 45)], stranger, mode="original", output_face_scale=scale).mask > 127
        ).sum()
        for scale in (-30, 0, 50)
    ]
    assert areas == sorted(areas, reverse=True)
    assert areas[2] / areas[1] == pytest.approx(1 / 1.5**2, rel=0.15)


@pytest.mark.parametrize(
    "place",
    [(0, 45), (119, 45), (60, 0), (60, 89), (-25, 45), (400, 400), (60, 45, 3.0), (60, 45, 0.02)],
    ids=[
        "left",
        "right",
        "top",
        "bottom",
        "mostly outside",
        "outside",
        "larger than the frame",
        "a few pixels",
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_faces_that_do_not_fit(frame, landmarks, merge, stranger, place, mode):
    merged = merge(frame, [landmarks(*place)], stranger, mode=mode, sharpen_mode="box", blursharpen_amount=5)
    assert merged.image.dtype == np.uint8
    if mode not in ("raw-predict", "raw-rgb"):
        np.testing.assert_array_equal(merged.image[merged.mask == 0].shape, frame[merged.mask == 0].shape)
    if place == (400, 400) and mode != "raw-predict":
        np.testing.assert_array_equal(merged.image, frame)
        assert not merged.mask.any()


def test_colours_are_not_measured_beyond_the_frame(landmarks, merge, identity):
    grey = np.full((90, 120, 3), 120, np.uint8)
    grey[..., 2] = np.linspace(100, 160, 120, dtype=np.uint8)
    merged = merge(grey, [landmarks(0, 45, 0.4)], identity, mask_mode="full")
    assert np.abs(merged.image.astype(int) - grey).mean() < 2


def test_an_empty_mask_leaves_the_frame(frame, landmarks, merge):
    def nothing(face) -> Prediction:
        return Prediction(np.ones_like(face.square), *(np.zeros((16, 16, 1), np.float32) for _ in range(2)))

    for mode in ("overlay", "hist-match", "seamless", "seamless-hist-match"):
        merged = merge(frame, [landmarks(60, 45)], nothing, mode=mode)
        np.testing.assert_array_equal(merged.image, frame)


def test_two_faces_are_both_merged(frame, landmarks, merge, stranger):
    both = [landmarks(35, 45, 0.2), landmarks(90, 45, 0.2)]
    merged = merge(frame, both, stranger)
    for face in both:
        single = merge(frame, [face], stranger)
        inside = single.mask > 0
        np.testing.assert_array_equal(merged.image[inside], single.image[inside])
    np.testing.assert_array_equal(
        merged.mask > 0, sum(merge(frame, [f], stranger).mask > 0 for f in both) > 0
    )


def test_frames_without_faces_stay(frame, merge, stranger):
    for mode in MODES:
        merged = merge(frame, [], stranger, mode=mode, image_denoise_power=50, color_degrade_power=50)
        if mode == "raw-predict":
            assert merged.image.shape == (16, 16, 3) and not merged.image.any() and not merged.mask.any()
        else:
            np.testing.assert_array_equal(merged.image, frame)
            assert not merged.mask.any()


def test_the_frame_itself_is_not_changed(frame, landmarks, merge, stranger):
    kept = frame.copy()
    for mode in MODES:
        merge(frame, [landmarks(60, 45)], stranger, mode=mode, image_denoise_power=20)
    np.testing.assert_array_equal(frame, kept)


@pytest.mark.parametrize("option", ["image_denoise_power", "bicubic_degrade_power", "color_degrade_power"])
def test_degradations_change_the_surroundings(frame, landmarks, merge, stranger, option):
    merged = merge(frame, [landmarks(60, 45)], stranger, **{option: 80})
    assert (merged.image[merged.mask == 0] != frame[merged.mask == 0]).mean() > 0.3


def test_motion_blur_follows_the_movement(frame, landmarks, merge, identity):
    still = merge(frame, [FrameFace(landmarks(60, 45))], identity, motion_blur_power=100).image
    moved = merge(frame, [FrameFace(landmarks(60, 45), Motion(25, 0))], identity, motion_blur_power=100).image
    core = (slice(35, 60), slice(45, 75))
    across, along = (np.abs(np.diff(moved[core].astype(int), axis=axis)).mean() for axis in (0, 1))
    still_along = np.abs(np.diff(still[core].astype(int), axis=1)).mean()
    assert along < still_along and along < across


def test_values_out_of_range_are_clipped(frame, landmarks, merge):
    def wild(face) -> Prediction:
        mask = np.full((16, 16, 1), 3.0, np.float32)
        return Prediction(face.square * 9 - 4, mask, mask)

    merged = merge(frame, [landmarks(60, 45)], wild, color_transfer_mode="none")
    assert merged.mask.max() == 255


def test_landmarks_that_are_no_face_raise(frame, merge, stranger):
    with pytest.raises(AlignmentError):
        merge(frame, [np.zeros((68, 2), np.float32)], stranger)


def test_the_region_changes_nothing_but_the_time(frame, landmarks, merge, stranger, model, monkeypatch):
    """The same picture as when the whole frame is warped, but for the rounding of warp coordinates."""
    import merger.placement

    face = [landmarks(70, 40, 0.2, roll=0.4)]
    cropped = merge(frame, face, stranger)
    whole = merger.placement.Region(0, 0, frame.shape[1], frame.shape[0])
    monkeypatch.setattr(merger.placement, "_clipped_region", lambda points, shape: whole)
    full = merge(frame, face, stranger)
    assert place_face(face[0], model, frame.shape).region == whole
    assert np.abs(cropped.image.astype(int) - full.image).max() <= 3
    assert np.abs(cropped.mask.astype(int) - full.mask).max() <= 6


def test_pictures_of_all_modes_stay_as_they_were(frame, landmarks, merge, stranger, request):
    """Delete tests/golden/merger_modes.png and run once to renew it after a change that is meant."""
    face = [landmarks(60, 45, roll=0.2)]
    tiles = [
        merge(
            frame, face, stranger, mode=mode, mask_mode=mask, erode_mask_modifier=4, blur_mask_modifier=6
        ).image
        for mode in ("overlay", "hist-match", "seamless", "seamless-hist-match", "raw-rgb")
        for mask in ("dst", "learned-prd*learned-dst")
    ]
    sheet = np.vstack([np.hstack(tiles[start : start + 5]) for start in (0, 5)])
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        write_image(GOLDEN, sheet, quality=9)
        pytest.fail("the golden picture was missing and was written; look at it and run again")
    difference = np.abs(sheet.astype(int) - read_image(GOLDEN))
    assert difference.mean() < 0.3 and np.quantile(difference, 0.999) < 12


def test_options_are_those_of_dfl_by_number():
    assert [MergeOptions.parse_pairs([f"mode={n}"])["mode"] for n in range(7)] == list(MODES)
    assert MergeOptions.parse_pairs(["mask_mode=4"])["mask_mode"] == "learned-prd*learned-dst"
    assert MergeOptions.parse_pairs(["color_transfer_mode=8"])["color_transfer_mode"] == "mix-m"
    fields = [field.name for field in dataclasses.fields(MergeOptions)]
    assert fields.index("mode") == 0 and fields.index("mask_mode") < fields.index("erode_mask_modifier")

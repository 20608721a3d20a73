"""One draw moves a face's image, mask and landmarks together."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import facelib
from core.imagelib.augment import HsvShift
from facelib import FaceMetadata
from facelib.landmarks import MIRROR_ORDER
from samplelib import AugmentOptions, Faceset, SampleRequest, SampleSpec
from samplelib.prepare import prepare_face, source_mask
from samplelib.render import SampleDraw, empty_batch, render_face

SPECS = (
    SampleSpec("warped", warp=True),
    SampleSpec("plain"),
    SampleSpec("mask", "mask"),
    SampleSpec("warped_mask", "mask", warp=True),
    SampleSpec("eyes_mouth", "mask", mask_type="eyes_mouth"),
    SampleSpec("landmarks", "landmarks"),
    SampleSpec("warped_landmarks", "landmarks", warp=True),
)
MARKED = (0, 8, 16, 27, 30, 36, 45, 48, 54)  # far apart from each other


def render(sample, request, seed=0):
    batch = empty_batch(request, 1)
    draw = SampleDraw.sample(np.random.default_rng(seed), request)
    render_face(prepare_face(sample, request), draw, request, batch, 0)
    return {name: array[0] for name, array in batch.items()}, draw


def request_for(resolution=96, face_type="full_face", **augment):
    return SampleRequest(SPECS, resolution, face_type, 1, AugmentOptions(**augment))


@pytest.fixture(scope="module")
def dotted(tmp_path_factory, head_landmarks):
    """A faceset whose faces are black but for one bright dot at one landmark each."""
    folder = tmp_path_factory.mktemp("dotted")
    landmarks = head_landmarks(yaw=0.2, roll=0.15)
    matrix = facelib.transform_mat(landmarks, 512, "whole_face")
    points = facelib.transform_points(landmarks, matrix).astype(np.float32)
    y, x = np.mgrid[0:512, 0:512]
    for number in MARKED:
        dot = np.exp(-((x - points[number, 0]) ** 2 + (y - points[number, 1]) ** 2) / (2 * 6.0**2))
        image = np.repeat((dot * 255).astype(np.uint8)[..., None], 3, axis=2)
        metadata = FaceMetadata(face_type="whole_face", landmarks=points)
        facelib.write_face(folder / f"{number:02d}.jpg", image, metadata, quality=98)
    return Faceset.open(folder)


@given(seed=st.integers(0, 2**32 - 1), flip=st.booleans(), size=st.sampled_from([64, 96, 128]))
@settings(max_examples=12, deadline=None)
def test_landmarks_follow_the_pixels(dotted, seed, flip, size):
    request = request_for(size, flip=flip, scale=(-0.15, 0.15))
    for number, sample in zip(MARKED, dotted.samples):
        arrays, draw = render(sample, request, seed)
        new_number = list(MIRROR_ORDER).index(number) if draw.jitter.flip else number
        for image, points in (("plain", "landmarks"), ("warped", "warped_landmarks")):
            expected = arrays[points][new_number]
            if (expected < 6).any() or (expected > size - 7).any():
                continue  # the dot is not wholly in the picture
            weight = np.maximum(arrays[image][..., 0] - 0.25, 0)
            y, x = np.mgrid[0:size, 0:size]
            found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
            assert np.abs(found - expected).max() < 1.0, (number, image)


@pytest.mark.parametrize("dfl", [False, True])
@pytest.mark.parametrize("stored", ["whole_face", "full_face", "head"])
def test_the_mask_moves_with_the_image(tmp_path, draw_face, stored, dfl):
    # The picture is its own mask, so their samples must show the same shape.
    _, metadata = draw_face(512, stored, 0, yaw=0.1)
    mask = facelib.hull_mask((512, 512), metadata.landmarks)
    image = np.repeat((mask * 255).astype(np.uint8), 3, axis=2)
    facelib.write_face(tmp_path / "a.jpg", image, metadata, quality=98)
    sample = Faceset.open(tmp_path)[0]
    for seed in range(6):
        arrays, _ = render(sample, request_for(128, dfl_warp=dfl, flip=True), seed)
        pairs = [("plain", "mask")] if dfl else [("plain", "mask"), ("warped", "warped_mask")]
        for picture, name in pairs:
            inside = slice(8, -8)  # images repeat their border, masks end
            shown, masked = arrays[picture][inside, inside, 0], arrays[name][inside, inside, 0]
            overlap = np.minimum(shown, masked).sum() / np.maximum(shown, masked).sum()
            assert overlap > 0.975, (seed, name)


def test_without_randomness_the_aligned_face_comes_out(dotted):
    still = AugmentOptions(transform=False, warp_strength=0.0)
    request = SampleRequest(SPECS, 96, "full_face", 1, still)
    sample = dotted.samples[MARKED.index(30)]
    arrays, _ = render(sample, request)
    image = sample.read()[0]
    matrix = facelib.transform_mat(sample.landmarks, 96, "full_face")
    expected = facelib.warp_face(cv2.GaussianBlur(image, (0, 0), 1.0), matrix, 96, cv2.INTER_CUBIC) / 255
    for name in ("plain", "warped"):
        np.testing.assert_allclose(arrays[name], expected, atol=0.06)
    points = facelib.transform_points(sample.landmarks, matrix)
    np.testing.assert_allclose(arrays["landmarks"], points, atol=0.01)
    np.testing.assert_allclose(arrays["warped_landmarks"], points, atol=0.01)


def test_masks_are_as_the_reference_says(make_faceset):
    sample = Faceset.open(make_faceset(1, size=256))[0]
    data = sample.read_bytes()
    hull = facelib.hull_mask((256, 256, 3), sample.landmarks)[..., 0]
    np.testing.assert_array_equal(source_mask(sample, data, "full"), hull)
    parts = source_mask(sample, data, "eyes_mouth")
    assert parts.max() <= 1 and (parts[hull == 0] == 0).all() and parts.sum() > 100


def test_an_applied_xseg_mask_goes_before_the_hull(tmp_path, draw_face):
    image, metadata = draw_face(256, "whole_face", 0)
    left_half = np.zeros((64, 64), np.float32)
    left_half[:, :32] = 1
    facelib.write_face(tmp_path / "a.jpg", image, metadata.with_xseg_mask(left_half))
    sample = Faceset.open(tmp_path)[0]
    assert sample.has_xseg
    mask = source_mask(sample, sample.read_bytes(), "full")
    assert mask.shape == (256, 256) and mask[:, :120].min() == 1 and mask[:, 136:].max() == 0
    still = SampleRequest(SPECS, 128, "whole_face", 1, AugmentOptions(transform=False))
    arrays, _ = render(sample, still)
    assert arrays["mask"][:, :58].min() == 1 and arrays["mask"][:, 70:].max() == 0


@given(
    stored=st.sampled_from([64, 200, 512]),
    resolution=st.sampled_from([64, 96, 160]),
    face_type=st.sampled_from(["half_face", "midfull_face", "full_face", "whole_face"]),
    dfl=st.booleans(),
    jitter=st.floats(0, 1),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_size_and_type_gives_full_arrays_in_range(
    tmp_path_factory, draw_face, stored, resolution, face_type, dfl, jitter
):
    folder = tmp_path_factory.mktemp("faces")
    facelib.write_face(folder / "a.jpg", *draw_face(stored, "whole_face", 1))
    request = request_for(
        resolution, face_type, dfl_warp=dfl, color_jitter=jitter, hsv_power=jitter, flip=True
    )
    arrays, _ = render(Faceset.open(folder)[0], request)
    for spec in SPECS:
        array = arrays[spec.name]
        assert array.dtype == np.float32 and np.isfinite(array).all()
        if spec.kind != "landmarks":
            assert array.shape == (resolution, resolution, 3 if spec.kind == "image" else 1)
            assert array.min() >= 0 and array.max() <= 1
    assert arrays["mask"].max() > 0.99 and arrays["mask"].mean() > 0.2


def test_a_prepared_face_is_not_aliased(tmp_path, draw_face):
    """Fine stripes become grey, not coarse stripes; DFL's mode, which has no filter, shows them."""
    image, metadata = draw_face(512, "whole_face", 0)
    image[:] = np.where(np.arange(512) % 4 < 2, 40, 200).astype(np.uint8)[None, :, None]
    facelib.write_face(tmp_path / "a.jpg", image, metadata, quality=98)
    sample = Faceset.open(tmp_path)[0]
    contrast = {}
    for dfl in (False, True):
        request = SampleRequest(SPECS, 96, "full_face", 1, AugmentOptions(dfl_warp=dfl))
        arrays, _ = render(sample, request)
        contrast[dfl] = arrays["plain"][16:-16, 16:-16].std()
    assert contrast[False] < 0.03 < contrast[True]


@given(st.integers(0, 10**6), st.sampled_from([0.001, 0.05, 0.3]))
def test_hsv_shift_is_the_reference_s(seed, amount):
    """Section 10: hue +- max(1, int(180 a)) whole degrees, s and v + (U - 0.5) a, clipped."""
    shift = HsvShift.sample(np.random.default_rng(seed), amount)
    assert type(shift.hue) is int and abs(shift.hue) <= max(1, int(180 * amount))
    assert max(abs(shift.saturation), abs(shift.value)) <= amount / 2
    pixel = np.random.default_rng(seed).random(3)
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel[::-1])
    moved = (hue + shift.hue / 360) % 1, saturation + shift.saturation, value + shift.value
    expected = colorsys.hsv_to_rgb(*np.clip(moved, 0, 1))[::-1]
    shifted = shift.apply(pixel.astype(np.float32).reshape(1, 1, 3))
    np.testing.assert_allclose(shifted.ravel(), expected, atol=2e-4)


def test_hsv_shifts_reach_all_of_their_range():
    rng = np.random.default_rng(1)
    shifts = [HsvShift.sample(rng, 0.05) for _ in range(2000)]
    assert {shift.hue for shift in shifts} == set(range(-9, 10))
    for name in ("saturation", "value"):
        values = [getattr(shift, name) for shift in shifts]
        assert min(values) < -0.024 and max(values) > 0.024 and abs(np.mean(values)) < 0.002

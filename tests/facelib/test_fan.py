"""FAN: the network against DFL's heatmaps, crops, points and the second look against a plain version."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelib.detectors.boxes import Detection
from facelib.landmarkers.fan import Fan, cut_crop, decode
from facelib.weights.tables import fan_shapes
from tests.facelib.net_weights import fixture_arrays, fixture_weights, load_recipe, random_weights

RAW_ERROR = 1e-4


class FixedBox:
    """Stands in for S3FD: boxes of the upright picture, one list for each in turn."""

    def __init__(self, *boxes: list[tuple[int, int, int, int]]) -> None:
        self.boxes, self.seen = list(boxes), []

    def detect_batch(self, images, exact=False):
        assert exact
        self.seen += images
        turn = [self.boxes[number % len(self.boxes)] for number in range(len(images))]
        return [[Detection(np.array(box, np.float64), 1.0) for box in boxes] for boxes in turn]

    def rects(self, image):
        self.seen.append(image)
        return self.boxes[(len(self.seen) - 1) % len(self.boxes)]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights(fan_shapes(), gain=0.7)


@pytest.fixture(scope="module")
def plain(weights):
    from benchmarks.plain_faces import PlainFan

    return PlainFan(weights)


@pytest.fixture(scope="module")
def fan(weights) -> Fan:
    return Fan("2D", None, weights, "float32")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    return cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)


def box(*edges: float) -> Detection:
    return Detection(np.array(edges, np.float64), 0.9)


def test_raw_heatmaps_are_dfls(shared_data):
    from facelib.nets.fan import build_fan

    crops = (load_recipe(shared_data).smooth_image(32, 2, 256) * 255).astype(np.uint8)
    network = build_fan(fixture_weights(shared_data, "fan"), "float32")

    heatmaps = network(crops.astype(np.float32) / np.float32(255))

    expected = fixture_arrays(shared_data, "fan")["heatmaps"]
    np.testing.assert_allclose(heatmaps, expected, atol=RAW_ERROR, rtol=0)


def test_points_of_heatmaps_are_dfls(shared_data):
    arrays = fixture_arrays(shared_data, "fan")

    points = decode(arrays["syn_heat"], arrays["syn_center"], float(arrays["syn_scale"]))

    np.testing.assert_allclose(points, arrays["syn_pts"], atol=1e-9)


def test_crops_are_dfls(shared_data):
    arrays = fixture_arrays(shared_data, "fan")
    image = (load_recipe(shared_data).smooth_image(33, 1, 480)[0] * 255).astype(np.uint8)

    for (x, y, scale), expected in zip(arrays["crop_args"], arrays["crop_out"]):
        np.testing.assert_array_equal(cut_crop(image, np.array([x, y]), scale), expected)


def test_the_worked_example_of_the_reference():
    heatmap = np.zeros((1, 64, 64), np.float32)
    heatmap[0, 30, 20], heatmap[0, 30, 21], heatmap[0, 29, 20] = 1, 0.5, 0.5

    points = decode(heatmap, np.array([200.0, 240.0]), 440 / 195)

    np.testing.assert_allclose(points, [(120.67308, 227.66025)], atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(-300, 900), st.floats(-300, 900), st.floats(0.05, 6))
@settings(max_examples=60)
def test_points_equal_those_read_one_by_one(seed, x, y, scale):
    from benchmarks.plain_faces import decode_one

    rng = np.random.default_rng(seed)
    heatmaps = rng.integers(0, 4000, (68, 64, 64)).astype(np.float32)  # with equal maxima now and then
    for number, edge in enumerate([(0, 5), (63, 7), (9, 0), (11, 63), (0, 0)]):
        heatmaps[number][edge] = 5000

    points = decode(heatmaps, np.array([x, y]), scale)

    plain = [decode_one(heatmap, (x, y), scale) for heatmap in heatmaps]
    np.testing.assert_allclose(points, plain, atol=1e-6)


@given(st.floats(-80, 700), st.floats(-80, 560), st.floats(0.1, 3))
@settings(max_examples=60)
def test_crops_equal_those_of_a_padded_image(image, x, y, scale):
    from benchmarks.plain_faces import cut

    crop = cut_crop(image, np.array([x, y]), scale)

    if crop is None:
        assert not cut(image, (x, y), scale).any()
    else:
        np.testing.assert_array_equal(crop, cut(image, (x, y), scale))


@pytest.mark.parametrize(
    ("centre", "scale"),
    [((100, 100), 0.0), ((100, 100), -1.0), ((np.nan, 5), 1.0), ((-900, 100), 1.0), ((100, 5000), 1.0)],
)
def test_impossible_crops_are_refused(image, centre, scale):
    assert cut_crop(image, np.array(centre, np.float64), scale) is None


def test_faces_are_those_of_the_plain_way(fan, plain, image):
    rects = [(100, 120, 300, 360), (350, 40, 470, 190), (-20, 300, 130, 470)]
    second = [[(60, 50, 190, 220)], [], [(40, 60, 180, 214)]]
    fan._detector = FixedBox(*second)

    (faces,) = fan.find([image], [[box(*rect) for rect in rects]])

    expected = plain.points(image, rects, second=FixedBox(*second))
    assert [found.face.rect for found in faces] == rects
    assert len(fan._detector.seen) == 3 and fan._detector.seen[0].shape == (256, 256, 3)
    for found, points in zip(faces, expected):
        assert found.face.landmarks.dtype == np.float32 and not found.doubtful
        np.testing.assert_allclose(found.face.landmarks, points, atol=0.01)


def test_two_boxes_in_the_second_look_keep_the_first(fan, plain, image):
    rect = (100, 120, 300, 360)
    fan._detector = FixedBox([(60, 50, 190, 220), (1, 1, 90, 90)])

    (faces,) = fan.find([image], [[box(*rect)]])

    np.testing.assert_allclose(faces[0].face.landmarks, plain.points(image, [rect])[0], atol=0.01)


def test_images_of_a_batch_do_not_mix(fan, image, monkeypatch):
    monkeypatch.setattr(fan, "_detector", None)
    flipped = np.ascontiguousarray(image[:300, ::-1])
    boxes = [[box(100, 120, 300, 360), box(9, 9, 9, 9)], [], [box(200, 40, 320, 190), box(20, 30, 200, 250)]]

    together = fan.find([image, image, flipped], boxes)

    assert [len(faces) for faces in together] == [1, 0, 2]  # a box without an area is no face
    for number, picture in ((0, image), (2, flipped)):
        (alone,) = fan.find([picture], [boxes[number]])
        for one, other in zip(together[number], alone):
            np.testing.assert_allclose(one.face.landmarks, other.face.landmarks, atol=0.01)


def test_a_rect_by_hand_gets_points(fan, plain, image):
    rect = (100, 120, 300, 360)
    fan._detector = FixedBox([(60, 50, 190, 220)])

    once = fan.points(image, np.array(rect))
    twice = fan.points(image, np.array(rect), second_pass=True)

    np.testing.assert_allclose(once, plain.points(image, [rect])[0], atol=0.01)
    ((found,),) = fan.find([image], [[box(*rect)]])
    np.testing.assert_array_equal(twice, found.face.landmarks)
    assert np.abs(once - twice).max() > 1
    assert fan.points(image, np.array([50, 50, 50, 50])) is None
    assert fan.points(image, np.array([-900, -900, -800, -800]), second_pass=True) is None


def test_crops_share_calls(fan, image, monkeypatch):
    calls, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(
        fan, "_network", lambda crops: calls.append(len(crops)) or rng.random((len(crops), 68, 64, 64))
    )
    fan._detector = FixedBox([(60, 50, 190, 220)])

    fan.find([image, image], [[box(100, 120, 300, 360)], [box(350, 40, 470, 190)]])

    assert calls == [2, 5, 5]


def test_without_s3fd_there_is_one_look(fan, image, monkeypatch):
    monkeypatch.setattr(fan, "_detector", None)

    assert not fan.second_pass
    assert len(fan.find([image], [[box(100, 120, 300, 360)]])[0]) == 1


def test_bfloat16_is_close(weights):
    from facelib.nets.fan import build_fan

    rng = np.random.default_rng(1)
    crops = np.stack([cv2.resize(rng.random((20, 20, 3), np.float32), (256, 256))])
    single, half = build_fan(weights, "float32")(crops), build_fan(weights, "bfloat16")(crops)

    assert half.dtype == np.float32
    assert np.std(half - single) < 0.03 * np.std(single)

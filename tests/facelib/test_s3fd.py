"""S3FD: the network against DFL's outputs, the steps around it against DFL's and a cell-by-cell version."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from facelib.detectors.s3fd import S3fd, network_size, refine, suppress, to_image
from facelib.weights.tables import s3fd_shapes
from tests.facelib.net_weights import fixture_arrays, fixture_weights, load_recipe, random_weights

RAW_ERROR = 1e-4
SMALL_LEVELS = [(12, 10), (6, 5), (3, 2), (5, 5), (3, 3), (2, 2)]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Random ones whose scores pass the threshold here and there."""
    weights = random_weights(s3fd_shapes(), gain=1.3)
    for name in weights:
        if name.endswith("_conf/bias"):
            weights[name] = weights[name] - np.linspace(0, 1, len(weights[name]), dtype=np.float32) * 2
    return weights


@pytest.fixture(scope="module")
def detector(weights) -> S3fd:
    return S3fd(weights, precision="float32")


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: blobs of all sizes."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(
            rng.integers(0, 256, (cells, cells, 3)).astype(np.float32),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for cells in (4, 12, 40)
    ]
    return np.clip(np.mean(layers, axis=0), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", ["320x240", "640x640"])
def test_raw_outputs_are_dfls(shared_data, size):
    from facelib.nets.s3fd import build_s3fd

    width, height = map(int, size.split("x"))
    image = load_recipe(shared_data).smooth_image(31, 1, 640)[:, :height, :width]
    network = build_s3fd(fixture_weights(shared_data, "s3fd"), "float32")

    outputs = network((image * 255).astype(np.uint8))

    expected = fixture_arrays(shared_data, "s3fd")
    for number, output in enumerate(outputs):
        np.testing.assert_allclose(output, expected[f"{size}_{number:02d}"], atol=RAW_ERROR, rtol=0)


def test_boxes_of_raw_outputs_are_dfls(shared_data):
    arrays = fixture_arrays(shared_data, "s3fd")

    rects, scores = refine([arrays[f"syn_{number:02d}"][0] for number in range(12)])

    assert rects.tolist() == arrays["syn_boxes"].tolist()
    assert (np.diff(scores) <= 0).all() and scores.min() >= 0.5


@given(st.integers(0, 2**32 - 1), st.floats(-4, 3), st.floats(0.1, 3))
@settings(max_examples=60)
def test_boxes_equal_those_found_cell_by_cell(seed, level, spread):
    from benchmarks import plain_faces

    rng = np.random.default_rng(seed)
    outputs = []
    for height, width in SMALL_LEVELS:
        logits = rng.normal(level, 2, (height, width))
        face = (1 / (1 + np.exp(-logits))).astype(np.float32)
        outputs += [np.stack([1 - face, face], axis=-1)]
        outputs += [rng.normal(0, spread, (height, width, 4)).astype(np.float32)]

    rects, scores = refine(outputs)

    plain = plain_faces.refine(outputs)
    assert len(rects) == len(plain)
    # an edge that lies on a whole pixel but for float32 rounding may be cut either way
    assert all(np.abs(a - np.array(b)).max() <= 1 for a, b in zip(rects, plain))
    assert np.mean([a.tolist() == list(b) for a, b in zip(rects, plain)] or [1]) > 0.9
    for scale in (1.5, 2.0, 3.0):
        ours = [tuple(d.rect.astype(int).tolist()) for d in to_image(rects, scores, scale)]
        assert ours == plain_faces.image_rects([tuple(rect.tolist()) for rect in rects], scale)


def test_suppression_counts_edges_as_pixels():
    # shared 4 x 10 of 10 x 10 each by that count: 40 / 160 = 0.25; without it 3 x 9 / (81 + 81 - 27) = 0.2
    rects = np.array([(0, 0, 9, 9), (6, 0, 15, 9)], np.float64)

    assert suppress(rects, np.array([0.9, 0.8]), 0.24).tolist() == [0]
    assert suppress(rects, np.array([0.8, 0.9]), 0.26).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("size", "expected", "scale"),
    [
        ((1920, 1080), (640, 360), 3.0),
        ((1280, 720), (640, 360), 2.0),
        ((1278, 719), (639, 359), 2.0),
        ((256, 256), (128, 128), 2.0),
        ((128, 128), (64, 64), 2.0),
        ((333, 200), (166, 100), 2.0),
        ((720, 1281), (359, 640), 1281 / 640),
    ],
)
def test_the_network_sees_dfls_size(size, expected, scale):
    assert network_size(*size) == (expected, pytest.approx(scale))


def test_boxes_lose_small_ones_gain_a_chin_and_are_sorted():
    rects = np.array([(0, 0, 19, 30), (10, 10, 30, 30), (-5, 3, 25, 47)])

    found = to_image(rects, np.array([0.9, 0.8, 0.7]), 2.0)

    assert [d.rect.tolist() for d in found] == [[-10, 6, 50, 102], [20, 20, 60, 64]]  # 94 + 8.8, 60 + 4
    assert [d.score for d in found] == [0.7, 0.8]


def test_faces_are_those_of_the_plain_way(weights, detector):
    from benchmarks.plain_faces import PlainS3fd

    plain = PlainS3fd(weights)
    images = [picture(320, 256, 1), picture(200, 300, 2), picture(320, 256, 3), picture(127, 400, 4)]

    found = detector.detect_batch(images)

    rects = [[tuple(d.rect.astype(int).tolist()) for d in boxes] for boxes in found]
    assert rects == [plain.rects(image) for image in images]
    assert rects[0] and rects[1] and rects[2] and not rects[3]
    assert [d.rect.tolist() for d in detector.detect(images[2])] == [d.rect.tolist() for d in found[2]]


def test_batches_are_cut_where_memory_would_run_out(detector, monkeypatch):
    images = [picture(160, 130, seed) for seed in range(5)]
    whole = detector.detect_batch(images)
    calls = []
    network = detector._network
    monkeypatch.setattr(detector, "_network", lambda batch: calls.append(len(batch)) or network(batch))
    monkeypatch.setattr(detector, "_pixels", 2 * 80 * 65)

    parts = detector.detect_batch(images)

    assert calls == [2, 2, 1]
    assert [[d.rect.tolist() for d in boxes] for boxes in parts] == [
        [d.rect.tolist() for d in boxes] for boxes in whole
    ]


def test_many_threads_get_the_same_faces(detector):
    images = [picture(160 + 32 * number, 130, number) for number in range(4)]
    expected = [[d.rect.tolist() for d in detector.detect(image)] for image in images]
    results: dict[int, list] = {}

    def work(number: int) -> None:
        results[number] = [d.rect.tolist() for d in detector.detect(images[number])]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number] for number in range(4)] == expected


def test_bfloat16_gives_nearly_the_same(weights):
    from facelib.nets.s3fd import build_s3fd

    image = picture(192, 160)[None]
    single, half = build_s3fd(weights, "float32")(image), build_s3fd(weights, "bfloat16")(image)

    for exact, rough in zip(single, half):
        assert rough.dtype == np.float32
        assert np.abs(rough - exact).mean() < 0.02 * max(np.abs(exact).mean(), 0.1)


def test_an_exact_look_is_float32_whatever_the_precision(weights):
    images = [picture(160, 130, number) for number in range(2)]
    rough, exact = S3fd(weights, "bfloat16"), S3fd(weights, "float32")

    found = rough.detect_batch(images, exact=True)

    assert [[(d.rect.tolist(), d.score) for d in boxes] for boxes in found] == [
        [(d.rect.tolist(), d.score) for d in boxes] for boxes in exact.detect_batch(images)
    ]


def test_an_unknown_precision_is_refused(weights):
    with pytest.raises(UsageError, match="float8"):
        S3fd(weights, precision="float8")

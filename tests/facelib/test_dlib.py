"""dlib's detectors, points and embeddings where the package is installed; what is said where it is not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from core.errors import SwapError
from facelib import dlib_models
from facelib.detectors import create_detector
from facelib.detectors.boxes import Detection, overlaps
from facelib.dlib_models import available
from facelib.landmarkers import create_landmarker
from facelib.synthetic import ANNA, BORIS, Motion, build_head, render

needs_dlib = pytest.mark.skipif(
    not available(), reason="needs the optional packages of requirements-dlib.txt"
)


def makers():
    from facelib.embedding import FaceEmbedder

    return {
        "dlib-hog": lambda: create_detector("dlib-hog"),
        "dlib-cnn": lambda: create_detector("dlib-cnn"),
        "dlib68": lambda: create_landmarker("dlib68"),
        "embeddings": FaceEmbedder,
    }


@pytest.fixture
def forget():
    """What was imported is looked for again, before and after."""
    dlib_models.import_dlib.cache_clear()
    yield
    dlib_models.import_dlib.cache_clear()


@pytest.mark.parametrize("name", ["dlib-hog", "dlib-cnn", "dlib68", "embeddings"])
def test_without_the_package_one_line_says_how_to_install_it(monkeypatch, forget, name):
    monkeypatch.setitem(sys.modules, "dlib", None)  # as if it were not installed
    with pytest.raises(SwapError) as caught:
        makers()[name]()
    message = str(caught.value)
    assert "\n" not in message and "pip install -r" in message and "requirements-dlib.txt" in message


def test_models_that_are_missing_or_cut_short_are_named(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_loader("models", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(dlib_models.importlib.util, "find_spec", lambda name: spec)
    assert not available()
    with pytest.raises(SwapError, match="face_recognition_models; install it with"):
        dlib_models.model_file("68", "the landmarker dlib68")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shape_predictor_68_face_landmarks.dat").write_bytes(b"x" * 100)
    with pytest.raises(SwapError, match="expected 99693937 bytes, found 100"):
        dlib_models.model_file("68", "the landmarker dlib68")


@needs_dlib
def test_a_file_that_dlib_cannot_read_is_an_error_of_one_line(monkeypatch, tmp_path):
    import dlib

    path = tmp_path / "model.dat"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(dlib_models, "model_file", lambda name, what: path)
    with pytest.raises(SwapError, match="dlib cannot read it"):
        dlib_models.load_model("68", "the landmarker dlib68", dlib.shape_predictor)


@needs_dlib
def test_the_models_package_is_found_without_running_it():
    code = (
        "import sys; from facelib import dlib_models as d; assert d.available();"
        "d.model_file('embedding', 'it'); assert 'face_recognition_models' not in sys.modules;"
        "assert 'dlib' not in sys.modules"
    )
    root = dlib_models.Path(dlib_models.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=30)


@pytest.fixture(scope="module")
def drawn():
    """A drawn woman, and where her face is: (image, landmarks)."""
    frame = render(build_head(ANNA), Motion(), size=400)
    return frame.image, frame.landmarks


@pytest.fixture(scope="module")
def trees():
    return create_landmarker("dlib68")


@needs_dlib
@pytest.mark.parametrize("size", [(400, 400), (1700, 1300), (900, 2700)])
def test_hog_finds_a_face_and_gives_its_place_in_the_picture(drawn, size):
    image, landmarks = drawn
    height, width = size[1], size[0]
    canvas = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - 400) // 2, width - 400
    canvas[top : top + 400, left:] = image
    found = create_detector("dlib-hog").detect(canvas)
    assert len(found) == 1 and 0.5 < found[0].score < 1
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    box = np.concatenate([low, high]) + np.tile([left, top], 2)
    assert overlaps(box, found[0].rect[None])[0] > 0.5


@needs_dlib
def test_hog_gives_the_same_from_many_threads_and_in_batches(drawn):
    detector = create_detector("dlib-hog")
    image = drawn[0]
    pictures = [image, image[:, ::-1].copy(), np.roll(image, 40, axis=1), np.zeros_like(image)]
    expected = [[tuple(d.rect) for d in detector.detect(p)] for p in pictures]
    found: list = [None] * len(pictures)

    def work(number: int) -> None:
        found[number] = [tuple(d.rect) for d in detector.detect(pictures[number])]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
    assert [[tuple(d.rect) for d in boxes] for boxes in detector.detect_batch(pictures)] == expected


@needs_dlib
def test_cnn_finds_a_face_alone_and_among_pictures_of_other_sizes(drawn):
    detector = create_detector("dlib-cnn")
    image = cv2.resize(drawn[0], (200, 200), interpolation=cv2.INTER_AREA)
    found = detector.detect_batch([image, np.zeros((90, 120, 3), np.uint8), image])
    assert [len(boxes) for boxes in found] == [1, 0, 1]
    np.testing.assert_array_equal(found[0][0].rect, detector.detect(image)[0].rect)
    low, high = drawn[1].min(axis=0) / 2, drawn[1].max(axis=0) / 2
    assert overlaps(np.concatenate([low, high]), found[0][0].rect[None])[0] > 0.5


@needs_dlib
@pytest.mark.parametrize("name", ["dlib-hog", "dlib-cnn"])
def test_pictures_too_small_for_a_face_show_none(name):
    detector = create_detector(name)
    pictures = [np.zeros((*shape, 3), np.uint8) for shape in ((1, 1), (3, 4000), (300, 1), (16, 20))]
    assert [detector.detect(picture) for picture in pictures] == [[]] * 4
    assert detector.detect_batch(pictures) == [[]] * 4


@needs_dlib
@pytest.mark.parametrize("angle", [0.0, 0.6, -1.57, 3.14])
def test_points_are_found_at_any_known_angle(drawn, trees, angle):
    image, landmarks = drawn
    matrix = cv2.getRotationMatrix2D((199.5, 199.5), -np.degrees(angle), 1.0)  # clockwise on screen
    turned = cv2.warpAffine(image, matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE)
    truth = landmarks @ matrix[:, :2].T + matrix[:, 2]
    middle, half = truth.mean(axis=0), 85
    box = Detection(np.concatenate([middle - half, middle + half]), 0.8, angle)

    (found,) = trees.find([turned], [[box]])[0]

    eyes = np.linalg.norm(landmarks[36] - landmarks[45])
    assert np.linalg.norm(found.face.landmarks - truth, axis=1).mean() < 0.1 * eyes
    assert found.face.landmarks.dtype == np.float32 and found.face.score == 0.8 and not found.doubtful


@needs_dlib
def test_boxes_of_other_detectors_lead_to_the_same_points(drawn, trees):
    image, landmarks = drawn
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    forehead = 0.4 * (high[1] - low[1])
    boxes = {
        "tight": np.concatenate([low, high]),
        "tall, from the forehead": np.array([low[0], low[1] - forehead, *high]),
        "wide": np.concatenate([low - 0.15 * (high - low), high + 0.15 * (high - low)]),
    }
    points = {name: trees.points(image, box, second_pass=True) for name, box in boxes.items()}
    eyes = np.linalg.norm(landmarks[36] - landmarks[45])
    for name, found in points.items():
        assert np.linalg.norm(found - landmarks, axis=1).mean() < 0.1 * eyes, name


@needs_dlib
def test_landmarks_of_photos_are_close_to_dlibs_own(shared_data, trees):
    folder, errors, missed = shared_data / "landmarks68", [], 0
    detector = create_detector("dlib-hog")
    for name, faces in json.loads((folder / "faces.json").read_text()).items():
        image = cv2.imread(str(folder / name))
        boxes = detector.detect(image)
        found = [f.face for f in trees.find([image], [boxes])[0]]
        for face in faces:
            truth = np.array(face["landmarks"], float)
            eyes = np.linalg.norm(truth[36] - truth[45])
            distances = [np.linalg.norm(f.landmarks - truth, axis=1).mean() / eyes for f in found]
            errors.append(min(distances, default=1.0))
            missed += errors[-1] > 0.2
    assert missed == 0 and np.mean(errors) < 0.04


@needs_dlib
def test_embeddings_tell_drawn_people_apart_and_not_their_pictures():
    from facelib.embedding import FaceEmbedder

    embedder, rows = FaceEmbedder(), []
    for person in (ANNA, BORIS):
        head = build_head(person)
        for motion in (Motion(), Motion(yaw=0.15, roll=0.3, shift=(0.1, 0.0))):
            frame = render(head, motion, size=300)
            rows.append(embedder.embed(frame.image, [frame.landmarks])[0])
    rows = np.array(rows)
    assert rows.shape == (4, 128) and rows.dtype == np.float32
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    assert max(apart[0, 1], apart[2, 3]) < 0.8 * apart[:2, 2:].min()
    assert embedder.embed(np.zeros((9, 9, 3), np.uint8), []).shape == (0, 128)


@needs_dlib
def test_chips_are_dlibs_own(drawn):
    import dlib

    from facelib.embedding import FaceEmbedder, face_chip

    image, landmarks = drawn
    whole = np.round(landmarks)  # dlib takes whole pixels only
    points = [dlib.point(int(x), int(y)) for x, y in whole]
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 400, 400), points)
    expected = dlib.get_face_chip(np.ascontiguousarray(image[:, :, ::-1]), shape, 150, 0.25)[:, :, ::-1]

    chip = face_chip(image, whole)

    assert np.abs(chip.astype(int) - expected).mean() < 2
    first, second = FaceEmbedder().embed_chips([chip, np.ascontiguousarray(expected)])
    assert np.linalg.norm(first - second) < 0.1


@needs_dlib
def test_batches_and_jitter_change_little(drawn):
    from facelib.embedding import FaceEmbedder

    image, landmarks = drawn
    moved = [landmarks + shift for shift in range(5)]  # more than a batch
    rows = FaceEmbedder().embed(image, moved)
    assert rows.shape == (5, 128)
    np.testing.assert_allclose(rows[3], FaceEmbedder().embed(image, moved[3:4])[0], atol=1e-5)
    assert np.linalg.norm(FaceEmbedder(jitter=5).embed(image, moved[:1])[0] - rows[0]) < 0.3

"""Detectors, mesh and pipeline on flat cartoons with known eyes, and on the shared photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SwapError, UsageError
from facelib import litert
from facelib.detectors import DETECTORS, boxes, create_detector
from facelib.detectors.blazeface import BlazeFace, tile_windows
from facelib.facemesh import Square, crop_square
from facelib.landmarks import MIRROR_ORDER, mirror_landmarks
from facelib.mesh_to_68 import OFFSETS, VERTICES, landmarks_from_mesh
from facelib.pipeline import Pipeline
from facelib.resample import crop_face

BACK = (168, 160, 140)


def draw_cartoon(image: np.ndarray, x: float, y: float, width: float) -> dict[str, np.ndarray]:
    """Draw a flat face about (x, y) into the image; returns where its eyes and mouth are."""
    s = width / 200

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round(16 * (x + dx * s)), round(16 * (y + dy * s))

    def size(a: float, b: float) -> tuple[int, int]:
        return round(16 * a * s), round(16 * b * s)

    def ellipse(centre, axes, colour, start=0, end=360, thickness=-1):
        cv2.ellipse(image, at(*centre), size(*axes), 0, start, end, colour, thickness, cv2.LINE_AA, 4)

    line = max(1, round(5 * s))
    ellipse((0, -30), (112, 140), (40, 50, 70))  # hair
    ellipse((0, 0), (100, 135), (150, 180, 225))  # skin
    eyes = np.array([(-42, -25), (42, -25)], float)
    for eye in eyes:
        ellipse(eye, (20, 10), (245, 245, 245))
        ellipse(eye, (9, 9), (60, 70, 60))
        ellipse(eye, (4, 4), (20, 20, 20))
        ellipse(eye - (0, 20), (28, 9), (50, 60, 80), 190, 350, line)
    ellipse((0, 22), (15, 8), (120, 140, 190), 20, 160, line)
    for nostril in ((-9, 26), (9, 26)):
        ellipse(nostril, (4, 3), (70, 80, 120))
    ellipse((0, 62), (34, 12), (90, 90, 190))
    ellipse((0, 62), (30, 2), (50, 50, 110))
    return {"eyes": eyes * s + (x, y), "mouth": np.array((0.0, 62 * s)) + (x, y)}


def cartoon(width: int = 640, height: int = 480, *faces: tuple[float, float, float]):
    """An image with cartoons (x, y, width) and what `draw_cartoon` tells of each."""
    image = np.full((height, width, 3), BACK, np.uint8)
    return image, [draw_cartoon(image, *face) for face in faces]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline("blazeface", "facemesh")


@pytest.fixture(scope="module")
def mtcnn() -> Pipeline:
    pytest.importorskip("mtcnn")
    return Pipeline("mtcnn")


def check_points(face, truth, width: float) -> None:
    """Eyes and mouth of the landmarks within a tenth of the face of those drawn."""
    right, left = face.landmarks[36:42].mean(axis=0), face.landmarks[42:48].mean(axis=0)
    assert np.abs(right - truth["eyes"][0]).max() < 0.1 * width
    assert np.abs(left - truth["eyes"][1]).max() < 0.1 * width
    assert np.abs(face.landmarks[48:60].mean(axis=0) - truth["mouth"]).max() < 0.1 * width
    x0, y0, x1, y1 = face.rect
    assert x0 < truth["mouth"][0] < x1 and y0 < truth["eyes"][0][1] < truth["mouth"][1] < y1


@pytest.mark.parametrize("width", [60, 130, 260])
def test_cartoon_is_found_with_its_eyes_and_mouth(pipeline, width):
    image, truths = cartoon(640, 480, (300, 230, width))
    faces = pipeline.faces(image)
    assert len(faces) == 1
    assert faces[0].landmarks.dtype == np.float32 and faces[0].landmarks.shape == (68, 2)
    assert 0.5 < faces[0].score <= 1
    check_points(faces[0], truths[0], width)


def test_several_faces_come_largest_first_and_can_be_limited(pipeline):
    image, truths = cartoon(640, 480, (110, 120, 90), (420, 240, 200), (130, 340, 140))
    faces = pipeline.faces(image)
    assert len(faces) == 3
    for face, truth, width in zip(faces, [truths[1], truths[2], truths[0]], (200, 140, 90)):
        check_points(face, truth, width)
    assert len(Pipeline("blazeface", "facemesh", max_faces=2).faces(image)) == 2


@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_turned_face_has_the_turned_landmarks(pipeline, turn):
    image, _ = cartoon(640, 480, (300, 230, 180))
    upright = pipeline.faces(image)[0].landmarks
    expected = []
    for index in (36, 45, 8):  # outer eyes and chin, carried over by turning pictures of single dots
        dot = np.zeros((480, 640), np.uint8)
        x, y = upright[index].round().astype(int)
        cv2.circle(dot, (int(x), int(y)), 2, 255, -1)
        moved = np.argwhere(cv2.rotate(dot, turn))
        expected.append(moved.mean(axis=0)[::-1])
    faces = pipeline.faces(cv2.rotate(image, turn))
    assert len(faces) == 1
    assert np.abs(faces[0].landmarks[[36, 45, 8]] - expected).max() < 10
    left, top, right, bottom = faces[0].rect
    assert left < right and top < bottom


def test_large_image_is_found_at_its_own_scale(pipeline):
    image, truths = cartoon(3840, 2160, (2400, 1000, 900))
    faces = pipeline.faces(image)
    assert len(faces) == 1
    check_points(faces[0], truths[0], 900)


@pytest.mark.parametrize("kind", ["flat", "noise", "texture"])
def test_no_face_is_invented(pipeline, kind):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    image = {"flat": np.full_like(noise, 90), "noise": noise, "texture": cv2.GaussianBlur(noise, (0, 0), 7)}[
        kind
    ]
    assert pipeline.faces(image) == []


def test_tiny_and_odd_images_do_not_fail(pipeline):
    for shape in ((1, 1, 3), (1, 50, 3), (37, 3, 3), (97, 131, 3)):
        assert pipeline.faces(np.full(shape, 128, np.uint8)) == []


def test_wrong_arrays_are_refused(pipeline):
    for bad in (np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8 BGR"):
            pipeline.faces(bad)


def test_many_threads_give_the_same_as_one(pipeline):
    images = [cartoon(320, 240, (100 + 20 * k, 120, 100))[0] for k in range(6)]
    one = [pipeline.faces(image) for image in images]
    many = pipeline.faces_batch(images, threads=3)
    for expected, found in zip(one, many):
        assert len(expected) == len(found) == 1
        np.testing.assert_array_equal(expected[0].landmarks, found[0].landmarks)


def test_mirrored_picture_gives_mirrored_landmarks(pipeline):
    image, _ = cartoon(640, 480, (290, 230, 180))
    face, mirrored = (pipeline.faces(picture)[0] for picture in (image, np.ascontiguousarray(image[:, ::-1])))
    assert np.abs(mirror_landmarks(mirrored.landmarks, 640) - face.landmarks).max() < 4


def test_mtcnn_finds_cartoons_and_small_ones(mtcnn):
    image, truths = cartoon(640, 480, (180, 200, 160), (480, 120, 40))
    faces = mtcnn.faces(image)
    assert len(faces) == 2
    check_points(faces[0], truths[0], 160)
    assert mtcnn.faces(np.full((40, 30, 3), 90, np.uint8)) == []


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="blazeface"):
        Pipeline("s4fd")
    with pytest.raises(UsageError, match="facemesh"):
        Pipeline(landmarker="fan9")
    with pytest.raises(UsageError):
        Pipeline(samples=0)


def test_auto_names_what_it_uses(pipeline):
    assert pipeline.name == "blazeface+facemesh"
    assert isinstance(create_detector("auto"), BlazeFace)
    assert {"s3fd", "blazeface", "mtcnn", "dlib-hog", "dlib-cnn"} == set(DETECTORS)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(litert, "PACKAGE", "no-such-package-at-all")
    monkeypatch.setattr(litert, "_IMPORT_NAME", "no_such_package_at_all")
    litert.model_path.cache_clear()
    try:
        with pytest.raises(SwapError, match="pip install no-such-package-at-all"):
            litert.model_path("face_landmark.tflite")
    finally:
        litert.model_path.cache_clear()


def test_blazeface_loads_no_tensorflow_and_prints_nothing(root):
    code = (
        "import sys, numpy as np; from facelib.pipeline import Pipeline; "
        "Pipeline().faces(np.zeros((99, 99, 3), np.uint8)); assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def test_interpreters_are_not_shared_between_threads():
    model = litert.LiteModel("face_landmark.tflite")
    tensor = np.zeros((1, 192, 192, 3), np.float32)
    model.run(tensor)
    mine, others = model._interpreter(), []
    thread = threading.Thread(target=lambda: others.append(model._interpreter()))
    thread.start()
    thread.join()
    assert others[0] is not mine and model._interpreter() is mine


def test_offsets_are_symmetric():
    """What makes mirrored pictures give mirrored landmarks, apart from the network's own taste."""
    np.testing.assert_allclose(OFFSETS[MIRROR_ORDER] * (-1, 1, 1), OFFSETS, atol=1e-9)
    assert len(set(VERTICES)) == 68


@given(
    st.floats(-np.pi, np.pi),
    st.floats(0.1, 10),
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.integers(0, 99),
)
def test_landmarks_move_with_the_mesh(angle, scale, x, y, seed):
    mesh = np.random.default_rng(seed).uniform(-50, 50, (468, 3))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.column_stack([mesh[:, :2] @ linear.T + (x, y), scale * mesh[:, 2]])
    expected = landmarks_from_mesh(mesh) @ linear.T + (x, y)
    np.testing.assert_allclose(landmarks_from_mesh(moved), expected, atol=1e-6 * max(scale, 1) * 500)


def test_tiles_cover_everything():
    for width, height in ((640, 480), (7, 5), (1, 1)):
        for count in (2, 3):
            covered = np.zeros((height, width), int)
            for left, top, right, bottom in tile_windows(width, height, count):
                covered[top:bottom, left:right] += 1
            assert covered.min() >= 1


@given(st.integers(1, 40), st.integers(0, 1000))
def test_merged_boxes_do_not_overlap_much(count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (count, 2))
    rects = np.hstack([corner, corner + rng.uniform(5, 40, (count, 2))])
    merged, scores = boxes.merge_weighted(rects, rng.uniform(0.5, 1, count), 0.3)
    assert 1 <= len(merged) == len(scores) <= count
    assert (np.diff(scores) <= 0).all()
    kept = boxes.suppress([boxes.Detection(rect, 0.5) for rect in rects], 0.3)
    for number, one in enumerate(kept):
        assert all(boxes.overlaps(one.rect, other.rect[None])[0] <= 0.3 for other in kept[:number])


def test_crop_of_a_square_puts_its_centre_in_the_middle():
    image = np.zeros((900, 900, 3), np.uint8)
    cv2.circle(image, (400, 300), 14, (255, 255, 255), -1)
    for side, angle in ((150, 0.4), (850, -1.1)):  # the second is shrunk by area first
        crop = crop_square(image, Square((400.0, 300.0), side, angle), 192)
        ys, xs = np.nonzero(crop[:, :, 0] > 127)
        assert abs(xs.mean() - 95.5) < 0.6 and abs(ys.mean() - 95.5) < 0.6


@pytest.mark.parametrize("scale", [0.13, 0.4, 0.95, 1.0, 2.3])
def test_crops_keep_their_place_at_every_scale(scale):
    """A soft dot lands where the matrix says, so shrinking and enlarging shift nothing."""
    ys, xs = np.mgrid[:600, :600]
    dot = 255 * np.exp(-((xs - 310.25) ** 2 + (ys - 290.5) ** 2) / (2 * (12 / scale) ** 2))
    image = np.repeat(dot.astype(np.uint8)[..., None], 3, axis=2)
    centre = np.array([310.25, 290.5])
    matrix = np.column_stack([scale * np.eye(2), 63.0 - scale * centre])
    crop = crop_face(image, matrix, 128)[:, :, 0].astype(np.float64)
    crop[crop < 60] = 0
    ys, xs = np.mgrid[:128, :128]
    assert (crop * xs).sum() / crop.sum() == pytest.approx(63, abs=0.1)
    assert (crop * ys).sum() / crop.sum() == pytest.approx(63, abs=0.1)


def test_shrinking_does_not_alias():
    """Stripes finer than the crop's pixels become even grey; bilinear would leave stripes."""
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[:, ::2] = 255
    crop = crop_face(image, np.array([[0.13, 0, 0], [0, 0.13, 0]]), 128)
    assert crop[8:-8, 8:-8].std() < 12


def test_known_faces_are_found_and_marked(shared_data, pipeline):
    """All 18 faces of the photos with known points, none besides, and the goal for the points."""
    folder = shared_data / "landmarks68"
    known = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    errors = []
    for name, truths in known.items():
        faces = pipeline.faces(cv2.imread(str(folder / name)))
        assert len(faces) == len(truths)
        for truth in truths:
            points = np.array(truth["landmarks"], float)
            face = min(faces, key=lambda f: np.linalg.norm(f.landmarks.mean(axis=0) - points.mean(axis=0)))
            unit = np.linalg.norm(points[36] - points[45])
            errors.append(np.linalg.norm(face.landmarks - points, axis=1).mean() / unit)
    assert len(errors) == 18
    assert np.median(errors) <= 0.05 and max(errors) < 0.14


def test_group_photos(shared_data, pipeline):
    counts = [
        len(pipeline.faces(cv2.imread(str(path)))) for path in sorted((shared_data / "groups").glob("*.jpg"))
    ]
    assert counts == [23, 8]


def test_clip_frames_have_exactly_one_face(shared_data, pipeline):
    av = pytest.importorskip("av")
    for name in ("person_a", "person_b", "distant_c"):
        with av.open(str(shared_data / "clips" / f"{name}.mp4")) as container:
            images = [
                frame.to_ndarray(format="bgr24")
                for number, frame in enumerate(container.decode(video=0))
                if number % 24 == 0
            ]
        assert [len(faces) for faces in pipeline.faces_batch(images)] == [1] * len(images)


@pytest.mark.slow
def test_mtcnn_starts_without_log_lines_of_tensorflow():
    pytest.importorskip("mtcnn")
    code = "from facelib.detectors.mtcnn import Mtcnn; Mtcnn()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")

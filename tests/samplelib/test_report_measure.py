"""What is measured of one face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facelib
from core.errors import SampleError
from core.imageio import encode_image
from core.interact.progress import Progress
from samplelib.report.measure import StoredImage, measure, measure_all


def encoded(image, metadata) -> bytes:
    return facelib.embed_metadata(encode_image(".jpg", image, 95), metadata)


@pytest.fixture
def face(draw_face):
    def make(size=256, face_type="whole_face", yaw=0.0, change=lambda image: image):
        image, metadata = draw_face(size, face_type, 5, yaw)
        return measure(encoded(change(image), metadata), "face.jpg")

    return make


def test_yaw_has_dfls_sign(face):
    for yaw in (-0.5, 0.5):
        row = face(yaw=yaw).row
        assert np.sign(row["yaw"]) == np.sign(facelib.estimate_pose(*_pose_arguments(yaw))[1])
        assert abs(row["yaw"]) > 10


def _pose_arguments(yaw: float):
    from facelib.landmarks import MEAN_HEAD_3D

    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    points = np.column_stack([x * np.cos(yaw) + z * np.sin(yaw), y]) * 2 + 320
    matrix = facelib.transform_mat(points, 256, "whole_face")
    return facelib.transform_points(points, matrix), 256


def test_size_and_face_type_hardly_matter(face):
    rows = [face(size, kind).row for size, kind in ((256, "whole_face"), (512, "full_face"), (1024, "head"))]
    for name, slack in (("brightness", 3), ("red", 1.5), ("yellow", 1.5), ("side_light", 0.03)):
        values = [float(row[name]) for row in rows]
        assert max(values) - min(values) < slack, name
    assert [int(row["size"]) for row in rows] == [256, 512, 1024]


def test_blur_lowers_the_sharpness(face):
    sharp = face(512).row["sharpness"]
    blurred = face(512, change=lambda image: cv2.GaussianBlur(image, (0, 0), 8)).row["sharpness"]
    assert not np.isfinite(blurred) or blurred < sharp / 2


def test_light_from_the_viewers_left_is_positive(face):
    def lit(image):
        return np.clip(image * np.linspace(1.4, 0.6, image.shape[1])[None, :, None], 0, 255).astype(np.uint8)

    left, right = face(change=lit).row, face(change=lambda image: lit(image[:, ::-1])[:, ::-1]).row
    assert left["side_light"] > 0.05 and right["side_light"] < -0.05


def test_size_in_the_film(draw_face):
    image, metadata = draw_face(512, "full_face", 1)
    scale = np.sqrt(np.linalg.det(metadata.image_to_face_mat[:, :2]))
    metadata = replace(metadata, source_rect=np.array([10, 20, 110, 420]))
    row = measure(encoded(image, metadata), "x.jpg").row
    assert row["crop_side"] == pytest.approx(512 / scale, rel=1e-3)
    assert row["rect_side"] == pytest.approx(200)
    unknown = replace(metadata, source_landmarks=None, source_rect=None)
    assert measure(encoded(image, unknown), "x.jpg").row["crop_side"] == pytest.approx(512 / scale, rel=1e-3)
    row = measure(encoded(image, replace(unknown, image_to_face_mat=None)), "x.jpg").row
    assert np.isnan(row["crop_side"]) and np.isnan(row["rect_side"]) and np.isnan(row["unit_side"])


def test_a_crop_that_is_not_its_landmarks(draw_face):
    image, metadata = draw_face(256, "whole_face", 1)
    assert measure(encoded(image, metadata), "x.jpg").row["misfit"] < 0.01
    moved = replace(metadata, landmarks=metadata.landmarks + 40)
    assert measure(encoded(image, moved), "x.jpg").row["misfit"] > 0.1


def test_files_are_told_apart(tmp_path, draw_face):
    image, metadata = draw_face(128, "full_face", 1)
    data = encoded(image, metadata)
    contents = {
        "good.jpg": data,
        "cut.jpg": data[: len(data) // 2],
        "empty.jpg": b"",
        "plain.jpg": encode_image(".jpg", image),
        "plain.png": encode_image(".png", image),
        "words.png": b"no picture",
        "flat.jpg": encoded(image, replace(metadata, landmarks=np.ones((68, 2), np.float32))),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    items = [StoredImage(name, tmp_path / name) for name in [*contents, "gone.jpg"]]
    table = measure_all(items, Progress, "Looking")
    assert [item.name for item in table.items] == ["good.jpg"] and len(table.rows) == 1
    assert sorted(table.foreign) == ["flat.jpg", "plain.jpg", "plain.png"]
    assert sorted(table.unreadable) == ["cut.jpg", "empty.jpg", "gone.jpg", "words.png"]


@settings(max_examples=60)
@given(st.data())
def test_damage_is_an_error_of_the_sample(draw_face, data):
    content = bytearray(encoded(*draw_face(128, "full_face", 1)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        row = measure(bytes(content), "x.jpg").row
    except SampleError:
        return
    assert np.isfinite([row["yaw"], row["pitch"], row["brightness"], row["side_light"]]).all()


def test_no_faces_at_all():
    assert len(measure_all([], Progress, "Looking")) == 0

"""Drawn aligned faces with known landmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
from facelib import FaceMetadata
from facelib.landmarks import MEAN_HEAD_3D


def frame_landmarks(yaw: float = 0.0, roll: float = 0.0, scale: float = 2.0) -> np.ndarray:
    """(68, 2) landmarks of a head in a 640 x 640 frame; angles in radians."""
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    turned = x * np.cos(yaw) + z * np.sin(yaw)
    return np.column_stack(
        [
            320 + scale * (turned * np.cos(roll) - y * np.sin(roll)),
            320 + scale * (turned * np.sin(roll) + y * np.cos(roll)),
        ]
    )


def draw_aligned(
    size: int, face_type: str, seed: int, yaw: float = 0.0, roll: float = 0.0
) -> tuple[np.ndarray, FaceMetadata]:
    """An aligned face: a shaded oval with eyes and mouth, and its metadata."""
    landmarks = frame_landmarks(yaw, roll)
    matrix = facelib.transform_mat(landmarks, size, face_type)
    points = facelib.transform_points(landmarks, matrix)
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), rng.integers(40, 120, 3), np.uint8)
    skin = tuple(int(v) for v in rng.integers(120, 220, 3))
    cv2.fillConvexPoly(image, cv2.convexHull(points.astype(np.int32)), skin)
    for rows in (slice(36, 42), slice(42, 48), slice(48, 60)):
        cv2.fillConvexPoly(image, points[rows].astype(np.int32), (30, 20, 60))
    image = cv2.GaussianBlur(image, (0, 0), size / 256)
    metadata = FaceMetadata(
        face_type=face_type,
        landmarks=points.astype(np.float32),
        source_filename=f"{seed:05d}.png",
        source_landmarks=landmarks.astype(np.float32),
        image_to_face_mat=matrix,
    )
    return image, metadata


@pytest.fixture(scope="session")
def draw_face() -> Callable[..., tuple[np.ndarray, FaceMetadata]]:
    """`draw_aligned`, since test modules cannot import this one."""
    return draw_aligned


@pytest.fixture(scope="session")
def head_landmarks() -> Callable[..., np.ndarray]:
    """`frame_landmarks`."""
    return frame_landmarks


@pytest.fixture
def make_faceset(tmp_path: Path) -> Callable[..., Path]:
    """Call it for a folder with `count` drawn faces, each of another colour and yaw."""

    def make(count: int = 5, size: int = 256, face_type: str = "whole_face", name: str = "aligned") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            yaw = 0.6 * (number / max(1, count - 1) - 0.5)
            image, metadata = draw_aligned(size, face_type, number, yaw)
            facelib.write_face(folder / f"{number:05d}_0.jpg", image, metadata)
        return folder

    return make

"""Drawn facesets for tests of whole commands."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
from facelib import FaceMetadata
from facelib.landmarks import MEAN_HEAD_3D


def write_faces(folder: Path, seed: int, count: int = 6, size: int = 96) -> Path:
    """Drawn aligned full faces of one person, turned by different angles."""
    rng = np.random.default_rng(seed)
    background, skin = rng.integers(40, 110, 3), tuple(int(v) for v in rng.integers(120, 220, 3))
    folder.mkdir(parents=True)
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    for number in range(count):
        turn = np.radians(np.linspace(-25, 25, count)[number])
        frame_points = np.column_stack([320 + 2 * (x * np.cos(turn) + z * np.sin(turn)), 320 + 2 * y])
        matrix = facelib.transform_mat(frame_points, size, "full_face")
        points = facelib.transform_points(frame_points, matrix)
        image = np.full((size, size, 3), background, np.uint8)
        cv2.fillConvexPoly(image, cv2.convexHull(points.astype(np.int32)), skin)
        for rows in (slice(36, 42), slice(42, 48), slice(48, 60)):
            cv2.fillConvexPoly(image, points[rows].astype(np.int32), (30, 20, 60))
        metadata = FaceMetadata(
            face_type="full_face",
            landmarks=points.astype(np.float32),
            source_filename=f"{number:05}.png",
            source_landmarks=frame_points.astype(np.float32),
            image_to_face_mat=matrix,
        )
        facelib.write_face(folder / f"{number:05}_0.jpg", image, metadata)
    return folder


@pytest.fixture(scope="session")
def drawn_faces(tmp_path_factory) -> dict[str, Path]:
    """Folders of the aligned faces of two drawn persons, `src` and `dst`."""
    folder = tmp_path_factory.mktemp("drawn faces")
    return {side: write_faces(folder / side, seed) for seed, side in enumerate(("src", "dst"))}

"""Drawn facesets for tests of whole commands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import facelib
from facelib import FaceMetadata
from facelib.landmarks import MEAN_HEAD_3D
from mainscripts import training_loop
from mainscripts.training_console import Console
from mainscripts.training_loop import Trainer
from mainscripts.training_saves import Plan
from models import CheckpointStore
from samplelib import Faceset
from tests.tiny_training import FakeScreen, TinyModel


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


@pytest.fixture(scope="session")
def facesets(drawn_faces):
    """Those faces, opened."""
    return {side: Faceset.open(folder) for side, folder in drawn_faces.items()}


@pytest.fixture
def train(tmp_path, facesets, monkeypatch):
    """Runs a trainer in `tmp_path` and returns it with the exit code in `code`."""
    monkeypatch.setattr(training_loop, "PREVIEW_SECONDS", 3600.0)

    def start(target=0, model=None, screen=None, faults=None, prepare=None, sets=None, rebuild=None, **plan):
        model = model or TinyModel()
        store = CheckpointStore(tmp_path, model.name, model.kind)
        if store.exists() and model.iteration == 0:
            saved = store.load_latest()
            model.load_weights(saved.weights)
            model.load_optimizer_state(saved.optimizer)
            model.restore(saved.iteration, saved.loss_history)
            model.extra_state = saved.extra
        model.faults = faults or {}
        keys = SimpleNamespace(lines=lambda: [], close=lambda: None)
        trainer = Trainer(
            model,
            store,
            sets or facesets,
            Plan(tmp_path / "tiny_Tiny", target, **plan),
            Console(),
            screen or FakeScreen(),
            keys,
            rebuild=rebuild,
        )
        if prepare:
            prepare(trainer)
        trainer.code = trainer.run()
        return trainer

    return start

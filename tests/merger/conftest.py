"""A small drawn frame, a face in it, and predictors that need no network."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facelib.landmarks import MEAN_HEAD_3D
from merger.merge_face import FaceInput, FrameFace, Merged, Prediction, crop_face, merge_frame
from merger.options import MergeOptions
from merger.placement import FaceModel

RESOLUTION = 16


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel(RESOLUTION, "full_face")


@pytest.fixture(scope="session")
def landmarks() -> Callable[..., np.ndarray]:
    """Landmarks of a frontal face by centre, scale (1 is some 160 pixels from chin to brow) and roll."""

    def place(x: float, y: float, scale: float = 0.3, roll: float = 0.0) -> np.ndarray:
        cos, sin = scale * np.cos(roll), scale * np.sin(roll)
        points = MEAN_HEAD_3D[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
        return points.astype(np.float32)

    return place


@pytest.fixture(scope="session")
def frame() -> np.ndarray:
    """(90, 120, 3) uint8, smooth colours with some grain."""
    rng = np.random.default_rng(5)
    smooth = cv2.resize(
        rng.uniform(40, 210, (5, 6, 3)).astype(np.float32), (120, 90), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def ellipse(side: int, radius: float = 0.35) -> np.ndarray:
    """(side, side, 1) float32 soft ellipse."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    return np.clip((1.15 - np.hypot(x / radius, y / (1.2 * radius))) / 0.3, 0, 1)[..., None].astype(
        np.float32
    )


@pytest.fixture(scope="session")
def identity() -> Callable[[FaceInput], Prediction]:
    """A model that predicts the face it is shown."""
    return lambda face: Prediction(face.square, ellipse(len(face.square)), ellipse(len(face.square), 0.38))


@pytest.fixture(scope="session")
def stranger() -> Callable[[FaceInput], Prediction]:
    """A model that predicts another face: channels exchanged, darker."""
    return lambda face: Prediction(
        face.square[..., ::-1] * np.float32(0.8) + np.float32(0.05),
        ellipse(len(face.square)),
        ellipse(len(face.square), 0.38),
    )


@pytest.fixture(scope="session")
def merge(model) -> Callable[..., Merged]:
    """Merge a frame with a predictor and options given by name."""

    def run(frame: np.ndarray, faces: list[np.ndarray | FrameFace], predict, **options) -> Merged:
        records = [face if isinstance(face, FrameFace) else FrameFace(face) for face in faces]
        scale = options.get("output_face_scale", 0)
        inputs = [crop_face(frame, face, model, scale) for face in records]
        options = {"erode_mask_modifier": 0, "blur_mask_modifier": 0, **options}  # 16 pixels are few
        return merge_frame(frame, inputs, [predict(face) for face in inputs], MergeOptions(**options), model)

    return run

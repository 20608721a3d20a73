"""Faces that tests share: a 3-D head turned and set into an image, and metadata made of it."""

from __future__ import annotations

import numpy as np

from facelib.landmarks import MEAN_HEAD_3D
from facelib.metadata import FaceMetadata, SegPoly


def head_landmarks(scale: float, x: float, y: float, turn: float, tilt: float) -> np.ndarray:
    """(68, 2) float64: the mean head turned about its upright axis, tilted in the image, seen from afar.

    Args:
        scale: Image pixels per model unit; a face is some 140 units wide.
        x: Of the model's origin in the image, like `y`.
        y: See `x`.
        turn: Degrees.
        tilt: Degrees, clockwise on screen.
    """
    turn, tilt = np.radians(turn), np.radians(tilt)
    points = MEAN_HEAD_3D.astype(np.float64)
    across = points[:, 0] * np.cos(turn) + points[:, 2] * np.sin(turn)
    down = points[:, 1]
    return np.column_stack(
        [
            x + scale * (across * np.cos(tilt) - down * np.sin(tilt)),
            y + scale * (across * np.sin(tilt) + down * np.cos(tilt)),
        ]
    )


# The three cases of the reference's test vectors.
CASES = {
    "A": head_landmarks(1.5, 300, 320, 0, 0),
    "B": head_landmarks(1.7, 640, 360, 25, 10),
    "C": head_landmarks(1.7, 640, 360, -40, -15),
}


def example_metadata() -> FaceMetadata:
    """Metadata with every field set."""
    landmarks = CASES["B"].astype(np.float32)
    return FaceMetadata(
        face_type="whole_face",
        landmarks=landmarks / 4,
        source_filename="人_00042.png",
        source_rect=np.array([10, -20, 300, 420]),
        source_landmarks=landmarks,
        image_to_face_mat=np.array([[0.25, 0.125, -3], [-0.125, 0.25, 7.5]]),
        eyebrows_expand_mod=1.25,
        seg_ie_polys=(
            SegPoly(True, np.array([[10, 10], [50, 10], [30, 60]], np.float32)),
            SegPoly(False, np.array([[20, 15], [30, 15], [25, 30]], np.float32)),
        ),
        extra={"relighted": True, "ie_polys": [(1, [[1, 2.5]])]},
    ).with_xseg_mask(np.eye(64, dtype=np.float32))


def assert_same_metadata(one: FaceMetadata, other: FaceMetadata) -> None:
    """Both hold the same values, whatever their arrays' owners."""
    assert _comparable(one.to_dict()) == _comparable(other.to_dict())


def _comparable(value: object) -> object:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tolist()
    if isinstance(value, dict):
        return {key: _comparable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(entry) for entry in value]
    return value

"""From an image to aligned faces and their files. Names load their modules when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facelib.alignment import (
        averaged_yaw,
        fit_similarity,
        rect_from_landmarks,
        transform_mat,
        transform_points,
        unit_from_image,
        warp_face,
    )
    from facelib.detected import DetectedFace
    from facelib.drawing import draw_debug, draw_landmarks
    from facelib.face_jpeg import (
        decode_face,
        embed_metadata,
        extract_metadata,
        parse_header,
        read_face,
        read_header,
        read_metadata,
        write_face,
    )
    from facelib.face_types import (
        FACE_TYPES,
        FaceTypeSpec,
        face_type_from_number,
        face_type_from_short,
        face_type_spec,
    )
    from facelib.landmarks import mirror_landmarks
    from facelib.masks import expand_eyebrows, eyes_mask, hull_mask, mouth_mask
    from facelib.metadata import FaceMetadata, SegPoly, encode_xseg_mask, metadata_from_dict
    from facelib.pipeline import Pipeline
    from facelib.pose import estimate_pose

_MODULES = {
    "alignment": (
        "averaged_yaw",
        "fit_similarity",
        "rect_from_landmarks",
        "transform_mat",
        "transform_points",
        "unit_from_image",
        "warp_face",
    ),
    "detected": ("DetectedFace",),
    "drawing": ("draw_debug", "draw_landmarks"),
    "face_jpeg": (
        "decode_face",
        "embed_metadata",
        "extract_metadata",
        "parse_header",
        "read_face",
        "read_header",
        "read_metadata",
        "write_face",
    ),
    "face_types": (
        "FACE_TYPES",
        "FaceTypeSpec",
        "face_type_from_number",
        "face_type_from_short",
        "face_type_spec",
    ),
    "landmarks": ("mirror_landmarks",),
    "masks": ("expand_eyebrows", "eyes_mask", "hull_mask", "mouth_mask"),
    "metadata": ("FaceMetadata", "SegPoly", "encode_xseg_mask", "metadata_from_dict"),
    "pipeline": ("Pipeline",),
    "pose": ("estimate_pose",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "FACE_TYPES",
    "DetectedFace",
    "FaceMetadata",
    "FaceTypeSpec",
    "Pipeline",
    "SegPoly",
    "averaged_yaw",
    "decode_face",
    "draw_debug",
    "draw_landmarks",
    "embed_metadata",
    "encode_xseg_mask",
    "estimate_pose",
    "expand_eyebrows",
    "extract_metadata",
    "eyes_mask",
    "face_type_from_number",
    "face_type_from_short",
    "face_type_spec",
    "fit_similarity",
    "hull_mask",
    "metadata_from_dict",
    "mirror_landmarks",
    "mouth_mask",
    "parse_header",
    "read_face",
    "read_header",
    "read_metadata",
    "rect_from_landmarks",
    "transform_mat",
    "transform_points",
    "unit_from_image",
    "warp_face",
    "write_face",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

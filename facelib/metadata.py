"""What an aligned face knows about itself, its landmarks, origin and masks: DFL's dict as a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from core.errors import FileFormatError
from facelib.face_types import FACE_TYPES

__all__ = ["FaceMetadata", "SegPoly", "encode_xseg_mask", "metadata_from_dict"]

XSEG_BYTES = 50_000  # of the 65533 that the JPEG segment has for everything
_LANDMARK_LIMIT = 1e7


@dataclass(frozen=True, eq=False)
class SegPoly:
    """One hand-drawn polygon of the face mask."""

    include: bool  # DFL's type 1; False cuts out of what the including ones hold (type 0)
    points: np.ndarray  # (N, 2) float32, pixels of the aligned face


@dataclass(frozen=True, eq=False)
class FaceMetadata:
    """Everything stored beside the pixels of an aligned face; `to_dict` gives DFL's dict."""

    face_type: str  # DFL's names, see `face_types.FACE_TYPES`
    landmarks: np.ndarray  # (68, 2) float32, pixels of the aligned face
    source_filename: str | None = None  # of the frame, without its folder
    source_rect: np.ndarray | None = None  # (4,) int64: left, top, right, bottom in the frame
    source_landmarks: np.ndarray | None = None  # (68, 2) float32, pixels of the frame
    image_to_face_mat: np.ndarray | None = None  # (2, 3) float64, frame pixels to face pixels
    eyebrows_expand_mod: float = 1.0
    seg_ie_polys: tuple[SegPoly, ...] = ()  # including ones first
    xseg_mask: np.ndarray | None = None  # (N,) uint8: bytes of a PNG or JPEG
    extra: dict[str, Any] = field(default_factory=dict)  # keys unknown to us, kept when rewritten

    def to_dict(self) -> dict[str, Any]:
        """DFL's dict, with the types that DFL's tools need: lists of landmarks, an array for the rect."""
        known = {
            "face_type": self.face_type,
            "landmarks": _nested(self.landmarks),
            "source_filename": self.source_filename,
            "source_rect": _optional(self.source_rect, np.int64),
            "source_landmarks": None if self.source_landmarks is None else _nested(self.source_landmarks),
            "image_to_face_mat": _optional(self.image_to_face_mat, np.float64),
            "eyebrows_expand_mod": None
            if self.eyebrows_expand_mod == 1.0
            else float(self.eyebrows_expand_mod),
            "seg_ie_polys": _polys_to_dict(self.seg_ie_polys),
            "xseg_mask": None if self.xseg_mask is None else np.asarray(self.xseg_mask, np.uint8).reshape(-1),
        }
        fields = {key: value for key, value in known.items() if value is not None}
        return {**{key: value for key, value in self.extra.items() if key not in known}, **fields}

    def with_xseg_mask(self, mask: np.ndarray | None) -> FaceMetadata:
        """A copy with this mask, (H, W) or (H, W, 1) float in [0, 1] of any size; None removes it."""
        return replace(self, xseg_mask=None if mask is None else encode_xseg_mask(mask))

    def decode_xseg_mask(self) -> np.ndarray | None:
        """(H, W, 1) float32 in [0, 1] at its own size, which is seldom the face's; None where there is none.

        Raises:
            FileFormatError: The mask cannot be decoded.
        """
        if self.xseg_mask is None:
            return None
        buffer = np.frombuffer(np.asarray(self.xseg_mask, np.uint8).tobytes(), np.uint8)
        try:
            mask = cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE) if buffer.size else None
        except cv2.error:
            mask = None
        if mask is None:
            raise FileFormatError(
                f"{self.source_filename or 'face'}: its XSeg mask is damaged; apply it again"
            )
        return mask[..., np.newaxis].astype(np.float32) / 255

    def draw_polys(self, mask: np.ndarray) -> np.ndarray:
        """`mask` with the including polygons filled with 1 and then the excluding ones with 0.

        Args:
            mask: (H, W, 1) float32 at the size of the aligned face.
        """
        mask = mask.copy()
        for poly in self.seg_ie_polys:
            if len(poly.points):
                cv2.fillPoly(mask, [poly.points.astype(np.int32)], (1 if poly.include else 0,))
        return mask


def encode_xseg_mask(mask: np.ndarray) -> np.ndarray:
    """Encode a mask so that it fits the face's metadata.

    Args:
        mask: (H, W) or (H, W, 1) float in [0, 1].

    Returns:
        (N,) uint8: PNG if that takes at most 50000 bytes, else JPEG of the highest quality that does.
    """
    pixels = np.clip(np.asarray(mask, np.float32).reshape(mask.shape[:2]) * 255, 0, 255).astype(np.uint8)
    done, encoded = cv2.imencode(".png", pixels)
    for quality in range(100, -1, -1):
        if done and encoded.size <= XSEG_BYTES:
            break
        done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.reshape(-1)


def metadata_from_dict(values: Mapping[str, Any], name: str) -> FaceMetadata:
    """Check DFL's dict and make a record of it.

    Args:
        values: As unpickled. Every key but `landmarks` may be absent; without `face_type` it is a full face.
        name: Of the file, for the message.

    Raises:
        FileFormatError: A value is missing or of another kind than DFL writes.
    """
    rest = dict(values)
    take = rest.pop
    try:
        if rest.get("landmarks") is None:
            raise ValueError("it has no landmarks")
        polys = _polys_from(take("seg_ie_polys", None))
        source_rect = take("source_rect", None)
        return FaceMetadata(
            face_type=_face_type(take("face_type", None)),
            landmarks=_numbers(take("landmarks"), (68, 2), np.float32, "landmarks"),
            source_filename=_text(take("source_filename", None)),
            source_rect=None if source_rect is None else _rect(source_rect),
            source_landmarks=_numbers(
                take("source_landmarks", None), (68, 2), np.float32, "source_landmarks"
            ),
            image_to_face_mat=_numbers(
                take("image_to_face_mat", None), (2, 3), np.float64, "image_to_face_mat"
            ),
            eyebrows_expand_mod=_expand_mod(take("eyebrows_expand_mod", None)),
            seg_ie_polys=polys,
            xseg_mask=_encoded_mask(take("xseg_mask", None)),
            extra={key: value for key, value in rest.items() if value is not None},
        )
    except (LookupError, OverflowError, TypeError, ValueError) as err:
        raise FileFormatError(f"{name}: its face data is unusable ({err}); extract its frame again") from err


def _face_type(value: Any) -> str:
    if value is None:
        return "full_face"
    if not isinstance(value, str) or value.lower() not in FACE_TYPES:
        shown = value[:40] if isinstance(value, str) else type(value).__name__
        raise ValueError(f"unknown face type {shown!r}")
    return value.lower()


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("source_filename is not text")
    return value


def _numbers(value: Any, shape: tuple[int, ...], dtype: type, key: str) -> np.ndarray | None:
    if value is None:
        return None
    array = np.array(value, np.float64)
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, not {shape}")
    if not (np.abs(array) < _LANDMARK_LIMIT).all():  # also false for nan
        raise ValueError(f"{key} holds impossible values")
    return array.astype(dtype)


def _rect(value: Any) -> np.ndarray:
    return np.trunc(_numbers(value, (4,), np.float64, "source_rect")).astype(np.int64)


def _expand_mod(value: Any) -> float:
    modifier = 1.0 if value is None else float(value)
    if not math.isfinite(modifier) or abs(modifier) > 100:
        raise ValueError(f"eyebrows_expand_mod is {modifier}")
    return modifier


def _encoded_mask(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    mask = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
    if mask.dtype != np.uint8:
        raise ValueError("xseg_mask is not an encoded image")
    return mask.reshape(-1).copy()  # (N, 1) was written with OpenCV before 4.5


def _polys_from(value: Any) -> tuple[SegPoly, ...]:
    """Including polygons first, each group in its order, as DFL sorts them."""
    if value is None:
        return ()
    entries = value.get("polys", ()) if isinstance(value, dict) else value
    polys = []
    for entry in entries:
        # Older files hold plain (type, points) pairs.
        kind, points = (entry["type"], entry["pts"]) if isinstance(entry, dict) else entry
        points = np.array(points, np.float64).reshape(-1, 2)
        if kind not in (0, 1) or not (np.abs(points) < _LANDMARK_LIMIT).all():
            raise ValueError("seg_ie_polys holds a malformed polygon")
        polys.append(SegPoly(bool(kind), points.astype(np.float32)))
    return tuple(sorted(polys, key=lambda poly: not poly.include))


def _polys_to_dict(polys: tuple[SegPoly, ...]) -> dict[str, Any] | None:
    if not polys:
        return None
    return {
        "polys": [{"type": int(poly.include), "pts": np.asarray(poly.points, np.float32)} for poly in polys]
    }


def _nested(points: np.ndarray) -> list[list[float]]:
    return np.asarray(points, np.float64).tolist()


def _optional(value: np.ndarray | None, dtype: type) -> np.ndarray | None:
    return None if value is None else np.asarray(value, dtype)

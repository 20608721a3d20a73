"""An aligned face at another size, of another type, or cut anew from its frame; its metadata goes along.

Sizes follow DFL's faceset resize: landmarks and polygons by the same affine as the picture, the applied mask
(of any resolution) by that affine in its own pixels, and thresholded. Shrinking averages, where DFL's Lanczos
would alias. Source: reference/faces-and-files.md section 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from core.errors import AlignmentError, SampleError
from facelib.alignment import fit_similarity, transform_mat, transform_points
from facelib.metadata import FaceMetadata, SegPoly
from facelib.resample import crop_face

__all__ = ["Recut", "is_cut_from", "recut_from_crop", "recut_from_frame", "shows_more", "wanted_type"]

SAME = "same"  # the face type that each face has already
_UNMOVED = 1e-3  # of the side: a mask that moves by less stays as it is
_COMPARED_SIDE = 32
_LIKE = 0.5  # correlation of brightness, from which on two pictures may show the same
_FLAT = 2.0  # standard deviation of brightness that tells nothing
_FITTING = 0.02  # of the side: mean distance up to which a stored matrix is believed


@dataclass(frozen=True, eq=False)
class Recut:
    """A face in its new form."""

    image: np.ndarray  # (size, size, 3) uint8 BGR
    metadata: FaceMetadata
    frame_missed: bool  # part of the new crop lies outside the old one and is black


def wanted_type(metadata: FaceMetadata, face_type: str) -> str:
    """The type that a face is to have: `face_type`, or its own for `same`."""
    return metadata.face_type if face_type == SAME else face_type


def recut_from_crop(image: np.ndarray, metadata: FaceMetadata, size: int, face_type: str) -> Recut:
    """A face from its old crop alone; black where that has no pixels.

    Args:
        image: (N, N, 3) uint8.
        metadata: Of the face.
        size: New side in pixels.
        face_type: DFL's name, or `same`.

    Raises:
        SampleError: The picture is not square, or the face is not aligned.
    """
    if image.shape[0] != image.shape[1]:
        raise SampleError(f"is {image.shape[1]}x{image.shape[0]} pixels, not square")
    side = image.shape[0]
    moved = _between_crops(metadata, side, size, face_type)
    matrix = metadata.image_to_face_mat
    carried = _carried(metadata, moved, side, size, wanted_type(metadata, face_type))
    if matrix is not None:
        carried = replace(carried, image_to_face_mat=_after(moved, matrix))
    return Recut(_warped(image, moved, size), carried, _leaves(moved, side, size))


def recut_from_frame(
    frame: np.ndarray, metadata: FaceMetadata, side: int, size: int, face_type: str
) -> Recut:
    """A face cut anew out of its frame by the landmarks it has there.

    Args:
        frame: (H, W, 3) uint8.
        metadata: Of the old crop.
        side: The old crop's side in pixels.
        size: New side in pixels.
        face_type: DFL's name, or `same`.

    Raises:
        SampleError: The metadata does not say where in the frame the face is.
    """
    if metadata.source_landmarks is None:
        raise SampleError("does not say where in its frame it is (no source_landmarks)")
    kind = wanted_type(metadata, face_type)
    matrix = transform_mat(metadata.source_landmarks, size, kind)
    moved = _after(matrix, _inverse(_face_from_frame(metadata, side)))
    carried = replace(
        _carried(metadata, moved, side, size, kind),
        landmarks=transform_points(metadata.source_landmarks, matrix).astype(np.float32),
        image_to_face_mat=matrix,
    )
    return Recut(crop_face(frame, matrix, size), carried, False)


def is_cut_from(image: np.ndarray, metadata: FaceMetadata, frame: np.ndarray) -> bool:
    """Whether the face may have been cut from this frame, and not from one of another video of that name.

    The place that the face was cut from is compared with it at 32x32 pixels, so that enhanced, sharpened or
    regraded faces still count.

    Args:
        image: (N, N, 3) uint8, the aligned face.
        metadata: Its metadata, with source_landmarks.
        frame: (H, W, 3) uint8.
    """
    side = image.shape[0]
    matrix = _after(_scaling(_COMPARED_SIDE / side), _face_from_frame(metadata, side))
    there = crop_face(frame, matrix, _COMPARED_SIDE)
    here = cv2.resize(image, (_COMPARED_SIDE, _COMPARED_SIDE), interpolation=cv2.INTER_AREA)
    grey = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float64).ravel() for picture in (here, there)]
    spreads = [float(picture.std()) for picture in grey]
    if min(spreads) < _FLAT:
        return max(spreads) < 4 * _FLAT
    return float(np.corrcoef(*grey)[0, 1]) > _LIKE


def shows_more(metadata: FaceMetadata, side: int, size: int, face_type: str) -> bool:
    """Whether the new crop reaches beyond the old one.

    Raises:
        AlignmentError: The landmarks do not determine an alignment.
    """
    return _leaves(_between_crops(metadata, side, size, face_type), side, size)


def _between_crops(metadata: FaceMetadata, side: int, size: int, face_type: str) -> np.ndarray:
    """(2, 3) affine from the old crop's pixels to the new one's."""
    if metadata.face_type == "mark_only":
        raise AlignmentError("is a whole frame (mark_only), which is not aligned")
    if face_type in (SAME, metadata.face_type):
        scale = size / side
        return np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    return transform_mat(metadata.landmarks, size, face_type)


def _warped(image: np.ndarray, moved: np.ndarray, size: int) -> np.ndarray:
    scale = size / image.shape[0]
    if np.array_equal(moved, [[scale, 0, 0], [0, scale, 0]]):
        if scale == 1:
            return image
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4
        return cv2.resize(image, (size, size), interpolation=way)
    return crop_face(image, moved, size)


def _carried(metadata: FaceMetadata, moved: np.ndarray, side: int, size: int, face_type: str) -> FaceMetadata:
    """The metadata in the new crop; landmarks and matrix may still be better known from the frame."""
    polys = tuple(
        SegPoly(poly.include, transform_points(poly.points, moved).astype(np.float32))
        for poly in metadata.seg_ie_polys
    )
    carried = replace(
        metadata,
        face_type=face_type,
        landmarks=transform_points(metadata.landmarks, moved).astype(np.float32),
        seg_ie_polys=polys,
    )
    return _with_mask(carried, moved, side, size)


def _with_mask(metadata: FaceMetadata, moved: np.ndarray, side: int, size: int) -> FaceMetadata:
    """The applied mask moved along, at its own resolution; the stored bytes where it does not move."""
    relative = _after(_scaling(1 / size), _after(moved, _scaling(side)))  # of unit squares
    if metadata.xseg_mask is None or np.abs(relative - np.eye(2, 3)).max() < _UNMOVED:
        return metadata
    mask = metadata.decode_xseg_mask()
    height, width = mask.shape[:2]
    pixels = _after(_scaling(width, height), _after(relative, _scaling(1 / width, 1 / height)))
    warped = cv2.warpAffine(mask, pixels, (width, height), flags=cv2.INTER_LANCZOS4)
    return metadata.with_xseg_mask((warped >= 0.5).astype(np.float32))


def _face_from_frame(metadata: FaceMetadata, side: int) -> np.ndarray:
    """(2, 3) affine from frame pixels to the old crop's.

    The stored matrix is that, unless the crop was changed by a tool that let it be.
    """
    stored = metadata.image_to_face_mat
    if stored is not None:
        missed = transform_points(metadata.source_landmarks, stored) - metadata.landmarks
        if np.linalg.norm(missed, axis=1).mean() < _FITTING * side:
            return stored
    return fit_similarity(metadata.source_landmarks, metadata.landmarks)


def _leaves(moved: np.ndarray, side: int, size: int) -> bool:
    corners = np.array([(0, 0), (size, 0), (size, size), (0, size)], np.float64)
    old = transform_points(corners, moved, inverse=True)
    return bool((old < -1).any() or (old > side + 1).any())


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(2, 3) affine that does `first` and then `second`."""
    return np.asarray(second, np.float64) @ np.vstack([first, (0, 0, 1)])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return cv2.invertAffineTransform(np.asarray(matrix, np.float64))


def _scaling(x: float, y: float | None = None) -> np.ndarray:
    return np.array([[x, 0, 0], [0, x if y is None else y, 0]], np.float64)

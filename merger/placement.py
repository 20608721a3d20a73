"""Where a face lies in its frame: the rectangle that its squares cover, and the warps between the two.

All work happens inside that rectangle: the pixels outside are those of the frame, and a 4K frame costs no
more than its face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

import facelib
from merger.masks import MASK_GRID

MARGIN = (
    4  # pixels around the squares: cubic interpolation reaches 2 beyond, the Poisson solver needs a border
)
FORWARD, INVERSE = cv2.INTER_CUBIC, cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True)
class FaceModel:
    """What the merger has to know of a model; the rest is its predictor."""

    resolution: int
    face_type: str  # DFL's name, `whole_face` and so on


@dataclass(frozen=True)
class Region:
    """A rectangle of a frame; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """View of the rectangle in a frame-sized array."""
        return image[self.top : self.bottom, self.left : self.right]

    def shifted(self, square_from_frame: np.ndarray) -> np.ndarray:
        """The same affine, taking pixels of this rectangle in place of those of the frame."""
        matrix = square_from_frame.copy()
        matrix[:, 2] += square_from_frame[:, :2] @ (self.left, self.top)
        return matrix

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top


@dataclass(frozen=True)
class Placement:
    """The rectangle of one face, and affines from its pixels to the squares of the face (DFL's `crop`)."""

    region: Region
    face: np.ndarray  # to the R x R square that the network sees
    out: np.ndarray  # to the R x R square as it is pasted, larger or smaller by output_face_scale
    resolution: int
    inside: bool  # the network's square lies wholly in the frame

    @property
    def mask_out(self) -> np.ndarray:
        """Affine to the pasted square on the mask grid."""
        return MASK_GRID * self.out

    def narrowed_to(self, grid: np.ndarray) -> Placement:
        """The same placement with a rectangle that holds only what is masked on the mask grid (4R, 4R)."""
        left, top, width, height = cv2.boundingRect((grid > 0).astype(np.uint8))
        reach = np.array([(-2, -2), (2, -2), (2, 2), (-2, 2)], np.float64)  # of cubic interpolation
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)]) + (left, top) + reach
        points = facelib.transform_points(corners, self.mask_out, inverse=True)
        part = _clipped_region(points, self.region.size[::-1])
        origin = self.region
        region = Region(
            origin.left + part.left, origin.top + part.top, origin.left + part.right, origin.top + part.bottom
        )
        return replace(self, region=region, face=part.shifted(self.face), out=part.shifted(self.out))

    def face_of(self, region_image: np.ndarray) -> np.ndarray:
        """Warp a region-sized picture to the network's square; black where the frame ends, as in training."""
        side = (self.resolution, self.resolution)
        warped = cv2.warpAffine(region_image, self.face, side, flags=FORWARD, borderValue=0)
        return np.clip(warped, 0, 1).reshape(*side, -1)

    def paste(self, square: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        """Warp a square back to a region-sized picture.

        Its last pixels are repeated beyond its border, else the edge of the mask would blend in black.
        """
        warped = cv2.warpAffine(
            square, matrix, self.region.size, flags=INVERSE, borderMode=border, borderValue=0
        )
        return np.clip(warped, 0, 1, out=warped)


def place_face(
    landmarks: np.ndarray, model: FaceModel, frame_shape: tuple[int, ...], output_face_scale: int = 0
) -> Placement:
    """Find where a face lies.

    Args:
        landmarks: (68, 2) in frame pixels.
        model: Resolution and face type of the squares.
        frame_shape: (H, W, ...).
        output_face_scale: -50..50, above 0 pastes a smaller face.

    Raises:
        AlignmentError: The landmarks determine no alignment.
    """
    size, scale = model.resolution, 1 + 0.01 * output_face_scale
    face = facelib.transform_mat(landmarks, size, model.face_type)
    out = face if scale == 1 else facelib.transform_mat(landmarks, size, model.face_type, scale)
    square = np.array([(0, 0), (size, 0), (size, size), (0, size)], np.float64)
    corners = facelib.transform_points(square, face, inverse=True)
    pasted = facelib.transform_points(square, out, inverse=True)
    region = _clipped_region(np.concatenate([corners, pasted]), frame_shape)
    height, width = frame_shape[:2]
    inside = bool(np.all(corners >= 0) and np.all(corners <= (width - 1, height - 1)))
    return Placement(region, region.shifted(face), region.shifted(out), size, inside)


def _clipped_region(points: np.ndarray, frame_shape: tuple[int, ...]) -> Region:
    """The rectangle around points with its margin, cut off at the frame's border; empty if wholly outside."""
    height, width = frame_shape[:2]
    limits = np.array([width, height])
    low = np.clip(np.floor(points.min(axis=0)) - MARGIN, 0, limits).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + MARGIN + 1, 0, limits).astype(int)
    return Region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))

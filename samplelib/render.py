"""One visit of one face: everything random is drawn first, then applied to all arrays of a request."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

import facelib
from core.imagelib.augment import ColorJitter, HsvShift
from core.imagelib.dfl_warp import SMALLEST, DflWarp
from core.imagelib.warp import Jitter, WarpGrid, apply_affine, compose, invert, warp_map
from samplelib.prepare import PreparedFace
from samplelib.request import SampleRequest, SampleSpec

_TO_UNIT = np.float32(1 / 255)


@dataclass(frozen=True, eq=False)
class SampleDraw:
    """All that is random about one visit; shared by its images, masks and landmarks."""

    jitter: Jitter
    grid: WarpGrid
    hsv: HsvShift
    color: ColorJitter
    reference: float  # in [0, 1): which face of the reference set lends its colours
    transfer_seed: int  # for colour transfers that draw numbers: the same for input and target
    dfl: DflWarp | None

    @classmethod
    def sample(cls, rng: np.random.Generator, request: SampleRequest) -> SampleDraw:
        """Draw one visit, always in the same order."""
        augment = request.augment
        seed, transfer_seed = (int(value) for value in rng.integers(0, 2**31, 2))
        dfl = DflWarp.sample(seed, request.resolution, augment.limits()) if augment.dfl_warp else None
        return cls(
            jitter=Jitter.sample(rng, augment.limits()),
            hsv=HsvShift.sample(rng, augment.hsv_power),
            color=ColorJitter.sample(rng, augment.color_jitter),
            reference=float(rng.random()),
            transfer_seed=transfer_seed,
            grid=WarpGrid.sample(rng, augment.warp_strength),
            dfl=dfl,
        )


def empty_batch(request: SampleRequest, size: int) -> dict[str, np.ndarray]:
    """Uninitialised float32 arrays for `size` faces, by spec name."""
    side = request.resolution
    shapes = {"image": (side, side, 3), "mask": (side, side, 1), "landmarks": (68, 2)}
    return {spec.name: np.empty((size, *shapes[spec.kind]), np.float32) for spec in request.specs}


def render_face(
    face: PreparedFace,
    draw: SampleDraw,
    request: SampleRequest,
    out: dict[str, np.ndarray],
    slot: int,
    colored: np.ndarray | None = None,
) -> None:
    """Write one face's arrays into place `slot` of a batch.

    Args:
        face: What to sample from.
        draw: The visit's random numbers.
        request: The specs to fill.
        out: From `empty_batch`.
        slot: First index of the arrays.
        colored: `face.image` after the colour transfer, for specs that want it.
    """
    sampler = _DflSampler(face, draw, request) if draw.dfl is not None else _Sampler(face, draw, request)
    for spec in request.specs:
        target = out[spec.name][slot]
        if spec.kind == "landmarks":
            target[:] = sampler.landmarks(spec.warp)
        elif spec.kind == "mask":
            _store_mask(sampler.pixels(face.masks[spec.mask_type], spec.warp, True), spec, target)
        else:
            source = colored if spec.color_transfer and colored is not None else face.image
            _store_image(sampler.pixels(source, spec.warp, False), draw, spec, request, target)


def _store_mask(mask: np.ndarray, spec: SampleSpec, target: np.ndarray) -> None:
    np.multiply(mask, _TO_UNIT, out=target[..., 0])
    if spec.mask_type == "eyes_mouth":  # as in DFL: its highest point counts fully
        target /= max(float(target.max()), 1e-3)


def _store_image(
    image: np.ndarray, draw: SampleDraw, spec: SampleSpec, request: SampleRequest, target: np.ndarray
) -> None:
    if request.augment.color_jitter > 0:
        image = draw.color.apply(cv2.convertScaleAbs(image) if image.dtype != np.uint8 else image)
    np.multiply(image, _TO_UNIT, out=target)
    if image.dtype != np.uint8:  # DFL's cubic steps overshoot
        np.clip(target, 0, 1, out=target)
    if spec.hsv and request.augment.hsv_power > 0:
        target[:] = draw.hsv.apply(target)


class _Sampler:
    """Our geometry: one interpolation for alignment, jitter and warp."""

    def __init__(self, face: PreparedFace, draw: SampleDraw, request: SampleRequest) -> None:
        self.face, self.draw, self.side = face, draw, request.resolution
        self.matrix = draw.jitter.matrix(self.side)  # output from face
        self.image_from_output = compose(face.image_from_face, invert(self.matrix))
        self._map: np.ndarray | None = None

    def pixels(self, image: np.ndarray, warp: bool, is_mask: bool) -> np.ndarray:
        flags = cv2.INTER_LINEAR if is_mask else cv2.INTER_CUBIC
        border = cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REPLICATE
        if warp:
            if self._map is None:
                self._map = warp_map(self.draw.grid, self.image_from_output, self.side)
            return cv2.remap(image, self._map, None, flags, borderMode=border)
        flags |= cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            image, self.image_from_output, (self.side, self.side), flags=flags, borderMode=border
        )

    def landmarks(self, warp: bool) -> np.ndarray:
        points = apply_affine(self.matrix, self.face.landmarks)
        if warp:
            points = self.draw.grid.carry_points(points, self.side)
        return _renumber(points, self.side) if self.draw.jitter.flip else points


class _DflSampler:
    """DFL's geometry: warp, then affine, then flip, each its own step on float pixels."""

    def __init__(self, face: PreparedFace, draw: SampleDraw, request: SampleRequest) -> None:
        self.face, self.draw, self.dfl = face, draw, draw.dfl
        self.side, self.transform = request.resolution, request.augment.transform

    def pixels(self, image: np.ndarray, warp: bool, is_mask: bool) -> np.ndarray:
        flags = cv2.INTER_LINEAR if is_mask else cv2.INTER_CUBIC
        border = cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REPLICATE
        return self.dfl.apply(image.astype(np.float32), warp, self.transform, flags, border)

    def landmarks(self, warp: bool) -> np.ndarray:
        """Through the affine and the flip only: DFL never moves landmarks by the warp."""
        scale = max(self.side, SMALLEST) / self.side
        points = self.face.landmarks * scale
        if self.transform:
            points = apply_affine(self.dfl.matrix, points)
        points = points / scale
        return facelib.mirror_landmarks(points, self.side) if self.dfl.flip else points


def _renumber(points: np.ndarray, side: int) -> np.ndarray:
    """Exchange the numbers of left and right landmarks of a mirrored face, which stay where they are."""
    unmirrored = points * (-1, 1) + (side - 1, 0)
    return facelib.mirror_landmarks(unmirrored, side)

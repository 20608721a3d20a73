"""One frame and what the model predicts for its faces -> the merged frame and its mask. Pure functions.

The steps are those of DFL's merger. Differences that are meant: pixels outside the mask stay those of the
frame to the bit; a second face is merged onto the picture that holds the first; colours are measured inside
the mask and inside the frame; `dfl_exact` brings DFL's statistics back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

import facelib
from merger.blend import (
    NO_MOTION,
    Motion,
    Palette,
    clone_seamlessly,
    degraded_colours,
    degraded_frame,
    degrades_frame,
    match_histogram,
    mix,
    needs_second_pass,
    recolour,
    refine_square,
    to_uint8,
)
from merger.masks import FAINT, combine_masks, shape_mask
from merger.options import BLENDED_MODES, SEAMLESS_MODES, MergeOptions
from merger.placement import FaceModel, Placement, place_face

USABLE_LEVEL, USABLE_SIDE = 0.1, 4  # a mask whose part above this level is narrower (pixels) is no face


@dataclass(frozen=True)
class FrameFace:
    """One face of a frame."""

    landmarks: np.ndarray  # (68, 2) in frame pixels
    motion: Motion = NO_MOTION


@dataclass(frozen=True)
class Prediction:
    """What the model makes of one face."""

    face: np.ndarray  # (R, R, 3) float32
    src_mask: np.ndarray  # (R, R, 1) float32, the source decoder's mask (learned-prd)
    dst_mask: np.ndarray  # (R, R, 1) float32, the destination decoder's mask (learned-dst)


@dataclass(frozen=True)
class FaceInput:
    """One face, cut out for the network."""

    face: FrameFace
    placement: Placement
    square: np.ndarray  # (R, R, 3) float32 in [0, 1]


@dataclass
class Merged:
    """The result for one frame."""

    image: np.ndarray  # (H, W, 3) uint8; (R, R, 3) in mode raw-predict
    mask: np.ndarray  # (H, W) uint8; (R, R) in mode raw-predict
    notes: list[str] = field(default_factory=list)  # what the user should hear of
    altered: bool = False  # a model's pixels are in the image


def crop_face(frame: np.ndarray, face: FrameFace, model: FaceModel, output_face_scale: int = 0) -> FaceInput:
    """Cut a face out of its frame as the network wants it.

    Args:
        frame: (H, W, 3) uint8.
        face: Its landmarks.
        model: Resolution and face type.
        output_face_scale: The option, which decides where the face will be pasted.

    Raises:
        AlignmentError: The landmarks determine no alignment.
    """
    placement = place_face(face.landmarks, model, frame.shape, output_face_scale)
    if placement.region.empty:
        square = np.zeros((model.resolution, model.resolution, 3), np.float32)
    else:
        square = placement.face_of(_region_float(frame, placement))
    return FaceInput(face, placement, square)


def merge_frame(
    frame: np.ndarray,
    inputs: Sequence[FaceInput],
    predictions: Sequence[Prediction],
    options: MergeOptions,
    model: FaceModel,
) -> Merged:
    """Put the predicted faces into their frame.

    Args:
        frame: (H, W, 3) uint8 BGR; not changed.
        inputs: Its faces as `crop_face` gave them.
        predictions: What the model made of them, in the same order.
        options: How.
        model: Resolution and face type of the model.

    Returns:
        Picture and mask; a frame without faces comes back as it is, in mode raw-predict as black square.
    """
    if options.mode == "raw-predict":
        return _raw_predict(inputs, predictions, options, model)
    merged = Merged(frame.copy(), np.zeros(frame.shape[:2], np.uint8))
    if not inputs:
        return merged
    blended = options.mode in BLENDED_MODES
    if blended and degrades_frame(options):
        merged.image = degraded_frame(frame, options)
    for face, prediction in zip(inputs, predictions, strict=True):
        _merge_face_into(merged, frame, face, _clipped(prediction), options)
    merged.altered = options.mode != "original"
    if blended and options.color_degrade_power:
        merged.image = degraded_colours(merged.image, options)
    return merged


def _clipped(prediction: Prediction) -> Prediction:
    arrays = (prediction.face, prediction.src_mask, prediction.dst_mask)
    return Prediction(*(np.clip(array, 0, 1).astype(np.float32, copy=False) for array in arrays))


def _raw_predict(
    inputs: Sequence[FaceInput], predictions: Sequence[Prediction], options: MergeOptions, model: FaceModel
) -> Merged:
    """The predicted square of the frame's first face alone, unshaped mask; black without a face."""
    side = model.resolution
    if not inputs:
        return Merged(np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8))
    prediction = _clipped(predictions[0])
    grid = _combined_mask(inputs[0], prediction, options)
    mask = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    image = to_uint8(prediction.face, options.dfl_exact)
    return Merged(image, to_uint8(mask, options.dfl_exact), altered=True)


def _merge_face_into(
    merged: Merged, frame: np.ndarray, face: FaceInput, prediction: Prediction, options: MergeOptions
) -> None:
    """Merge one face into the picture and the mask of `merged`."""
    if face.placement.region.empty:
        return
    grid = _square_mask(face, prediction, options)
    twice = needs_second_pass(options)  # that one looks at the whole square, the first at the mask only
    whole = twice or options.mode == "raw-rgb"
    placement = face.placement if whole else face.placement.narrowed_to(grid)
    if placement.region.empty:
        return
    mask = placement.paste(grid, placement.mask_out, cv2.BORDER_CONSTANT)
    mask[mask < FAINT] = 0
    mask_part, picture = placement.region.of(merged.mask), placement.region.of(merged.image)
    cv2.add(mask_part, to_uint8(mask, options.dfl_exact), dst=mask_part)
    if options.mode == "original":
        return
    if options.mode == "raw-rgb":
        _paste_square(picture, prediction.face, placement, options)
    elif _usable(mask):
        mask = mask[..., np.newaxis]
        under = _region_float(frame, placement) if twice else _as_float(picture)
        palette = _palette(face, grid, options)
        blended = _blend(under, mask, prediction.face, palette, placement, options, merged.notes)
        if twice:
            square = refine_square(placement.face_of(blended), palette, options, face.face.motion, placement)
            blended = mix(_as_float(picture), placement.paste(square, placement.face), mask)
        np.copyto(picture, to_uint8(blended, options.dfl_exact), where=mask > 0)


def _square_mask(face: FaceInput, prediction: Prediction, options: MergeOptions) -> np.ndarray:
    """(4R, 4R) float32 mask of the face square, shaped unless the mode is a raw one."""
    grid = _combined_mask(face, prediction, options)
    if options.mode == "raw-rgb":
        return np.clip(grid, 0, 1)
    return shape_mask(grid, options.erode_mask_modifier, options.blur_mask_modifier)


def _combined_mask(face: FaceInput, prediction: Prediction, options: MergeOptions) -> np.ndarray:
    """(4R, 4R) float32 mask that the mask mode asks for."""
    hull = None
    if options.mask_mode == "dst":
        hull = np.zeros(face.square.shape[:2], np.float32)
        region = face.placement.region
        if not region.empty:
            # Whole pixels before the shift, so that the outline is that of the frame's pixels.
            landmarks = np.trunc(face.face.landmarks) - (region.left, region.top)
            hull = face.placement.face_of(facelib.hull_mask(region.size[::-1], landmarks))[..., 0]
    return combine_masks(options.mask_mode, hull, prediction.src_mask[..., 0], prediction.dst_mask[..., 0])


def _palette(face: FaceInput, grid: np.ndarray, options: MergeOptions) -> Palette:
    """The old face and the area of the square where colours are measured."""
    placement = face.placement
    side = (placement.resolution, placement.resolution)
    weight = cv2.resize(grid, side, interpolation=cv2.INTER_CUBIC)
    area = weight > 0
    if not options.dfl_exact:
        area = area if weight.max() < 0.5 else weight >= 0.5
        if not placement.inside:  # beyond the border of the frame there is no colour to measure
            ones = np.ones(placement.region.size[::-1], np.float32)
            area = area & (placement.face_of(ones)[..., 0] > 0.99)
    return Palette(face.square, area[..., np.newaxis].astype(np.float32))


def _blend(
    under: np.ndarray,
    mask: np.ndarray,
    predicted: np.ndarray,
    palette: Palette,
    placement: Placement,
    options: MergeOptions,
    notes: list[str],
) -> np.ndarray:
    """First pass: colours, paste, seamless clone, mask. (H, W, 3) float32 of the region."""
    if options.mode not in SEAMLESS_MODES:
        predicted = recolour(predicted, palette, options)
    if options.mode == "hist-match":
        predicted = match_histogram(predicted, palette, options, options.masked_hist_match)
    over = placement.paste(predicted, placement.out)
    if options.mode in SEAMLESS_MODES:
        try:
            over = clone_seamlessly(under, over, mask)
        except cv2.error as err:
            notes.append(f"seamless cloning failed ({err.err}), this face is overlaid")
    return mix(under, over, mask)


def _paste_square(
    picture: np.ndarray, predicted: np.ndarray, placement: Placement, options: MergeOptions
) -> None:
    """Mode raw-rgb: the whole predicted square, without its mask, onto the region's pixels."""
    ones = np.ones(predicted.shape[:2], np.float32)
    cover = placement.paste(ones, placement.out, cv2.BORDER_CONSTANT)[..., np.newaxis]
    pasted = mix(_as_float(picture), placement.paste(predicted, placement.out), cover)
    np.copyto(picture, to_uint8(pasted, options.dfl_exact), where=cover > 0)


def _usable(mask: np.ndarray) -> bool:
    """Whether enough of the mask is left to be a face."""
    _, _, width, height = cv2.boundingRect((mask >= USABLE_LEVEL).astype(np.uint8))
    return width > USABLE_SIDE and height > USABLE_SIDE


def _region_float(frame: np.ndarray, placement: Placement) -> np.ndarray:
    return _as_float(placement.region.of(frame))


def _as_float(image: np.ndarray) -> np.ndarray:
    return cv2.multiply(image, (1 / 255,) * 4, dtype=cv2.CV_32F)

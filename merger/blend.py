"""Bringing a predicted face and its surroundings together: colours, seamless cloning, the second pass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.imagelib import color_transfer
from core.imagelib.filters import (
    bicubic_degrade,
    blursharpen,
    color_degrade,
    denoise,
    histogram_match,
    motion_blur,
)
from merger.options import SEAMLESS_MODES, MergeOptions
from merger.placement import Placement

SHARPEN_KERNEL = 3
MIN_MOTION, MAX_MOTION = 2, 50  # pixels of the face square
BINARY_THRESHOLDS = np.arange(1, 10) / 10  # the seamless mask takes the first that any pixel exceeds


@dataclass(frozen=True)
class Motion:
    """Movement of a face between the frame before and the frame after."""

    power: float = 0.0  # frame pixels
    angle: float = 0.0  # degrees, counter-clockwise from the x axis


NO_MOTION = Motion()


@dataclass(frozen=True)
class Palette:
    """The old face, and where colours are measured in both faces."""

    dst: np.ndarray  # (R, R, 3) float32, the face as it was in the frame
    area: np.ndarray  # (R, R, 1) float32, 0 or 1


def needs_second_pass(options: MergeOptions) -> bool:
    """Whether the blended face is taken back to its square once more."""
    recoloured = options.mode in SEAMLESS_MODES and options.color_transfer_mode != "none"
    powers = (options.motion_blur_power, options.blursharpen_amount)
    return recoloured or options.mode == "seamless-hist-match" or any(powers) or degrades_frame(options)


def degrades_frame(options: MergeOptions) -> bool:
    """Whether the frame around the face is changed too."""
    return options.image_denoise_power > 0 or options.bicubic_degrade_power > 0


def degraded_frame(frame: np.ndarray, options: MergeOptions) -> np.ndarray:
    """(H, W, 3) uint8 frame with the detail taken out of it that the options ask for."""
    image = denoise(frame.astype(np.float32) / np.float32(255), options.image_denoise_power)
    return to_uint8(bicubic_degrade(image, options.bicubic_degrade_power), options.dfl_exact)


def degraded_colours(image: np.ndarray, options: MergeOptions) -> np.ndarray:
    """(H, W, 3) uint8 finished picture with fewer colours."""
    degraded = color_degrade(image.astype(np.float32) / np.float32(255), options.color_degrade_power)
    return to_uint8(degraded, options.dfl_exact)


def to_uint8(image: np.ndarray, truncate: bool = False) -> np.ndarray:
    """[0, 1] float to uint8, rounded; DFL truncates."""
    if truncate:
        return (np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    return cv2.convertScaleAbs(np.maximum(image, 0), alpha=255)


def recolour(face: np.ndarray, palette: Palette, options: MergeOptions) -> np.ndarray:
    """Give a face (R, R, 3) the colours of the old one, by the options' colour transfer."""
    if options.color_transfer_mode == "none":
        return face
    return color_transfer(
        options.color_transfer_mode, face, palette.dst, mask=palette.area, dfl_exact=options.dfl_exact
    )


def match_histogram(face: np.ndarray, palette: Palette, options: MergeOptions, masked: bool) -> np.ndarray:
    """Give a face (R, R, 3) the histograms of the old one."""
    threshold = options.hist_match_threshold
    if masked and options.dfl_exact:  # what lies outside counts as white
        outside = 1 - palette.area
        face, dst = face * palette.area + outside, palette.dst * palette.area + outside
        return histogram_match(face, dst, threshold)
    return histogram_match(face, palette.dst, threshold, palette.area if masked else None)


def mix(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`under` outside the mask (exactly), `over` inside; (H, W, 3) float32."""
    mixed = over - under
    mixed *= mask
    mixed += under
    return mixed


def clone_seamlessly(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend `over` into `under` by gradients (Perez et al., 2003, as in OpenCV) where the mask says so.

    Args:
        under: (H, W, 3) float32, the frame.
        over: (H, W, 3) float32, the pasted face.
        mask: (H, W, 1) float32; only its outline counts.

    Raises:
        cv2.error: The solver refuses this outline.
    """
    threshold = next((t for t in BINARY_THRESHOLDS if (mask > t).any()), 1.0)
    binary = (mask > threshold).astype(np.uint8) * np.uint8(255)
    left, top, width, height = cv2.boundingRect(binary)
    centre = (
        int(left + width / 2),
        int(top + height / 2),
    )  # OpenCV's own rounding, else the face would jitter
    cloned = cv2.seamlessClone(
        to_uint8(over), to_uint8(under), cv2.merge([binary] * 3), centre, cv2.NORMAL_CLONE
    )
    return cloned.astype(np.float32) / np.float32(255)


def refine_square(
    square: np.ndarray, palette: Palette, options: MergeOptions, motion: Motion, placement: Placement
) -> np.ndarray:
    """The second pass: what is done to the blended face (R, R, 3) before it is pasted again."""
    if options.mode in SEAMLESS_MODES:
        square = recolour(square, palette, options)
    if options.mode == "seamless-hist-match":
        square = match_histogram(square, palette, options, masked=False)
    if options.motion_blur_power:
        square = _blur_along(square, options, motion, placement)
    return blursharpen(square, options.sharpen_mode, SHARPEN_KERNEL, options.blursharpen_amount)


def _blur_along(
    square: np.ndarray, options: MergeOptions, motion: Motion, placement: Placement
) -> np.ndarray:
    """Blur along the face's movement, which is taken from frame pixels to those of the square."""
    power, angle = motion.power, motion.angle
    if not options.dfl_exact:  # DFL forgets size and tilt of the face
        linear = placement.face[:, :2]
        power *= float(np.sqrt(abs(np.linalg.det(linear))))
        angle -= float(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
    length = int(power * options.motion_blur_power / 100)
    if length < 1:
        return square
    return motion_blur(square, int(np.clip(length + 1, MIN_MOTION, MAX_MOTION)), angle)

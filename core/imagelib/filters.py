"""Filters that the merger puts on faces and frames: histogram match, sharpening, motion blur, degradations.

Pictures are (H, W, C) float32 in [0, 1]; results are new arrays of the same shape, not clipped where
sharpening can leave the range. cv2 is imported inside so that importing this module stays cheap.
"""

from __future__ import annotations

import numpy as np

SHARPEN_MODES = ("none", "box", "gaussian")  # DFL's numbers 0, 1, 2
MEDIAN_SIZE = 5
BLUR_PER_PASS = 10  # one full median pass per this much negative sharpening
DENOISE_PER_PASS, DENOISE_FULL = 10, 100  # DFL lowers the power by 10 a pass and blends while it is below 100


def histogram_match(
    src: np.ndarray, dst: np.ndarray, threshold: int = 255, mask: np.ndarray | None = None
) -> np.ndarray:
    """Give each channel of `src` the distribution of the same channel of `dst`.

    Args:
        src: (H, W, C) float32.
        dst: (h, w, C) float32.
        threshold: 0..255; below 255 only the lower part of the distribution is used, which is darker.
        mask: (H, W, 1), the distributions are measured where it is > 0 in both pictures (of equal size then).
    """
    result = np.empty_like(src, dtype=np.float32)
    inside = None if mask is None else mask.reshape(src.shape[:2]) > 0
    if inside is not None and not inside.any():
        return src.astype(np.float32)
    for channel in range(src.shape[2]):
        values, target = src[..., channel], dst[..., channel]
        measured, target = (
            (values.ravel(), target.ravel()) if inside is None else (values[inside], target[inside])
        )
        levels, counts = np.unique(measured, return_counts=True)
        target_levels, target_counts = np.unique(target, return_counts=True)
        quantiles = threshold * np.cumsum(counts) / measured.size
        target_quantiles = 255.0 * np.cumsum(target_counts) / target.size
        matched = np.interp(quantiles, target_quantiles, target_levels)
        result[..., channel] = np.interp(values, levels, matched)
    return result


def blursharpen(image: np.ndarray, mode: str, kernel: int, amount: int) -> np.ndarray:
    """Sharpen (`amount` > 0, by `mode`) or median-blur (`amount` < 0, in any mode) by -100..100; not clipped.

    Args:
        image: (H, W, C) float32.
        mode: One of `SHARPEN_MODES`; `none` does not sharpen.
        kernel: Side of the kernel; even sides grow by one.
        amount: A hundred of box sharpening adds a hundred times the difference to the local mean.
    """
    import cv2

    side = kernel + 1 - kernel % 2
    if amount > 0 and mode == "box":
        impulse = np.zeros((side, side), np.float32)
        impulse[side // 2, side // 2] = 1
        return _with_channels(cv2.filter2D(image, -1, impulse + amount * (impulse - 1 / side**2)), image)
    if amount > 0 and mode == "gaussian":
        blurred = cv2.GaussianBlur(image, (side, side), 0)
        return _with_channels(cv2.addWeighted(image, 1 + amount / 2, blurred, -amount / 2, 0), image)
    result = image
    for left in range(-amount, 0, -BLUR_PER_PASS):
        result = _median_pass(result, left / BLUR_PER_PASS)
    return result.copy() if result is image else result


def denoise(image: np.ndarray, power: int) -> np.ndarray:
    """Smooth by repeated 5x5 medians, 0..500; DFL's schedule; gives a frame the softness of a face."""
    result = image
    for left in range(power, 0, -DENOISE_PER_PASS):
        result = _median_pass(result, 1.0 if left >= DENOISE_FULL else left / DENOISE_FULL)
    return result.copy() if result is image else result


def _median_pass(image: np.ndarray, weight: float) -> np.ndarray:
    """`image` moved towards its 5x5 median by `weight`; a weight of 1 or more replaces it."""
    import cv2

    median = _with_channels(cv2.medianBlur(image, MEDIAN_SIZE), image)
    return median if weight >= 1 else image * np.float32(1 - weight) + median * np.float32(weight)


def motion_blur(image: np.ndarray, size: int, angle: float) -> np.ndarray:
    """Blur along a line `size` pixels long, `angle` degrees counter-clockwise from the x axis."""
    import cv2

    kernel = np.zeros((size, size), np.float32)
    kernel[(size - 1) // 2] = 1
    turn = cv2.getRotationMatrix2D((size / 2 - 0.5, size / 2 - 0.5), angle, 1.0)
    kernel = cv2.warpAffine(kernel, turn, (size, size), flags=cv2.INTER_LINEAR)
    return _with_channels(cv2.filter2D(image, -1, kernel / kernel.sum()), image)


def bicubic_degrade(image: np.ndarray, power: int) -> np.ndarray:
    """Lose detail by shrinking to `1 - power / 101` of the size and enlarging again, power 0..100."""
    import cv2

    if power <= 0:
        return image.copy()
    height, width = image.shape[:2]
    share = 1 - power / 101
    small = cv2.resize(
        image, (max(1, int(width * share)), max(1, int(height * share))), interpolation=cv2.INTER_CUBIC
    )
    return _with_channels(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), image)


def reduce_colors(image: np.ndarray, colours: int = 256) -> np.ndarray:
    """Repaint a BGR picture with an adaptive palette (median cut) of at most 256 colours."""
    from PIL import Image

    rgb = np.clip(image[..., ::-1] * 255, 0, 255).astype(np.uint8)
    palette = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=colours)
    return np.asarray(palette.convert("RGB"))[..., ::-1].astype(np.float32) / np.float32(255)


def color_degrade(image: np.ndarray, power: int) -> np.ndarray:
    """Blend with the 256-colour version of the picture, power 0..100."""
    if power <= 0:
        return image.copy()
    reduced = reduce_colors(image)
    return (
        reduced if power >= 100 else image * np.float32(1 - power / 100) + reduced * np.float32(power / 100)
    )


def _with_channels(result: np.ndarray, like: np.ndarray) -> np.ndarray:
    """OpenCV drops the axis of a single channel; put it back."""
    return result.reshape(like.shape)

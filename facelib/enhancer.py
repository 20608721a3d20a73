"""DFL's face enhancer: a face in, the same face with finer detail out, tile by tile."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

TILE, STEP, SCALE = 192, 96, 4
# Tiles in one call of the network: half a GB of memory each at float32.
TILES_PER_CALL, TILES_PER_CALL_ON_GPU = 2, 8


class FaceEnhancer:
    """The network and its tiling; safe to call from many threads, which then wait for each other."""

    def __init__(self, weights: Mapping[str, np.ndarray] | None = None, precision: str = "auto") -> None:
        """Build the network, which brings TensorFlow in.

        Args:
            weights: DFL's tensors; None takes the installed file.
            precision: `auto`, `float32` (DFL's own numbers) or `bfloat16`.

        Raises:
            SwapError: The weights are missing or wrong.
            UsageError: There is no such precision.
        """
        from core.nn import devices

        if weights is None:
            from facelib.weights import load

            weights = load("FaceEnhancer")
        self._tiles = TILES_PER_CALL_ON_GPU if devices.prepare().on_gpu else TILES_PER_CALL
        from facelib.nets.enhancer import build_enhancer

        self._network = build_enhancer(weights, precision)
        self._lock = threading.Lock()

    def enhance(
        self, images: Sequence[np.ndarray], preserve_size: bool = True, dfl_compat: bool = False
    ) -> list[np.ndarray]:
        """Draw in the detail of faces.

        Args:
            images: (H, W, 3) float32 BGR in [0, 1] each, of any size.
            preserve_size: Shrink the result to the image's size; else it is four times as large.
            dfl_compat: DFL's own result: the outermost pixels of the large picture and the surroundings of
                small ones are grey, and shrinking does not average. Default: small pictures are mirrored at
                their edges, every pixel is drawn, and shrinking takes the mean of each 4x4 square.

        Returns:
            float32 BGR in [0, 1], one for each image.
        """
        return [self._enhance(image, preserve_size, dfl_compat) for image in images]

    def _enhance(self, image: np.ndarray, preserve_size: bool, dfl_compat: bool) -> np.ndarray:
        height, width = image.shape[:2]
        signed = np.clip(image.astype(np.float32) * 2 - 1, -1, 1)
        margins = [_margins(length) for length in (height, width)]
        if any(sum(margin) for margin in margins):
            # zero is grey here
            signed = np.pad(signed, (*margins, (0, 0)), mode="constant" if dfl_compat else "symmetric")
        large = self._enlarge(signed, tile_ramp(closed=dfl_compat))
        top, left = margins[0][0] * SCALE, margins[1][0] * SCALE
        large = large[top : top + height * SCALE, left : left + width * SCALE]
        if preserve_size:
            way = cv2.INTER_LANCZOS4 if dfl_compat else cv2.INTER_AREA
            large = cv2.resize(np.ascontiguousarray(large), (width, height), interpolation=way)
        return np.clip((large + 1) / 2, 0, 1)

    def _enlarge(self, image: np.ndarray, ramp: np.ndarray) -> np.ndarray:
        """(4H, 4W, 3) float32 of an image (H, W, 3) in [-1, 1], sides at least TILE: its tiles, blended."""
        height, width = image.shape[:2]
        weight = np.outer(ramp, ramp)[..., None]
        total = np.zeros((height * SCALE, width * SCALE, 3), np.float32)
        weights = np.zeros((height * SCALE, width * SCALE, 1), np.float32)
        corners = [(y, x) for y in tile_starts(height) for x in tile_starts(width)]
        for start in range(0, len(corners), self._tiles):
            chunk = corners[start : start + self._tiles]
            with self._lock:
                tiles = self._network(np.stack([image[y : y + TILE, x : x + TILE] for y, x in chunk]))
            for (y, x), tile in zip(chunk, tiles):
                rows = slice(y * SCALE, (y + TILE) * SCALE)
                columns = slice(x * SCALE, (x + TILE) * SCALE)
                total[rows, columns] += weight * tile
                weights[rows, columns] += weight
        return np.divide(total, weights, out=total, where=weights > 0)


def tile_starts(length: int) -> list[int]:
    """Where tiles begin along a side of `length` pixels, at least TILE; the last one ends with the side."""
    last = length - TILE
    return [*range(0, last, STEP), last]


def tile_ramp(closed: bool) -> np.ndarray:
    """(768,) float32: a tile's weight along an axis, rising to its middle; `closed` ends in zeros (DFL)."""
    half = TILE * SCALE // 2
    rising = np.linspace(0, 1, half) if closed else (np.arange(half) + 0.5) / half
    return np.concatenate([rising, rising[::-1]]).astype(np.float32)


def _margins(length: int) -> tuple[int, int]:
    """Pixels to add before and after a side so that a tile fits."""
    missing = max(TILE - length, 0)
    return missing // 2, missing - missing // 2

"""DFL's random warp and affine, draw for draw and with its defects, for the recipe that repeats DFL.

Source of the method: reference/faces-and-files.md section 7.3. Its quirks, all kept here: both noise grids
land in the same memory, so the y map is the transpose of the x map; with no noise the map is x + 0.5; the
remap has a black border. Training of our own uses `core.imagelib.warp` instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.imagelib.warp import NOISE_CUT, WARP_AMPLITUDE, WARP_CELLS, JitterLimits

SMALLEST = 64  # below this side DFL works at 64 and resizes at the end


@dataclass(frozen=True, eq=False)
class DflWarp:
    """One draw of DFL's warp field and affine for square images of `size` pixels."""

    size: int
    matrix: np.ndarray  # (2, 3) float64, input to output pixels, without the flip
    map_x: np.ndarray  # (w, w) float32, w = max(size, 64), or one more where the cell is odd
    map_y: np.ndarray
    flip: bool

    @classmethod
    def sample(cls, seed: int, size: int, limits: JitterLimits, warp_seed: int | None = None) -> DflWarp:
        """Repeat DFL's draws from 32-bit seeds (MT19937): the affine from one, the warp from the other."""
        work = max(size, SMALLEST)
        draws = np.random.RandomState(seed)
        rotation = draws.uniform(*limits.rotation)
        scale = draws.uniform(1 / (1 - limits.scale[0]), 1 + limits.scale[1])
        shift = np.array([draws.uniform(*limits.shift), draws.uniform(*limits.shift)])
        flip = bool(limits.flip and draws.randint(10) < 4)
        matrix = cv2.getRotationMatrix2D((work // 2, work // 2), rotation, scale)
        matrix[:, 2] += shift * work
        map_x = _draw_map(np.random.RandomState(seed if warp_seed is None else warp_seed), work)
        return cls(size, matrix, map_x, np.ascontiguousarray(map_x.T), flip)

    def apply(
        self,
        image: np.ndarray,
        warp: bool,
        transform: bool = True,
        interpolation: int = cv2.INTER_CUBIC,
        border: int = cv2.BORDER_REPLICATE,
    ) -> np.ndarray:
        """Move a (size, size) or (size, size, C) image; `border` is that of the affine step."""
        work = max(self.size, SMALLEST)
        if work != self.size:
            image = cv2.resize(image, (work, work), interpolation=interpolation)
        if warp:
            image = cv2.remap(image, self.map_x, self.map_y, interpolation, borderMode=cv2.BORDER_CONSTANT)
        if transform:
            image = cv2.warpAffine(image, self.matrix, (work, work), flags=interpolation, borderMode=border)
        if image.shape[0] != self.size:  # worked at 64, or an odd cell made the map one pixel larger
            image = cv2.resize(image, (self.size, self.size), interpolation=interpolation)
        return np.ascontiguousarray(image[:, ::-1]) if self.flip else image


def _draw_map(draws: np.random.RandomState, work: int) -> np.ndarray:
    cell = work // WARP_CELLS[draws.randint(len(WARP_CELLS))]
    nodes = work // cell + 1
    grid = np.broadcast_to(np.linspace(0, work, nodes), (nodes, nodes)).copy()
    inside = nodes - 2
    noise = _accepted_normals(draws, 2 * inside * inside).reshape(2, inside, inside)
    grid[1:-1, 1:-1] += (noise[0] + noise[1].T) * (WARP_AMPLITUDE * cell)
    side, half = work + cell, cell // 2
    return cv2.resize(grid, (side, side))[half : side - half, half : side - half].astype(np.float32)


def _accepted_normals(draws: np.random.RandomState, count: int) -> np.ndarray:
    """The first `count` normal draws within the cut, over the cut, in the order of single draws."""
    noise = draws.normal(size=2 * count + 64)  # 1.2 % are refused, so this is always enough in practice
    accepted = noise[np.abs(noise) <= NOISE_CUT]
    if accepted.size < count:
        raise RuntimeError("the random generator refused half of its normal draws")
    return accepted[:count] / NOISE_CUT

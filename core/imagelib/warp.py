"""Random geometry of training samples: an affine jitter and a warp grid, drawn once, applied to anything.

Drawing and applying are apart. A `Jitter` or a `WarpGrid` is one frozen draw; the same draw moves an image,
its mask and its landmarks. Coordinates are pixels with the centre of the first pixel at (0, 0). The warp
lives in the output frame: output pixel q shows input position A^-1 (q + d(q)), with A the jitter and d the
displacement, so one resampling applies both. DFL's own procedure, with its defects, is in
`core.imagelib.dfl_warp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

FLIP_PROBABILITY = 0.4  # DFL flips when randint(10) < 4
WARP_CELLS = (2, 4, 8)  # cells along a side, equally likely, as in DFL
WARP_AMPLITUDE = 0.24  # largest displacement of a node, as a fraction of the cell, as in DFL
NOISE_CUT = 2.5  # normal draws are limited to this many deviations, then divided by it, as in DFL


_BLAS_ROWS = 16


@dataclass(frozen=True)
class JitterLimits:
    """Ranges a `Jitter` is drawn from."""

    rotation: tuple[float, float] = (-10.0, 10.0)  # degrees, counter-clockwise on screen
    scale: tuple[float, float] = (-0.05, 0.05)  # factor is uniform in [1 / (1 - low), 1 + high]
    shift: tuple[float, float] = (-0.05, 0.05)  # of the side, x and y drawn apart
    flip: bool = False


@dataclass(frozen=True)
class Jitter:
    """One draw of the random affine that a training face goes through."""

    rotation: float = 0.0  # degrees, counter-clockwise on screen
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # x and y, as fractions of the side
    flip: bool = False  # left and right exchanged after everything else

    @classmethod
    def sample(cls, rng: np.random.Generator, limits: JitterLimits) -> Jitter:
        """Draw one jitter; takes the same five numbers from `rng` whatever the limits are."""
        rotation, scale, x, y, flip = rng.random(5).tolist()
        low, high = 1 / (1 - limits.scale[0]), 1 + limits.scale[1]
        return cls(
            rotation=_between(limits.rotation, rotation),
            scale=_between((low, high), scale),
            shift=(_between(limits.shift, x), _between(limits.shift, y)),
            flip=limits.flip and flip < FLIP_PROBABILITY,
        )

    def matrix(self, size: int) -> np.ndarray:
        """(2, 3) float64 affine from input to output pixels of a square image; nothing random from here on.

        Rotation and scale go about the centre of the image, (size - 1) / 2.
        """
        centre = (size - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), self.rotation, self.scale)
        matrix[:, 2] += size * np.array(self.shift)
        if self.flip:
            matrix[0] *= -1
            matrix[0, 2] += size - 1
        return matrix


@dataclass(frozen=True, eq=False)
class WarpGrid:
    """One draw of the elastic warp: displacements at the nodes of a regular grid, bilinear in between.

    Nodes lie on the edges of the image and at equal distances inside; those on the edges stay where they are.
    """

    offsets: np.ndarray  # (2, n, n) float32, x then y, as fractions of the side

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float = 1.0) -> WarpGrid:
        """Draw one grid; x and y are independent (DFL's are tied together by an oversight)."""
        cells = WARP_CELLS[int(rng.integers(len(WARP_CELLS)))]
        inside = cells - 1
        offsets = np.zeros((2, cells + 1, cells + 1), np.float32)
        noise = _bounded_normal(rng, 2 * inside * inside).reshape(2, inside, inside)
        offsets[:, 1:-1, 1:-1] = noise * (strength * WARP_AMPLITUDE / cells)
        return cls(offsets)

    def displacement(self, size: int) -> np.ndarray:
        """(size, size, 2) float32 displacement d in pixels at every pixel, x before y."""
        weights = _hat_weights(size, self.offsets.shape[1])
        rows = weights @ (self.offsets * np.float32(size))
        # In small blocks, or BLAS would call up all processors, which training wants for itself.
        block = math.gcd(size, _BLAS_ROWS)
        field = rows.reshape(2, size // block, block, -1) @ weights.T
        field = field.reshape(2, size, size)
        return cv2.merge([field[0], field[1]])

    def displacement_at(self, points: np.ndarray, size: int) -> np.ndarray:
        """(N, 2) float64 displacement d in pixels at (N, 2) points; zero outside the image."""
        nodes = self.offsets.shape[1]
        points = np.asarray(points, np.float64)
        wx, wy = _hat(points[:, 0], size, nodes), _hat(points[:, 1], size, nodes)
        inside = np.all((points >= -0.5) & (points <= size - 0.5), axis=1)
        moved = np.einsum("pi,cij,pj->pc", wy, self.offsets.astype(np.float64) * size, wx)
        return moved * inside[:, None]

    def carry_points(self, points: np.ndarray, size: int) -> np.ndarray:
        """Where (N, 2) points of the unwarped image appear in the warped one: solves q + d(q) = p.

        Fixed-point iteration; the slope of d stays below one, so it contracts.
        """
        points = np.asarray(points, np.float64)
        warped = points.copy()
        for _ in range(60):
            change = points - self.displacement_at(warped, size) - warped
            warped += 0.8 * change  # damped: near fold-over the plain iteration swings
            if np.abs(change).max(initial=0) < 1e-4:
                break
        return warped


def warp_map(grid: WarpGrid | None, input_from_output: np.ndarray, size: int) -> np.ndarray:
    """Build the (size, size, 2) float32 map for `cv2.remap` of a warp followed through an affine.

    Args:
        grid: The elastic warp, or none.
        input_from_output: (2, 3) affine from output pixels to pixels of the image that will be sampled.
        size: Side of the output.
    """
    positions = _pixel_positions(size)
    if grid is not None:
        positions = positions + grid.displacement(size)
    return cv2.transform(positions, input_from_output)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """(2, 3) float64 affine that applies `inner` first, then `outer`."""
    composed = outer[:, :2] @ inner
    composed[:, 2] += outer[:, 2]
    return composed


def invert(matrix: np.ndarray) -> np.ndarray:
    """(2, 3) float64 inverse of an affine, which must have one."""
    return cv2.invertAffineTransform(np.asarray(matrix, np.float64))


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) float64: points carried by a (2, 3) affine."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def _between(limits: tuple[float, float], fraction: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * fraction


def _bounded_normal(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) float64 in [-1, 1]: normal draws beyond the cut are drawn again."""
    noise = rng.standard_normal(count)
    while (outside := np.abs(noise) > NOISE_CUT).any():
        noise[outside] = rng.standard_normal(int(outside.sum()))
    return noise / NOISE_CUT


def _hat(positions: np.ndarray, size: int, nodes: int) -> np.ndarray:
    """(P, nodes) weights of linear interpolation; nodes lie on the edges -0.5 ... size - 0.5."""
    steps = (positions[:, None] + 0.5) * ((nodes - 1) / size) - np.arange(nodes)
    return np.maximum(0.0, 1.0 - np.abs(steps))


@lru_cache(maxsize=32)
def _hat_weights(size: int, nodes: int) -> np.ndarray:
    return _hat(np.arange(size, dtype=np.float64), size, nodes).astype(np.float32)


@lru_cache(maxsize=8)
def _pixel_positions(size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    positions = np.dstack([x, y])
    positions.flags.writeable = False
    return positions

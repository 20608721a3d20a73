"""Orders that compare every face with every other: chains of nearest neighbours, sums of distances.

The distance of two histograms is Bhattacharyya's as OpenCV computes it, sqrt(1 - sum sqrt(p q) / sqrt(P Q))
with P and Q the sums of p and q: for h = sqrt(p / P) that is sqrt(1 - h . g), so all is matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

BINS = 256
SLICE = 20_000  # faces chained together, as in DFL; more slices than
MOST_SLICES = 12  # are made longer
_COARSE = 8  # histogram bins summed up for the bound that spares most exact distances
_FLOAT32_ERROR = 2e-6  # of a dot product of unit vectors, generously
_FIRST_LOOK = 16  # distances computed to get a bound
_BLOCK = 1024  # rows of a matrix product at a time
_EXACT_ROWS = 3000  # up to so many histograms are compared in double precision
_TINY = 1e-13  # rounding of 1 - h . g for two equal histograms

Tick = Callable[[int], None]


def slices(count: int) -> list[range]:
    """The consecutive parts of `count` faces that are chained by themselves."""
    length = SLICE
    if -(-count // length) > MOST_SLICES:
        length = int(count / (MOST_SLICES - 0.1))
    return [range(start, min(count, start + length)) for start in range(0, count, length)]


def colour_histograms(image: np.ndarray) -> np.ndarray:
    """(3, 256) float32 counts of the values of blue, green and red."""
    return np.stack([_histogram(image, channel) for channel in range(3)])


def grey_histogram(grey: np.ndarray) -> np.ndarray:
    """(256,) float32 counts of the values of an (H, W) image."""
    return _histogram(grey, 0)


def _histogram(image: np.ndarray, channel: int) -> np.ndarray:
    return cv2.calcHist([image], [channel], None, [BINS], [0, BINS]).reshape(BINS)


def unit_histograms(counts: np.ndarray) -> np.ndarray:
    """Counts (..., B) as vectors of length 1 whose dot products are Bhattacharyya's coefficient; float64."""
    roots = np.sqrt(counts, dtype=np.float64)
    return roots / np.maximum(np.linalg.norm(roots, axis=-1, keepdims=True), 1e-30)


def histogram_chain(counts: np.ndarray, tick: Tick = lambda n: None) -> np.ndarray:
    """Begin with the first; the next is always the one least unlike the last, among those left.

    Distances are sums over channels. That of histograms with 8 bins summed up is never larger
    (Cauchy-Schwarz), so only those faces are compared in full that may be the nearest.

    Args:
        counts: (N, C, 256).
        tick: Told about faces put in order.

    Returns:
        (N,) int64 indices. Of equally near ones the first comes first, where DFL's swapping has put it.
    """
    order = np.arange(len(counts))
    if len(counts) < 3:
        return order
    fine = unit_histograms(counts)
    grouped = counts.reshape(*counts.shape[:2], BINS // _COARSE, _COARSE).sum(axis=3, dtype=np.float64)
    # (C, N, B / 8): for each channel one matrix-vector product a step
    coarse = np.ascontiguousarray(unit_histograms(grouped).astype(np.float32).transpose(1, 0, 2))
    for last in range(len(order) - 2):
        rest = slice(last + 1, None)
        least = np.zeros(len(order) - last - 1, np.float32)
        for channel in coarse:
            gap = 1 - _FLOAT32_ERROR - channel[rest] @ channel[last]
            least += np.sqrt(np.maximum(gap, 0, out=gap), out=gap)
        nearest = last + 1 + _nearest(fine, last, least)
        _swap(fine, last + 1, nearest)
        _swap(order, last + 1, nearest)
        for channel in coarse:
            _swap(channel, last + 1, nearest)
        tick(1)
    tick(2)
    return order


def _nearest(fine: np.ndarray, last: int, least: np.ndarray) -> int:
    """Which row behind `last` is nearest to it; `least` holds a lower bound of each distance."""
    some = (
        np.argpartition(least, _FIRST_LOOK)[:_FIRST_LOOK]
        if len(least) > _FIRST_LOOK
        else np.arange(len(least))
    )
    bound = _distances(fine, last, some).min()
    candidates = np.flatnonzero(least <= bound + _FLOAT32_ERROR)
    return int(candidates[_distances(fine, last, candidates).argmin()])


def _distances(fine: np.ndarray, last: int, behind: np.ndarray) -> np.ndarray:
    """(K,) float64 exact distances of row `last` to rows `last + 1 + behind`."""
    products = np.einsum("kcb,cb->kc", fine[last + 1 + behind], fine[last])
    gap = 1 - products
    gap[gap < _TINY] = 0
    return np.sqrt(gap).sum(axis=1)


def _swap(rows: np.ndarray, one: int, other: int) -> None:
    if one != other:
        rows[[one, other]] = rows[[other, one]]


def dissimilarity(counts: np.ndarray, tick: Tick = lambda n: None) -> np.ndarray:
    """(N,) float64: the sum of each face's distances to all others.

    Args:
        counts: (N, 256).
        tick: Told about faces done.
    """
    dtype = np.float64 if len(counts) <= _EXACT_ROWS else np.float32
    tiny = _TINY if dtype is np.float64 else _FLOAT32_ERROR / 4
    units = unit_histograms(counts).astype(dtype)
    sums = np.zeros(len(units))
    for start in range(0, len(units), _BLOCK):
        rows = units[start : start + _BLOCK]
        for other in range(0, len(units), 4 * _BLOCK):
            gap = rows @ units[other : other + 4 * _BLOCK].T
            np.subtract(1, gap, out=gap)
            gap[gap < tiny] = 0
            _clear_diagonal(gap, start - other)
            sums[start : start + len(rows)] += np.sqrt(gap, out=gap).sum(axis=1, dtype=np.float64)
        tick(len(rows))
    return sums


def _clear_diagonal(matrix: np.ndarray, shift: int) -> None:
    """Set [i, i + shift] to zero: a face is no other."""
    rows = np.arange(max(0, -shift), min(len(matrix), matrix.shape[1] - shift))
    matrix[rows, rows + shift] = 0


def difference_chain(pictures: np.ndarray, similar: bool, tick: Tick = lambda n: None) -> np.ndarray:
    """Begin with the first; the next is the one of least (or largest) sum of absolute differences.

    Args:
        pictures: (N, D) uint8, all of one shape, flattened; their rows are moved about.
        similar: Whether the next is the nearest, else the farthest.
        tick: Told about faces put in order.

    Returns:
        (N,) int64 indices. Of equally near ones the first in line comes first.
    """
    order = np.arange(len(pictures))
    pick = _nearest_picture if similar else _farthest_picture
    for last in range(len(order) - 1):
        chosen = last + 1 + pick(pictures[last : last + 1], pictures[last + 1 :])
        _swap(pictures, last + 1, chosen)
        _swap(order, last + 1, chosen)
        tick(1)
    tick(min(1, len(order)))
    return order


def _nearest_picture(one: np.ndarray, others: np.ndarray) -> int:
    """The row of `others` with the least sum of absolute differences to `one`."""
    _, nearest = cv2.batchDistance(one, others, cv2.CV_32S, normType=cv2.NORM_L1, K=1)
    return int(nearest[0, 0])


def _farthest_picture(one: np.ndarray, others: np.ndarray) -> int:
    """The row of `others` with the largest sum of absolute differences to `one`."""
    height = max(1, (1 << 19) // one.shape[1])  # rows at a time that stay in the processor's cache
    tiles = np.repeat(one, min(height, len(others)), axis=0)
    sums = np.empty(len(others), np.int64)
    for start in range(0, len(others), height):
        part = others[start : start + height]
        gaps = cv2.absdiff(part, tiles[: len(part)]).reshape(part.shape)
        sums[start : start + height] = cv2.reduce(gaps, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    return int(sums.argmax())

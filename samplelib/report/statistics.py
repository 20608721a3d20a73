"""Counts, spreads and histograms of a measured faceset; true for one face and for none, too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samplelib.report.measure import FaceTable

CELL = 10.0  # degrees a side of the cells of the pose map; one is centred on looking straight ahead
CELLS = 19  # from -90 to 90
RESOLUTIONS = (128, 192, 256, 320, 384, 512)  # of networks


@dataclass(frozen=True)
class Spread:
    """How a number is spread over the faces that have it."""

    count: int
    low: float = float("nan")
    tenth: float = float("nan")
    median: float = float("nan")
    ninetieth: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Counts:
    """What a faceset consists of."""

    images: int
    faces: int
    foreign: int
    unreadable: int
    frames: int  # different frames that faces name as their source
    crowded: int  # of these, frames with several faces
    in_crowds: int  # faces of such frames
    without_source: int
    masks: int
    polys: int
    persons: dict[str, int]
    face_types: dict[str, int]
    sizes: dict[int, int]


def count(table: FaceTable) -> Counts:
    """Count; the most frequent come first. Frames of two persons' folders are different frames."""
    pairs = [(item.person, source) for item, source in zip(table.items, table.sources) if source is not None]
    frames = Counter(pairs)
    crowds = [number for number in frames.values() if number > 1]
    persons = Counter(item.person for item in table.items if item.person)
    return Counts(
        images=len(table) + len(table.foreign) + len(table.unreadable),
        faces=len(table),
        foreign=len(table.foreign),
        unreadable=len(table.unreadable),
        frames=len(frames),
        crowded=len(crowds),
        in_crowds=sum(crowds),
        without_source=len(table) - len(pairs),
        masks=int(table.rows["has_mask"].sum()),
        polys=int(table.rows["has_polys"].sum()),
        persons=dict(persons.most_common()),
        face_types=dict(Counter(table.face_types).most_common()),
        sizes=dict(Counter(table.rows["size"].tolist()).most_common()),
    )


def spread(values: np.ndarray) -> Spread:
    """The spread of the values that are known; NaN is unknown."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return Spread(0)
    low, tenth, median, ninetieth, high = np.percentile(known, (0, 10, 50, 90, 100)).tolist()
    return Spread(len(known), low, tenth, median, ninetieth, high)


def histogram(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """(len(edges) - 1,) counts of the known values; what lies outside counts to the first or last bin."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    inner = np.asarray(edges, np.float64)[1:-1]
    return np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(edges) - 1)


def common_edges(
    parts: Sequence[np.ndarray], bins: int, low: float, high: float, least: float
) -> list[float]:
    """Edges of about `bins` equal bins that hold all known values, on round numbers.

    Args:
        parts: The values, NaN for unknown.
        bins: The most bins, but for two at the ends.
        low: Where the values' scale begins.
        high: Where it ends.
        least: Span that is shown at least: of values that hardly differ, a close-up would mislead.
    """
    known = [part[np.isfinite(part)] for part in (np.asarray(p, np.float64) for p in parts)]
    known = np.concatenate(known) if known else np.zeros(0)
    first, last = (float(known.min()), float(known.max())) if len(known) else (low, low + least)
    grown = max(0.0, least - (last - first)) / 2
    first, last = max(low, first - grown), min(high, last + grown)
    width = _round_up((last - first) / bins)
    begin, end = math.floor(first / width + 1e-9), math.ceil(last / width - 1e-9)
    return [round(width * place, 6) for place in range(begin, max(end, begin + 1) + 1)]


def _round_up(width: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))


def pose_cells(degrees: np.ndarray) -> np.ndarray:
    """(N,) int64 cell numbers 0 .. CELLS - 1 of angles; cell i is centred on CELL * i - 90 degrees."""
    cells = np.floor((np.asarray(degrees, np.float64) + 90 + CELL / 2) / CELL)
    return np.clip(cells, 0, CELLS - 1).astype(np.int64)


def pose_counts(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(CELLS, CELLS) int64 faces of each cell, by pitch and then by yaw."""
    places = pose_cells(pitch) * CELLS + pose_cells(yaw)
    return np.bincount(places, minlength=CELLS * CELLS).reshape(CELLS, CELLS)


def smaller_than(crop_side: np.ndarray, resolutions: Sequence[int] = RESOLUTIONS) -> dict[int, int]:
    """How many faces had fewer pixels in their frame than a network of each resolution is fed."""
    known = crop_side[np.isfinite(crop_side)]
    return {resolution: int((known < resolution).sum()) for resolution in resolutions}

"""Which way faces look, in bins, so that rare directions can be shown as often as common ones."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

import facelib
from core.errors import AlignmentError
from core.system import cpu_count

if TYPE_CHECKING:
    from samplelib.faceset import FaceSample

# DFL's: 128 bins over +-1.2 radians; what looks further aside belongs to the outermost
BINS, FARTHEST = 128, 1.2
_CHUNK = 256


def measure_yaws(samples: Sequence[FaceSample]) -> np.ndarray:
    """(N,) float32 yaw of each face in radians; 0 for those to whose landmarks no pose fits."""
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    with ThreadPoolExecutor(min(cpu_count(), max(1, len(chunks))), "yaws") as pool:
        found = list(pool.map(lambda chunk: [_yaw(sample) for sample in chunk], chunks))
    return np.array([yaw for part in found for yaw in part], np.float32)


def _yaw(sample: FaceSample) -> float:
    try:
        return facelib.estimate_pose(sample.landmarks, sample.size[0])[1]
    except AlignmentError:
        return 0.0


def yaw_bins(yaws: np.ndarray) -> np.ndarray:
    """(N,) int64 number of the bin, 0 to 127, of each yaw."""
    places = (np.asarray(yaws, np.float64) + FARTHEST) / (2 * FARTHEST) * BINS
    return np.clip(np.floor(places), 0, BINS - 1).astype(np.int64)

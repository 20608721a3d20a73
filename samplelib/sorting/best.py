"""DFL's choice of the best faces: sharp ones of all poses, unlike each other (reference section 5.2)."""

from __future__ import annotations

import numpy as np

from samplelib.sorting.chains import dissimilarity

YAW_BINS = 128
WIDEST_YAW = 1.2  # radians
STOCK = 10  # times a yaw bin's share is looked through, the sharpest first


def choose_best(
    target: int, sharpness: np.ndarray, yaws: np.ndarray, pitches: np.ndarray, histograms: np.ndarray
) -> list[int]:
    """The faces to keep, in order of their yaw, each yaw's most unlike ones first.

    Args:
        target: How many are wanted, about.
        sharpness: (N,), larger is better.
        yaws: (N,) radians, positive with the nose to the viewer's left.
        pitches: (N,) radians.
        histograms: (N, 256) counts of grey values.
    """
    yaw_bins = _bins(-np.asarray(yaws), np.linspace(-WIDEST_YAW, WIDEST_YAW, YAW_BINS))
    members = [np.flatnonzero(yaw_bins == number) for number in range(YAW_BINS)]
    share = max(1, round(target / YAW_BINS))  # DFL takes none at all for targets up to 64
    missing = sum(max(0, share - len(faces)) for faces in members)
    share += missing // YAW_BINS
    chosen: list[int] = []
    for faces in members:
        sharpest = faces[np.argsort(-sharpness[faces], kind="stable")][: STOCK * share]
        chosen += _of_all_pitches(sharpest, share, pitches, histograms)
    return chosen


def _of_all_pitches(faces: np.ndarray, share: int, pitches: np.ndarray, histograms: np.ndarray) -> list[int]:
    """Up to `share` of these faces, taken in turn from as many bins of pitch."""
    bins = _bins(pitches[faces], np.linspace(-np.pi / 2, np.pi / 2, share))
    piles = []
    for number in range(share):
        pile = faces[bins == number]
        unlike = dissimilarity(histograms[pile])
        piles.append(pile[np.argsort(-unlike, kind="stable")].tolist())
    chosen: list[int] = []
    for depth in range(max(map(len, piles), default=0)):
        chosen += [pile[depth] for pile in piles if depth < len(pile)]
    return chosen[:share]


def _bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which bin each value is in: the last edge not above it; the first bin takes all below, too."""
    return np.searchsorted(edges[1:], values, side="right")

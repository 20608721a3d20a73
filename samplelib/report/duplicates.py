"""Faces that are next to identical, found in O(n log n): neighbours in time, and alike pictures anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

MEAN_LIMIT = 0.5  # grey levels between two tiny pictures on average, and
LARGEST_LIMIT = 5  # at most anywhere: a blink moves few of their pixels, but those by more
NEXT = 2  # neighbours in time compared
NEXT_BY_HASH = 3  # neighbours in each order of the hash
_ROTATIONS = (0, 16, 32, 48)  # bits: two alike pictures differ in few, so one of these orders has them near
_BLOCK = 16384


def find_duplicates(tiny: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each face the one that can stand for it.

    Each face is compared with its neighbours in time and with those that have nearly the same hash. The
    first of a group stands for those next to identical with it; likeness is not passed on, so a slow movement
    is not one group.

    Args:
        tiny: (N, S, S) uint8, the faces at one size and place.
        order: (N,) indices, the order in time.

    Returns:
        (N,) int64: its own index for a face that stays, else that of the face that stands for it.
    """
    count = len(tiny)
    leader = np.arange(count)
    if count < 2:
        return leader
    ranks = np.empty(count, np.int64)
    ranks[order] = np.arange(count)
    hashes = difference_hashes(tiny)
    pairs = [_near_pairs(tiny, np.asarray(order), NEXT)]
    for bits in _ROTATIONS:
        turned = (hashes << np.uint64(bits)) | (hashes >> np.uint64((64 - bits) % 64))
        pairs.append(_near_pairs(tiny, np.argsort(turned, kind="stable"), NEXT_BY_HASH))
    found = np.concatenate(pairs)
    swapped = ranks[found[:, 0]] > ranks[found[:, 1]]
    found[swapped] = found[swapped, ::-1]
    found = np.unique(found, axis=0)
    found = found[np.lexsort((ranks[found[:, 0]], ranks[found[:, 1]]))]
    for earlier, later in found.tolist():
        if leader[later] != later:
            continue
        first = int(leader[earlier])
        if first == earlier or are_alike(tiny[first], tiny[later]):
            leader[later] = first
    return leader


def group_duplicates(leader: np.ndarray) -> list[np.ndarray]:
    """The groups of two and more, the largest first; of each, the face that stays comes first."""
    order = np.argsort(leader, kind="stable")
    starts = np.flatnonzero(np.diff(leader[order], prepend=-1))
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    groups.sort(key=lambda group: -len(group))
    return [np.concatenate([leader[group[:1]], group[group != leader[group[0]]]]) for group in groups]


def are_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two tiny pictures are next to identical."""
    gap = cv2.absdiff(one, other)
    return bool(gap.mean() <= MEAN_LIMIT and gap.max() <= LARGEST_LIMIT)


def difference_hashes(tiny: np.ndarray) -> np.ndarray:
    """(N,) uint64: for each of 8 x 8 places whether the picture gets brighter to the right (dHash)."""
    bits = np.empty((len(tiny), 64), bool)
    for index, picture in enumerate(tiny):
        small = cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA)
        bits[index] = (small[:, 1:] > small[:, :-1]).ravel()
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _near_pairs(tiny: np.ndarray, order: np.ndarray, reach: int) -> np.ndarray:
    """(K, 2) pairs of alike faces that are at most `reach` apart in an order."""
    found = [np.zeros((0, 2), np.int64)]
    for step in range(1, min(reach, len(order) - 1) + 1):
        for start in range(0, len(order) - step, _BLOCK):
            one = order[start : min(start + _BLOCK, len(order) - step)]
            other = order[start + step : start + step + len(one)]
            gaps = np.abs(tiny[one].astype(np.int16) - tiny[other])
            alike = (gaps.mean(axis=(1, 2)) <= MEAN_LIMIT) & (gaps.max(axis=(1, 2)) <= LARGEST_LIMIT)
            found.append(np.column_stack([one[alike], other[alike]]))
    return np.concatenate(found)


def order_in_time(persons: Sequence[str], sources: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
    """(N,) indices by person, source frame and name."""
    keys = [(person, source or "", name) for person, source, name in zip(persons, sources, names)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)

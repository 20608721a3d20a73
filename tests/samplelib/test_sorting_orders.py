"""Chains, sums of distances and the choice of the best equal DFL's definitions, worked out plainly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplelib.sorting import chains
from samplelib.sorting.best import choose_best
from samplelib.sorting.persons import group_persons


def compare(one, other):
    return cv2.compareHist(one, other, cv2.HISTCMP_BHATTACHARYYA)


def plain_chain(counts):
    """DFL's: swap the nearest of the rest behind the last."""
    order = list(range(len(counts)))
    for last in range(len(order) - 1):
        rest = range(last + 1, len(order))
        scores = [sum(map(compare, counts[order[last]], counts[order[k]])) for k in rest]
        nearest = last + 1 + int(np.argmin(scores))
        order[last + 1], order[nearest] = order[nearest], order[last + 1]
    return order


def photos(count, seed, like=0.0):
    """Random smooth pictures; `like` mixes in one common picture."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (8, 8, 3))
    parts = [
        (like * base + (1 - like) * rng.integers(0, 256, (8, 8, 3))).astype(np.uint8) for _ in range(count)
    ]
    return [cv2.resize(part, (48, 48), interpolation=cv2.INTER_CUBIC) for part in parts]


@pytest.mark.parametrize("count, like", [(1, 0), (2, 0), (3, 0), (60, 0), (60, 0.95)])
def test_histogram_chain_is_dfls(count, like):
    counts = np.stack([chains.colour_histograms(image) for image in photos(count, count, like)])
    assert chains.histogram_chain(counts).tolist() == plain_chain(counts)


def test_histogram_chain_keeps_equal_pictures_together():
    images = photos(5, 0)
    counts = np.stack([chains.colour_histograms(image) for image in [*images, *images, *images]])
    order = chains.histogram_chain(counts) % 5
    assert np.count_nonzero(np.diff(order)) == 4


@settings(max_examples=30)
@given(st.integers(3, 40), st.integers(0, 1000), st.integers(1, 200))
def test_histogram_chain_of_sparse_counts(count, seed, pixels):
    """Few pixels give many equal distances and disjoint histograms: each step must still be a nearest one."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(pixels, np.full(256, 1 / 256), (count, 3)).astype(np.float32)
    order = chains.histogram_chain(counts)
    assert sorted(order) == list(range(count)) and order[0] == 0
    for last in range(count - 1):
        scores = [sum(map(compare, counts[order[last]], counts[k])) for k in order[last + 1 :]]
        assert scores[0] == pytest.approx(min(scores), abs=1e-6)


@pytest.mark.parametrize("rows", [3000, 4])
def test_dissimilarity_is_the_sum_of_all_distances(rows, monkeypatch):
    monkeypatch.setattr(chains, "_EXACT_ROWS", rows)
    monkeypatch.setattr(chains, "_BLOCK", 7)
    counts = np.stack([chains.grey_histogram(image[..., 0].copy()) for image in photos(45, 3, 0.5)])
    plain = [
        sum(compare(one, other) for j, other in enumerate(counts) if j != i) for i, one in enumerate(counts)
    ]
    np.testing.assert_allclose(chains.dissimilarity(counts), plain, rtol=1e-9 if rows == 3000 else 1e-4)


@pytest.mark.parametrize("similar", [True, False])
def test_difference_chain_takes_nearest_or_farthest(similar):
    pictures = np.stack(photos(30, 5)).reshape(30, -1)
    table = np.abs(pictures[:, None].astype(int) - pictures[None]).sum(axis=2)
    order, rest = [0], list(range(1, 30))
    while rest:
        order.append((min if similar else max)(rest, key=lambda k: table[order[-1], k]))
        rest.remove(order[-1])
    assert chains.difference_chain(pictures.copy(), similar).tolist() == order


def test_slices_are_dfls():
    assert [len(part) for part in chains.slices(45_000)] == [20_000, 20_000, 5_000]
    assert len(chains.slices(240_000)) == 12
    assert len(chains.slices(300_000)[0]) == int(300_000 / 11.9)


def plain_best(target, sharpness, yaws, pitches, histograms):
    """Reference section 5.2 word by word."""

    def binned(items, values, edges):
        piles = [[] for _ in edges]
        for item in items:
            above = [g for g in range(len(edges)) if values[item] >= edges[g]]
            piles[above[-1] if above else 0].append(item)
        return piles

    bins = binned(range(len(yaws)), -yaws, np.linspace(-1.2, 1.2, 128))
    share = round(target / 128)
    share += sum(max(0, share - len(pile)) for pile in bins) // 128
    chosen = []
    for pile in bins:
        pile = sorted(pile, key=lambda i: -sharpness[i])[: 10 * share]
        piles = []
        for part in binned(pile, pitches, np.linspace(-np.pi / 2, np.pi / 2, share)):
            unlike = {i: sum(compare(histograms[i], histograms[j]) for j in part if j != i) for i in part}
            piles.append(sorted(part, key=lambda i: -unlike[i]))
        taken = []
        while len(taken) < share and any(piles):
            for part in piles:
                if part and len(taken) < share:
                    taken.append(part.pop(0))
        chosen += taken
    return chosen


@pytest.mark.parametrize("target", [100, 300, 1000])
def test_best_faces_are_dfls(target):
    rng = np.random.default_rng(target)
    count = 700
    sharpness, yaws, pitches = rng.random(count), rng.normal(0, 0.3, count), rng.normal(0, 0.4, count)
    histograms = rng.random((count, 256)).astype(np.float32)
    chosen = choose_best(target, sharpness, yaws, pitches, histograms)
    assert chosen == plain_best(target, sharpness, yaws, pitches, histograms)
    assert len(set(chosen)) == len(chosen) < count


def test_a_small_target_takes_some_faces_all_the_same():
    yaws = np.linspace(-1, 1, 50)
    assert choose_best(10, np.ones(50), yaws, np.zeros(50), np.ones((50, 256), np.float32))


def test_persons_come_by_size_and_odd_ones_last():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 128))
    centres *= 0.9 / np.linalg.norm(centres, axis=1, keepdims=True)
    of = np.array([0] * 5 + [1] * 40 + [2] * 80)
    vectors = centres[of] + rng.normal(size=(len(of), 128)) * 0.02
    stranger = -centres.sum(axis=0, keepdims=True)
    shuffled = rng.permutation(len(of) + 1)
    everyone = np.concatenate([vectors, stranger])[shuffled]
    persons, odd = group_persons(everyone)
    names = np.append(of, 9)[shuffled]
    assert [set(names[faces]) for faces in persons] == [{2}, {1}, {0}]
    assert [len(faces) for faces in persons] == [80, 40, 5] and names[odd].tolist() == [9]
    assert group_persons(np.zeros((0, 128)))[0] == []

"""Faces next to identical."""

from __future__ import annotations

import numpy as np
import pytest

from samplelib.report.duplicates import are_alike, find_duplicates, group_duplicates, order_in_time
from samplelib.report.measure import TINY


@pytest.fixture
def noise() -> np.ndarray:
    """60 pictures that differ."""
    return np.random.default_rng(1).integers(20, 230, (60, TINY, TINY)).astype(np.uint8)


def test_copies_are_found_wherever_they_are(noise):
    noise[40], noise[59] = noise[3], noise[3]
    noise[59, 5, 5] += 3  # compressed once more
    noise[21] = noise[20]
    leader = find_duplicates(noise, np.arange(60))
    assert np.flatnonzero(leader != np.arange(60)).tolist() == [21, 40, 59]
    assert [group.tolist() for group in group_duplicates(leader)] == [[3, 40, 59], [20, 21]]


def test_the_first_in_time_stays(noise):
    noise[10] = noise[50]
    assert find_duplicates(noise, np.arange(60)[::-1])[10] == 50


def test_a_slow_movement_is_no_single_group():
    ramp = np.arange(200)[:, None, None] // 2 + np.zeros((TINY, TINY))
    tiny = ramp.astype(np.uint8)
    tiny[:, 0, 0] = 255
    leader = find_duplicates(tiny, np.arange(200))
    assert len(np.unique(leader)) == 100
    for face, first in enumerate(leader.tolist()):
        assert leader[first] == first
        assert are_alike(tiny[face], tiny[first])


@pytest.mark.parametrize("count", [0, 1])
def test_small_sets_have_none(count):
    leader = find_duplicates(np.zeros((count, TINY, TINY), np.uint8), np.arange(count))
    assert leader.tolist() == list(range(count))
    assert group_duplicates(leader) == []


def test_a_still_is_one_group():
    leader = find_duplicates(np.full((500, TINY, TINY), 9, np.uint8), np.arange(500))
    assert not leader.any()
    assert len(group_duplicates(leader)[0]) == 500


def test_a_blink_is_a_difference():
    open_eyes = np.full((TINY, TINY), 120, np.uint8)
    closed = open_eyes.copy()
    closed[8, 6:9] += 12
    assert not are_alike(open_eyes, closed)


def test_order_in_time_goes_by_person_frame_and_name():
    assert order_in_time(["", "", "b", ""], ["2", None, "0", "1"], ["x", "y", "z", "w"]).tolist() == [
        1,
        3,
        0,
        2,
    ]

"""Does the source hold what the destination shows?"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samplelib.report.coverage import (
    COVERED,
    ENOUGH,
    MISSING,
    NONE,
    REACH,
    THIN,
    count_near,
    cover_poses,
    cover_range,
)
from samplelib.report.measure import ROW

whole = st.integers(-90, 90)
poses = st.lists(st.tuples(whole, whole), min_size=1, max_size=40)


def rows(pairs) -> np.ndarray:
    table = np.zeros(len(pairs), ROW)
    if len(pairs):
        table["yaw"], table["pitch"] = np.array(pairs, np.float32).T
    return table


@given(poses, poses)
def test_counts_are_those_of_comparing_each_with_each(dst, src):
    one, other = np.array(dst), np.array(src)
    expected = (np.abs(one[:, None] - other[None]) <= REACH).all(axis=2).sum(axis=1)
    np.testing.assert_array_equal(count_near(*one.T, *other.T), expected)


@given(poses)
def test_a_set_covers_itself(pairs):
    found = cover_poses(rows(pairs), rows(pairs))
    assert found.missing == 0
    assert found.thin == int((found.near < ENOUGH).sum())


@given(poses, poses, poses)
def test_more_of_the_source_never_covers_less(dst, src, more):
    before, after = cover_poses(rows(src), rows(dst)), cover_poses(rows(src + more), rows(dst))
    assert (after.near >= before.near).all()
    assert after.missing <= before.missing
    assert (after.states >= before.states).all()


@given(poses, poses)
def test_mirroring_both_changes_nothing(dst, src):
    def mirrored(pairs):
        return [(-yaw, pitch) for yaw, pitch in pairs]

    here, there = cover_poses(rows(src), rows(dst)), cover_poses(rows(mirrored(src)), rows(mirrored(dst)))
    np.testing.assert_array_equal(here.near, there.near)
    np.testing.assert_array_equal(here.near_mirrored, there.near_mirrored)


@given(poses, poses)
def test_the_maps_hold_every_face_once(dst, src):
    found = cover_poses(rows(src), rows(dst))
    assert (found.dst.sum(), found.src.sum()) == (len(dst), len(src))
    assert (found.dst_missing.sum(), found.dst_thin.sum()) == (found.missing, found.thin)
    np.testing.assert_array_equal(found.states == NONE, found.dst == 0)
    assert not (found.dst_missing[found.states == COVERED]).any()
    assert (2 * found.dst_missing[found.states == MISSING] >= found.dst[found.states == MISSING]).all()


def test_known_poses():
    src = rows([(0, 0)] * ENOUGH + [(30, 0)] + [(-60, 10)])
    dst = rows([(3, -3), (33, 4), (60, 10), (-60, -40)])
    found = cover_poses(src, dst)
    assert found.near.tolist() == [ENOUGH, 1, 0, 0]
    assert (found.missing, found.thin, found.mirrored) == (2, 1, 1)
    assert found.states[9, 9] == COVERED
    assert found.states[9, 12] == THIN
    assert found.states[10, 15] == found.states[5, 3] == MISSING


@given(
    st.lists(st.floats(0, 255), min_size=1, max_size=20), st.lists(st.floats(0, 255), min_size=1, max_size=20)
)
def test_ranges(src, dst):
    found = cover_range(np.array(src), np.array([*dst, np.nan]), 5)
    assert found.known == len(dst)
    assert found.outside == sum(value < min(src) - 5 or value > max(src) + 5 for value in dst)


def test_a_range_of_nothing_covers_nothing_and_claims_nothing():
    found = cover_range(np.array([np.nan]), np.array([1.0]), 5)
    assert (found.known, found.outside) == (0, 0)

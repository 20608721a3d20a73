"""Counts, spreads, histograms and the words for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplelib.report.measure import ROW, TINY, FaceTable, StoredImage
from samplelib.report.statistics import (
    CELL,
    CELLS,
    common_edges,
    count,
    histogram,
    pose_cells,
    pose_counts,
    smaller_than,
    spread,
)
from samplelib.report.wording import counted, direction, percent, printable

numbers = st.lists(st.floats(-50, 50), max_size=30)


def test_frames_with_several_faces_are_counted_by_person():
    names = [("a", "1.png"), ("a", "1.png"), ("a", "2.png"), ("b", "1.png"), ("b", None)]
    table = FaceTable(
        items=[StoredImage(f"{person}/{n}", Path("x"), person=person) for n, (person, _) in enumerate(names)],
        rows=np.zeros(5, ROW),
        tiny=np.zeros((5, TINY, TINY), np.uint8),
        face_types=["head", "head", "full_face", "head", "head"],
        sources=[source for _, source in names],
        foreign={"x.png": "no face"},
        unreadable={"y.jpg": "cut short", "z.jpg": "empty"},
    )
    counts = count(table)
    assert (counts.images, counts.faces, counts.foreign, counts.unreadable) == (8, 5, 1, 2)
    assert (counts.frames, counts.crowded, counts.in_crowds, counts.without_source) == (3, 1, 2, 1)
    assert counts.face_types == {"head": 4, "full_face": 1}
    assert counts.persons == {"a": 3, "b": 2}


def test_spread_of_none_one_and_unknown():
    assert spread(np.zeros(0)).count == 0
    one = spread(np.array([3.0, np.nan]))
    assert (one.count, one.low, one.median, one.high) == (1, 3, 3, 3)


@given(numbers, numbers, st.floats(0.01, 40))
def test_every_known_value_falls_into_its_bin(one, other, least):
    parts = [np.array([*one, np.nan]), np.array(other)]
    edges = common_edges(parts, 24, -50, 50, least)
    assert (np.diff(edges) > 0).all() and 1 <= len(edges) - 1 <= 26
    for part in parts:
        known = part[np.isfinite(part)]
        counts = histogram(part, edges)
        assert len(counts) == len(edges) - 1 and counts.sum() == len(known)
        if len(known):
            assert edges[0] - 1e-5 <= known.min() and known.max() <= edges[-1] + 1e-5


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-90, 90)), max_size=30))
def test_cells_hold_all_faces_and_lie_round_their_angle(poses):
    yaw, pitch = np.array(poses).reshape(-1, 2).T
    assert pose_counts(yaw, pitch).sum() == len(poses)
    assert (np.abs(CELL * pose_cells(yaw) - 90 - yaw) <= CELL / 2 + 1e-9).all()


def test_straight_ahead_is_the_middle_cell():
    counts = pose_counts(np.array([0.0, 12]), np.array([0.0, -11]))
    assert counts[CELLS // 2, CELLS // 2] == 1
    assert counts[CELLS // 2 - 1, CELLS // 2 + 1] == 1


def test_unknown_sizes_are_not_small():
    assert smaller_than(np.array([100, 200, np.nan]), (128, 200, 256)) == {128: 1, 200: 1, 256: 2}


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 5000, "under 1 %"), (4999, 5000, "over 99 %"), (9, 9, "100 %")],
)
def test_percent_never_claims_none_or_all_wrongly(part, whole, words):
    assert percent(part, whole) == words


def test_words():
    assert (counted(1, "face"), counted(0, "face"), counted(1200, "face")) == (
        "1 face",
        "0 faces",
        "1,200 faces",
    )
    assert direction(2, -3) == "straight ahead"
    assert direction(40, 20) == "about 40° to the viewer's left and about 20° up"
    assert direction(-40, -20) == "about 40° to the viewer's right and about 20° down"


def test_names_cannot_turn_the_writing_round():
    assert printable("a\u202egpj.jpg\n\udcff") == "a\\u202egpj.jpg\\n\\udcff"

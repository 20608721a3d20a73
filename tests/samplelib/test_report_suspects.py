"""Faces that may not belong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.interact.progress import Progress
from facelib.dlib_models import available
from samplelib.report import suspects
from samplelib.report.measure import ROW, TINY, FaceTable, StoredImage
from samplelib.report.suspects import FEWEST, by_landmarks, find_suspects


def table(count: int, persons: list[str] | None = None) -> FaceTable:
    rng = np.random.default_rng(0)
    rows = np.zeros(count, ROW)
    rows["landmark_error"] = rng.uniform(0.04, 0.09, count)
    items = [StoredImage(f"{n}.jpg", Path("x"), person=persons[n] if persons else "") for n in range(count)]
    tiny = np.zeros((count, TINY, TINY), np.uint8)
    return FaceTable(items, rows, tiny, ["head"] * count, [None] * count)


def people(*counts: int) -> np.ndarray:
    """Embeddings of so many faces of each of several people."""
    rng = np.random.default_rng(2)
    middles = rng.normal(0, 1, (len(counts), 128))
    middles *= 0.6 / np.linalg.norm(middles, axis=1, keepdims=True)
    noise = rng.normal(0, 0.2 / np.sqrt(128), (sum(counts), 128))
    return (np.repeat(middles, counts, axis=0) + noise).astype(np.float32)


def test_a_clean_set_has_no_suspects():
    found = find_suspects(table(40), people(40))
    assert found.suspects == []
    assert "40 of 40" in found.method


def test_other_people_and_loners_are_suspected():
    found = find_suspects(table(46), people(40, 5, 1))
    assert sorted(one.index for one in found.suspects) == [40, 41, 42, 43, 44, 45]
    reasons = {one.index: one.reason for one in found.suspects}
    assert "another person, with 5 faces" in reasons[40]
    assert "unlike the others" in reasons[45]


def test_persons_are_judged_each_for_itself():
    names = ["a"] * 20 + ["b"] * 20
    assert find_suspects(table(40, names), people(20, 20)).suspects == []


def test_few_faces_accuse_nobody():
    found = find_suspects(table(FEWEST - 1), people(*[1] * (FEWEST - 1)))
    assert found.suspects == []
    assert "strangers cannot be told" in found.method
    assert find_suspects(table(0), people()).suspects == []


def test_without_dlib_the_page_says_so():
    found = find_suspects(table(20), None, "Install it.")
    assert found.embedded == 0
    assert "other people cannot be told" in found.method and "Install it." in found.method


def test_unknown_embeddings_do_not_hurt():
    vectors = people(40)
    vectors[::2] = np.nan
    found = find_suspects(table(40), vectors)
    assert found.suspects == [] and "20 of 40" in found.method


def test_landmarks_that_make_no_head_crop_or_pose():
    rows = table(50).rows
    rows["landmark_error"][7], rows["misfit"][8], rows["pitch"][9] = 0.4, 0.3, -70
    found = {one.index: one.reason for one in by_landmarks(rows)}
    assert found == {
        7: "its landmarks make no head",
        8: "its landmarks do not fit its crop",
        9: "looks down by 70°",
    }


def test_one_face_is_judged_by_fixed_limits():
    rows = table(1).rows
    assert by_landmarks(rows) == []
    rows["landmark_error"] = 1.5
    assert by_landmarks(rows) == []  # it is its own median: nothing to compare with


def test_a_large_set_is_sampled_and_looked_at_again_round_the_odd_ones(monkeypatch):
    known, asked = people(600), []
    known[301:321] = people(1, 20)[1:]  # a stranger walks through

    def embed(vectors, table, faces, watch):
        asked.append(faces)
        vectors[faces] = known[faces]

    monkeypatch.setattr(suspects, "MOST_EMBEDDED", 150)
    monkeypatch.setattr(suspects, "_load", lambda: None)
    monkeypatch.setattr(suspects, "_embed_into", embed)
    big = table(600)
    vectors = suspects.embed_some(big, np.arange(600), None)
    assert [len(faces) for faces in asked] == [100, 50]
    assert np.isfinite(vectors).all(axis=1).sum() == 150
    found = find_suspects(big, vectors)
    assert sorted(one.index for one in found.suspects) == list(range(301, 321))
    assert "150 of 600" in found.method


def test_dlib_tells_drawn_people_from_nothing(make_faceset):
    if not available():
        pytest.skip("dlib is not installed")
    paths = sorted(make_faceset(3).iterdir())
    items = [StoredImage(path.name, path) for path in [*paths, Path("gone.jpg")]]
    vectors = suspects.embed_some(replace(table(4), items=items), np.arange(4), Progress)
    assert np.isfinite(vectors).all(axis=1).tolist() == [True, True, True, False]

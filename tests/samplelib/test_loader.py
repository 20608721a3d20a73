"""Batches depend on their index alone, deal every face once per epoch, and survive files that go bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facelib
import samplelib.loader as loader_module
from core.errors import SampleError
from samplelib import AugmentOptions, BatchLoader, Faceset, SampleRequest, SampleSpec
from samplelib.deck import BatchStarts, BinDeck, Deck, deal
from samplelib.yaw import yaw_bins

SPECS = (
    SampleSpec("warped", warp=True, hsv=True, color_transfer=True),
    SampleSpec("target", color_transfer=True),
    SampleSpec("mask", "mask"),
)


def request_for(batch_size=4, face_type="full_face", **augment):
    return SampleRequest(SPECS, 64, face_type, batch_size, AugmentOptions(**augment))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.fixture
def faceset(make_faceset):
    return Faceset.open(make_faceset(7, size=128))


@pytest.mark.parametrize("dfl", [False, True])
def test_a_batch_depends_on_its_index_alone(faceset, dfl):
    request = request_for(flip=True, hsv_power=0.3, color_jitter=0.4, dfl_warp=dfl)
    with BatchLoader(faceset, request, 5, 0, workers=0) as alone:
        expected = {index: alone.get(index) for index in range(12)}
    with BatchLoader(faceset, request, 5, 0, workers=3, prefetch=5) as ahead:
        for index in range(12):
            assert_same(ahead.get(index), expected[index])
    with BatchLoader(faceset, request, 5, 0, workers=2, cache_bytes=0) as jumping:
        for index in (7, 3, 3, 11, 0, 8):
            assert_same(jumping.get(index), expected[index])


def test_seed_side_and_index_each_change_the_batch(faceset):
    request = request_for()
    batches = [
        BatchLoader(faceset, request, seed, side, workers=0).get(index)["target"]
        for seed, side, index in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))
    ]
    for i, first in enumerate(batches):
        for second in batches[i + 1 :]:
            assert np.abs(first - second).max() > 0.05


def test_movements_grow_with_the_batch_number(faceset):
    request = replace(request_for(rotation=(9, 10)), augment_share=lambda index: min(1.0, index / 10))
    still = request_for(transform=False)
    differences = []
    for index in (0, 5, 10):
        moved, rest = (
            BatchLoader(faceset, r, 3, 0, workers=0).get(index)["warped"] for r in (request, still)
        )
        differences.append(np.abs(moved - rest).mean())
    assert differences[0] < 1e-3 < differences[1] < differences[2]
    full = BatchLoader(faceset, request_for(rotation=(9, 10)), 3, 0, workers=0)
    assert_same(full.get(10), BatchLoader(faceset, request, 3, 0, workers=0).get(10))


def test_arrays_are_as_promised(faceset):
    with BatchLoader(faceset, request_for(), 1, 0) as loader:
        batch = loader.get(0)
        assert loader.waited_seconds > 0
    assert list(batch) == ["warped", "target", "mask"]
    for name, channels in (("warped", 3), ("target", 3), ("mask", 1)):
        array = batch[name]
        assert array.shape == (4, 64, 64, channels) and array.dtype == np.float32
        assert array.flags.c_contiguous and array.min() >= 0 and array.max() <= 1


@given(st.integers(0, 2**40), st.integers(0, 1), st.integers(1, 50), st.integers(0, 5))
def test_every_epoch_deals_each_face_once(seed, side, count, epoch):
    deck = Deck(seed, side, count)
    cards = [deck.card(epoch * count + place) for place in range(count)]
    assert sorted(cards) == list(range(count))
    np.testing.assert_array_equal(cards, deal(seed, side, epoch, count))
    skipped = [deck.card(epoch * count, skip) for skip in range(count)]
    assert skipped == cards


def test_epochs_differ():
    orders = {tuple(deal(1, 0, epoch, 30)) for epoch in range(20)}
    assert len(orders) == 20


@given(st.integers(0, 2**40), st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 30))
def test_bins_are_dealt_evenly_and_so_are_the_faces_in_each(seed, bins, first):
    bins = np.array(bins)
    names, sizes = np.unique(bins, return_counts=True)
    deck, rounds = BinDeck(seed, 1, bins), int(sizes.max())
    cards = np.array([deck.card(first * len(names) + place) for place in range(rounds * len(names))])
    for turn in cards.reshape(rounds, -1):
        assert sorted(bins[turn]) == list(names)
    for name, size in zip(names, sizes):
        seen = [
            deck.card((first * size + turn) * len(names) + p)
            for turn in range(size)
            for p in range(len(names))
        ]
        assert sorted(card for card in seen if bins[card] == name) == list(np.flatnonzero(bins == name))
    assert sorted(deck.card(first, skip) for skip in range(len(bins))) == list(range(len(bins)))
    assert [deck.card(first + 3)] == [BinDeck(seed, 1, bins).card(first + 3)]  # nothing before it was asked


def test_uniform_yaw_shows_rare_directions_as_often_as_common_ones(make_faceset, draw_face):
    """19 faces look ahead, 2 aside: each direction fills a third of the samples."""
    folder = make_faceset(0)
    for number in range(21):
        yaw = {19: 0.5, 20: -0.5}.get(number, 0.0)
        facelib.write_face(folder / f"{number:05}.jpg", *draw_face(64, "full_face", number, yaw))
    faceset = Faceset.open(folder)
    assert len(np.unique(yaw_bins(faceset.yaws()))) == 3
    request = replace(request_for(6, transform=False), uniform_yaw=True)
    loader = BatchLoader(faceset, request, 1, 0, workers=0)
    aside = [BatchLoader(faceset, request_for(1), 1, 0, workers=0)._faces.get(key) for key in (19, 20)]
    drawn = [loader._faces.get(loader._deck.card(position)) for position in range(60)]
    for face in aside:
        assert sum(np.array_equal(face.landmarks, other.landmarks) for other in drawn) == 20
    assert_same(loader.get(9), BatchLoader(faceset, request, 1, 0, workers=2).get(9))


def test_yaws_beyond_the_bins_belong_to_the_outermost():
    np.testing.assert_array_equal(
        yaw_bins(np.array([-1.5, -1.2, 0.0, 1.1999, 1.2, 1.5])), [0, 0, 64, 127, 127, 127]
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 29))
def test_growing_batches_leave_no_face_out(sizes, index):
    def size_of(i):
        return sizes[i % len(sizes)]

    starts = BatchStarts(size_of, None)
    assert starts.start(index) == sum(size_of(i) for i in range(index))
    assert BatchStarts(lambda _: 3, 3).start(index) == 3 * index


def test_a_batch_may_grow_with_its_index(faceset):
    request = request_for(batch_size=lambda index: 2 if index < 2 else 5)
    with BatchLoader(faceset, request, 1, 0) as loader:
        assert [len(loader.get(index)["mask"]) for index in range(4)] == [2, 2, 5, 5]


def test_a_face_gone_bad_is_replaced_with_one_warning(make_faceset, caplog):
    folder = make_faceset(5, size=128)
    faceset = Faceset.open(folder)
    (folder / "00002_0.jpg").unlink()
    (folder / "00003_0.jpg").write_bytes((folder / "00003_0.jpg").read_bytes()[:2000])
    with BatchLoader(faceset, request_for(), 1, 0, workers=2) as loader:
        batches = [loader.get(index) for index in range(8)]
    assert all(np.isfinite(batch["target"]).all() for batch in batches)
    for name in ("00002_0.jpg", "00003_0.jpg"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1
    with BatchLoader(faceset, request_for(), 1, 0, workers=0) as again:
        assert_same(again.get(3), batches[3])


def test_all_faces_gone_is_one_clear_error(make_faceset):
    folder = make_faceset(2, size=64)
    faceset = Faceset.open(folder)
    for path in folder.iterdir():
        path.unlink()
    with BatchLoader(faceset, request_for(), 1, 0) as loader, pytest.raises(SampleError, match="can be read"):
        loader.get(0)


def test_faces_that_show_too_little_are_refused(make_faceset, caplog):
    half = Faceset.open(make_faceset(2, size=64, face_type="half_face", name="half"))
    with pytest.raises(SampleError, match="are half_face, the model needs full_face or wider"):
        BatchLoader(half, request_for(), 1, 0)
    whole = Faceset.open(make_faceset(2, size=64, name="whole"))
    mixed = Faceset(whole.path, whole.samples + half.samples, {})
    BatchLoader(mixed, request_for(), 1, 0, workers=0).get(0)
    assert "2 faces show less than full_face" in caplog.text


def test_a_sample_that_is_no_number_is_replaced_with_one_warning(faceset, caplog, monkeypatch):
    bad = faceset[3].name
    render = loader_module.render_face

    def poison(face, draw, request, out, slot, colored=None):
        render(face, draw, request, out, slot, colored)
        if np.array_equal(face.landmarks, spoiled):
            out["target"][slot, 5, 5] = np.nan

    whole = BatchLoader(faceset, request_for(7), 1, 0, workers=0)
    spoiled = whole._faces.get(3).landmarks
    expected = whole.get(0)
    monkeypatch.setattr(loader_module, "render_face", poison)
    with BatchLoader(faceset, request_for(7), 1, 0, workers=2) as loader:
        batches = [loader.get(index) for index in range(3)]
    assert all(np.isfinite(array).all() for batch in batches for array in batch.values())
    same = [np.array_equal(a, b) for a, b in zip(batches[0]["target"], expected["target"])]
    assert same.count(False) == 1
    assert [bad in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("mode", ["rct", "lct", "mkl", "idt", "sot"])
@pytest.mark.parametrize("dfl", [False, True])
def test_colour_transfer_is_the_same_for_input_and_target(make_faceset, mode, dfl):
    src, dst = (Faceset.open(make_faceset(3, size=64, name=name)) for name in ("src", "dst"))
    still = {"transform": False, "warp_strength": 0.0, "dfl_warp": dfl}
    plain = BatchLoader(src, request_for(2, **still), 1, 0, workers=0).get(0)
    request = request_for(2, ct_mode=mode, **still)
    colored = BatchLoader(src, request, 1, 0, workers=0, reference=dst).get(0)
    if not dfl:  # whose warp cannot be turned down
        np.testing.assert_allclose(colored["warped"], colored["target"], atol=0.02)
    np.testing.assert_array_equal(colored["mask"], plain["mask"])
    assert np.abs(colored["target"] - plain["target"]).max() > 0.02
    assert_same(BatchLoader(src, request, 1, 0, workers=0, reference=dst).get(0), colored)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_late_batches_need_no_early_ones(tmp_path_factory, draw_face, index):
    folder = tmp_path_factory.mktemp("faces")
    facelib.write_face(folder / "a.jpg", *draw_face(64, "whole_face", 1))
    loader = BatchLoader(Faceset.open(folder), request_for(), 1, 0, workers=0)
    assert loader.get(index)["mask"].shape == (4, 64, 64, 1)

"""Linking faces over frames: crossings, cuts, gaps, strangers, and how long it takes."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelib.detected import DetectedFace
from facelib.embedding import EmbeddingPlan
from facelib.landmarks import MEAN_HEAD_3D
from facelib.shots import CutFinder, picture_signature
from facelib.tracking import FrameFaces, Linker, drop_short, fill_gaps, keep_largest, link

SHAPE = MEAN_HEAD_3D[:, :2] / 150


def face(x: float, y: float = 300, width: float = 120) -> DetectedFace:
    points = (SHAPE * width + (x, y)).astype(np.float32)
    half = width / 2
    return DetectedFace((int(x - half), int(y - half), int(x + half), int(y + half)), points, 0.9)


def somebody(number: int) -> np.ndarray:
    """An embedding: as far from others' as dlib's, 0.8 or so."""
    row = np.random.default_rng(1000 + number).normal(size=128)
    return 0.58 * row / np.linalg.norm(row)


def frame(index: int, *people: tuple[int, float], known: bool = True, **more) -> FrameFaces:
    """People (who, x) in a frame; embeddings tremble by 0.2, as dlib's do."""
    rng = np.random.default_rng(index)
    rows = np.array([somebody(who) + rng.normal(size=128) * 0.2 / np.sqrt(128) for who, _ in people])
    return FrameFaces(index, [face(x) for _, x in people], rows if known and people else None, **more)


def whereabouts(track) -> list[float]:
    return [float(f.landmarks[:, 0].mean()) for f in track.faces]


def owners(tracks, truth) -> list[set[int]]:
    """Who is in each track, by `truth(frame) -> {who: x}`."""
    middle = SHAPE[:, 0].mean() * 120
    result = []
    for track in tracks:
        people = set()
        for index, x in zip(track.frames, whereabouts(track), strict=True):
            places = truth(int(index))
            people.add(min(places, key=lambda who: abs(places[who] + middle - x)))
        result.append(people)
    return result


@pytest.mark.parametrize("known", [False, True])
def test_still_and_walking_faces_are_one_track_each(known):
    tracks = link(frame(t, (0, 200), (1, 500 + 15 * t), known=known) for t in range(40))
    assert [track.seen for track in tracks] == [40, 40]
    assert [track.id for track in tracks] == [0, 1]
    assert owners(tracks, lambda t: {0: 200, 1: 500 + 15 * t}) == [{0}, {1}]
    assert (tracks[0].embedding is not None) == known
    if known:
        assert np.linalg.norm(tracks[1].embedding - somebody(1)) < 0.1


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("hidden", [0, 3, 6])
def test_people_who_pass_each_other_stay_apart(known, hidden):
    """0 walks to the right in front of 1, who is not found for `hidden` frames on either side."""

    def places(t: int) -> dict[int, float]:
        return {0: 100 + 12 * t, 1: 826 - 12 * t}

    def people(t: int) -> list[tuple[int, float]]:
        xs = places(t)
        return [(0, xs[0])] if abs(t - 30) <= hidden - 1 else sorted(xs.items(), key=lambda pair: pair[1])

    tracks = link((frame(t, *people(t), known=known) for t in range(60)), max_gap=15)
    assert all(len(people) == 1 for people in owners(tracks, places))
    assert len(tracks) == 2


def test_a_swap_by_a_cut_needs_embeddings_or_a_signature():
    def places(t: int) -> dict[int, float]:
        return {0: 200, 1: 500} if t < 20 else {0: 500, 1: 200}

    dark, light = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 200, np.uint8)
    for known, seen in ((True, False), (False, True)):
        tracks = link(
            frame(t, *places(t).items(), known=known, signature=(dark if t < 20 else light) if seen else None)
            for t in range(40)
        )
        assert len(tracks) == 4
        assert all(len(people) == 1 for people in owners(tracks, places))


def test_faces_since_the_last_embedding_are_parted_from_a_track_that_proves_wrong():
    """The person changes at frame 17; embeddings come every fifth frame, 15 and 20."""
    frames = [frame(t, (int(t >= 17), 300), known=t % 5 == 0) for t in range(40)]
    tracks = link(frames)
    assert [track.frames.tolist() for track in tracks] == [
        [*range(16)],
        [*range(16, 20)],
        [*range(20, 40)],
    ]
    assert tracks[1].embedding is None


@pytest.mark.parametrize("missing", [1, 4, 10, 11])
def test_gaps_are_bridged_up_to_the_longest(missing):
    frames = [frame(t, (0, 200 + 5 * t), known=False) for t in range(40) if not 15 <= t < 15 + missing]
    tracks = link(frames, max_gap=10)
    assert len(tracks) == (1 if missing <= 10 else 2)
    filled = fill_gaps(tracks, 10)
    if missing <= 10:
        track = filled[0]
        assert track.frames.tolist() == list(range(40))
        assert track.filled == [15 <= t < 15 + missing for t in range(40)]
        assert track.seen == 40 - missing and track.picks[15] == -1
        np.testing.assert_allclose(np.diff(whereabouts(track)), 5, atol=0.01)
        assert fill_gaps(tracks, missing - 1)[0].seen == len(fill_gaps(tracks, missing - 1)[0].frames)


def test_a_gap_is_not_filled_with_somebody_else():
    """1 passes in front of 0 who is not found meanwhile: a picture of 1 must not become one of 0."""
    frames = []
    for t in range(40):
        people = [(1, 20 * t)]
        if not 17 <= t < 24:
            people.append((0, 400))
        frames.append(frame(t, *people))
    sitting = next(track for track in fill_gaps(link(frames)) if 0 in track.frames and track.picks[0] == 1)
    assert np.linalg.norm(sitting.embedding - somebody(0)) < 0.1
    for index in set(range(17, 24)) & set(sitting.frames.tolist()):
        assert abs(20 * index - 400) > 60


def test_short_tracks_are_dropped_by_what_was_seen():
    tracks = link(frame(t, (0, 200), *([(1, 600)] if t in (5, 8) else [])) for t in range(20))
    filled = fill_gaps(tracks)
    assert [track.seen for track in filled] == [20, 2]
    assert len(filled[1].frames) == 4
    assert len(drop_short(filled, 2)) == 2
    assert [track.id for track in drop_short(filled, 3)] == [0]


def test_the_largest_faces_of_each_frame_are_kept():
    frames = []
    for t in range(20):
        faces = [face(200, width=100), face(600, width=120 if t < 8 else 90)]
        frames.append(FrameFaces(t, faces if t < 15 else faces[:1]))
    tracks = link(frames)
    assert keep_largest(tracks, 0) == tracks
    assert [len(track.frames) for track in keep_largest(tracks, 2)] == [20, 15]
    left, right = keep_largest(tracks, 1)
    assert (left.frames.tolist(), right.frames.tolist()) == (list(range(8, 20)), list(range(8)))
    assert len(left.faces) == left.seen == len(left.picks) == 12
    assert [track.id for track in keep_largest([tracks[0]], 1)] == [0]


def test_frames_out_of_order_and_rows_that_do_not_fit_are_refused():
    linker = Linker()
    linker.add(frame(3, (0, 200)))
    with pytest.raises(ValueError, match="frame 3 came after frame 3"):
        linker.add(frame(3, (0, 200)))
    with pytest.raises(ValueError, match="1 faces"):
        linker.add(FrameFaces(4, [face(200)], np.zeros((2, 128))))


def test_finished_tracks_can_be_taken_early():
    linker, ended = Linker(max_gap=2), []
    for t in range(30):
        ended += linker.add(frame(t, *([(0, 200)] if t < 10 else [(1, 800)])))
    assert [track.seen for track in ended] == [10]
    assert [track.seen for track in linker.finish()] == [20]


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1500), max_size=4), max_size=25), st.booleans())
def test_every_face_is_in_one_track_once(rows, known):
    frames = [frame(t, *enumerate(xs), known=known) for t, xs in enumerate(rows)]
    tracks = link(frames)
    found = sorted((int(t), pick) for track in tracks for t, pick in zip(track.frames, track.picks))
    assert found == [(t, number) for t, xs in enumerate(rows) for number in range(len(xs))]
    for track in fill_gaps(tracks):
        assert (np.diff(track.frames) > 0).all()
        assert len(track.frames) == len(track.faces) == len(track.filled) == len(track.picks)


def test_a_cut_is_seen_and_a_moving_camera_is_none():
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 255, (6, 20, 3), np.uint8), (400, 90), interpolation=cv2.INTER_CUBIC)
    cuts, finder = [], CutFinder()
    for t in range(60):
        shift = round(0.03 * max(0, t - 20) ** 2)  # the camera begins to pan
        picture = wall[:, shift : shift + 160] if t < 50 else 255 - wall[:, :160]
        cuts.append(finder.is_cut(picture_signature(picture)))
    assert cuts.index(True) == 50 and sum(cuts) == 1
    assert not finder.is_cut(None)


def test_a_sudden_movement_is_one_cut_at_most():
    """A still picture that begins to move at full speed, as after a cut into a chase."""
    wall = np.random.default_rng(0).integers(0, 255, (6, 60, 3), np.uint8)
    wall = cv2.resize(wall, (1200, 90), interpolation=cv2.INTER_CUBIC)
    finder, cuts = CutFinder(), []
    for t in range(60):
        shift = 0 if t < 20 else 15 * (t - 20)
        picture = wall[:, shift : shift + 160] if t < 50 else 255 - wall[:, :160]
        cuts.append(finder.is_cut(picture_signature(picture)))
    assert sum(cuts[:50]) <= 1 and np.argmax(cuts[:50]) == 21
    assert not any(cuts[51:])


def test_the_plan_embeds_newcomers_neighbours_and_all_now_and_then():
    plan, asked = EmbeddingPlan(every=5), []
    for t in range(30):
        asked.append(plan.choose(frame(t, (0, 100), (1, 900 if t < 20 else 250))))
    assert asked[:6] == [[0, 1], [], [], [], [], [0, 1]]
    assert asked[20:] == [[0, 1]] * 10


def test_the_plan_costs_little_and_loses_nothing():
    def places(t: int) -> dict[int, float]:
        return {0: 100 + 12 * t, 1: 826 - 12 * t}

    plan, frames, asked = EmbeddingPlan(), [], 0
    for t in range(60):
        whole = frame(t, *places(t).items())
        chosen = plan.choose(whole)
        rows = np.full_like(whole.embeddings, np.nan)
        rows[chosen] = whole.embeddings[chosen]
        asked += len(chosen)
        frames.append(FrameFaces(t, whole.faces, rows))
    assert owners(link(frames), places) == [{0}, {1}]
    assert asked < 70


def test_ten_thousand_frames_take_seconds():
    places = [(0, 200.0), (1, 600.0), (2, 1000.0)]
    faces = [[face(x + 40 * np.sin(t / 30)) for _, x in places] for t in range(500)]
    frames = [FrameFaces(t, faces[t % 500], None) for t in range(10_000)]
    start = time.perf_counter()
    tracks = link(frames)
    assert time.perf_counter() - start < 30  # 2 s on an idle core
    assert [track.seen for track in tracks] == [10_000] * 3

"""Which faces belong to which frame, and how they move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SwapError
from merger.frames import AlignedFace, FrameFaces, match_faces, name_ranges, with_motion
from merger.merge_face import FrameFace


def faces(landmarks, *sources: str | None) -> list[AlignedFace]:
    return [AlignedFace(f"{i}.jpg", source, landmarks(50, 50)) for i, source in enumerate(sources)]


def test_faces_find_their_frame_by_stem(landmarks):
    frames = [Path("in") / name for name in ("00001.png", "00002.jpg", "00003.png")]
    sources = ("00002.png", "00001.png", "00002.png", r"C:\data_dst\00003.jpg")
    matching = match_faces(frames, faces(landmarks, *sources))
    assert [len(frame.faces) for frame in matching.frames] == [1, 2, 1]
    assert [frame.path for frame in matching.frames] == frames
    assert matching.with_several == [1] and not matching.without_face


def test_what_finds_no_partner_is_listed(landmarks):
    matching = match_faces(
        [Path("a.png"), Path("b.png")], faces(landmarks, "b.png", "gone.png", "gone.png", None)
    )
    assert matching.without_frame == ["gone.png"]
    assert matching.without_source == ["3.jpg"]
    assert matching.without_face == [0]


@pytest.mark.parametrize(
    "name", ["a b.png", "12:30.png", "c:x.png", r"back\slash.png", "../up.png", "ü\n.png", "..png"]
)
def test_hostile_names_match_themselves_only(landmarks, name):
    frame = Path("in") / Path(name).name
    matching = match_faces([frame, Path("in/other.png")], faces(landmarks, Path(name).name))
    assert [len(entry.faces) for entry in matching.frames] == [1, 0]


def test_frames_of_one_stem_are_refused(landmarks):
    with pytest.raises(SwapError, match=r"a\.png.*a\.jpg"):
        match_faces([Path("a.jpg"), Path("a.png")], [])


def test_ranges_of_names():
    names = [f"{n:03}" for n in range(100)]
    assert name_ranges(names, [3, 4, 5, 9, 20, 21]) == "003-005, 009, 020-021"
    assert name_ranges(names, range(0, 100, 2), limit=2) == "000, 002, and 48 more places"
    assert name_ranges(names, []) == ""


@given(st.sets(st.integers(0, 30)))
def test_ranges_cover_each_name_once(chosen):
    names = [f"{n:02}" for n in range(31)]
    text = name_ranges(names, sorted(chosen), limit=99)
    covered = set()
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("-")
        covered |= set(range(int(first), int(last or first) + 1))
    assert covered == chosen


def moving(landmarks, *centres: tuple[tuple[float, float], ...]) -> list[FrameFaces]:
    return [
        FrameFaces(Path(f"{i}.png"), tuple(FrameFace(landmarks(x, y)) for x, y in frame))
        for i, frame in enumerate(centres)
    ]


def test_motion_is_that_from_frame_to_frame(landmarks):
    frames = with_motion(moving(landmarks, ((10, 50),), ((13, 46),), ((16, 42),)))
    powers = [frame.faces[0].motion.power for frame in frames]
    np.testing.assert_allclose(powers, [5, 10, 5], atol=0.01)
    assert frames[1].faces[0].motion.angle == pytest.approx(np.degrees(np.arctan2(8, 6)), abs=0.1)


def test_each_of_two_faces_has_its_own_motion(landmarks):
    frames = with_motion(
        moving(landmarks, ((30, 50), (200, 50)), ((210, 50), (30, 50)), ((30, 50), (220, 50)))
    )
    assert [round(face.motion.power) for face in frames[1].faces] == [20, 0]


def test_a_face_that_comes_or_jumps_does_not_move(landmarks):
    frames = with_motion(moving(landmarks, (), ((30, 50),), ((500, 50),)))
    assert all(face.motion.power == 0 for frame in frames for face in frame.faces)


def test_motion_of_broken_landmarks_is_none(landmarks):
    frames = [FrameFaces(Path("a.png"), (FrameFace(np.zeros((68, 2), np.float32)),))] * 3
    assert with_motion(frames)[1].faces[0].motion.power == 0

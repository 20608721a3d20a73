from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.video import copy_piece, cut, plan_copy, probe, read_timeline
from tests.video_clips import VARYING, decoded, ffmpeg, frame_times, make_clip, make_hdr10, make_rotated

KEYS = ("-g", "10", "-keyint_min", "10", "-sc_threshold", "0")


def keyed_clip(path, frames=50, **more):
    """A clip with a key frame every 10 frames, with B frames where the container has them."""
    options = [*more.pop("options", ()), *KEYS]
    return make_clip(path, frames=frames, options=options, **more)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
def test_a_piece_from_key_frame_to_key_frame_is_copied_bit_by_bit(tmp_path, suffix):
    info = probe(keyed_clip(tmp_path / f"видео 1{suffix}"))
    plan = plan_copy(info, 0.4, 1.2)
    if plan is None:
        assert suffix == ".webm"  # VP8 with frames that are never shown
        return
    assert plan.exact and plan.packets == 20
    output = tmp_path / f"piece 1{suffix}"
    fault = copy_piece(info, plan, output)
    assert fault == ""
    whole, piece = decoded(info.path), decoded(output)
    assert len(piece) == 20
    assert all(np.array_equal(a, b) for a, b in zip(piece, whole[10:30], strict=True))
    done = probe(output)
    assert len(done.audio) == 1
    assert done.duration == pytest.approx(0.8, abs=0.07)


def test_the_end_of_the_video_needs_no_key_frame(tmp_path):
    info = probe(keyed_clip(tmp_path / "a.mp4", 47))
    plan = plan_copy(info, 0.8, 0)
    assert plan.exact and plan.end is None
    assert copy_piece(info, plan, tmp_path / "b.mp4") == ""
    assert len(read_timeline(probe(tmp_path / "b.mp4"))) == 27


def test_between_key_frames_the_copy_is_longer_and_says_so(tmp_path):
    info = probe(keyed_clip(tmp_path / "a.mp4"))
    plan = plan_copy(info, 0.6, 1.0)
    assert not plan.exact and plan.start == pytest.approx(0.4)
    assert plan.end >= 1.0
    assert copy_piece(info, plan, tmp_path / "b.mp4") == ""
    whole, piece = decoded(info.path), decoded(tmp_path / "b.mp4")
    assert all(np.array_equal(a, b) for a, b in zip(piece, whole[10:], strict=False))


def test_a_copy_keeps_rotation_varying_times_tracks_and_light(tmp_path):
    turned = probe(make_rotated(tmp_path / "t.mp4", 90, frames=20, options=KEYS))
    assert copy_piece(turned, plan_copy(turned, 0.4, 0), tmp_path / "t2.mp4") == ""
    assert probe(tmp_path / "t2.mp4").rotation == turned.rotation
    varying = probe(keyed_clip(tmp_path / "v.mp4", options=VARYING))
    keys = plan_copy(varying, 0.9, 0)
    assert copy_piece(varying, keys, tmp_path / "v2.mp4") == ""
    ours = np.array(frame_times(tmp_path / "v2.mp4"))
    theirs = np.array(frame_times(varying.path))
    theirs = theirs[theirs >= keys.start - 0.001]
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], atol=0.001)
    hdr = probe(make_hdr10(tmp_path / "h.mp4"))
    assert copy_piece(hdr, plan_copy(hdr, 0, 0), tmp_path / "h2.mp4") == ""
    assert probe(tmp_path / "h2.mp4").mastering == hdr.mastering
    several = tmp_path / "s.mkv"
    inputs = ["-i", tmp_path / "upright.mp4", "-f", "lavfi", "-t", "0.8", "-i", "sine=f=900"]
    maps = ["-map", "0:v", "-map", "0:a", "-map", "1:a", "-metadata:s:a:1", "language=deu"]
    ffmpeg(*inputs, *maps, "-c:v", "copy", "-c:a", "aac", several)
    info = probe(several)
    assert copy_piece(info, plan_copy(info, 0, 0), tmp_path / "s2.mkv", (0, 1)) == ""
    assert [sound.language for sound in probe(tmp_path / "s2.mkv").audio][1] == "deu"


def test_deep_pieces_that_are_encoded_stay_deep(tmp_path):
    info = probe(make_hdr10(tmp_path / "h.mp4"))
    cut(info, tmp_path / "c.mp4", 0.12, 0.4)
    done = probe(tmp_path / "c.mp4")
    assert (done.bits, done.colour, done.mastering) == (10, info.colour, info.mastering)
    assert len(read_timeline(done)) == 7


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return probe(keyed_clip(tmp_path_factory.mktemp("film") / "a.mp4", 60))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 58), st.integers(1, 60))
def test_a_copy_has_at_least_what_was_asked_for(film, first, count):
    start, end = first / 25, min(60, first + count) / 25
    plan = plan_copy(film, start, end)
    stop = 60 / 25 if plan.end is None else plan.end
    assert plan.start <= start + 0.001 and stop >= end - 0.001
    assert plan.exact == (abs(plan.start - start) < 0.001 and abs(stop - end) < 0.001)

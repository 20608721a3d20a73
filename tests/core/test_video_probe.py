from __future__ import annotations

import os
import stat
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SwapError, UsageError, VideoError
from core.video import binary, ffmpeg_path, parse_rate, parse_time, probe, read_timeline
from core.video.timeline import Timeline
from tests.video_clips import TAGS_709, VARYING, ffmpeg, frame_times, make_clip, make_rotated


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
def test_every_container_tells_rate_size_and_sound(tmp_path, suffix):
    path = make_clip(tmp_path / f"clip{suffix}", frames=12, rate="30000/1001")
    info = probe(path)
    assert info.frame_rate == Fraction(30000, 1001)
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert len(info.audio) == 1
    assert info.expected_frames == pytest.approx(12, abs=1)
    timeline = read_timeline(info)
    assert len(timeline) == 12 == len(frame_times(path))
    assert timeline.constant_rate(info.rates) == Fraction(30000, 1001)


def test_rotation_swaps_width_and_height(tmp_path):
    info = probe(make_rotated(tmp_path / "turned.mp4", 90))
    assert (info.width, info.height, info.rotation % 180) == (48, 64, 90)


def test_colour_tags_are_named(tmp_path):
    colour = probe(make_clip(tmp_path / "a.mp4", options=TAGS_709)).colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.range) == (
        "bt709",
        "bt709",
        "bt709",
        "tv",
    )
    assert probe(make_clip(tmp_path / "b.mp4")).colour.matrix == "unknown"


def test_varying_rate_is_seen_as_such(tmp_path):
    path = make_clip(tmp_path / "v.mp4", frames=30, options=VARYING)
    info = probe(path)
    timeline = read_timeline(info)
    assert timeline.constant_rate(info.rates) is None
    times = np.array(frame_times(path))
    np.testing.assert_allclose(timeline.seconds, times - times[0], atol=1e-9)


@given(st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
       st.integers(3, 4000))  # fmt: skip
def test_rates_rounded_to_milliseconds_are_recognised(rate, count):
    ticks = np.array([round(i / rate * 1000) for i in range(count)], dtype=np.int64)
    rough = Fraction(round(float(rate) * 100), 100)  # as Matroska's average often is
    assert Timeline(ticks, Fraction(1, 1000)).constant_rate([Fraction(1000), rough]) == rate


def test_the_nominal_rate_is_believed_if_it_fits():
    ticks = np.round(np.arange(500) / 29.97 * 90000).astype(np.int64)
    assert Timeline(ticks, Fraction(1, 90000)).constant_rate([Fraction(2997, 100)]) == Fraction(2997, 100)


def test_one_lost_frame_is_a_varying_rate():
    ticks = np.delete(np.arange(100) * 40, 50)
    assert Timeline(ticks, Fraction(1, 1000)).constant_rate([Fraction(25)]) is None


def test_what_is_no_video_is_refused_by_name(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 50)
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", "0.2", sound)
    whole = make_clip(tmp_path / "whole.mkv")
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[:700])
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (text, sound, short, empty):
        with pytest.raises(VideoError, match=path.name) as caught:
            probe(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(SwapError, match="does not exist"):
        probe(tmp_path / "absent.mp4")


@pytest.mark.parametrize("name", ["видео с пробелом.mp4", "a:b.mp4", "-v.mp4", "100% 'it'.mp4", "%05d.mp4"])
def test_any_name_of_a_file_works(tmp_path, monkeypatch, name):
    if os.name == "nt" and ":" in name:
        pytest.skip("not a file name under Windows")
    make_clip(tmp_path / "x.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(tmp_path / name).frames == 12


def test_rates_and_times_are_read_as_people_write_them():
    assert parse_rate("29.97") == parse_rate("30000/1001") == Fraction(30000, 1001)
    assert (parse_rate("25"), parse_rate(" 0 "), parse_rate("12.5")) == (25, 0, Fraction(25, 2))
    for text in ("fast", "-1", "1/0", "1e9", ""):
        with pytest.raises(UsageError):
            parse_rate(text)
    assert parse_time("01:02:03.5") == 3723.5
    assert (parse_time("02:03"), parse_time("3.25"), parse_time("00:00:00.000")) == (123, 3.25, 0)
    for text in ("1:2:3:4", "soon", "00:99:00", "1:75", ""):
        with pytest.raises(UsageError):
            parse_time(text)


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays the broken ffmpeg")
@pytest.mark.parametrize("script", ["exit 1", "echo 'Unrecognized option fps_mode' >&2; exit 8"])
def test_a_broken_ffmpeg_on_path_is_passed_over(tmp_path, monkeypatch, script):
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_path() != str(fake)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    binary._find.cache_clear()
    with pytest.raises(VideoError, match=r"no usable ffmpeg.*too old or broken.*install ffmpeg 5\.1"):
        ffmpeg_path()
    binary._find.cache_clear()

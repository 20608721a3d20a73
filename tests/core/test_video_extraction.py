from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SwapError, VideoError
from core.imageio import read_image
from core.paths import list_images
from core.video import cut, extract_frames, inspect_folder, probe, read_timeline, restore_frames
from core.video.extraction import MANIFEST, Request, merge_ranges
from tests.video_clips import TAGS_709, VARYING, ffmpeg, frame_times, make_clip, make_rotated

ALL = Fraction(0)
# Luma coefficients of red and blue (ITU-R BT.601 and BT.709)
COEFFICIENTS = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in list_images(folder)}


def rgb_from_yuv(y, cb, cr, matrix, full):
    """ITU-T H.273, equations 1 to 3 and 26 to 28 solved for R, G, B in 0..255."""
    kr, kb = COEFFICIENTS[matrix]
    y, cb, cr = (
        (y, cb - 128, cr - 128)
        if full
        else ((y - 16) * 255 / 219, (cb - 128) * 255 / 224, (cr - 128) * 255 / 224)
    )
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def flat_clip(path, yuv, matrix, range_):
    """A film whose stored samples are exactly `yuv`."""
    planes = b"".join(bytes([v]) * n for v, n in zip(yuv, (64 * 48, 32 * 24, 32 * 24)))
    raw = path.with_suffix(".yuv")
    raw.write_bytes(planes * 3)
    tags = [] if matrix is None else ["-colorspace", matrix, "-color_range", range_]
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p", *tags, "-s", "64x48", "-i", raw,
           "-c:v", "libx264", "-qp", "0", *tags, path)  # fmt: skip
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    ("matrix", "range_"), [("bt709", "tv"), ("smpte170m", "tv"), ("bt709", "pc"), (None, "tv")]
)
def test_colours_are_those_the_tags_mean(tmp_path, matrix, range_, suffix):
    yuv = (110, 90, 180)
    info = probe(flat_clip(tmp_path / "flat.mp4", yuv, matrix, range_))
    extract_frames(info, tmp_path / "out", suffix=suffix)
    bgr = read_image(tmp_path / "out" / f"00001{suffix}").reshape(-1, 3).mean(axis=0)
    expected = rgb_from_yuv(*yuv, matrix or "smpte170m", range_ == "pc")
    np.testing.assert_allclose(bgr[::-1], expected, atol=1.0 if suffix == ".png" else 3.0)


def test_jpeg_frames_have_no_tinge(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=3, size="320x240", options=TAGS_709))
    for suffix in (".png", ".jpg"):
        extract_frames(info, tmp_path / suffix, suffix=suffix)
    for png, jpg in zip(list_images(tmp_path / ".png"), list_images(tmp_path / ".jpg"), strict=True):
        difference = read_image(jpg).astype(int) - read_image(png)
        assert np.abs(difference.mean((0, 1))).max() < 0.3 and np.abs(difference).mean() < 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_all_frames_come_once_under_dfl_names(tmp_path, suffix):
    info = probe(make_clip(tmp_path / f"clip{suffix}"))
    out = tmp_path / "кадры 100% %d"
    assert extract_frames(info, out) == 12
    assert [p.name for p in list_images(out)] == [f"{n:05}.png" for n in range(1, 13)]
    assert read_image(out / "00012.png").shape == (48, 64, 3)


def test_varying_rate_gives_each_frame_once(tmp_path):
    path = make_clip(tmp_path / "v.mp4", frames=30, options=VARYING)
    assert extract_frames(probe(path), tmp_path / "out") == len(frame_times(path))


def test_frames_per_second_are_chosen(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=50))
    assert extract_frames(info, tmp_path / "out", fps=Fraction(5)) == 10


def test_rotation_is_applied_to_the_pixels(tmp_path):
    turned = probe(make_rotated(tmp_path / "turned.mp4", 90))
    upright = probe(tmp_path / "upright.mp4")
    extract_frames(turned, tmp_path / "t")
    extract_frames(upright, tmp_path / "u")
    ours, plain = read_image(tmp_path / "t" / "00001.png"), read_image(tmp_path / "u" / "00001.png")
    assert ours.shape == (64, 48, 3)
    errors = [np.abs(np.rot90(plain, turns).astype(int) - ours).mean() for turns in (1, -1)]
    assert min(errors) < 2 < 50 < max(errors)


def test_odd_sizes_are_kept(tmp_path):
    path = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2,scale=65:47", "-t", "0.2", "-c:v", "ffv1", path)
    extract_frames(probe(path), tmp_path / "out")
    assert read_image(tmp_path / "out" / "00001.png").shape == (47, 65, 3)


def test_a_stopped_extraction_goes_on_to_the_same_frames(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=30))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    extract_frames(info, whole)

    def stop(done):
        if done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_frames(info, stopped, on_frames=stop)
    # what a killed run leaves: the first frames, an empty one after a power cut, a half one of another name
    for number in range(1, 13):
        (stopped / f"{number:05}.png").write_bytes((whole / f"{number:05}.png").read_bytes())
    (stopped / "00012.png").write_bytes(b"")
    for path in list_images(stopped)[12:]:
        path.unlink()
    (stopped / "00013.png.tmp").write_bytes(b"half")
    state = inspect_folder(stopped, Request.of(info.path, ALL, ".png"))
    assert (state.kind, state.present) == ("unfinished", 12)
    assert extract_frames(info, stopped, present=state.present) == 30
    assert contents(stopped) == contents(whole)
    assert names(stopped) == names(whole)
    assert inspect_folder(stopped, Request.of(info.path, ALL, ".png")).kind == "complete"


def test_only_lost_frames_are_made_again(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=30))
    out = tmp_path / "out"
    extract_frames(info, out)
    before = contents(out)
    (out / "00002.png").write_bytes(b"edited by the user")
    for number in (3, 4, 9, 30):
        (out / f"{number:05}.png").unlink()
    state = inspect_folder(out, Request.of(info.path, ALL, ".png"))
    assert (state.kind, state.missing) == ("incomplete", (3, 4, 9, 30))
    assert restore_frames(info, out, state.missing) == 4
    assert contents(out) == before | {"00002.png": b"edited by the user"}
    assert names(out) == sorted([MANIFEST, *before])


def test_frames_of_another_making_are_foreign(tmp_path):
    first = make_clip(tmp_path / "a.mp4")
    out = tmp_path / "out"
    extract_frames(probe(first), out)
    same = tmp_path / "renamed.mp4"
    first.rename(same)
    assert inspect_folder(out, Request.of(same, ALL, ".png")).kind == "complete"
    assert "made otherwise" in inspect_folder(out, Request.of(same, Fraction(5), ".png")).origin
    other = make_clip(tmp_path / "b.mp4", source="testsrc")
    assert "another video (a.mp4)" in inspect_folder(out, Request.of(other, ALL, ".png")).origin
    for damaged in (b"", b"{}", b'{"version": 1}', b'{"version": 1, "request": {"a": 1}}', b"[]", b"\xff"):
        (out / MANIFEST).write_bytes(damaged)
        assert inspect_folder(out, Request.of(same, ALL, ".png")).kind == "foreign"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SwapError, match="file"):
        extract_frames(info, tmp_path / "file" / "out")


def test_a_video_cut_short_gives_the_frames_it_has(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=100, size="160x120")
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 0 < extract_frames(probe(short), tmp_path / "out") < 100


@given(st.sets(st.integers(1, 300), min_size=1), st.integers(1, 10))
def test_merged_ranges_cover_all_numbers(numbers, limit):
    numbers = tuple(sorted(numbers))
    ranges = merge_ranges(numbers, limit)
    covered = {n for first, last in ranges for n in range(first, last + 1)}
    assert covered >= set(numbers) and len(ranges) <= limit
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(ranges))
    if len(ranges) < limit:
        assert covered == set(numbers)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
def test_a_cut_is_exact_to_a_frame(tmp_path, suffix):
    brighter = ["-vf", "geq=lum='20+N*4':cb=128:cr=128"]  # by the frame
    info = probe(make_clip(tmp_path / f"a{suffix}", frames=50, options=brighter))
    out = tmp_path / f"cut{suffix}"
    cut(info, out, start=0.4, end=1.2)
    done = probe(out)
    assert len(read_timeline(done)) == 20 and done.frame_rate == 25 and len(done.audio) == 1
    extract_frames(info, tmp_path / "whole")
    extract_frames(done, tmp_path / "cut")
    ours = read_image(tmp_path / "cut" / "00001.png").astype(int)
    errors = [np.abs(read_image(p).astype(int) - ours).mean() for p in list_images(tmp_path / "whole")]
    assert np.argmin(errors) == 10


def test_a_cut_keeps_rotation_rate_and_tags(tmp_path):
    info = probe(make_rotated(tmp_path / "t.mp4", 90, rate="30000/1001", frames=30, options=TAGS_709))
    cut(info, tmp_path / "t_cut.mp4")
    done = probe(tmp_path / "t_cut.mp4")
    assert (done.width, done.height, done.rotation) == (48, 64, 0)
    assert (done.frame_rate, done.colour) == (info.frame_rate, info.colour)


def test_a_cut_outside_the_video_is_refused(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", sound=False))
    with pytest.raises(SwapError, match="before it starts"):
        cut(info, tmp_path / "b.mp4", start=0.3, end=0.2)
    with pytest.raises(VideoError, match=r"nothing starts at 9 s"):
        cut(info, tmp_path / "b.mp4", start=9)
    assert not (tmp_path / "b.mp4").exists()

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from core.errors import VideoError
from core.imageio import read_deep_image, read_image, to_uint8, with_depth_of, write_image
from core.paths import list_images
from core.video import encode_sequence, extract_frames, inspect_folder, plan_encoding, probe, read_timeline
from core.video.extraction import Request
from core.video.frames import is_deep
from core.video.hdr import MasteringDisplay
from tests.video_clips import decoded, ffmpeg, make_clip, make_hdr10, tag_filter

# Luma coefficients of red and blue (ITU-R BT.709 and BT.2020)
COEFFICIENTS = {"bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}


def flat_clip(path, yuv, matrix, range_, bits=10):
    """A film of FFV1 whose stored samples are exactly `yuv`."""
    planes = b"".join(np.full(n, v, "<u2").tobytes() for v, n in zip(yuv, (64 * 48, 32 * 24, 32 * 24)))
    raw = path.with_suffix(".yuv")
    raw.write_bytes(planes * 3)
    form = f"yuv420p{bits}le"
    tags = ["-vf", tag_filter(matrix, range_), "-colorspace", matrix, "-color_range", range_]
    ffmpeg("-f", "rawvideo", "-pix_fmt", form, "-s", "64x48", "-i", raw, "-c:v", "ffv1", *tags, path)
    return path


def rgb_of(yuv, matrix, range_, bits):
    """R, G, B in 0..65535 of stored samples (ITU-T H.273, equations 1 to 3 and 26 to 28 solved)."""
    kr, kb = COEFFICIENTS[matrix]
    y, cb, cr = (float(v) for v in yuv)
    unit = 2 ** (bits - 8)
    if range_ == "tv":
        y, cb, cr = (y / unit - 16) / 219, (cb / unit - 128) / 224, (cr / unit - 128) / 224
    else:
        most = 2**bits - 1
        y, cb, cr = y / most, (cb - 2 ** (bits - 1)) / most, (cr - 2 ** (bits - 1)) / most
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue]) * 65535


@pytest.mark.parametrize(
    ("matrix", "range_", "bits"),
    [("bt709", "tv", 10), ("bt2020nc", "tv", 10), ("bt2020nc", "pc", 10), ("bt709", "tv", 12)],
)
def test_deep_frames_hold_the_colours_and_give_them_back(tmp_path, matrix, range_, bits):
    unit = 2 ** (bits - 8)
    yuv = (131 * unit + 1, 110 * unit + 1, 139 * unit + 1)  # no values that 8 bits have
    clip = flat_clip(tmp_path / "flat.mkv", yuv, matrix, range_, bits)
    info = probe(clip)
    assert info.bits == bits
    extract_frames(info, tmp_path / "f", depth=16)
    image = read_deep_image(tmp_path / "f" / "00001.png")
    assert image.dtype == np.uint16 and is_deep(tmp_path / "f" / "00001.png")
    np.testing.assert_allclose(image[20, 30, ::-1], rgb_of(yuv, matrix, range_, bits), atol=65535 / 1023 / 5)
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.mkv", info, bitrate=50)
    encode_sequence(plan)
    done = probe(tmp_path / "r.mkv")
    assert (done.bits, done.codec, done.colour) == (10, "hevc", info.colour)
    with av.open(str(done.path)) as container:
        frame = next(container.decode(video=0))
        for plane, expected in zip(frame.planes, yuv):
            samples = np.frombuffer(plane, "<u2").reshape(plane.height, -1)[:, : plane.width]
            assert abs(samples.mean() - expected / 2 ** (bits - 10)) <= 1.0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_hdr10_goes_through(tmp_path, suffix):
    clip = make_hdr10(tmp_path / "hdr.mp4")
    info = probe(clip)
    assert info.bits == 10 and info.colour.is_hdr
    assert info.mastering == MasteringDisplay(
        (13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10000000, 50), (1000, 400)
    )
    extract_frames(info, tmp_path / "f", depth=16)
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / f"r{suffix}", info, include_audio=True)
    encode_sequence(plan)
    done = probe(plan.output)
    assert (done.bits, done.colour, done.mastering) == (10, info.colour, info.mastering)
    assert (done.frame_rate, len(read_timeline(done)), len(done.audio)) == (25, 12, 1)
    ours, theirs = (np.stack(decoded(path)).astype(float) for path in (done.path, clip))
    assert np.abs(ours - theirs).mean() < 4  # of 1023, after coding twice


def test_8_bit_frames_of_a_deep_video_are_owned_up_to(tmp_path):
    info = probe(make_hdr10(tmp_path / "hdr.mp4", 3))
    extract_frames(info, tmp_path / "f")
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.mp4", info)
    assert any("10 bits" in note and "frames have 8" in note for note in plan.notes)
    encode_sequence(plan)
    done = probe(plan.output)
    assert done.bits == 8 and done.colour == info.colour


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv", ".avi"])
def test_deep_lossless_gives_every_bit_back(tmp_path, suffix):
    rng = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    images = [rng.integers(0, 65536, (47, 65, 3), dtype=np.uint16) for _ in range(3)]
    for number, image in enumerate(images, 1):
        write_image(tmp_path / "f" / f"{number:05}.png", image)
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / f"r{suffix}", lossless=True)
    encode_sequence(plan)
    extract_frames(probe(plan.output), tmp_path / "back", depth=16)
    for path, image in zip(list_images(tmp_path / "back"), images, strict=True):
        assert np.array_equal(read_deep_image(path), image)


def test_webm_cannot_hold_deep_frames_without_loss_and_says_so(tmp_path):
    (tmp_path / "f").mkdir()
    write_image(tmp_path / "f" / "00001.png", np.zeros((8, 8, 3), np.uint16))
    with pytest.raises(VideoError, match=r"\.mkv"):
        plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.webm", lossless=True)


def test_frames_of_another_depth_are_foreign_and_jpg_is_refused(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=2))
    extract_frames(info, tmp_path / "f", depth=16)
    wish = Request.of(info.path, Fraction(0), ".png", 8)
    assert "16 bits" in inspect_folder(tmp_path / "f", wish).origin
    with pytest.raises(VideoError, match="png"):
        extract_frames(info, tmp_path / "g", suffix=".jpg", depth=16)


def test_8_and_16_bit_frames_of_one_video_look_alike(tmp_path):
    info = probe(make_clip(tmp_path / "a.mp4", frames=2, size="320x240"))
    extract_frames(info, tmp_path / "a")
    extract_frames(info, tmp_path / "b", depth=16)
    for shallow, deep in zip(list_images(tmp_path / "a"), list_images(tmp_path / "b"), strict=True):
        difference = read_image(shallow).astype(int) - read_image(deep)
        assert np.abs(difference).max() <= 2 and np.abs(difference.mean((0, 1))).max() < 0.2


def test_an_edit_in_8_bits_leaves_the_other_bits_alone():
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    before = to_uint8(deep)
    edited = before.copy()
    edited[10:20, 10:20] = rng.integers(0, 256, (10, 10, 3))
    result = with_depth_of(edited, before, deep)
    untouched = (edited == before).all(axis=2)
    assert np.array_equal(result[untouched], deep[untouched])
    assert np.abs(to_uint8(result).astype(int) - edited).max() <= 1

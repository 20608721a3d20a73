from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import SampleError, VideoError
from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import encode_sequence, extract_frames, plan_encoding, probe, read_timeline
from core.video.provenance import SOURCE_TYPE, mark_image, read_source_type
from tests.video_clips import (
    TAGS_709,
    VARYING,
    decoded,
    ffmpeg,
    frame_times,
    make_clip,
    sound_digest,
    tag_filter,
)

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")


def round_trip(clip, folder, suffix=".mp4", **options):
    """Extract `clip`, encode its frames with it as the reference; the plan and what came out."""
    info = probe(clip)
    frames = folder / "frames"
    extract_frames(info, frames)
    output = folder / f"result{suffix}"
    plan = plan_encoding(list_images(frames), output, info, **options)
    encode_sequence(plan)
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".")) == []
    return info, plan, probe(output)


def write_frames(folder, count=6, shape=(48, 64, 3), suffix=".png", seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        write_image(folder / f"{number:05}{suffix}", rng.integers(0, 256, shape, dtype=np.uint8))
    return list_images(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rate_length_and_sound_are_the_references(tmp_path, suffix):
    clip = make_clip(tmp_path / "a.mp4", frames=30, rate="30000/1001")
    info, plan, done = round_trip(clip, tmp_path, suffix, include_audio=True)
    assert done.frame_rate == Fraction(30000, 1001) == plan.rate
    times = np.array(frame_times(done.path))
    np.testing.assert_allclose(times - times[0], np.arange(30) * 1001 / 30000, atol=0.001)
    # counted from the first frame: Opus begins a little earlier, for its decoder to settle
    assert done.duration == pytest.approx(info.duration, abs=1001 / 30000 + 0.02)
    assert len(done.audio) == 1
    assert (sound_digest(done.path) == sound_digest(clip)) == (suffix != ".webm")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("lossless", [False, True])
def test_every_result_is_marked_as_altered(tmp_path, suffix, lossless):
    output = tmp_path / f"r{suffix}"
    encode_sequence(plan_encoding(write_frames(tmp_path / "f", 2), output, lossless=lossless))
    assert read_source_type(output) == SOURCE_TYPE


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(48, 64, 3), (47, 65, 3)])
def test_lossless_gives_every_pixel_back(tmp_path, suffix, shape):
    images = write_frames(tmp_path / "f", 4, shape)
    output = tmp_path / f"r{suffix}"
    encode_sequence(plan_encoding(images, output, lossless=True))
    extract_frames(probe(output), tmp_path / "back")
    for ours, path in zip(list_images(tmp_path / "back"), images, strict=True):
        assert np.array_equal(read_image(ours), read_image(path))


@pytest.mark.parametrize(
    ("matrix", "range_", "shown"),
    [("bt709", "tv", "bt709"), ("smpte170m", "tv", "smpte170m"), ("bt709", "pc", "bt709"),
     ("bt2020nc", "tv", "bt2020nc"), (None, None, "unknown")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_colours_and_tags_survive_the_round_trip(tmp_path, matrix, range_, shown, suffix):
    # Samples are compared as they are stored, so that no converter's idea of the tags can hide an error.
    yuv = (120, 100, 160)
    planes = b"".join(bytes([v]) * n for v, n in zip(yuv, (64 * 48, 32 * 24, 32 * 24)))
    (tmp_path / "raw").write_bytes(planes * 5)
    tags = ["-colorspace", matrix, "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", range_]
    tags = [*tags, "-vf", tag_filter(matrix, range_)] if matrix else []
    clip = tmp_path / "a.mp4"
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48", "-i", tmp_path / "raw",
           "-c:v", "libx264", "-qp", "0", *tags, clip)  # fmt: skip
    _, _, done = round_trip(clip, tmp_path, suffix)
    assert done.colour.matrix == shown
    assert done.colour.scale_range == (range_ or "tv")
    assert done.colour.primaries == done.colour.transfer == ("bt709" if matrix else "unknown")
    with av.open(str(done.path)) as container:
        frame = next(container.decode(video=0))
        for plane, expected in zip(frame.planes, yuv):
            samples = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            assert abs(samples.mean() - expected) <= 1.0


@pytest.mark.parametrize("full", [False, True])
def test_average_colours_of_a_picture_do_not_shift(tmp_path, full):
    tags = [part.replace("=tv", "=pc").replace("tv", "pc") for part in TAGS_709] if full else TAGS_709
    clip = make_clip(tmp_path / "a.mp4", size="320x240", options=[*tags, "-crf", "10"])
    assert probe(clip).colour.range == ("pc" if full else "tv")
    _, _, done = round_trip(clip, tmp_path)
    assert done.colour == probe(clip).colour
    extract_frames(done, tmp_path / "back")
    for a, b in zip(list_images(tmp_path / "frames"), list_images(tmp_path / "back"), strict=True):
        assert np.abs(read_image(a).mean((0, 1)) - read_image(b).mean((0, 1))).max() < 0.5


def test_without_reference_the_tags_are_bt709(tmp_path):
    encode_sequence(plan_encoding(write_frames(tmp_path / "f", 2), tmp_path / "r.mp4"))
    colour = probe(tmp_path / "r.mp4").colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.range) == (
        "bt709",
        "bt709",
        "bt709",
        "tv",
    )
    assert probe(tmp_path / "r.mp4").frame_rate == 25


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_varying_times_are_kept(tmp_path, suffix):
    clip = make_clip(tmp_path / "v.mp4", frames=40, options=VARYING)
    _, plan, done = round_trip(clip, tmp_path, suffix, include_audio=True)
    assert plan.timeline is not None
    before, after = np.array(frame_times(clip)), np.array(frame_times(done.path))
    np.testing.assert_allclose(after - after[0], before - before[0], atol=0.001)
    assert sound_digest(done.path) == sound_digest(clip)


def test_avi_repeats_frames_of_a_varying_rate_to_keep_the_length(tmp_path):
    clip = make_clip(tmp_path / "v.mp4", frames=40, options=VARYING)
    _, plan, done = round_trip(clip, tmp_path, ".avi", include_audio=True)
    assert any("varying" in note for note in plan.notes)
    times = frame_times(done.path)
    assert times[-1] - times[0] == pytest.approx(frame_times(clip)[-1], abs=1 / 25)


def test_a_film_that_starts_after_its_sound_still_does(tmp_path):
    clip = tmp_path / "late.mkv"
    film = make_clip(tmp_path / "a.mp4", sound=False)
    ffmpeg("-itsoffset", "0.2", "-i", film, "-f", "lavfi", "-t", "0.7", "-i", "sine",
           "-c:v", "copy", "-c:a", "aac", clip)  # fmt: skip
    info, _, done = round_trip(clip, tmp_path, ".mp4", include_audio=True)
    assert info.start == pytest.approx(
        0.2, abs=0.03
    )  # counted from the first packet of sound, which is silent
    assert done.start == pytest.approx(info.start, abs=0.001)


def test_fewer_frames_than_the_reference_are_reported_and_shorten_the_sound(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=50)
    images = write_frames(tmp_path / "f", 10)
    plan = plan_encoding(images, tmp_path / "r.mp4", probe(clip), include_audio=True)
    assert any("10 frames, but the reference video has 50" in note for note in plan.notes)
    encode_sequence(plan)
    assert probe(tmp_path / "r.mp4").duration == pytest.approx(0.4, abs=0.04)
    asked = plan_encoding(images, tmp_path / "r.mp4", probe(clip), rate=Fraction(5), include_audio=True)
    encode_sequence(asked)
    done = probe(tmp_path / "r.mp4")
    assert (done.frame_rate, len(read_timeline(done))) == (5, 10)


def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path):
    image = np.full((47, 65, 3), 30, np.uint8)
    image[:, -1] = (40, 200, 90)
    (tmp_path / "f").mkdir()
    write_image(tmp_path / "f" / "00001.png", image)
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.mp4")
    assert any("66x48" in note for note in plan.notes)
    encode_sequence(plan)
    done = probe(tmp_path / "r.mp4")
    assert (done.width, done.height) == (66, 48)
    shown = decoded(done.path, "bgr24")[0].astype(int)
    assert np.abs(shown[20, -1] - (40, 200, 90)).max() < 12


def test_anamorphic_pixels_are_kept(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", options=["-vf", "setsar=4/3"])
    info, _, done = round_trip(clip, tmp_path)
    assert info.pixel_aspect == done.pixel_aspect == Fraction(4, 3)


def test_grey_16_bit_alpha_and_jpeg_frames_work(tmp_path):
    folder = tmp_path / "f"
    write_frames(folder, 1)
    write_image(folder / "00002.png", np.full((48, 64), 77, np.uint8))
    write_image(folder / "00003.png", np.full((48, 64, 3), 77 * 257, np.uint16))
    write_image(folder / "00004.png", np.full((48, 64, 4), 77, np.uint8))
    write_image(folder / "00005.jpg", np.full((48, 64, 3), 77, np.uint8))
    encode_sequence(plan_encoding(list_images(folder), tmp_path / "r.mp4", lossless=True))
    frames = decoded(tmp_path / "r.mp4", "gbrp")
    assert len(frames) == 5
    assert all(frame.min() == frame.max() == 77 for frame in frames[1:])


def test_a_frame_of_another_size_or_damaged_stops_before_anything_is_written(tmp_path):
    images = write_frames(tmp_path / "f", 3)
    write_image(tmp_path / "f" / "00002.png", np.zeros((48, 66, 3), np.uint8))
    with pytest.raises(SampleError, match=r"00002\.png: is 66x48, but 00001\.png is 64x48"):
        plan_encoding(images, tmp_path / "r.mp4")
    write_image(tmp_path / "f" / "00002.png", np.zeros((64, 48, 3), np.uint8))  # found while reading
    output = tmp_path / "r.mp4"
    output.write_bytes(b"the older result")
    with pytest.raises(SampleError, match=r"00002\.png"):
        encode_sequence(plan_encoding(images, output))
    (tmp_path / "f" / "00002.png").write_bytes(images[0].read_bytes()[:500])
    with pytest.raises(SampleError, match=r"00002\.png"):
        encode_sequence(plan_encoding(images, output))
    assert output.read_bytes() == b"the older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "r.mp4"]


@pytest.mark.parametrize("varying", [False, True])
def test_an_interruption_leaves_the_older_result(tmp_path, varying):
    clip = make_clip(tmp_path / "v.mp4", frames=40, options=VARYING if varying else ())
    extract_frames(probe(clip), tmp_path / "f")
    output = tmp_path / "r.mp4"
    output.write_bytes(b"the older result")

    def stop(done):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_sequence(plan_encoding(list_images(tmp_path / "f"), output, probe(clip)), stop)
    assert output.read_bytes() == b"the older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "r.mp4", "v.mp4"]


@pytest.mark.parametrize("varying", [False, True])
def test_what_ffmpeg_complains_of_is_shown_in_one_line(tmp_path, monkeypatch, varying):
    clip = make_clip(tmp_path / "v.mp4", frames=400, size="320x240", options=VARYING if varying else ())
    extract_frames(probe(clip), tmp_path / "f", suffix=".jpg")
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.mp4", probe(clip))
    monkeypatch.setitem(plan.encoding.options, "preset", "nonsense")
    with pytest.raises(VideoError, match=r"r\.mp4: ffmpeg failed: .+") as caught:
        encode_sequence(plan)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r.mp4").exists()


def test_an_unknown_container_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"\.mp4"):
        plan_encoding(write_frames(tmp_path / "f", 1), tmp_path / "r.xyz")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_marked_picture_shows_the_same_pixels(tmp_path, suffix):
    path = write_frames(tmp_path, 1, suffix=suffix)[0]
    marked = Path(tmp_path / f"marked{suffix}")
    marked.write_bytes(mark_image(path.read_bytes()))
    assert np.array_equal(read_image(marked), read_image(path))
    from PIL import Image

    with Image.open(marked) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    assert SOURCE_TYPE in (packet.decode() if isinstance(packet, bytes) else packet)
    with pytest.raises(SampleError, match="only PNG and JPEG"):
        mark_image(b"GIF89a")

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError, VideoError
from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import encode_sequence, extract_frames, hardware, plan_encoding, probe
from core.video.codecs import AUTO, CODECS, choose_encoding
from core.video.containers import CONTAINERS
from core.video.provenance import SOURCE_TYPE, read_source_type
from tests.video_clips import ffmpeg, make_clip, sound_digest

NAMES = {"x264": "h264", "x265": "hevc", "prores": "prores", "prores4444": "prores", "vp9": "vp9",
         "ffv1": "ffv1", "png": "png"}  # fmt: skip
PAIRS = [(name, suffix) for name, codec in CODECS.items() for suffix in codec.suffixes if suffix != ".m4v"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames of a soft picture of odd size."""
    folder = tmp_path_factory.mktemp("кадры 1")
    info = probe(make_clip(folder / "a.mp4", frames=4, size="66x50", sound=False))
    extract_frames(info, folder / "f")
    for path in list_images(folder / "f"):
        write_image(path, read_image(path)[:-1, :-1])
    return list_images(folder / "f")


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_every_codec_in_every_container(frames, tmp_path, name, suffix):
    codec = CODECS[name]
    for lossless in (False, True):
        if lossless and codec.lossless is None:
            with pytest.raises(VideoError, match="without loss"):
                plan_encoding(frames, tmp_path / f"r{suffix}", lossless=True, codec=name)
            continue
        output = tmp_path / f"r {lossless}{suffix}"
        plan = plan_encoding(frames, output, lossless=lossless, codec=name, bitrate=20)
        encode_sequence(plan)
        done = probe(output)
        assert done.codec.startswith(NAMES[name]) and read_source_type(output) == SOURCE_TYPE
        extract_frames(done, tmp_path / f"back {lossless}")
        for ours, path in zip(list_images(tmp_path / f"back {lossless}"), frames, strict=True):
            theirs = read_image(path)
            back = read_image(ours)[: theirs.shape[0], : theirs.shape[1]]
            if plan.lossless:
                assert np.array_equal(back, theirs)
            else:
                assert np.abs(back.astype(int) - theirs).mean() < 8


def test_the_choice_of_auto_fits_its_container():
    for suffix in CONTAINERS:
        for lossless in (False, True):
            for deep in (False, True):
                if (suffix, lossless, deep) != (".webm", True, True):
                    encoding = choose_encoding(AUTO, suffix, lossless, deep)
                    assert encoding.lossless == lossless and suffix in encoding.codec.suffixes
                    assert (encoding.bits > 8) == deep


def test_what_does_not_fit_is_refused_with_what_does():
    with pytest.raises(VideoError, match=r"prores.*\.webm.*vp9"):
        choose_encoding("prores", ".webm", False, False)
    with pytest.raises(VideoError, match=r"x265.*\.avi.*x264"):
        choose_encoding("x265", ".avi", False, False)


def several_tracks(path, tmp_path):
    clip = make_clip(tmp_path / "one.mp4", frames=25)
    inputs = ["-i", clip, "-f", "lavfi", "-t", "1", "-i", "sine=f=900:sample_rate=48000"]
    said = [
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:1",
        "language=ger",
        "-metadata:s:a:1",
        "title=Ton",
    ]
    ffmpeg(*inputs, "-map", "0:v", "-map", "0:a", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", *said, path)
    return probe(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
def test_all_sound_tracks_or_those_that_are_chosen(tmp_path, suffix):
    reference = several_tracks(tmp_path / "ref.mkv", tmp_path)
    assert [sound.language for sound in reference.audio] == ["eng", "ger"]
    extract_frames(reference, tmp_path / "f")
    images = list_images(tmp_path / "f")
    for tracks, languages in ((None, ["eng", "ger"]), ((1,), ["ger"]), ((1, 0), ["ger", "eng"])):
        output = tmp_path / f"r{suffix}"
        plan = plan_encoding(images, output, reference, include_audio=True, tracks=tracks)
        encode_sequence(plan)
        done = probe(output)
        assert len(done.audio) == len(languages)
        if suffix != ".avi":  # it knows no languages
            assert [sound.language for sound in done.audio] == languages
        if suffix == ".mkv":
            assert "Ton" in [sound.title for sound in done.audio]
    assert any("1 of its 2" in note
               for note in plan_encoding(images, output, reference, include_audio=True).notes)  # fmt: skip
    with pytest.raises(UsageError, match=r"0\.\.1"):
        plan_encoding(images, output, reference, include_audio=True, tracks=(2,))


def test_the_first_track_is_copied_whole(tmp_path):
    reference = several_tracks(tmp_path / "ref.mkv", tmp_path)
    extract_frames(reference, tmp_path / "f")
    plan = plan_encoding(list_images(tmp_path / "f"), tmp_path / "r.mp4", reference, include_audio=True)
    encode_sequence(plan)
    assert sound_digest(plan.output) == sound_digest(reference.path)


def test_hardware_is_believed_only_after_a_trial(frames, tmp_path, monkeypatch):
    with pytest.raises(VideoError, match="videotoolbox: is not made for linux"):
        monkeypatch.setattr(hardware.sys, "platform", "linux")
        plan_encoding(frames, tmp_path / "r.mp4", hardware="videotoolbox")
    tried = []

    def trial(ffmpeg, inputs, filters, options):
        tried.append((inputs, filters, options))
        return "" if "h264_vaapi" in options else "does not work here (no device)"

    monkeypatch.setattr(hardware, "_trial", trial)
    plan = plan_encoding(frames, tmp_path / "r.mp4", hardware="auto")
    assert plan.hardware is not None and plan.encoding.options["c:v"] == "h264_vaapi"
    assert "hwupload" in plan.hardware.filters and "vaapi_device" in plan.hardware.input_options
    assert len(tried) == 4
    monkeypatch.setattr(hardware, "_trial", lambda *_: "does not work here (no device)")
    plan = plan_encoding(frames, tmp_path / "r.mp4", hardware="auto")
    assert plan.hardware is None and any("no hardware encoder works" in note for note in plan.notes)
    with pytest.raises(VideoError, match="nvenc: does not work here"):
        plan_encoding(frames, tmp_path / "r.mp4", hardware="nvenc")
    with pytest.raises(VideoError, match="lossless"):
        plan_encoding(frames, tmp_path / "r.mp4", hardware="nvenc", lossless=True)
    assert plan_encoding(frames, tmp_path / "r.mov", hardware="auto", lossless=True).hardware is None


def test_a_real_trial_of_every_family_ends_with_a_word(frames, tmp_path):
    plan = plan_encoding(frames, tmp_path / "r.mp4", hardware="auto")
    encode_sequence(plan)
    assert probe(plan.output).codec == "h264"

"""Clips as they come: through `main.py videoed` from video to frames, to merged frames, to video."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import main
from core.imageio import read_deep_image, read_image, write_image
from core.paths import list_images
from core.video import probe, read_timeline
from core.video.provenance import SOURCE_TYPE, read_source_type
from tests.video_clips import (
    VARYING,
    decoded,
    ffmpeg,
    frame_times,
    make_clip,
    make_hdr10,
    make_rotated,
    sound_digest,
)


@pytest.fixture
def work(tmp_path):
    """A workspace with a name that trips."""
    folder = tmp_path / "Проба 100% 'ü' (1)"
    folder.mkdir()
    return folder


def videoed(*words):
    return main.main(["videoed", *map(str, words), "--no-prompt"])


def go_round(work, clip, suffix=".mp4", extract=(), encode=()):
    """Frames, "merged" frames (every one darkened a little) and the result, as the scripts 2, 3 and 8 do."""
    frames, merged, result = work / "data_dst", work / "data_dst" / "merged", work / f"result{suffix}"
    assert videoed("extract-video", "--input-file", clip, "--output-dir", frames, *extract) == 0
    merged.mkdir()
    for path in list_images(frames):
        image = read_deep_image(path)
        write_image(merged / path.name, (image * 0.9).astype(image.dtype))
    words = ("--input-dir", merged, "--output-file", result, "--reference-file", clip, "--include-audio")
    assert videoed("video-from-sequence", *words, *encode) == 0
    assert read_source_type(result) == SOURCE_TYPE
    return probe(result)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi"])
def test_phones_turn_their_films(work, suffix):
    clip = make_rotated(work / "телефон 1.mp4", 90, frames=10)
    done = go_round(work, clip, suffix)
    assert (done.width, done.height, done.rotation) == (48, 64, 0)
    assert len(read_timeline(done)) == 10 and len(done.audio) == 1


@pytest.mark.parametrize("source", [".mkv", ".mov", ".webm", ".avi"])
def test_no_sound_and_odd_sizes(work, source, capsys):
    clip = work / f"a b{source}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=24000/1001,scale=65:47", "-t", "0.4",
           "-c:v", "libvpx" if source == ".webm" else "ffv1" if source in (".mkv", ".avi") else "png",
           clip)  # fmt: skip
    done = go_round(work, clip)
    assert (done.width, done.height, done.audio) == (66, 48, ())
    said = capsys.readouterr().out
    assert "66x48" in said and "no sound" in said
    assert len(read_timeline(done)) == len(list_images(work / "data_dst"))


def test_a_varying_rate_stays_in_step_with_its_sound(work, capsys):
    clip = make_clip(work / "v.mp4", frames=40, options=VARYING)
    done = go_round(work, clip, ".mkv")
    assert (work / "data_dst" / "timestamps.json").exists()
    ours = np.array(frame_times(done.path))  # all of a .mkv begins a little later, where its AAC has priming
    np.testing.assert_allclose(ours - ours[0], frame_times(clip), atol=0.0011)
    assert sound_digest(done.path) == sound_digest(clip)
    assert "timestamps.json" in capsys.readouterr().out
    (work / "data_dst" / "merged" / "00004.png").unlink()  # a frame that the user did not want
    words = ("--input-dir", work / "data_dst" / "merged", "--output-file", work / "again.mkv")
    assert videoed("video-from-sequence", *words) == 0  # and the video has gone, too
    expected = [t for n, t in enumerate(frame_times(clip), 1) if n != 4]
    np.testing.assert_allclose(frame_times(work / "again.mkv"), expected, atol=0.0011)


def test_the_last_frame_of_a_varying_rate_is_not_made_longer(work):
    chosen = "select='not(mod(n\\,3))+not(mod(n\\,5))+gt(n\\,60)'"
    vary = ("-vf", chosen, "-fps_mode", "passthrough")
    clip = make_clip(work / "a.mp4", frames=90, rate="30", options=vary)
    done = go_round(work, clip)
    assert done.duration == pytest.approx(probe(clip).duration, abs=0.002)


def test_hdr_is_kept_by_default_and_8_bits_on_request(work, capsys):
    clip = make_hdr10(work / "hdr.mp4")
    done = go_round(work, clip)
    reference = probe(clip)
    assert (done.bits, done.colour, done.mastering) == (10, reference.colour, reference.mastering)
    said = capsys.readouterr().out
    assert "Bits per colour" in said and "10 bits" in said and "HDR" in said
    again = work / "8"
    words = ("--input-file", clip, "--output-dir", again, "--depth", "8")
    assert videoed("extract-video", *words) == 0
    assert read_deep_image(list_images(again)[0]).dtype == np.uint8
    words = ("--input-file", clip, "--output-dir", work / "j", "--output-ext", "jpg", "--depth", "16")
    assert videoed("extract-video", *words) == 2


def test_all_tracks_another_codec_and_both_cuts(work, capsys):
    one = make_clip(work / "one.mp4", frames=50, options=("-g", "10", "-sc_threshold", "0"))
    clip = work / "zwei Töne.mkv"
    tone = ("-f", "lavfi", "-t", "2", "-i", "sine=f=900")
    maps = ("-map", "0:v", "-map", "0:a", "-map", "1:a")
    ffmpeg("-i", one, *tone, *maps, "-c:v", "copy", "-c:a", "aac", clip)
    done = go_round(work, clip, ".mov", encode=("--codec", "prores", "--audio-tracks", "all"))
    assert done.codec == "prores" and len(done.audio) == 2
    capsys.readouterr()
    start = probe(clip).start + 0.4
    words = ("cut-video", "--input-file", clip, "--from-time", f"{start:.3f}", "--audio-track-id", "all")
    assert videoed(*words) == 0
    assert "nothing is encoded" in capsys.readouterr().out
    cut = probe(work / "zwei Töne_cut.mkv")
    assert len(read_timeline(cut)) == 40 and len(cut.audio) == 2
    assert videoed("cut-video", "--input-file", clip, "--from-time", "0.5", "--to-time", "1.1") == 0
    said = capsys.readouterr().out
    assert "encoded anew" in said and "--method copy" in said
    assert len(read_timeline(probe(work / "zwei Töne_cut.mkv"))) == 15
    assert videoed("cut-video", "--input-file", clip, "--from-time", "0.5", "--to-time", "1.1",
                   "--method", "copy") == 0  # fmt: skip
    assert len(read_timeline(probe(work / "zwei Töne_cut.mkv"))) > 15
    assert videoed("cut-video", "--input-file", clip, "--method", "copy", "--bitrate", "5") == 2


@pytest.mark.parametrize("suffix", [".mts", ".mpg", ".wmv"])
def test_pieces_of_films_in_other_containers_are_exact(work, suffix, capsys):
    clip = work / f"Kamera 1{suffix}"
    codecs = {
        ".mts": ("-c:v", "libx264", "-g", "12", "-c:a", "ac3", "-f", "mpegts"),
        ".mpg": ("-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"),
        ".wmv": ("-c:v", "msmpeg4", "-q:v", "2", "-c:a", "wmav2"),
    }[suffix]
    inputs = (
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=48000",
    )
    ffmpeg(*inputs, "-t", "3", *codecs, "-pix_fmt", "yuv420p", clip)
    start = probe(clip).start
    words = ("cut-video", "--input-file", clip, "--from-time", f"{start + 1.2:.3f}")
    assert videoed(*words, "--to-time", f"{start + 2.2:.3f}") == 0
    piece = work / "Kamera 1_cut.mkv"
    assert f"{piece}: 25 frames" in capsys.readouterr().out
    wanted, found = decoded(clip, "gray")[30:55], decoded(piece, "gray")
    assert len(found) == 25 and len(probe(piece).audio) == 1
    assert all(np.abs(a.astype(int) - b).mean() < 2 for a, b in zip(wanted, found))


def test_denoising_by_motion_is_chosen_by_a_flag(work, capsys):
    clip = make_clip(work / "a.mp4", frames=4, sound=False)
    assert videoed("extract-video", "--input-file", clip, "--output-dir", work / "f") == 0
    before = [path.read_bytes() for path in list_images(work / "f")]
    assert videoed("denoise-image-sequence", "--input-dir", work / "f", "--method", "motion") == 0
    assert len(list_images(work / "f")) == 4
    assert [path.read_bytes() for path in list_images(work / "f")] != before


def test_encoding_follows_merge_as_it_writes(work):
    clip = make_clip(work / "a.mp4", frames=12)
    assert videoed("extract-video", "--input-file", clip, "--output-dir", work / "f") == 0
    merged = work / "f" / "merged"
    merged.mkdir()

    def merge():
        for path in list_images(work / "f"):
            time.sleep(0.05)
            write_image(merged / path.name, read_image(path))

    writer = threading.Thread(target=merge)
    writer.start()
    words = ("--input-dir", merged, "--output-file", work / "r.mp4", "--reference-file", clip)
    assert videoed("video-from-sequence", *words, "--include-audio", "--follow", work / "f") == 0
    writer.join()
    assert probe(work / "r.mp4").frames == 12


def test_a_frame_made_again_while_it_was_encoded_gives_no_film(work, monkeypatch, capsys):
    from mainscripts import videoed_follow

    clip = make_clip(work / "a.mp4", frames=3)
    assert videoed("extract-video", "--input-file", clip, "--output-dir", work / "f") == 0
    merged = work / "f" / "merged"
    merged.mkdir()
    for path in list_images(work / "f"):
        write_image(merged / path.name, read_image(path))
    check = videoed_follow.Follower.check

    def late(self):
        write_image(merged / "00002.png", np.zeros((48, 64, 3), np.uint8))
        check(self)

    monkeypatch.setattr(videoed_follow.Follower, "check", late)
    words = ("--input-dir", merged, "--output-file", work / "r.mp4", "--follow", work / "f", "--fps", "25")
    assert videoed("video-from-sequence", *words) == 1
    assert "00002.png" in capsys.readouterr().err and not (work / "r.mp4").exists()
    follower = videoed_follow.Follower([merged / "00004.png"], 0.3)
    with pytest.raises(main.SwapError, match=r"00004\.png.*merge"):
        follower.wait(merged / "00004.png")

"""`extract --input-file`: the faces of a video without a folder of frames, equal to those of its PNGs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import main
from core import video
from core.imageio import read_deep_image, read_image
from core.paths import list_images
from facelib.synthetic import ANNA, Motion, build_head, render
from mainscripts.extract_log import LOG_NAME
from tests.video_clips import ffmpeg, make_clip, make_rotated

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 10


@pytest.fixture(scope="session")
def drawn_clip(tmp_path_factory) -> Path:
    """A short clip of a drawn person; nobody is in its fourth frame."""
    folder = tmp_path_factory.mktemp("drawn clip")
    head = build_head(ANNA)
    for number, yaw in enumerate(np.linspace(-0.3, 0.3, FRAMES), start=1):
        image = render(head, Motion(yaw=float(yaw)), size=240).image
        image = np.full_like(image, 90) if number == 4 else image
        cv2.imwrite(str(folder / f"{number:05}.png"), image)
    path = folder / "data_src.mp4"
    ffmpeg(
        "-framerate",
        25,
        "-i",
        folder / "%05d.png",
        "-c:v",
        "libx264",
        "-crf",
        12,
        "-pix_fmt",
        "yuv420p",
        path,
    )
    return path


def extract(output: Path, *flags: object) -> int:
    argv = ["extract", "--output-dir", output, *flags, "--detector", "blazeface", "--image-size", 256]
    return main.main([str(word) for word in [*argv, "--no-prompt"]])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in list_images(folder)}


def variant(clip: Path, kind: str, folder: Path) -> Path:
    """The clip as phones and cameras would have written it."""
    if kind == "plain":
        return clip
    path = folder / f"{kind}.mp4"
    if kind == "turned":
        try:
            ffmpeg("-display_rotation", 90, "-i", clip, "-c", "copy", path)
        except subprocess.CalledProcessError:  # before ffmpeg 6
            ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v:0", "rotate=270", path)
    elif kind == "deep":
        ffmpeg("-i", clip, "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-color_trc", "smpte2084", path)
    return path


@pytest.mark.parametrize(("kind", "fps"), [("plain", "0"), ("turned", "0"), ("deep", "0"), ("plain", "10")])
def test_faces_are_those_of_the_png_route(drawn_clip, tmp_path, kind, fps):
    clip = variant(drawn_clip, kind, tmp_path)
    frames, direct, indirect = tmp_path / "frames", tmp_path / "a" / "aligned", tmp_path / "b" / "aligned"
    words = ["videoed", "extract-video", "--input-file", clip, "--output-dir", frames, "--fps", fps]
    assert main.main([*map(str, words), "--output-ext", "png", "--no-prompt"]) == 0  # of 16 bits, if deep
    assert extract(indirect, "--input-dir", frames, "--output-debug") == 0
    assert extract(direct, "--input-file", clip, "--fps", fps, "--output-debug") == 0
    expected = contents(indirect)
    assert contents(direct) == expected and len(expected) >= 3
    assert contents(tmp_path / "a" / "aligned_debug") == contents(tmp_path / "b" / "aligned_debug")


def test_deep_frames_are_decoded_with_all_their_bits(drawn_clip, tmp_path):
    info = video.probe(variant(drawn_clip, "deep", tmp_path))
    video.extract_frames(info, tmp_path / "frames", depth=16)
    pngs = [read_deep_image(path) for path in list_images(tmp_path / "frames")]
    decoded = list(video.decode_frames(info, depth=16))
    assert len(decoded) == len(pngs)
    for image, png in zip(decoded, pngs):
        assert image.dtype == png.dtype == np.uint16
        np.testing.assert_array_equal(image[:, :, ::-1], png)


def test_decoded_frames_are_the_pngs_pixel_for_pixel(tmp_path):
    clip = make_rotated(tmp_path / "clip.mp4", 90, frames=6)
    info = video.probe(clip)
    count = video.extract_frames(info, tmp_path / "frames")
    pngs = [read_image(path) for path in list_images(tmp_path / "frames")]
    for skipped in (0, 2, count):
        decoded = list(video.decode_frames(info, skipped=skipped))
        assert len(decoded) == count - skipped
        for image, png in zip(decoded, pngs[skipped:]):
            np.testing.assert_array_equal(image[:, :, ::-1], png)


def test_frames_of_changing_size_are_told_apart(tmp_path):
    """Some streams change their size midway; nothing may shear."""
    parts = [
        make_clip(tmp_path / f"{n}.ts", 4, size=size, sound=False)
        for n, size in enumerate(("64x48", "80x64"))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    info = video.probe(joined)
    count = video.extract_frames(info, tmp_path / "frames")
    decoded = list(video.decode_frames(info))
    assert len(decoded) == count
    for image, path in zip(decoded, list_images(tmp_path / "frames")):
        np.testing.assert_array_equal(image[:, :, ::-1], read_image(path))


def test_reader_that_stops_early_ends_ffmpeg(drawn_clip):
    frames = video.decode_frames(video.probe(drawn_clip))
    next(frames)
    frames.close()  # kills and awaits it; a pipe left open would warn


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_run_goes_on_by_frame_number(drawn_clip, tmp_path):
    clip, output = tmp_path / "long.mp4", tmp_path / "aligned"
    ffmpeg("-stream_loop", 5, "-i", drawn_clip, "-c", "copy", clip)
    assert extract(tmp_path / "whole", "--input-file", clip) == 0
    words = ["--input-file", clip, "--output-dir", output, "--detector", "blazeface", "--image-size", 256]
    command = [sys.executable, "main.py", "extract", *words, "--no-prompt"]
    chance = random.Random(7)
    for wanted in (3, 20):
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
        while len(logged(output)) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 20 <= len(logged(output)) < 6 * FRAMES
    stamps = {name: (output / name).stat().st_mtime_ns for names in logged(output).values() for name in names}
    assert extract(output, "--input-file", clip) == 0
    assert contents(output) == contents(tmp_path / "whole")
    assert {name: (output / name).stat().st_mtime_ns for name in stamps} == stamps
    lines = (output / LOG_NAME).read_text(encoding="utf-8").splitlines()
    assert sum('"frame"' in line for line in lines) <= 6 * FRAMES + 2  # torn lines only
    assert extract(output, "--input-file", clip) == 0  # and there is nothing left to do


def logged(folder: Path) -> dict[str, list[str]]:
    done = {}
    if (folder / LOG_NAME).exists():
        for line in (folder / LOG_NAME).read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "frame" in entry:
                done[entry["frame"]] = entry["faces"]
    return done


def test_another_video_needs_another_folder(drawn_clip, tmp_path, capsys):
    other = make_clip(tmp_path / "other.mp4")
    output = tmp_path / "aligned"
    assert extract(output, "--input-file", drawn_clip) == 0
    assert extract(output, "--input-file", other) == 1
    assert "data_src.mp4" in capsys.readouterr().err
    assert extract(output, "--input-file", drawn_clip, "--fps", "5") == 1
    renamed = drawn_clip.rename(drawn_clip.with_name("renamed.mp4"))
    try:
        assert extract(output, "--input-file", renamed) == 0
    finally:
        renamed.rename(drawn_clip)


@pytest.mark.parametrize("case", ["missing", "no video", "both", "fps"])
def test_wrong_inputs_are_refused(drawn_clip, tmp_path, case, capsys):
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    flags = {
        "missing": ["--input-file", tmp_path / "gone.mp4"],
        "no video": ["--input-file", tmp_path / "text.mp4"],
        "both": ["--input-file", drawn_clip, "--input-dir", tmp_path],
        "fps": ["--input-dir", tmp_path, "--fps", "5"],
    }[case]
    try:
        code = extract(tmp_path / "aligned", *flags)
    except SystemExit as end:
        code = end.code
    assert code == (2 if case in ("both", "fps") else 1)
    assert capsys.readouterr().err


def test_a_video_that_was_cut_short_is_told(drawn_clip, tmp_path, capsys):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    ffmpeg("-i", drawn_clip, "-c", "copy", whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert extract(tmp_path / "aligned", "--input-file", cut) == 0
    assert f"cut.mkv should have {FRAMES} frames" in capsys.readouterr().out
    assert extract(tmp_path / "all", "--input-file", whole) == 0
    assert "should have" not in capsys.readouterr().out

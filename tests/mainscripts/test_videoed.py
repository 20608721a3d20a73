from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

import main
from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import probe, read_timeline
from core.video.provenance import SOURCE_TYPE, read_source_type
from tests.video_clips import make_clip, sound_digest


@pytest.fixture
def videoed(root):
    """Run `main.py videoed ...` as a process."""

    def run(*arguments, answers=None):
        command = [sys.executable, str(root / "main.py"), "videoed", *map(str, arguments)]
        command += [] if answers is not None else ["--no-prompt"]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        pipes = {"capture_output": True, "text": True, "encoding": "utf-8"}
        return subprocess.run(command, input=answers, env=environment, timeout=60, **pipes)

    return run


def one_clear_line(done, *words, code=1):
    """The process ended with one error line that holds `words`, and no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return all(word in lines[0] for word in words) or pytest.fail(lines[0])


def test_a_video_goes_to_frames_and_back(videoed, tmp_path):
    work = tmp_path / "рабочая папка 1"
    work.mkdir()
    clip = make_clip(work / "DATA_dst.mp4", frames=30, rate="30000/1001", size="98x70")
    done = videoed(
        "extract-video", "--input-file", work / "data_dst.*", "--output-dir", work / "data_dst", "--fps", "0"
    )
    assert done.returncode == 0, done.stderr
    assert "30 frames" in done.stdout and "png  (default)" in done.stdout
    result = (
        work / "новый результат" / "result.mp4"
    )  # in a folder that is not there yet: DFL made it and stopped
    done = videoed("video-from-sequence", "--input-dir", work / "data_dst", "--output-file", result,
                   "--reference-file", work / "data_dst.*", "--include-audio")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "copied" in done.stdout and "Encoding: 30/30 frame" in done.stdout
    info = probe(result)
    assert (info.frame_rate, info.width, info.height) == (Fraction(30000, 1001), 98, 70)
    assert len(read_timeline(info)) == 30
    assert sound_digest(result) == sound_digest(clip)
    assert read_source_type(result) == SOURCE_TYPE


def test_a_mask_of_grey_frames_is_lossless(videoed, tmp_path):
    (tmp_path / "merged_mask").mkdir()
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 256, (47, 65), dtype=np.uint8) for _ in range(3)]
    for number, mask in enumerate(masks, start=1):
        write_image(tmp_path / "merged_mask" / f"{number:05}.png", mask)
    reference = make_clip(tmp_path / "data_dst.mp4", frames=3)
    done = videoed("video-from-sequence", "--input-dir", tmp_path / "merged_mask", "--output-file",
                   tmp_path / "result_mask.mp4", "--reference-file", reference, "--lossless")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not probe(tmp_path / "result_mask.mp4").audio
    assert (
        videoed(
            "extract-video", "--input-file", tmp_path / "result_mask.mp4", "--output-dir", tmp_path / "b"
        ).returncode
        == 0
    )
    for path, mask in zip(list_images(tmp_path / "b"), masks, strict=True):
        assert np.array_equal(read_image(path)[..., 1], mask)


def test_the_second_run_finds_all_done_and_lost_frames_come_back(videoed, tmp_path):
    clip, out = make_clip(tmp_path / "a.mp4"), tmp_path / "out"
    extract = ("extract-video", "--input-file", clip, "--output-dir", out)
    assert videoed(*extract).returncode == 0
    (out / "00003.png").write_bytes(b"mine")
    again = videoed(*extract)
    assert again.returncode == 0 and "already done" in again.stdout
    (out / "00005.png").unlink()
    assert videoed(*extract).returncode == 0
    assert len(list_images(out)) == 12 and (out / "00003.png").read_bytes() == b"mine"
    replaced = videoed(*extract, answers="\n\nreplace\n")
    assert replaced.returncode == 0, replaced.stderr
    assert len(list_images(out)) == 12 and (out / "00003.png").read_bytes() != b"mine"


def test_frames_of_another_video_are_not_deleted_unasked(videoed, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("00001.png", "photo.png"):
        write_image(out / name, np.zeros((8, 8, 3), np.uint8))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    extract = ("extract-video", "--input-file", make_clip(tmp_path / "a.mp4"), "--output-dir", out)
    one_clear_line(videoed(*extract), "holds 1 frames", "empty folder")
    one_clear_line(videoed(*extract, answers="0\npng\n\n"), "holds 1 frames")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert videoed(*extract, answers="0\njpg\ny\n").returncode == 0
    assert (out / "photo.png").read_bytes() == before["photo.png"]
    assert len(list_images(out)) == 13 and (out / "00012.jpg").exists()


def test_cut_and_denoise(videoed, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=50)
    done = videoed(
        "cut-video", "--input-file", clip, "--from-time", "00:00:00.400", "--to-time", "00:00:01.200"
    )
    assert done.returncode == 0, done.stderr
    cut = probe(tmp_path / "a_cut.mp4")
    assert len(read_timeline(cut)) == 20 and len(cut.audio) == 1
    out = tmp_path / "out"
    assert (
        videoed(
            "extract-video",
            "--input-file",
            cut.path,
            "--output-dir",
            out,
            "--output-ext",
            "jpg",
            "--fps",
            "5",
        ).returncode
        == 0
    )
    assert len(list_images(out)) == 4
    before = list_images(out)[2].read_bytes()
    done = videoed("denoise-image-sequence", "--input-dir", out, "--factor", "9")
    assert done.returncode == 0 and "Denoise factor" not in done.stdout  # DFL asked although it was given
    assert len(list_images(out)) == 4 and list_images(out)[2].read_bytes() != before


def test_mistakes_get_one_clear_line(videoed, tmp_path):
    text, empty, clip = tmp_path / "text.mp4", tmp_path / "empty", make_clip(tmp_path / "a.mp4")
    text.write_text("no video")
    empty.mkdir()
    out = tmp_path / "out"
    one_clear_line(
        videoed("extract-video", "--input-file", text, "--output-dir", out), "text.mp4", "not a video"
    )
    one_clear_line(
        videoed("extract-video", "--input-file", tmp_path / "no.mp4", "--output-dir", out),
        "no.mp4",
        "does not exist",
    )
    one_clear_line(
        videoed("extract-video", "--input-file", tmp_path / "data_src.*", "--output-dir", out), "data_src"
    )
    one_clear_line(videoed("extract-video", "--input-file", clip, "--output-dir", text / "x"), "text.mp4")
    one_clear_line(
        videoed("extract-video", "--input-file", clip, "--output-dir", out, "--fps", "x"),
        "frame rate",
        code=2,
    )
    one_clear_line(videoed("cut-video", "--input-file", clip, "--from-time", "1:99:1"), "1:99:1", code=2)
    one_clear_line(videoed("cut-video", "--input-file", clip, "--audio-track-id", "4"), "0..0", code=2)
    one_clear_line(videoed("denoise-image-sequence", "--input-dir", empty), "empty", "no images")
    one_clear_line(videoed("denoise-image-sequence", "--input-dir", empty / "x"), "does not exist")
    encode = ("video-from-sequence", "--input-dir", empty, "--output-file", tmp_path / "r.mp4")
    one_clear_line(videoed(*encode), "empty", "no images")
    write_image(empty / "00001.png", np.zeros((8, 8, 3), np.uint8))
    one_clear_line(videoed(*encode, "--reference-file", text), "text.mp4")
    one_clear_line(videoed(*encode, "--bitrate", "0"), "1..1000", code=2)
    one_clear_line(videoed(*encode, "--ext", "jpg"), "jpg")
    assert not out.exists() and not (tmp_path / "r.mp4").exists()


def test_a_result_never_takes_the_place_of_its_reference_or_of_a_folder(videoed, tmp_path):
    clip = make_clip(tmp_path / "data_dst.mp4", frames=3, sound=False)
    content, folder = clip.read_bytes(), tmp_path / "folder.mp4"
    folder.mkdir()
    (tmp_path / "f").mkdir()
    write_image(tmp_path / "f" / "00001.png", np.zeros((8, 8, 3), np.uint8))
    encode = ("video-from-sequence", "--input-dir", tmp_path / "f", "--reference-file", clip)
    (tmp_path / "other name.mp4").symlink_to(clip)
    for name in ("data_dst.mp4", "other name.mp4"):
        one_clear_line(videoed(*encode, "--output-file", tmp_path / name), name, "reference")
    one_clear_line(videoed(*encode, "--output-file", folder), "folder.mp4", "this is a folder")
    assert clip.read_bytes() == content


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8(videoed, tmp_path):
    work = tmp_path / "\udcff\udce9 x"
    work.mkdir()
    clip = work / "\udcfe.mp4"
    make_clip(tmp_path / "a.mp4", frames=4, sound=False).rename(clip)
    words = (
        ("cut-video", "--input-file", clip, "--to-time", "0.1"),
        ("extract-video", "--input-file", clip, "--output-dir", work / "f"),
        ("denoise-image-sequence", "--input-dir", work / "f"),
        ("video-from-sequence", "--input-dir", work / "f", "--reference-file", clip,
         "--output-file", work / "\udcfd.mp4"),
    )  # fmt: skip
    for action in words:
        done = videoed(*action)
        assert done.returncode == 0, done.stderr
        if action[0] == "extract-video":
            for path in list_images(work / "f"):
                path.rename(path.with_name(f"\udcff{path.name}"))
    assert probe(work / "\udcfd.mp4").frames == 4


def test_a_value_out_of_range_is_moved_into_it_at_the_prompt(videoed, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    write_image(folder / "00001.png", np.zeros((8, 8, 3), np.uint8))
    done = videoed("video-from-sequence", "--input-dir", folder, "--output-file", tmp_path / "r.mp4",
                   answers="fast\n29.97\n5000\n")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not a frame rate" in done.stdout and "taking 1000" in done.stdout
    assert probe(tmp_path / "r.mp4").frame_rate == Fraction(30000, 1001)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_midway_nothing_half_has_the_final_name(root, tmp_path, number):
    folder = tmp_path / "f"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_image(folder / "00001.jpg", rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))
    for index in range(2, 400):
        os.link(folder / "00001.jpg", folder / f"{index:05}.jpg")
    command = [sys.executable, str(root / "main.py"), "videoed", "video-from-sequence", "--no-prompt"]
    command += ["--input-dir", str(folder), "--output-file", str(tmp_path / "r.mp4")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if process.poll() is not None or any(tmp_path.glob(".*.r.mp4")):
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in complaints
    assert not (tmp_path / "r.mp4").exists()
    if number == signal.SIGINT:
        assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_extraction_that_was_killed_is_finished_by_the_next(videoed, root, tmp_path):
    clip, out = make_clip(tmp_path / "a.mp4", frames=150, size="640x480", sound=False), tmp_path / "out"
    extract = ("extract-video", "--input-file", str(clip), "--output-dir", str(out))
    command = [sys.executable, str(root / "main.py"), "videoed", *extract, "--no-prompt"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (out / "00005.png").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(0.3)  # ffmpeg dies with its parent
    count = len(list_images(out))
    assert 5 <= count < 150
    done = videoed(*extract)
    assert done.returncode == 0 and "going on" in done.stdout
    assert len(list_images(out)) == 150
    assert all(read_image(path).shape == (480, 640, 3) for path in list_images(out))
    assert sorted(p.name for p in out.iterdir() if p.suffix != ".png") == [".frames.json"]


def test_flags_are_taken_before_and_after_the_action():
    tail = ["extract-video", "--input-file", "a", "--output-dir", "b"]
    for argv in (["videoed", "--no-prompt", *tail], ["videoed", *tail, "--no-prompt"]):
        args = main.parse(argv)
        assert args.no_prompt and not args.debug and args.screen == "auto"
    assert not main.parse(["videoed", *tail]).no_prompt


def test_the_shared_clips_go_round(videoed, shared_data, tmp_path):
    clip = shared_data / "clips" / "person_b.mp4"
    assert (
        videoed(
            "extract-video", "--input-file", clip, "--output-dir", tmp_path / "f", "--output-ext", "jpg"
        ).returncode
        == 0
    )
    assert len(list_images(tmp_path / "f")) == 250
    done = videoed("video-from-sequence", "--input-dir", tmp_path / "f", "--output-file", tmp_path / "r.mp4",
                   "--reference-file", clip, "--include-audio")  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, reference = probe(tmp_path / "r.mp4"), probe(clip)
    assert (ours.frame_rate, ours.frames, ours.colour) == (reference.frame_rate, 250, reference.colour)
    assert ours.duration == pytest.approx(reference.duration, abs=1 / 30)
    assert sound_digest(ours.path) == sound_digest(clip)

"""The command line as a user meets it: help at once, wrong usage 2, an error in one line and 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import main
from core.imageio import write_image

ROOT = Path(__file__).resolve().parents[1]


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Run main.py as a user does, with nothing to read from."""
    return subprocess.run(
        [sys.executable, ROOT / "main.py", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


def exit_code(argv: list[str]) -> int:
    """The code with which argparse ends the program."""
    with pytest.raises(SystemExit) as ended:
        main.main(argv)
    return ended.value.code


def is_one_line(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in main.COMMANDS)], ids=" ".join)
def test_help_does_not_load_tensorflow(argv):
    code = (
        f"import sys, main\ntry: main.main({argv})\nexcept SystemExit as e: assert e.code == 0, e.code\n"
        "finally: assert not {'tensorflow', 'keras', 'cv2', 'scipy', 'av'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20, stdout=subprocess.DEVNULL)


def test_help_of_all_names_every_command(capsys):
    assert exit_code(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in main.COMMANDS)


def test_without_a_command_the_help_is_printed(capsys):
    assert exit_code([]) == 0
    assert "usage: main.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["fly"],
        ["merge"],
        ["train", "--model", "Quick96"],
        ["videoed"],
        ["videoed", "melt"],
        ["extract", "--input-dir"],
        ["extract", "--input-dir", "a", "--output-dir", "b", "--detector", "eyes"],
        ["extract", "--input-dir", "a", "--output-dir", "b", "--screen", "sideways"],
        ["extract", "--input-dir", "a", "--output-dir", "b", "--jpeg-quality", "five"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_says_why(argv, capsys):
    assert exit_code(argv) == 2
    assert "error:" in capsys.readouterr().err


def test_one_clip_alone_is_wrong_usage(capsys):
    assert main.main(["demo", "a.mp4"]) == 2
    assert "two clips" in capsys.readouterr().err


def train_words(src: Path, dst: Path, model: Path) -> list[object]:
    return ["train", "--training-data-src-dir", src, "--training-data-dst-dir", dst, "--model-dir", model,
            "--model", "Quick96", "--no-prompt", "--no-preview"]  # fmt: skip


def merge_words(frames: Path, model: Path) -> list[object]:
    return ["merge", "--input-dir", frames, "--output-dir", frames / "m", "--output-mask-dir", frames / "k",
            "--aligned-dir", frames / "aligned", "--model-dir", model, "--model", "Quick96",
            "--no-prompt"]  # fmt: skip


def encode_words(frames: Path, film: Path) -> list[object]:
    return ["videoed", "video-from-sequence", "--input-dir", frames, "--output-file", film, "--no-prompt"]


def test_wrong_paths_are_one_line_and_1(tmp_path):
    gone = tmp_path / "gone ä"
    lines = [
        ["videoed", "extract-video", "--input-file", gone / "a.mp4", "--output-dir", tmp_path, "--no-prompt"],
        ["videoed", "extract-video", "--input-file", gone / "a.*", "--output-dir", tmp_path, "--no-prompt"],
        ["videoed", "cut-video", "--input-file", gone / "a.mp4", "--no-prompt"],
        ["videoed", "denoise-image-sequence", "--input-dir", gone, "--no-prompt"],
        encode_words(gone, tmp_path / "r.mp4"),
        ["extract", "--input-dir", gone, "--output-dir", tmp_path / "a", "--no-prompt"],
        train_words(gone, gone, tmp_path / "model"),
        merge_words(gone, tmp_path / "model"),
        ["demo", gone / "a.mp4", gone / "b.mp4"],
    ]
    for words in lines:
        done = call(*words)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        assert is_one_line(done.stderr) and "gone ä" in done.stderr, (words, done.stderr)


def test_empty_folders_are_one_line_and_1(tmp_path):
    empty, model = tmp_path / "empty", tmp_path / "model"
    empty.mkdir()
    model.mkdir()
    lines = [
        ["videoed", "denoise-image-sequence", "--input-dir", empty, "--no-prompt"],
        encode_words(empty, tmp_path / "r.mp4"),
        ["extract", "--input-dir", empty, "--output-dir", tmp_path / "a", "--no-prompt"],
        train_words(empty, empty, model),
        merge_words(empty, model),
    ]
    for words in lines:
        done = call(*words)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        assert is_one_line(done.stderr), (words, done.stderr)


def test_a_text_file_named_mp4_is_one_line_and_1(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_text("these are words\n")
    done = call(
        "videoed", "extract-video", "--input-file", film, "--output-dir", tmp_path / "f", "--no-prompt"
    )
    assert done.returncode == 1 and is_one_line(done.stderr) and "film.mp4" in done.stderr


def test_a_truncated_jpeg_is_named_and_1(tmp_path):
    frame = tmp_path / "frames" / "00001.jpg"
    frame.parent.mkdir()
    write_image(frame, np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    frame.write_bytes(frame.read_bytes()[:700])
    done = call("extract", "--input-dir", frame.parent, "--output-dir", tmp_path / "aligned", "--no-prompt")
    assert done.returncode == 1
    assert "00001.jpg" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_debug_shows_where_an_error_comes_from(tmp_path):
    done = call(
        "extract", "--input-dir", tmp_path / "gone", "--output-dir", tmp_path, "--no-prompt", "--debug"
    )
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="closed streams and pipes of POSIX")
def test_closed_streams_and_a_reader_that_leaves(tmp_path):
    (tmp_path / "frames").mkdir()
    write_image(tmp_path / "frames" / "00001.png", np.zeros((48, 48, 3), np.uint8))
    words = f'"{sys.executable}" "{ROOT / "main.py"}" extract --input-dir frames --output-dir'
    for shell, code in (
        (f"{words} a <&-", 0),  # every question takes its default
        (f"{words} b <&- >&-", 0),
        (f"{words} c --no-prompt | true; exit ${{PIPESTATUS[0]}}", 130),
        (f"{words} d --no-prompt > /dev/full", 1),
    ):
        if "/dev/full" in shell and not Path("/dev/full").exists():
            continue
        done = subprocess.run(
            ["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, (shell, done.stderr)
        assert not done.stderr or is_one_line(done.stderr), (shell, done.stderr)
    assert (tmp_path / "b" / ".extract.jsonl").read_text().count("frame") == 1

"""The whole job in one command without a question: two clips in, a swapped video out, in about ten minutes.

Without clips it draws two short ones of people who do not exist. The steps are the same commands that the
numbered scripts run; the training takes what the other steps leave of the time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from core.errors import SwapError, UsageError
from core.paths import list_images, require_file

ROOT = Path(__file__).resolve().parents[1]
MARK = ".made-by-demo"  # a folder with it may be emptied by the next demo
MODEL = "Quick96"
CLIP_SECONDS = 8.0  # of a drawn clip
MOST_FRAMES = 250  # of each clip, at up to MOST_PIXELS a frame, fewer above
MOST_PIXELS = 1920 * 1080
LEAST_FRAMES = 50
LEAST_TRAINING = 90.0  # seconds, even where the other steps were slow
SETUP_COUNTED = 180.0  # seconds of the set-up that the time contains
MOMENTS = 5  # rows of the contact sheet
TILE = 320  # side of its pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two clips, where to work, and how long."""
    parser.add_argument(
        "clips", nargs="*", type=Path, metavar="CLIP", help="SRC and DST; without: drawn people"
    )
    parser.add_argument(
        "--workspace-dir", type=Path, default=ROOT / "workspace_demo", metavar="DIR", help="emptied first"
    )
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="for everything, the training takes the rest (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Do all steps, print where the results are, and return the exit code."""
    previous = signal.signal(signal.SIGTERM, _interrupt)  # no step may outlive us
    try:
        return _run(args)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(args: argparse.Namespace) -> int:
    if len(args.clips) not in (0, 2):
        raise UsageError(f"give two clips, SRC and DST, or none; {len(args.clips)} given")
    started = time.monotonic()
    deadline = started + 60 * args.minutes - _setup_seconds()
    for clip in args.clips:
        require_file(clip, "clip")
        if args.workspace_dir.resolve() in clip.resolve().parents:
            raise UsageError(f"{clip}: lies in the folder that the demo empties; move it out first")
    work = _fresh_folder(args.workspace_dir.absolute())
    clips = _take_clips(args.clips, work) if args.clips else _draw_clips(work)
    for side, clip in clips.items():
        _step("videoed", "extract-video", "--input-file", clip, "--output-dir", work / side, "--fps", "0",
              "--output-ext", _frame_suffix(clip))  # fmt: skip
    pace = 0.0
    for side in clips:
        begun = time.monotonic()
        _step("extract", "--input-dir", work / side, "--output-dir", work / side / "aligned",
              "--detector", "blazeface", "--landmarker", "facemesh",
              "--max-faces-from-image", "1")  # fmt: skip
        pace = time.monotonic() - begun
    # the steps after the training do about as much for each frame as the search for its faces
    _train(work, max(deadline - time.monotonic() - 25 - 2.5 * pace, LEAST_TRAINING))
    dst = work / "data_dst"
    _step("merge", "--input-dir", dst, "--aligned-dir", dst / "aligned", "--output-dir", dst / "merged",
          "--output-mask-dir", dst / "merged_mask", "--model-dir", work / "model",
          "--model", MODEL)  # fmt: skip
    result, mask = work / "result.mp4", work / "result_mask.mp4"
    for frames, film, flag in (("merged", result, "--include-audio"), ("merged_mask", mask, "--lossless")):
        _step("videoed", "video-from-sequence", "--input-dir", dst / frames, "--output-file", film,
              "--reference-file", clips["data_dst"], flag)  # fmt: skip
    sheet = write_contact_sheet(work)
    print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} minutes.")
    print(f"result:        {result}\ncontact sheet: {sheet}", flush=True)
    return 0


def _setup_seconds() -> float:
    """How much of the time the set-up before us has used; a slow network is not counted in full."""
    try:
        return min(max(time.time() - float(os.environ["FACELAB_STARTED"]), 0.0), SETUP_COUNTED)
    except (KeyError, ValueError):
        return 0.0


def _fresh_folder(work: Path) -> Path:
    """An empty folder to work in; only a demo's own is emptied."""
    if work.is_dir() and any(work.iterdir()):
        if not (work / MARK).exists():
            raise SwapError(f"{work}: holds files that no demo made; choose another --workspace-dir")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / MARK).touch()
    (work / "model").mkdir()
    return work


def _draw_clips(work: Path) -> dict[str, Path]:
    """Two clips of two drawn people, each in a process of its own."""
    from facelib.synthetic import ANNA, BORIS
    from facelib.synthetic_clip import write_clip

    clips = {"data_src": work / "data_src.mp4", "data_dst": work / "data_dst.mp4"}
    _announce(f"draw two people who do not exist, {CLIP_SECONDS:.0f} seconds each")
    with ProcessPoolExecutor(2) as pool:
        jobs = [
            pool.submit(write_clip, path, who, CLIP_SECONDS)
            for path, who in zip(clips.values(), (ANNA, BORIS))
        ]
        for job in jobs:
            job.result()
    return clips


def _take_clips(given: list[Path], work: Path) -> dict[str, Path]:
    """The user's clips under the workspace's names; of long ones the beginning."""
    from core.video import cut, probe

    clips = {}
    for name, path in zip(("data_src", "data_dst"), given):
        info = probe(path)
        most = int(
            min(MOST_FRAMES, max(LEAST_FRAMES, MOST_FRAMES * MOST_PIXELS / (info.width * info.height)))
        )
        seconds = most / float(info.frame_rate)
        if info.duration is not None and info.duration > seconds + 0.5:
            print(
                f"{path.name} is long: the demo takes its first {seconds:.1f} seconds ({most} frames)",
                flush=True,
            )
            clips[name] = work / f"{name}.mp4"
            cut(info, clips[name], end=seconds)
        else:
            clips[name] = Path(shutil.copyfile(path, work / f"{name}{path.suffix}"))
    return clips


def _frame_suffix(clip: Path) -> str:
    """PNG, as the steps' default is; JPEG for pictures so large that PNG would eat the time."""
    from core.video import probe

    info = probe(clip)
    return "png" if info.width * info.height <= 1280 * 720 else "jpg"


def _command(*words: object) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), *map(str, words), "--no-prompt", "--screen", "none"]


def _announce(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _step(*words: object) -> None:
    """Run one subcommand of main.py; it prints its own errors."""
    _announce(" ".join(map(str, words[:2] if words[0] == "videoed" else words[:1])))
    code = subprocess.run(_command(*words), check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code != 0:
        raise SwapError(f"{words[0]} ended with exit code {code}, see above")


def _train(work: Path, seconds: float) -> None:
    """Train for a time: the trainer saves and ends when it is told to stop."""
    _announce(f"train {MODEL} for {seconds / 60:.1f} minutes")
    words = ("--training-data-src-dir", work / "data_src" / "aligned", "--training-data-dst-dir",
             work / "data_dst" / "aligned", "--model-dir", work / "model", "--model", MODEL)  # fmt: skip
    flags = subprocess.CREATE_NEW_PROCESS_GROUP if os.name == "nt" else 0
    trainer = subprocess.Popen(_command("train", *words), creationflags=flags)
    try:
        code = trainer.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        code = _stop(trainer)
    except KeyboardInterrupt:
        _stop(trainer)
        raise
    if code not in (0, 130):  # 130: somebody else told it to save and end, which is as good
        raise SwapError(f"train ended with exit code {code}, see above")


def _stop(trainer: subprocess.Popen) -> int:
    """Tell the trainer to save and end, and wait for it; its exit code, 0 where it was only interrupted."""
    trainer.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGTERM)
    code = trainer.wait()
    return 0 if code == 130 else code


def write_contact_sheet(work: Path) -> Path:
    """Write rows of (source, destination, swap) from all over the clips; returns the picture's path."""
    import cv2
    import numpy as np

    from core.imageio import encode_image, read_image
    from core.storage import write_bytes
    from core.video.provenance import mark_image

    def tile(path: Path) -> np.ndarray:
        image = read_image(path)
        scale = TILE / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        square = np.full((TILE, TILE, 3), 24, np.uint8)
        top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        return square

    source, target = list_images(work / "data_src"), list_images(work / "data_dst")
    merged = {path.stem: path for path in list_images(work / "data_dst" / "merged")}
    rows = []
    for moment in (np.arange(MOMENTS) + 0.5) / MOMENTS:
        frame = target[int(moment * len(target))]
        rows.append(
            np.hstack([tile(p) for p in (source[int(moment * len(source))], frame, merged[frame.stem])])
        )
    header = np.full((36, 3 * TILE, 3), 24, np.uint8)
    for column, text in enumerate(("source", "destination", "swap")):
        cv2.putText(
            header,
            text,
            (column * TILE + 10, 25),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.7,
            (230, 230, 230),
            1,
            cv2.LINE_AA,
        )
    sheet = work / "contact_sheet.jpg"
    write_bytes(sheet, mark_image(encode_image(".jpg", np.vstack([header, *rows]), 92)))
    return sheet

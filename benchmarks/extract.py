"""Measure `extract` from frames on disk to aligned JPEGs against the same work one frame at a time.

    python benchmarks/extract.py [--data ../shared/data] [--clips person_a,person_b] [--frames 150]

The yardstick reads a frame, finds its faces, cuts them out and writes them, then takes the next, in one
thread. Both take turns in one process, so that a busy machine troubles them alike. Goal: at least 1.8 times
the yardstick (on two idle cores; one core can reach no more than 1).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2

from core.imageio import write_image
from core.system import cpu_count
from facelib.pipeline import Pipeline
from mainscripts.extract_frames import Target, extract_frame, extract_frames

GOAL = 1.8
WARM_UP = 8  # frames before measuring, which load the networks


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="folder of the real data")
    parser.add_argument("--clips", default="person_a,person_b", help="names in its folder clips")
    parser.add_argument("--frames", type=int, default=150, help="frames of each clip")
    parser.add_argument("--rounds", type=int, default=3, help="how often both take their turn")
    parser.add_argument("--size", type=int, default=512, help="side of the aligned faces")
    parser.add_argument("--detector", default="auto", help="auto, blazeface or mtcnn")
    args = parser.parse_args()
    videos = [args.data / "clips" / f"{name}.mp4" for name in args.clips.split(",")]
    for video in videos:
        if not video.is_file():
            print(f"{video}: the real data is not here; give its folder with --data", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as folder:
        frames = [f for video in videos for f in _write_frames(video, Path(folder) / video.stem, args.frames)]
        return _compare(frames, Path(folder), args)


def _compare(frames: list[Path], folder: Path, args: argparse.Namespace) -> int:
    pipeline = Pipeline(args.detector)
    threads = cpu_count() + 1  # as `extract` does
    ratios, rates = [], []
    for number in range(args.rounds):
        target = Target(_fresh(folder / f"one_{number}"), None, "whole_face", args.size, 90)
        one = _rate(frames, lambda paths, target=target: _one_by_one(paths, pipeline, target))
        target = Target(_fresh(folder / f"product_{number}"), None, "whole_face", args.size, 90)
        product = _rate(frames, lambda paths, target=target: _product(paths, pipeline, target, threads))
        print(
            f"round {number + 1}: one at a time {one:.1f} frames/s, extract {product:.1f} frames/s on "
            f"{threads} threads, {product / one:.2f} times",
            flush=True,
        )
        ratios.append(product / one)
        rates.append(product)
    ratio = statistics.median(ratios)
    print(
        f"{pipeline.name}, {len(frames)} frames: extract {statistics.median(rates):.1f} frames/s, "
        f"{ratio:.2f} times one frame at a time (goal {GOAL})"
    )
    return 0 if ratio >= GOAL else 1


def _write_frames(video: Path, folder: Path, count: int) -> list[Path]:
    """The first frames of a video as PNG files."""
    import av

    folder.mkdir()
    paths = []
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == count:
                break
            paths.append(folder / f"{video.stem}{number:05d}.png")
            write_image(paths[-1], frame.to_ndarray(format="bgr24"))
    return paths


def _rate(frames: list[Path], work: Callable[[list[Path]], int]) -> float:
    """Frames per second of `work`, after a few frames that do not count."""
    work(frames[:WARM_UP])
    started = time.perf_counter()
    faces = work(frames)
    if not faces:
        raise SystemExit("no faces found: there is nothing to compare")
    return len(frames) / (time.perf_counter() - started)


def _one_by_one(frames: list[Path], pipeline: Pipeline, target: Target) -> int:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return sum(len(extract_frame(frame, pipeline, target).faces) for frame in frames)
    finally:
        cv2.setNumThreads(threads)


def _product(frames: list[Path], pipeline: Pipeline, target: Target, threads: int) -> int:
    return sum(len(result.faces) for result in extract_frames(frames, pipeline, target, threads))


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())

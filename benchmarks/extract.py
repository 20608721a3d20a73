"""Measure `extract` from frames on disk to aligned JPEGs against the same work one frame at a time.

    python benchmarks/extract.py [--pair blazeface+facemesh] [--clips person_a,person_b] [--frames 150]
    python benchmarks/extract.py --pair all
    python benchmarks/extract.py --pair s3fd+fan --precision float32

The yardstick reads a frame, finds its faces, cuts them out and writes them, then takes the next, in one
thread. S3FD and FAN are taken from `plain_faces.py` for it, which does what DFL does: one
picture or crop per call, in float32. Both take turns in one process, so that a busy machine troubles them
alike. Goals, on two idle cores (one core can reach no more than 1 with the small networks): BlazeFace and
FaceMesh 1.8 times the yardstick; S3FD and FAN 1.7 times where the processor has bfloat16, else 1.15 times.

Without the genuine weights S3FD and FAN get random ones of the same shapes, S3FD's heads made so that every
picture has a face: what they compute is nonsense, and takes as long. FaceMesh refuses such boxes, so S3FD
with it is left out then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

from core.errors import SwapError
from core.imageio import read_image, write_image
from facelib.detected import DetectedFace
from facelib.pipeline import Pipeline
from mainscripts.extract_frames import Target, look_at_frames, write_faces
from mainscripts.extract_sources import ImageFrame

PAIRS = (
    "blazeface+facemesh",
    "s3fd+fan",
    "s3fd+fan3d",
    "s3fd+facemesh",
    "blazeface+fan",
    "mtcnn+facemesh",
    "dlib-hog+dlib68",
    "dlib-hog+facemesh",
    "dlib-cnn+dlib68",
)
SMALL_GOAL, BFLOAT_GOAL, FLOAT_GOAL = 1.8, 1.7, 1.15
REFUSED = "s3fd+facemesh"  # with random weights
WEIGHTS = {"s3fd": "S3FD", "fan": "2DFAN", "fan3d": "3DFAN"}
SLOW_FRAMES = 16  # of networks that take a second for a frame
WARM_UP = 8  # frames before measuring, which load the networks
AHEAD = 3

Find = Callable[[np.ndarray], list[DetectedFace]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="folder of the real data")
    parser.add_argument("--clips", default="person_a,person_b", help="names in its folder clips")
    parser.add_argument("--pair", default=PAIRS[0], help=f"all, or one of {', '.join(PAIRS)}")
    parser.add_argument("--frames", type=int, default=150, help="frames of each clip")
    parser.add_argument("--slow-frames", type=int, default=SLOW_FRAMES, help="the same for slow networks")
    parser.add_argument("--rounds", type=int, default=3, help="how often both take their turn")
    parser.add_argument("--size", type=int, default=512, help="side of the aligned faces")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "float32", "bfloat16"), help="of S3FD and FAN"
    )
    args = parser.parse_args()
    _settle_precision(args.precision)
    videos = [args.data / "clips" / f"{name}.mp4" for name in args.clips.split(",")]
    for video in videos:
        if not video.is_file():
            print(f"{video}: the real data is not here; give its folder with --data", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as folder:
        frames = [_write_frames(video, Path(folder) / video.stem, args.frames) for video in videos]
        pairs = PAIRS if args.pair == "all" else (args.pair,)
        if _provide_weights(Path(folder), pairs) and REFUSED in pairs:
            print(f"{REFUSED}: left out: FaceMesh refuses the boxes of random weights")
            pairs = tuple(pair for pair in pairs if pair != REFUSED)
        good = [_compare(pair, frames, Path(folder) / pair, args) for pair in pairs]
    return 0 if all(good) else 1


def _settle_precision(wanted: str) -> None:
    """Let `auto` be this precision, as it is on another processor."""
    if wanted != "auto":
        from facelib.nets import common

        common._bfloat16_pays = lambda: wanted == "bfloat16"


def _compare(pair: str, clips: list[list[Path]], folder: Path, args: argparse.Namespace) -> bool:
    """Measure one pair and print what came out; whether its goal is reached (pairs without one reach it)."""
    detector, landmarker = pair.split("+")
    try:
        pipeline = _pipeline(detector, landmarker)
    except SwapError as err:
        print(f"{pair}: left out: {err}")
        return True
    slow = pair != PAIRS[0]
    frames = [path for clip in clips for path in clip[: args.slow_frames if slow else None]]
    plain, goal = _yardstick(detector, landmarker, pipeline), _goal(pair)
    ratios, rates = [], []
    for number in range(args.rounds):
        target = Target(_fresh(folder / f"one_{number}"), None, "whole_face", args.size, 90)
        one = _rate(frames, lambda paths, target=target: _one_by_one(paths, plain, target))
        target = Target(_fresh(folder / f"product_{number}"), None, "whole_face", args.size, 90)
        product = _rate(frames, lambda paths, target=target: _product(paths, pipeline, target))
        print(
            f"round {number + 1}: one at a time {one:.2f} frames/s, extract {product:.2f} frames/s, "
            f"{product / one:.2f} times",
            flush=True,
        )
        ratios.append(product / one)
        rates.append(product)
    ratio = statistics.median(ratios)
    print(
        f"{pipeline.name}, {len(frames)} frames: extract {statistics.median(rates):.2f} frames/s, "
        f"{ratio:.2f} times one frame at a time ({f'goal {goal}' if goal else 'no goal'})",
        flush=True,
    )
    return goal is None or ratio >= goal


def _pipeline(detector: str, landmarker: str) -> Pipeline:
    """The product's networks: those that were asked for and no others, a face a frame."""
    face_type = "head" if landmarker == "fan3d" else "whole_face"
    pipeline = Pipeline(detector, landmarker, face_type=face_type, max_faces=1)
    if pipeline.name != f"{detector}+{landmarker}":
        raise SwapError(f"{pipeline.name} came instead")
    return pipeline


def _yardstick(detector: str, landmarker: str, pipeline: Pipeline) -> Find:
    """DFL's one call for each picture and crop, where DFL has that network; else ours, picture by picture."""
    if not set(WEIGHTS) & {detector, landmarker}:
        return pipeline.faces
    from benchmarks.plain_faces import PlainFan, PlainS3fd
    from facelib.weights import load

    boxes = PlainS3fd(load("S3FD"))
    points = PlainFan(load(WEIGHTS[landmarker])) if landmarker in WEIGHTS else None

    def find(image: np.ndarray) -> list[DetectedFace]:
        if detector == "s3fd":
            rects = boxes.rects(image)[:1]
        else:
            rects = [tuple(int(v) for v in d.rect) for d in pipeline.detector.detect(image)][:1]
        if points is None:
            return pipeline.faces(image)[:1] if not rects else _meshed(pipeline, image, rects)
        found = points.points(image, rects, second=boxes)
        return [
            DetectedFace(rect, landmarks.astype(np.float32), 1.0) for rect, landmarks in zip(rects, found)
        ]

    return find


def _meshed(pipeline: Pipeline, image: np.ndarray, rects: Sequence) -> list[DetectedFace]:
    points = [pipeline.landmarker.points(image, np.array(rect), second_pass=True) for rect in rects]
    return [DetectedFace(rect, found, 1.0) for rect, found in zip(rects, points)]


def _goal(pair: str) -> float | None:
    if pair == PAIRS[0]:
        return SMALL_GOAL
    if not pair.startswith("s3fd+fan"):
        return None
    from facelib.nets.common import compute_type

    return BFLOAT_GOAL if "16" in str(compute_type("auto")) else FLOAT_GOAL


def _provide_weights(folder: Path, pairs: Sequence[str]) -> bool:
    """Point FACELAB_WEIGHTS at random weights where genuine ones are not here; whether S3FD's are random."""
    from facelib import weights

    needed = {WEIGHTS[name] for pair in pairs for name in pair.split("+") if name in WEIGHTS}
    if needed:
        needed.add(WEIGHTS["s3fd"])  # for FAN's second look
    missing = [name for name in sorted(needed) if not weights.available(name)]
    if not missing:
        return False
    from core import safe_pickle

    place = _fresh(folder / "weights")
    for name in missing:
        tensors = {f"{key}:0": value for key, value in random_weights(name).items()}
        (place / f"{name}.npy").write_bytes(safe_pickle.dumps(tensors))
    os.environ["FACELAB_WEIGHTS"] = str(place)
    return WEIGHTS["s3fd"] in missing


def random_weights(name: str) -> dict[str, np.ndarray]:
    """Weights that keep activations in bounds; S3FD's coarsest level sees a face in every cell."""
    from facelib import weights

    rng = np.random.default_rng(0)
    tensors = {}
    for key, shape in weights.weight_file(name).shapes.items():
        if len(shape) == 4:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:3]))
        else:
            values = np.ones(shape) if key.endswith(("running_var", "weight")) else np.zeros(shape)
        if "_mbox_" in key:
            values = np.zeros(shape)
            if key.endswith("conf/bias"):
                values[-1] = 5.0 if key.startswith("conv7_2") else -5.0
        tensors[key] = values.astype(np.float32)
    return tensors


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


def _one_by_one(frames: list[Path], find: Find, target: Target) -> int:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        faces = 0
        for frame in frames:
            image = read_image(frame)
            faces += len(write_faces(frame.name, image, find(image), target))
        return faces
    finally:
        cv2.setNumThreads(threads)


def _product(frames: list[Path], pipeline: Pipeline, target: Target) -> int:
    results = look_at_frames(
        (ImageFrame(path) for path in frames),
        pipeline,
        lambda name, image, faces: write_faces(name, image, faces, target),
        AHEAD,
    )
    return sum(len(names) for _, names in results)


def _fresh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())

"""Frames per second of merging, from frames on disk to PNGs on disk, against the plain way to do the same.

480x480 frames, overlay, rct, learned masks, Quick96. The yardstick is one process that takes one frame after
another and predicts one face per call in float32. Both are measured in turns; the first frames, which
compile the network, are left out.

    python benchmarks/merge.py [--frames 96] [--rounds 3] [--input-dir FRAMES --aligned-dir FACES]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.imageio import read_image, write_image
from core.paths import list_images
from core.system import cpu_count
from merger.frames import FrameFaces, aligned_faces, match_faces
from merger.merge_face import FrameFace, Prediction, crop_face, merge_frame
from merger.options import MergeOptions
from merger.placement import FaceModel
from merger.pool import MergeSettings, merge_all
from merger.session import MergeSession

SIDE = 480
OPTIONS = MergeOptions(mode="overlay", color_transfer_mode="rct", mask_mode="learned-prd*learned-dst")
WANTED = 2.0  # times the yardstick


@dataclass
class Rates:
    """What the rounds of one way gave."""

    frames: list[float] = field(default_factory=list)  # per second
    processor: list[float] = field(default_factory=list)  # milliseconds per frame


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        root = Path(folder)
        frames = _given_frames(args) if args.input_dir else draw_frames(root / "frames", args.frames)
        model = _model(args)
        plain, product = model.predictor(precision="float32"), model.predictor()
        face_model = FaceModel(model.resolution, model.face_type)
        runs = {
            "yardstick": lambda out: merge_plainly(frames, plain, face_model, out),
            "product": lambda out: merge_with_pool(frames, product, face_model, out),
        }
        rates = _measure(runs, root, len(frames), args.rounds)
    print(f"network of the product computes in {model.precision.describe()}; {cpu_count()} processors")
    for name, measured in rates.items():
        listed = ", ".join(f"{value:.1f}" for value in measured.frames)
        print(f"{name:>9}: {np.median(measured.frames):6.1f} frames/s (rounds: {listed}), "
              f"{np.median(measured.processor):.1f} ms of processor time a frame")  # fmt: skip
    ratio = np.median(rates["product"].frames) / np.median(rates["yardstick"].frames)
    print(f"    ratio: {ratio:6.2f} (wanted: {WANTED:g})")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=96, help="frames per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--input-dir", type=Path, help="real frames in place of drawn ones")
    parser.add_argument("--aligned-dir", type=Path, help="their aligned faces")
    parser.add_argument("--model-dir", type=Path, help="a trained Quick96 in place of random weights")
    parser.add_argument(
        "--work-dir", type=Path, help="where results go meanwhile (default: the temporary folder)"
    )
    return parser.parse_args()


def _given_frames(args: argparse.Namespace) -> list[FrameFaces]:
    from samplelib import Faceset

    faceset = Faceset.open(args.aligned_dir or args.input_dir / "aligned")
    matching = match_faces(list_images(args.input_dir), aligned_faces(faceset))
    return matching.frames[: args.frames]


def draw_frames(folder: Path, count: int) -> list[FrameFaces]:
    """Smooth pictures with grain, and a face's landmarks that wander over them."""
    import cv2

    from facelib.landmarks import MEAN_HEAD_3D

    folder.mkdir()
    rng = np.random.default_rng(0)
    frames = []
    for index in range(count):
        smooth = cv2.resize(
            rng.uniform(30, 220, (9, 9, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        picture = np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / f"{index + 1:05}.png"
        write_image(path, picture)
        middle = SIDE / 2 + rng.uniform(-20, 20, 2)
        landmarks = MEAN_HEAD_3D[:, :2] * 1.4 + middle
        frames.append(FrameFaces(path, (FrameFace(landmarks.astype(np.float32)),)))
    return frames


def _model(args: argparse.Namespace):
    import models

    if args.model_dir:
        return models.load_model(
            args.model_dir, models.list_models(args.model_dir, "Quick96")[0], "Quick96", training=False
        )
    return models.create_model("Quick96")


def merge_plainly(frames: Sequence[FrameFaces], predictor: Callable, model: FaceModel, out: Path) -> None:
    """The yardstick: one frame after another, one face per call."""
    for folder in (out, out / "mask"):
        folder.mkdir()
    for frame in frames:
        image = read_image(frame.path)
        inputs = [crop_face(image, face, model) for face in frame.faces]
        predictions = [
            Prediction(*(np.asarray(array)[0] for array in predictor(face.square[np.newaxis])))
            for face in inputs
        ]
        merged = merge_frame(image, inputs, predictions, OPTIONS, model)
        write_image(out / f"{frame.stem}.png", merged.image)
        write_image(out / "mask" / f"{frame.stem}.png", merged.mask)


def merge_with_pool(frames: Sequence[FrameFaces], predictor: Callable, model: FaceModel, out: Path) -> None:
    """The product, as `main.py merge` runs it."""
    for folder in (out, out / "mask"):
        folder.mkdir()
    with MergeSession(out, out / "mask") as session:
        session.begin_run(OPTIONS, {})
        report = merge_all(frames, predictor, MergeSettings(OPTIONS, model, default_workers()), session)
    if report.merged != len(frames):
        raise SystemExit(f"only {report.merged} of {len(frames)} frames were merged: {report}")


def default_workers() -> int:
    return cpu_count() + 1


def _measure(
    runs: dict[str, Callable[[Path], None]], root: Path, count: int, rounds: int
) -> dict[str, Rates]:
    rates = {name: Rates() for name in runs}
    for turn in range(rounds + 1):  # the first warms up
        for name, run in runs.items():
            started, spent = time.perf_counter(), time.process_time()
            run(root / f"{name}{turn}")
            if turn:
                rates[name].frames.append(count / (time.perf_counter() - started))
                rates[name].processor.append(1000 * (time.process_time() - spent) / count)
    return rates


if __name__ == "__main__":
    sys.exit(main())

"""Measure S3FD and FAN against DFL's way (float32, one picture or crop per call), and what bfloat16 moves.

    python benchmarks/nets.py [--rounds 8] [--size 640x360] [--precision float32,bfloat16] [--wall]

Weights are random numbers of the right shapes, which changes no speed. Everything takes turns in one process.
The time is the processor's, so that other work on the machine troubles it little; `--wall` takes the clock's,
which counts how well the cores share the work and wants an idle machine. Goal: 1.7 times DFL's way in
bfloat16, 1.15 times in float32.

Heatmaps of random weights are noise whose maxima mean nothing. So the error of bfloat16 is taken from them,
in parts of their spread, and laid over heatmaps as a trained FAN gives them: bells one cell wide, anywhere
between the cells, 13 times as high as the spread. (So it was in a FAN trained on faces for a few minutes,
whose error was 0.26 % of its spread; of bells alone it would be 36 times.) The movement is that of the mean
of five crops of a face of 200 pixels. Edges of S3FD's boxes are those before DFL's cut to whole pixels, of
all cells, with offsets scaled to a spread of 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

from core.nn import devices
from facelib.detectors.s3fd import ANCHOR, FIRST_STRIDE, decode_boxes
from facelib.landmarkers.fan import CELLS, MOVES, decode
from facelib.weights.tables import fan_shapes, s3fd_shapes

GOALS = {"float32": 1.15, "bfloat16": 1.7}
CROPS, PICTURES = 5, 3  # in one call
FACE = 200  # pixels
DRAWS = 200  # random sets of 68 points for the movement
PEAK = 13  # spreads that a trained FAN's bells are high

Work = Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8, help="how often all take their turn")
    parser.add_argument("--size", default="640x360", help="what S3FD is shown, width x height")
    parser.add_argument("--precision", default="float32,bfloat16", help="which to measure")
    parser.add_argument("--wall", action="store_true", help="measure by the clock")
    args = parser.parse_args()
    print(f"on {devices.prepare(cpu_only=True).describe()}")
    clock = time.perf_counter if args.wall else time.process_time
    precisions = args.precision.split(",")
    reached = measure_fan(precisions, args.rounds, clock)
    width, height = map(int, args.size.split("x"))
    reached &= measure_s3fd(precisions, args.rounds, clock, (height, width))
    return 0 if reached else 1


def measure_fan(precisions: list[str], rounds: int, clock: Callable[[], float]) -> bool:
    from benchmarks.plain_faces import PlainFan
    from facelib.nets.fan import build_fan

    weights = random_weights(fan_shapes(), 0.7)
    rng = np.random.default_rng(0)
    crops = np.stack([_blobs(rng, 256, 256) for _ in range(CROPS)]) / np.float32(255)
    plain = PlainFan(weights)
    work: dict[str, tuple[int, Work]] = {"DFL's way": (1, lambda: plain.heatmaps(crops[:1]))}
    networks = {precision: build_fan(weights, precision) for precision in precisions}
    for precision, network in networks.items():
        work[precision] = (CROPS, lambda network=network: network(crops))
    reached = _report("FAN", "crop", work, rounds, clock)
    if "bfloat16" in networks:
        exact = np.concatenate([plain.heatmaps(crops[n : n + 1]) for n in range(CROPS)])
        errors = (networks["bfloat16"](crops) - exact) / exact.std()
        print(f"FAN: bfloat16 changes heatmaps by {errors.std():.2%} of their spread")
        moved = movement(errors / PEAK, np.random.default_rng(1))
        print(
            f"FAN: of the points of a face of {FACE} pixels {(moved < 1e-9).mean():.2%} do not move at all, "
            f"{(moved >= 0.5).mean():.2%} by half a pixel or more, {moved.max():.2f} at most; "
            f"{moved.mean():.4f} in the mean"
        )
    return reached


def measure_s3fd(
    precisions: list[str], rounds: int, clock: Callable[[], float], size: tuple[int, int]
) -> bool:
    from benchmarks.plain_faces import PlainS3fd
    from facelib.nets.s3fd import build_s3fd

    weights = random_weights(s3fd_shapes(), 1.3)
    rng = np.random.default_rng(0)
    pictures = np.stack([_blobs(rng, *size) for _ in range(PICTURES)])
    plain = PlainS3fd(weights)
    work: dict[str, tuple[int, Work]] = {"DFL's way": (1, lambda: plain.outputs(pictures[:1]))}
    networks = {precision: build_s3fd(weights, precision) for precision in precisions}
    for precision, network in networks.items():
        work[precision] = (PICTURES, lambda network=network: network(pictures))
    reached = _report(f"S3FD {size[1]}x{size[0]}", "picture", work, rounds, clock)
    if "bfloat16" in networks:
        exact, rough = build_s3fd(weights, "float32")(pictures), networks["bfloat16"](pictures)
        for level in range(len(exact) // 2):
            stride = FIRST_STRIDE << level
            moved = edge_movement(exact[2 * level + 1], rough[2 * level + 1], stride)
            print(
                f"S3FD: bfloat16 moves edges of boxes at anchors of {ANCHOR * stride} pixels by "
                f"{moved.mean():.3f} pixels of the network's in the mean, by {moved.max():.2f} at most"
            )
    return reached


def edge_movement(exact: np.ndarray, rough: np.ndarray, stride: int) -> np.ndarray:
    """Pixels by which all boxes' edges move, from two versions (N, h, w, 4) of one level's offsets."""
    spread = exact.std()
    rows, columns = (index.ravel() for index in np.mgrid[: exact.shape[1], : exact.shape[2]])
    boxes = [
        np.stack([decode_boxes(each.reshape(-1, 4), rows, columns, stride) for each in offsets / spread])
        for offsets in (exact, rough)
    ]
    return np.abs(boxes[1] - boxes[0])


def movement(errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels by which points move, (DRAWS, 68), where errors (5, 68, 64, 64) are added to bells 1 high."""
    scale = 2 * FACE / 195
    cell = 200 * scale / CELLS
    rows, columns = np.mgrid[:CELLS, :CELLS].astype(np.float32)
    moved = []
    for _ in range(DRAWS):
        points = rng.uniform(8, CELLS - 8, (68, 2))
        shuffled = errors[:, rng.permutation(68)]
        before, after = [], []
        for move, error in zip(MOVES, shuffled):
            x, y = (points - move / cell).T[:, :, None, None]  # the same points, seen from the moved crop
            bells = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
            before.append(decode(bells, move, scale))
            after.append(decode(bells + error, move, scale))
        moved.append(np.linalg.norm(np.mean(after, axis=0) - np.mean(before, axis=0), axis=1))
    return np.array(moved)


def random_weights(shapes: Mapping[str, tuple[int, ...]], gain: float) -> dict[str, np.ndarray]:
    """float32 arrays: kernels keep the size of what passes through (times `gain`), norms are mild."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if len(shape) > 1:
            values = rng.standard_normal(shape, np.float32) * (gain / np.sqrt(np.prod(shape[:-1])))
        elif name.endswith(("/bias", "/running_mean")):
            values = rng.standard_normal(shape, np.float32) * 0.1
        else:
            values = rng.uniform(0.8, 1.2, shape)
        weights[name] = values.astype(np.float32)
    return weights


def _blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32 picture of whole numbers in [0, 255]."""
    small = rng.uniform(0, 255, (24, 24, 3)).astype(np.float32)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).round()


def _report(
    name: str, unit: str, work: Mapping[str, tuple[int, Work]], rounds: int, clock: Callable[[], float]
) -> bool:
    """Print milliseconds of each kind of work, and whether all reach their goal against the first."""
    times: dict[str, list[float]] = {kind: [] for kind in work}
    for number in range(rounds + 1):
        for kind, (count, run) in work.items():
            started = clock()
            run()
            if number:  # the first round warms up
                times[kind].append((clock() - started) / count * 1000)
    plain = statistics.median(next(iter(times.values())))
    reached = True
    for kind, taken in times.items():
        middle = statistics.median(taken)
        goal = GOALS.get(kind)
        print(
            f"{name}: {kind:10s} {middle:7.1f} ms a {unit}, {plain / middle:.2f} times DFL's way"
            + (f" (goal {goal})" if goal else ""),
            flush=True,
        )
        reached &= goal is None or plain / middle >= goal
    return reached


if __name__ == "__main__":
    sys.exit(main())

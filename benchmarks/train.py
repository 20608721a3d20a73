"""Measure training iterations against a plain float32 step and against what convolutions allow here.

    python benchmarks/train.py [--setting NAME] [--model KIND --option KEY=VALUE ...] [--precision auto]
                               [--src ALIGNED --dst ALIGNED] [--rounds 8]

In turns: iterations of the product (batch from the sample loader, waiting included, then
`Model.train_step`; the full step, as it is once all networks learn), steps of the same model in
`plain_models.py` on one batch, and single convolutions; the peak is the best rate of those, apart for each of
the three passes. Without --src and --dst faces are drawn. Goals: 1.7 times the plain step and 75 % of what
the peak allows in bfloat16, 1.05 times in float32. All figures are medians over the turns; processor time is
shown beside wall time, as it says more on a machine with other work to do.

--setting takes one of `SETTINGS`, or all: each in a process of its own, one after another. --model and
--option measure any other; the plain step knows the losses of the default options only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import models
from core.nn import devices
from samplelib import BatchLoader, Faceset

DIMS = "ae_dims=128 e_dims=64 d_dims=64 d_mask_dims=22"
AMP_DIMS = "ae_dims=64 inter_dims=128 e_dims=32 d_dims=32 d_mask_dims=16"
SETTINGS = {
    "quick96": ("Quick96", "batch_size=4"),
    "saehd-128-df-ud": ("SAEHD", f"resolution=128 archi=df-ud {DIMS} batch_size=4"),
    "saehd-128-liae-ud": ("SAEHD", f"resolution=128 archi=liae-ud {DIMS} batch_size=4"),
    "saehd-192-df-udt": ("SAEHD", f"resolution=192 archi=df-udt {DIMS} batch_size=2"),
    "amp-128": ("AMP", f"resolution=128 {AMP_DIMS} batch_size=4"),
}
STEPS = 3  # iterations per turn: with some recipes the third takes the batch before again
GOALS = {"bfloat16": 1.7, "float32": 1.05}
GOAL_PEAK = 0.75
# Input height and width, input channels, output channels: four of Quick96's 3x3 convolutions, at batch 4.
PEAK_BATCH, SHAPES = 4, ((12, 512, 512), (24, 256, 256), (24, 256, 512), (48, 128, 128))
FULL_STEP = 6001  # from this iteration on every recipe trains all weights
PEAK_SECONDS = 0.05  # per shape and pass in a turn
WARM_FACES = 400


def main() -> int:
    args = parse()
    if args.setting == "all":
        return measure_all()
    kind, pairs = args.model, args.option
    if args.setting:
        kind, named = SETTINGS[args.setting]
        pairs = [*named.split(), *pairs]
    devices.prepare(cpu_only=True)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = models.options_class(kind).from_pairs([f"precision={args.precision}", "seed=1", *pairs])
        model = models.create_model(kind, wanted)
        print(f"{args.setting or kind} {' '.join(pairs)}: {model.precision.describe()}", flush=True)
        loaders = [open_loader(model, args, side, Path(scratch)) for side in model.sides]
        try:
            return compare(model, loaders, args.rounds)
        finally:
            for loader in loaders:
                loader.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=(*SETTINGS, "all"))
    parser.add_argument("--model", default="Quick96", choices=("Quick96", "SAEHD", "AMP"))
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--src", type=Path, help="folder of aligned source faces")
    parser.add_argument("--dst", type=Path, help="folder of aligned destination faces")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=8)
    return parser.parse_args()


def measure_all() -> int:
    """Every setting with the other arguments of the command line; returns the worst exit code."""
    rest = [argument for argument in sys.argv[1:] if argument not in ("--setting", "all", "--setting=all")]
    codes = []
    for setting in SETTINGS:
        command = [sys.executable, __file__, "--setting", setting, *rest]
        codes.append(subprocess.run(command, check=False).returncode)
        print()
    return max(codes)


def open_loader(model, args: argparse.Namespace, side: str, scratch: Path) -> BatchLoader:
    folder = getattr(args, side)
    if folder is None:
        from loader import draw_faces  # beside this file

        (scratch / side).mkdir()
        folder = draw_faces(scratch / side)
    faces = Faceset.open(folder)
    loader = BatchLoader(faces, model.sample_request(side), seed=1, side_id=int(side == "dst"))
    for number in range(min(len(faces), WARM_FACES) // model.options.batch_size + 1):
        loader.get(number)  # so that it has decoded the faces, as it has after a minute's training
    return loader


def compare(model, loaders: list[BatchLoader], rounds: int) -> int:
    plain = plain_model(model)
    model.iteration = FULL_STEP
    batch = next_batch(model, loaders)
    tensors = as_tensors(model, batch)
    agree = report_losses(model, model.train_step(batch), plain.step(tensors))
    passes = {name: convolutions(name) for name in ("float32", "bfloat16")}
    run(model, loaders, STEPS)  # both compile and fill their caches
    plain.step(tensors)
    waited = sum(loader.waited_seconds for loader in loaders)
    product_times, plain_times, peaks = [], [], {name: [] for name in passes}
    for _ in range(rounds):
        product_times += run(model, loaders, STEPS)
        plain_times += [timed(lambda: float(plain.step(tensors)["src"])) for _ in range(STEPS)]
        for name, kinds in passes.items():
            peaks[name].append([best_rate(kind) for kind in kinds])
    waited = sum(loader.waited_seconds for loader in loaders) - waited
    good = report(model, np.median(product_times, 0), np.median(plain_times, 0), peaks)
    print(f"waiting for samples: {1e3 * waited / len(product_times):.1f} ms per iteration")
    if model.recipe.plan(1).encoder_share == 0:
        model.iteration = 1
        run(model, loaders, STEPS)
        held = np.median([times for _ in range(rounds) for times in run(model, loaders, STEPS)], axis=0)
        print(f"while the encoder waits (recipe {model.options.recipe}): {1e3 * held[0]:.1f} ms")
    return 0 if agree and good else 1


def plain_model(model):
    """The yardstick with the model's weights."""
    from plain_models import PlainModel, Plan

    side = model.resolution
    large, small = int(side / 11.6), int(side / 23.2)
    if model.kind == "Quick96":
        plan = Plan("df", "ud", side, (large,), doubled=False, adabelief=False)
    elif model.kind == "AMP":
        plan = Plan("amp", "udt", side, (large, small))
    else:
        windows = (large, small) if side >= 256 else (large,)
        letters = "".join(model.archi.letters)
        plan = Plan(model.archi.family, letters, side, windows, adabelief=model.options.adabelief)
    return PlainModel(plan, model.weights())


def as_tensors(model, batch: dict[str, np.ndarray]) -> dict:
    import tensorflow as tf

    named = {name: batch[name] for name in model.batch_names()} | model.extra_inputs(batch)
    return {name: tf.constant(array, tf.float32) for name, array in named.items()}


def next_batch(model, loaders: list[BatchLoader]) -> dict[str, np.ndarray]:
    number, _ = model.batch_for(model.iteration)
    return {name: array for loader in loaders for name, array in loader.get(number).items()}


def run(model, loaders: list[BatchLoader], steps: int) -> list[tuple[float, float]]:
    return [timed(lambda: model.train_step(next_batch(model, loaders))) for _ in range(steps)]


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of a call in seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def report_losses(model, product: dict[str, float], plain: dict) -> bool:
    """Print the first step's losses, from the same weights and batch.

    bfloat16 has 8 bits of mantissa. In float32 they agree to 5e-5: DSSIM subtracts means that are nearly
    equal, where the window's last bit shows.
    """
    found = {side: (product[side], float(plain[side])) for side in model.sides}
    difference = max(abs(own / other - 1) for own, other in found.values())
    shown = ", ".join(f"{side} {own:.5f} / {other:.5f}" for side, (own, other) in found.items())
    print(f"losses of the same weights and batch, product / plain: {shown}; they differ by {difference:.1e}")
    return difference < (5e-3 if model.precision.compute == "bfloat16" else 1e-4)


def convolutions(dtype: str) -> list[list[tuple[float, Callable]]]:
    """Forward pass, gradients to input and to kernel: for each, GFLOP and function of each of `SHAPES`."""
    return [list(kind) for kind in zip(*(_three_passes(dtype, *shape) for shape in SHAPES))]


def _three_passes(dtype: str, side: int, channels: int, filters: int) -> list[tuple[float, Callable]]:
    import tensorflow as tf

    x = tf.cast(tf.random.normal((PEAK_BATCH, side, side, channels)), dtype)
    y = tf.cast(tf.random.normal((PEAK_BATCH, side, side, filters)), dtype)
    kernel = tf.cast(tf.random.normal((3, 3, channels, filters)), dtype)
    same = {"strides": (1, 1, 1, 1), "padding": "SAME"}
    kinds = (
        lambda: tf.raw_ops.Conv2D(input=x, filter=kernel, **same),
        lambda: tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, out_backprop=y, **same),
        lambda: tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=y, **same),
    )
    work = 2e-9 * PEAK_BATCH * side**2 * 9 * channels * filters
    return [(work, tf.function(kind)) for kind in kinds]


def best_rate(kind: list[tuple[float, Callable]]) -> tuple[float, float]:
    """Highest GFLOP per second of wall time and of processor time over the shapes."""
    best = np.zeros(2)
    for work, function in kind:
        function()
        end = time.perf_counter() + PEAK_SECONDS
        while time.perf_counter() < end:
            best = np.maximum(best, work / np.array(timed(function)))
    return tuple(best)


def forward_gflop(model) -> float:
    """Work of one forward pass of the training step (2 operations per multiplication and addition)."""
    work, samples = 0.0, model.passes()
    for name, part in model.parts.items():
        for layer in part.layers:
            for weight in (weight for weight in layer.weights if len(weight.shape) > 1):
                places = np.prod(layer.output.shape[1:-1]) if len(weight.shape) == 4 else 1
                doubled = 4 if layer.name == "out" else 1  # its output is spread over 2x2 pixels
                work += 2e-9 * samples[name] * float(np.prod(weight.shape)) * float(places) / doubled
    return work


def report(model, product: np.ndarray, plain: np.ndarray, peaks: dict[str, list]) -> bool:
    """Print the table; wall time, then processor time. Returns whether the goals are met."""
    compute, work = model.precision.compute, forward_gflop(model)
    rates = {name: np.median(rows, axis=0) for name, rows in peaks.items()}  # (3 passes, wall and processor)
    for name, of_passes in rates.items():
        forward, to_input, to_kernel = of_passes[:, 0]
        print(
            f"peak {name}: {forward:.0f} forward, {to_input:.0f} to input, {to_kernel:.0f} to kernel, GFLOP/s"
        )
    allowed = np.sum(work / rates[compute], axis=0)
    ratio, share = plain / product, allowed / product
    goal = GOALS[compute]
    rows = (
        ("product, per iteration", product * 1e3, "{:.1f} ms"),
        ("plain float32 step", plain * 1e3, "{:.1f} ms"),
        (f"{3 * work:.1f} GFLOP at the {compute} peak", allowed * 1e3, "{:.1f} ms"),
        (f"plain / product (goal {goal})", ratio, "{:.2f}"),
        (f"share of what the peak allows (goal {GOAL_PEAK:.0%})", share, "{:.0%}"),
    )
    print(f"{'':46} {'wall':>10} {'processor':>10}")
    for label, values, form in rows:
        print(f"{label:46} {form.format(values[0]):>10} {form.format(values[1]):>10}")
    return bool(ratio[0] >= goal and (share[0] >= GOAL_PEAK or compute == "float32"))


if __name__ == "__main__":
    sys.exit(main())

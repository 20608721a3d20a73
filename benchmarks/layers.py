"""Time every convolution of a model by itself: forward, gradients to input and to kernel.

    python benchmarks/layers.py [--setting amp-128] [--precision bfloat16]

The settings are those of `benchmarks/train.py`. A row per convolution, with the product's own ways to the
gradients, in milliseconds and beside them what the machine's best rate of that pass would allow. The sums say
how much of that rate a model's shapes can reach at all: small maps and few channels keep a processor less
busy. What an iteration takes beyond the sum is losses, optimizer and everything else that is no convolution.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import train  # beside this file; it also makes the product's packages known

import models
from core.nn import devices

SECONDS = 0.25  # for each measurement
PASSES = ("forward", "to input", "to kernel")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=tuple(train.SETTINGS), default="amp-128")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    devices.prepare(cpu_only=True)
    kind, pairs = train.SETTINGS[args.setting]
    from core.nn.layers import Conv, DoubledConv

    options = models.options_class(kind).from_pairs([f"precision={args.precision}", "seed=1", *pairs.split()])
    model = models.create_model(kind, options)
    rates = [train.best_rate(kinds)[0] for kinds in train.convolutions(args.precision)]
    print(f"{args.setting}, {args.precision}; ms, and what the best rate allows")
    print(f"{'':28} {'':>22} " + " ".join(f"{name:>16}" for name in PASSES))
    total, allowed = np.zeros(3), np.zeros(3)
    for part in model.parts.values():
        samples = int(model.passes()[part.name])
        for layer in (layer for layer in part.layers if isinstance(layer, (Conv, DoubledConv))):
            shape, work, times = measured(layer, samples, args.precision)
            least = work / np.array(rates)
            columns = " ".join(f"{1e3 * a:7.2f} ({1e3 * b:6.2f})" for a, b in zip(times, least))
            print(f"{part.name + '/' + layer.name:28} {shape:>22} {columns}", flush=True)
            total, allowed = total + times, allowed + least
    columns = " ".join(f"{1e3 * a:7.2f} ({1e3 * b:6.2f})" for a, b in zip(total, allowed))
    print(f"{'sum':28} {'':>22} {columns}")
    share = allowed.sum() / total.sum()
    print(f"alone they take {1e3 * total.sum():.1f} ms, which is {share:.0%} of the best rate")
    return 0


def measured(layer, samples: int, dtype: str) -> tuple[str, float, np.ndarray]:
    """Shape, GFLOP of one pass, and seconds of each of `PASSES` of a `Conv` or `DoubledConv`."""
    import tensorflow as tf

    from core.nn.convolution import conv_leaky

    _, height, width, channels = layer.input.shape
    doubled = not hasattr(layer, "kernel")  # `DoubledConv`: a convolution that makes four pixels of each
    side, filters = (height, 12) if doubled else layer.output.shape[2:]
    size, stride = (3, 1) if doubled else (layer.kernel, layer.stride)
    x, kernel, bias = (
        tf.cast(tf.random.normal(shape), dtype)
        for shape in ((samples, height, width, channels), (size, size, channels, filters), (filters,))
    )
    upstream = tf.cast(tf.random.normal((samples, side, side, filters)), dtype)

    def forward() -> tf.Tensor:
        return conv_leaky(x, kernel, bias, stride, None)

    def gradient(of: str) -> Callable[[], tf.Tensor]:
        """Without the forward pass, whose result no gradient of a convolution needs."""

        def run() -> tf.Tensor:
            with tf.GradientTape() as tape:
                watched = {"x": x, "kernel": kernel}[of]
                tape.watch(watched)
                y = forward()
            return tape.gradient(y, watched, upstream)

        return run

    times = [median_time(tf.function(run)) for run in (forward, gradient("x"), gradient("kernel"))]
    shape = f"{height} x {channels} -> {side} x {filters}"
    return shape, 2e-9 * samples * side**2 * size**2 * channels * filters, np.array(times)


def median_time(function: Callable[[], object]) -> float:
    """Seconds of a call."""
    function()
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        times.append(train.timed(function)[0])
    return float(np.median(times))


if __name__ == "__main__":
    sys.exit(main())

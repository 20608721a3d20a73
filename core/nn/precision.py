"""Which number type the networks compute in: asked for, or found by timing convolution gradients."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from core.errors import UsageError
from core.nn.devices import Devices
from core.nn.distribution import Distribution

CHOICES = ("auto", "float32", "bfloat16", "float16")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

# The probe: the middle of Quick96's decoder, 24 x 24 x 256, batch 4. Below this gain bfloat16 is not worth
# its bits.
PROBE_SHAPE, PROBE_WORTH = (4, 24, 24, 256), 1.2
PROBE_SECONDS = 0.4  # per number type, after one call to warm up


@dataclass(frozen=True)
class Precision:
    """A Keras dtype policy and the reason why it was taken. Weights, losses and optimizers stay float32."""

    policy: str
    reason: str

    @property
    def compute(self) -> str:
        """The name of the type that convolutions compute in."""
        return self.policy.removeprefix("mixed_")

    @property
    def scales_loss(self) -> bool:
        """Float16 gradients underflow unless the loss is scaled up."""
        return self.compute == "float16"

    def describe(self) -> str:
        return f"{self.compute} ({self.reason})"


def choose(wanted: str, devices: Devices) -> Precision:
    """The precision for `wanted`, one of `CHOICES`; `auto` probes the CPU or goes by the GPU's generation.

    Raises:
        UsageError: `wanted` is none of them.
    """
    if wanted not in CHOICES:
        raise UsageError(f"precision {wanted!r} is not known; give {', '.join(CHOICES)}")
    if wanted != "auto":
        return Precision(POLICIES[wanted], "not probed")
    if devices.on_gpu:
        return _for_gpu(devices)
    single, half = conv_gradient_time(tf.float32), conv_gradient_time(tf.bfloat16)
    timed = f"convolution gradients take {half * 1000:.1f} ms in bfloat16, {single * 1000:.1f} ms in float32"
    policy = "mixed_bfloat16" if half * PROBE_WORTH < single else "float32"
    return Precision(policy, f"probed: {timed}")


def agreed(precision: Precision, distribution: Distribution) -> Precision:
    """What all machines of a training compute in: the chief's choice."""
    names = list(POLICIES)
    own = names.index(precision.compute)
    chosen = int(distribution.exchange([own])[0, 0])
    return precision if chosen == own else Precision(POLICIES[names[chosen]], "as worker 0")


def _for_gpu(devices: Devices) -> Precision:
    if devices.capability is None:
        return Precision("float32", "the GPU's compute capability is not known")
    major, minor = devices.capability
    name = f"GPU of compute capability {major}.{minor}"
    if major >= 8:
        return Precision("mixed_bfloat16", name)
    return Precision("mixed_float16" if major >= 7 else "float32", name)


def conv_gradient_time(dtype: tf.DType, seconds: float = PROBE_SECONDS) -> float:
    """Least time in seconds of both gradients of one convolution, of the calls that fit into `seconds`."""
    channels = PROBE_SHAPE[-1]
    image = tf.ones(PROBE_SHAPE, dtype)
    kernel = tf.ones((3, 3, channels, channels), dtype)

    def gradients() -> list[tf.Tensor]:
        args = {"strides": (1, 1, 1, 1), "padding": "SAME"}
        to_image = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=PROBE_SHAPE, filter=kernel, out_backprop=image, **args
        )
        to_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=image, filter_sizes=kernel.shape, out_backprop=image, **args
        )
        return [to_image, to_kernel]

    return least_time(gradients, seconds)


def least_time(compute: Callable[[], list[tf.Tensor]], seconds: float) -> float:
    """Least time in seconds that `compute` takes, of the calls that fit into `seconds`; at least one.

    Args:
        compute: Returns the maps (N, H, W, C) to wait for. It is called once before, to warm up.
        seconds: How long to repeat it.
    """

    def once() -> float:
        start = time.perf_counter()
        for found in compute():
            found[0, 0, 0, 0].numpy()
        return time.perf_counter() - start

    once()
    end, best = time.perf_counter() + seconds, float("inf")
    while best == float("inf") or time.perf_counter() < end:
        best = min(best, once())
    return best

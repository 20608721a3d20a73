"""What the pretrained networks share: the number type they compute in, and layers with fixed weights.

The weights become constants of one graph per network: oneDNN then brings a kernel into its own layout once,
not at every call. Batch size, height and width stay open, so that nothing is traced twice.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from core.errors import UsageError
from core.nn import devices, precision

CHOICES = ("auto", "float32", "bfloat16")
Weights = Mapping[str, np.ndarray]

# The probe: a layer from the middle of each network, at half its size. Below this gain bfloat16 is not worth
# its bits.
PROBE_SHAPE, PROBE_WORTH, PROBE_SECONDS = (1, 32, 32, 256), 1.2, 0.15


def compute_type(wanted: str) -> tf.DType:
    """The type that convolutions compute in for `wanted`, one of `CHOICES`; `auto` probes the devices.

    Raises:
        UsageError: `wanted` is none of them.
    """
    if wanted not in CHOICES:
        raise UsageError(f"precision {wanted!r} is not known; give {', '.join(CHOICES)}")
    if wanted != "auto":
        return tf.as_dtype(wanted)
    used = devices.prepare()
    if not used.on_gpu:
        return tf.bfloat16 if _bfloat16_pays() else tf.float32
    # float16 would overflow: the activations of S3FD, which sees 0..255, reach thousands
    half = precision.choose("auto", used).compute == "bfloat16"
    return tf.bfloat16 if half else tf.float32


def is_exact(precision: str) -> bool:
    """Whether networks that are built with `precision`, one of `CHOICES`, compute in float32."""
    return compute_type(precision) == tf.float32


@functools.cache
def _bfloat16_pays() -> bool:
    return conv_time(tf.bfloat16) * PROBE_WORTH < conv_time(tf.float32)


def conv_time(dtype: tf.DType, seconds: float = PROBE_SECONDS) -> float:
    """Least time in seconds of one convolution, of the calls that fit into `seconds`."""
    image = tf.ones(PROBE_SHAPE, dtype)
    kernel = tf.ones((3, 3, PROBE_SHAPE[-1], PROBE_SHAPE[-1]), dtype)

    return precision.least_time(lambda: [tf.nn.conv2d(image, kernel, 1, "SAME")], seconds)


def constant(values: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Weights as a constant of the graph that is being traced."""
    return tf.constant(np.ascontiguousarray(values).astype(dtype.as_numpy_dtype))


def convolve(
    x: tf.Tensor,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int = 1,
    pad: int | None = None,
) -> tf.Tensor:
    """Convolution with zeros on all four sides, computed in the type of `x`.

    Args:
        x: (N, H, W, C).
        kernel: (k, k, C, F) with odd k.
        bias: (F,), or None.
        stride: Step in both directions.
        pad: Zeros on each side; None pads k // 2.

    Returns:
        (N, (H + 2 pad - k) // stride + 1, (W + 2 pad - k) // stride + 1, F).
    """
    same = kernel.shape[0] // 2
    pad = same if pad is None else pad
    if stride == 1 and pad == same:
        padding = "SAME"
    else:  # TensorFlow's own SAME pads less before than after where it strides
        padding = "VALID"
        if pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    weights = kernel if x.dtype == tf.float32 else rounded(kernel, x.dtype.as_numpy_dtype)
    y = tf.nn.conv2d(x, constant(weights, x.dtype), stride, padding)
    return y if bias is None else tf.nn.bias_add(y, constant(bias, x.dtype))


def rounded(kernel: np.ndarray, dtype: type) -> np.ndarray:
    """A kernel in fewer bits whose nine (or k * k) taps keep their sum.

    What a tap loses is added to the next smaller one, whose steps are finer. Maps vary little from pixel to
    pixel, so that mostly the sum's error is seen, and it is the larger where each tap goes to the nearest
    number.

    Args:
        kernel: (k, k, C, F).
        dtype: NumPy's type to round to.

    Returns:
        (k, k, C, F) of that type.
    """
    taps = kernel.reshape(-1, *kernel.shape[2:]).astype(np.float32)
    order = np.argsort(-np.abs(taps), axis=0)
    descending = np.take_along_axis(taps, order, axis=0)
    steps = np.empty(taps.shape, dtype)
    lost = np.zeros(taps.shape[1:], np.float32)
    for tap, wanted in enumerate(descending):
        wanted = wanted + lost
        steps[tap] = wanted
        lost = wanted - steps[tap].astype(np.float32)
    result = np.empty_like(steps)
    np.put_along_axis(result, order, steps, axis=0)
    return result.reshape(kernel.shape)

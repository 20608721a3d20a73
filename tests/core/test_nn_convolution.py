"""Our convolution and its gradients against those that TensorFlow derives."""

from __future__ import annotations

import numpy as np
import pytest

# side, channels, filters, kernel, stride: shifted maps, plain, gathered patches, plain, gathered, pointwise
CASES = [
    (6, 3, 32, 3, 1),
    (12, 4, 8, 3, 1),
    (4, 3, 128, 5, 2),
    (12, 3, 8, 5, 2),
    (7, 3, 65, 5, 2),
    (5, 4, 20, 1, 1),
]


@pytest.mark.parametrize("slope", [None, 0.1])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_plain_operations(case, slope):
    from core.nn import devices

    devices.prepare(cpu_only=True)
    import tensorflow as tf

    from core.nn.convolution import conv_leaky, pad_map

    side, channels, filters, size, stride = case
    rng = np.random.default_rng(0)
    shapes = ((2, side, side, channels), (size, size, channels, filters), (filters,))
    inputs = [tf.constant(rng.standard_normal(shape), tf.float32) for shape in shapes]

    def plain(x, kernel, bias):
        y = tf.nn.bias_add(tf.nn.conv2d(pad_map(x, size // 2), kernel, stride, "VALID"), bias)
        return y if slope is None else tf.nn.leaky_relu(y, slope)

    weights = tf.constant(rng.standard_normal((side, side, filters)), tf.float32)
    results = []
    for function in (plain, lambda *inputs: conv_leaky(*inputs, stride, slope)):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = function(*inputs)
            total = tf.reduce_sum(y * weights[: y.shape[1], : y.shape[2]])
            total += tf.reduce_sum(tf.square(y))
        results.append([y, *tape.gradient(total, inputs)])
    for wanted, found in zip(*results):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)

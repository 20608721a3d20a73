"""TensorFlow graphs as ONNX: paddings, order of axes, shared weights, and what is not known."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import SwapError

onnx = pytest.importorskip("onnx", reason="onnx cannot be installed here")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime cannot be installed here")


def both(build, *shape: int):
    """The file that `build` becomes, and the largest difference between its output and TensorFlow's."""
    import tensorflow as tf

    from models.onnx_graph import to_onnx

    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    function = tf.function(lambda x: (build(x),), input_signature=signature, autograph=False)
    written = to_onnx(function.get_concrete_function(), ["x:0"], ["y:0"], "test", 12, 7)
    onnx.checker.check_model(written, full_check=True)
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    run = ort.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    found = run.run(["y:0"], {"x:0": x})[0]
    wanted = function(x)[0].numpy()
    assert found.shape == wanted.shape and wanted.std() > 0
    return written, float(np.abs(found - wanted).max())


def kernel(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("side", "size", "stride"), [(8, 5, 2), (9, 5, 2), (8, 3, 1), (9, 4, 2), (7, 3, 3)])
def test_convolutions_of_any_padding(padding, side, size, stride):
    import tensorflow as tf

    weight = kernel(size, size, 3, 4)
    written, error = both(lambda x: tf.nn.conv2d(x, weight, stride, padding), side, side + 1, 3)
    assert error < 1e-5
    assert [node.op_type for node in written.graph.node] == ["Transpose", "Conv", "Transpose"]


def test_zeros_bias_and_slope_go_into_two_nodes():
    import tensorflow as tf

    weight, bias = kernel(5, 5, 3, 4), kernel(3, 4)[0]

    def build(x):
        x = tf.pad(x, [[0, 0], [2, 1], [0, 3], [0, 0]])
        return tf.nn.leaky_relu(tf.nn.bias_add(tf.nn.conv2d(x, weight, 2, "VALID"), bias), 0.1)

    written, error = both(build, 8, 8, 3)
    assert error < 1e-5
    assert [node.op_type for node in written.graph.node][1:-1] == ["Conv", "LeakyRelu"]


def test_zeros_that_no_convolution_takes():
    import tensorflow as tf

    _, error = both(
        lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]) * tf.constant([1.0, 2.0, 3.0]), 4, 5, 3
    )
    assert error == 0


def test_vectors_pictures_and_back():
    import tensorflow as tf

    weight = kernel(4 * 4 * 3, 2 * 2 * 8)

    def build(x):
        x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 48))
        x = x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-6)
        x = tf.transpose(tf.reshape(tf.matmul(x, weight), (-1, 8, 2, 2)), (0, 2, 3, 1))
        return tf.concat([tf.nn.depth_to_space(x, 2), tf.nn.depth_to_space(tf.cos(x), 2)], axis=-1)

    written, error = both(build, 4, 4, 3)
    assert error < 1e-5
    assert [node.op_type for node in written.graph.node].count("Transpose") == 2


def test_a_weight_used_twice_is_written_once():
    import tensorflow as tf

    weight = tf.Variable(kernel(3, 3, 3, 3))

    def build(x):
        return tf.nn.conv2d(tf.nn.conv2d(x, weight, 1, "SAME"), weight, 1, "SAME")

    written, error = both(build, 6, 6, 3)
    assert error < 1e-5 and len(written.graph.initializer) == 1


def test_unknown_operations_are_named():
    import tensorflow as tf

    with pytest.raises(SwapError, match="Softplus"):
        both(tf.math.softplus, 4, 4, 3)

"""Convolution, bias and leaky ReLU as one operation with its own gradient, faster on a CPU.

Two things differ from what TensorFlow derives by itself:

* The gradient of the leaky ReLU is told from the sign of its output, not of its input. The input is then
  needed nowhere, so that Grappler fuses convolution, bias and activation into one oneDNN call.
* Where the feature map is small and the kernel large, the gradient to the kernel is computed by matrix
  products. In bfloat16 oneDNN's convolution reaches 140 to 300 GFLOP/s per core there, a product 240 to 380.
"""

from __future__ import annotations

import tensorflow as tf

# Measured on the layers of the models of benchmarks/train.py: output filters per pixel of the map's side from
# which products of shifted maps (stride 1) and of gathered patches (stride 2) beat the convolution's own
# gradient. Around 2 to 4 both ways of stride 1 are alike, the first a little ahead for few samples.
SHIFTED_FROM, GATHERED_FROM = 4, 40


def on_cpu() -> bool:
    """Whether operations run on the CPU; cuDNN needs no help."""
    return not tf.config.get_visible_devices("GPU")


def conv_leaky(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, stride: int, slope: float | None
) -> tf.Tensor:
    """Leaky ReLU (`slope` None: nothing) of a convolution padded symmetrically with `k // 2` zeros.

    Args:
        x: (N, H, W, C).
        kernel: (k, k, C, F) in the type of `x`; k is odd where the stride is 1.
        bias: (F,), in the type of `x`.

    Returns:
        (N, H', W', F) with H' = `conv_side(H, k, stride)`: ceil(H / stride) for an odd k.
    """
    size = kernel.shape[0]
    if stride > 1:  # TensorFlow's own SAME pads less before than after there
        x = pad_map(x, size // 2)
    padding = "SAME" if stride == 1 else "VALID"
    if not on_cpu():
        return _forward(x, kernel, bias, stride, padding, slope)

    @tf.custom_gradient
    def run(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):
        y = _forward(x, kernel, bias, stride, padding, slope)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            if slope is not None:
                upstream = tf.raw_ops.LeakyReluGrad(gradients=upstream, features=y, alpha=slope)
            to_input = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=(1, stride, stride, 1),
                padding=padding,
            )
            to_kernel = _kernel_gradient(x, upstream, kernel.shape, stride, padding)
            return to_input, to_kernel, tf.raw_ops.BiasAddGrad(out_backprop=upstream)

        return y, gradient

    return run(x, kernel, bias)


def conv_side(side: int, kernel: int, stride: int) -> int:
    """Side of the map that `conv_leaky` makes."""
    return (side + 2 * (kernel // 2) - kernel) // stride + 1


def conv_transposed_leaky(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, stride: int, slope: float
) -> tf.Tensor:
    """Leaky ReLU of a transposed 3x3 convolution and bias, as DFL crops it: to `stride` times the sides.

    Stride 1 loses a row of the full result at each end, stride 2 the last one. That is the gradient of
    TensorFlow's SAME convolution to its input, since that pads one row after for an even side and stride 2.

    Args:
        x: (N, H, W, C).
        kernel: (3, 3, F, C) in the type of `x`.
        bias: (F,), in the type of `x`.

    Returns:
        (N, stride H, stride W, F).
    """
    shape, height, width = kernel.shape, x.shape[1] * stride, x.shape[2] * stride
    strides = (1, stride, stride, 1)

    def forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        size = tf.stack([tf.shape(x)[0], height, width, shape[2]])
        y = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=size, filter=kernel, out_backprop=x, strides=strides, padding="SAME"
        )
        y.set_shape((None, height, width, shape[2]))
        return tf.nn.leaky_relu(tf.nn.bias_add(y, bias), slope)

    if not on_cpu():
        return forward(x, kernel, bias)

    @tf.custom_gradient
    def run(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):
        y = forward(x, kernel, bias)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            upstream = tf.raw_ops.LeakyReluGrad(gradients=upstream, features=y, alpha=slope)
            to_input = tf.nn.conv2d(upstream, kernel, stride, "SAME")
            to_kernel = _kernel_gradient(upstream, x, shape, stride, "SAME")
            return to_input, to_kernel, tf.raw_ops.BiasAddGrad(out_backprop=upstream)

        return y, gradient

    return run(x, kernel, bias)


def add_leaky(a: tf.Tensor, b: tf.Tensor, slope: float) -> tf.Tensor:
    """Leaky ReLU of a sum, of which only the result is kept for the gradient.

    With TensorFlow's own gradient, which needs the sum, Grappler's remapper fails on a convolution that the
    sum follows, and then fuses nothing in the whole graph.
    """

    @tf.custom_gradient
    def run(a: tf.Tensor, b: tf.Tensor):
        y = tf.nn.leaky_relu(a + b, slope)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = tf.raw_ops.LeakyReluGrad(gradients=upstream, features=y, alpha=slope)
            return upstream, upstream

        return y, gradient

    return run(a, b)


def pad_map(x: tf.Tensor, pad: int) -> tf.Tensor:
    """(N, H, W, C) with `pad` zeros on all four sides."""
    return tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])


def _forward(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, stride: int, padding: str, slope: float | None
) -> tf.Tensor:
    y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, padding), bias)
    return y if slope is None else tf.nn.leaky_relu(y, slope)


def _kernel_gradient(
    x: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, stride: int, padding: str
) -> tf.Tensor:
    """Gradient (k, k, C, F) to the kernel, by whichever way is fast for the shapes."""
    size, channels, filters, side = shape[0], shape[2], shape[3], upstream.shape[1]
    if stride == 1 and size == 3 and filters >= SHIFTED_FROM * side:
        return _by_shifted_maps(pad_map(x, 1), upstream)
    if stride > 1 and filters >= GATHERED_FROM * side:
        patches = tf.image.extract_patches(
            x, (1, size, size, 1), (1, stride, stride, 1), (1, 1, 1, 1), padding
        )
        patches = tf.reshape(patches, (-1, size * size * channels))
        flat = tf.matmul(patches, tf.reshape(upstream, (-1, filters)), transpose_a=True)
        return tf.reshape(flat, shape)
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=shape, out_backprop=upstream, strides=(1, stride, stride, 1), padding=padding
    )


def _by_shifted_maps(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """One product per kernel element: the map, shifted by it, against the upstream gradient."""
    side, channels, filters = upstream.shape[1], x.shape[-1], upstream.shape[-1]
    flat = tf.reshape(upstream, (-1, filters))
    products = [
        tf.matmul(
            tf.reshape(x[:, row : row + side, column : column + side], (-1, channels)), flat, transpose_a=True
        )
        for row in range(3)
        for column in range(3)
    ]
    return tf.reshape(tf.stack(products), (3, 3, channels, filters))

"""Keras layers with DFL's arithmetic and weight names.

Batches are NHWC. Weights are float32 whatever the precision policy; a layer computes in its policy's compute
type. A weight is known by its path, `<part>/<layer>/<weight>`: slashes are not allowed in Keras layer names,
so the name of a layer carries dots instead (`down1.downs_0.conv1`), and a weight name with dots is a whole
path of its own.
"""

from __future__ import annotations

import zlib

import keras
import tensorflow as tf

from core.nn.convolution import add_leaky, conv_leaky, conv_side, conv_transposed_leaky

LEAKY = "leaky"
COSINE = "cosine"


def weight_path(part: keras.Model, layer: keras.layers.Layer, weight: keras.Variable) -> str:
    """`encoder/down1/downs_0/conv1/weight` for `weight` of layer `down1.downs_0.conv1` of `encoder`."""
    name = weight.name if "." in weight.name else f"{layer.name}.{weight.name}"
    return f"{part.name}/{name.strip('.').replace('.', '/')}"


def part_weights(part: keras.Model) -> dict[str, keras.Variable]:
    """The weights of a network by path, in the order of its layers."""
    return {weight_path(part, layer, weight): weight for layer in part.layers for weight in layer.weights}


def glorot(path: str, seed: int | str) -> keras.initializers.Initializer:
    """Glorot-uniform numbers that depend on the seed and on the weight's name only."""
    return keras.initializers.GlorotUniform(seed=zlib.crc32(f"{seed}/{path}".encode()) & 0x7FFFFFFF)


def compute_weight(weight: tf.Variable, dtype: tf.DType) -> tf.Tensor:
    """A float32 weight in the type that its layer computes in.

    Its gradient stays in that type: the optimizer widens it within its one pass over the weights, which saves
    writing and reading a float32 copy of every gradient.
    """
    if weight.dtype == dtype:
        return tf.convert_to_tensor(weight)

    @tf.custom_gradient
    def narrow(wide: tf.Tensor):
        return tf.cast(wide, dtype), lambda upstream: upstream

    return narrow(tf.convert_to_tensor(weight))


def activate(x: tf.Tensor, kind: str | None, slope: float) -> tf.Tensor:
    """Leaky ReLU, or x cos x (DFL's option c, which knows no slope)."""
    if kind == LEAKY:
        return tf.nn.leaky_relu(x, slope)
    if kind == COSINE:
        return x * tf.cos(x)
    return x


class _Weighted(keras.layers.Layer):
    """A layer whose weights `compute_weight` narrows; Keras would do it with gradients widened one by one."""

    def add_weight(self, **kwargs) -> keras.Variable:
        return super().add_weight(autocast=False, **kwargs)


class Conv(_Weighted):
    """Convolution, bias and activation: (N, H, W, C) to (N, H', W', filters).

    Padded with `kernel // 2` zeros on all sides: H' = ceil(H / stride) for an odd kernel, one more than H / 2
    for DFL's kernel of 4 and stride of 2 and an even H.
    """

    def __init__(
        self,
        filters: int,
        kernel: int,
        stride: int = 1,
        activation: str | None = None,
        slope: float = 0.1,
        seed: int | str = 0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel, self.stride = filters, kernel, stride
        self.activation, self.slope, self.seed = activation, slope, seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        size = (self.kernel, self.kernel, shape[-1], self.filters)
        init = glorot(f"{self.name}.weight", self.seed)
        self.weight = self.add_weight(name="weight", shape=size, initializer=init)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = compute_weight(self.weight.value, x.dtype), compute_weight(self.bias.value, x.dtype)
        if self.activation == LEAKY:
            return conv_leaky(x, kernel, bias, self.stride, self.slope)
        return activate(conv_leaky(x, kernel, bias, self.stride, None), self.activation, self.slope)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        height, width = (conv_side(side, self.kernel, self.stride) for side in shape[1:3])
        return (shape[0], height, width, self.filters)


class ConvTransposed(_Weighted):
    """Transposed 3x3 convolution, bias, leaky ReLU: (N, H, W, C) to (N, stride H, stride W, filters)."""

    def __init__(self, filters: int, stride: int, slope: float, seed: int | str = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters, self.stride, self.slope, self.seed = filters, stride, slope, seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        size, init = (3, 3, self.filters, shape[-1]), glorot(f"{self.name}.weight", self.seed)
        self.weight = self.add_weight(name="weight", shape=size, initializer=init)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = compute_weight(self.weight.value, x.dtype), compute_weight(self.bias.value, x.dtype)
        return conv_transposed_leaky(x, kernel, bias, self.stride, self.slope)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1] * self.stride, shape[2] * self.stride, self.filters)


class DoubledConv(_Weighted):
    """The head of option d: four small convolutions whose outputs are the four pixels of a 2x2 cell.

    DFL keeps one 1x1 kernel (`out_conv`) and three 3x3 kernels (`out_conv1..3`). They run as one 3x3
    convolution with 12 outputs, the 1x1 kernel padded with zeros. Returns logits: (N, H, W, C) to
    (N, 2H, 2W, 3).
    """

    NAMES = ("out_conv", "out_conv1", "out_conv2", "out_conv3")

    def __init__(self, seed: int | str = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.kernels, self.biases = [], []
        for name in self.NAMES:
            side = 1 if name == "out_conv" else 3
            init, size = glorot(f"{self.name}.{name}", self.seed), (side, side, shape[-1], 3)
            self.kernels.append(self.add_weight(name=f"{name}.weight", shape=size, initializer=init))
            self.biases.append(self.add_weight(name=f"{name}.bias", shape=(3,), initializer="zeros"))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernels = [compute_weight(kernel.value, x.dtype) for kernel in self.kernels]
        centre = tf.pad(kernels[0], [[1, 1], [1, 1], [0, 0], [0, 0]])
        kernel = tf.concat([centre, *kernels[1:]], axis=-1)
        bias = tf.concat([compute_weight(bias.value, x.dtype) for bias in self.biases], axis=0)
        x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)  # (N, H, W, 12)
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1] * 2, shape[2] * 2, 3)


class Dense(_Weighted):
    """y = x W + b over vectors (N, C)."""

    def __init__(self, units: int, seed: int | str = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units, self.seed = units, seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        init, size = glorot(f"{self.name}.weight", self.seed), (shape[-1], self.units)
        self.weight = self.add_weight(name="weight", shape=size, initializer=init)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.matmul(x, compute_weight(self.weight.value, x.dtype))
        return tf.nn.bias_add(x, compute_weight(self.bias.value, x.dtype))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.units)


class DepthToSpace(keras.layers.Layer):
    """(N, H, W, 4C) to (N, 2H, 2W, C); channels are ordered row of the cell, column, C (ONNX: DCR)."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1] * 2, shape[2] * 2, shape[3] // 4)


class AddActivate(keras.layers.Layer):
    """The end of a residual block: activation of the sum of two maps."""

    def __init__(self, activation: str, slope: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.activation, self.slope = activation, slope

    def call(self, pair: list[tf.Tensor]) -> tf.Tensor:
        if self.activation == LEAKY:
            return add_leaky(*pair, self.slope)
        return activate(pair[0] + pair[1], self.activation, self.slope)

    def compute_output_shape(self, shapes: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return shapes[0]


class FlattenPlanes(keras.layers.Layer):
    """(N, H, W, C) to (N, C*H*W), channel by channel, as DFL's dense weights expect."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        size = x.shape[1] * x.shape[2] * x.shape[3]
        return tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, size))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1] * shape[2] * shape[3])


class ReshapePlanes(keras.layers.Layer):
    """(N, C*side*side), channel by channel, to (N, side, side, C)."""

    def __init__(self, side: int, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.side, self.channels = side, channels

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, (-1, self.channels, self.side, self.side))
        return tf.transpose(x, (0, 2, 3, 1))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.side, self.side, self.channels)


class PixelNorm(keras.layers.Layer):
    """x / sqrt(mean(x^2) + 1e-6) over the last axis, always in float32."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-6)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape


class Sigmoid(keras.layers.Layer):
    """Logistic sigmoid, always in float32: 8 bits of mantissa would show as bands in the picture."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(x)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

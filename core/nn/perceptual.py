"""A loss that compares what a network for recognising things (VGG16) sees in two pictures, not their pixels.

Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016;
features are compared as in Zhang et al., "The unreasonable effectiveness of deep features as a perceptual
metric" (LPIPS), CVPR 2018, without its learnt weights.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from core.errors import SwapError
from core.nn.convolution import conv_leaky
from core.nn.losses import fan_out

IMAGENET = "imagenet"  # instead of a file: what Keras fetches and keeps
BLOCKS = (("block1_conv1", "block1_conv2"), ("block2_conv1", "block2_conv2"),
          ("block3_conv1", "block3_conv2", "block3_conv3"))  # fmt: skip
CHANNELS = (64, 128, 256)  # of the blocks' maps
CAFFE_MEAN = (103.939, 116.779, 123.68)  # B, G, R of ImageNet, which Caffe's networks expect subtracted
QUIET = 1.0  # features weaker than this count as absent, so that flat areas have no direction


class PerceptualLoss:
    """How unlike pictures look to VGG16's first three blocks. Its weights are constants: nothing learns them.

    A picture's features at a pixel are a direction in the space of channels. The loss is one minus the cosine
    between two pictures' directions, the mean over pixels and over the last maps of the blocks: 0 for equal
    pictures, at most 1.
    """

    def __init__(self, source: str, compute: str = "float32") -> None:
        """
        Args:
            source: A `.h5` file of VGG16's weights without its dense layers, or `imagenet`.
            compute: `float32`, `bfloat16` or `float16`: what the network computes in.

        Raises:
            SwapError: The file is missing or no such file, or Keras cannot fetch its own.
        """
        self._dtype = tf.as_dtype(compute)
        with tf.init_scope():  # not of the graph that may be traced just now
            network = load_vgg16(source)
            self._layers = {
                name: [tf.constant(array, self._dtype) for array in network.get_layer(name).get_weights()]
                for block in BLOCKS
                for name in block
            }

    def __call__(self, wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        """Compare pictures (N, H, W, 3), BGR in [0, 1], of at least 4 x 4 pixels: (N,) float32.

        Only `found` gets a gradient.
        """
        targets = self.features(tf.stop_gradient(wanted))
        terms = [
            0.5 * tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(a, b), axis=-1), axis=(1, 2))
            for a, b in zip(targets, self.features(found))
        ]
        return tf.reduce_mean(tf.stack(terms), axis=0)

    def features(self, faces: tf.Tensor) -> list[tf.Tensor]:
        """The directions of the features after each block, (N, H / 2^k, W / 2^k, C) float32."""
        x = tf.cast(255.0 * faces - tf.constant(CAFFE_MEAN), self._dtype)
        found = []
        for block in BLOCKS:
            if found:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            for name in block:
                x = conv_leaky(x, *self._layers[name], 1, 0.0)
            shown, x = fan_out(x, 2) if block is not BLOCKS[-1] else (x, x)
            found.append(_directions(shown))
        return found


def kept_by_features(side: int, compute_bytes: int) -> int:
    """Bytes that the features of a found picture of `side` pixels leave behind until the backward pass.

    Each block's maps, and in float32 the last ones, their directions and what these are made from. A training
    at 128 pixels grew by 0.8 of what the estimate makes of this.
    """
    total = 0
    for number, (block, channels) in enumerate(zip(BLOCKS, CHANNELS)):
        total += (side >> number) ** 2 * channels * (len(block) * compute_bytes + 3 * 4)
    return total


def _directions(maps: tf.Tensor) -> tf.Tensor:
    """Features of length 1 at each pixel, or shorter where they are weak."""
    for_size, for_values = fan_out(tf.cast(maps, tf.float32), 2)
    square = tf.reduce_sum(tf.square(for_size), axis=-1, keepdims=True)
    return for_values * tf.math.rsqrt(square + QUIET)


def load_vgg16(source: str) -> keras.Model:
    """VGG16 without its dense layers, by `keras.applications`.

    Raises:
        SwapError: See `PerceptualLoss`.
    """
    path = Path(source).expanduser()
    if source != IMAGENET and not path.is_file():
        raise SwapError(
            f"{path.absolute()}: the file of VGG16's weights (perceptual_weights) is not there; give its path"
        )
    try:
        with warnings.catch_warnings():  # Keras leaves layers random that a file lacks, with a mere warning
            warnings.filterwarnings("error", message="Skipping|.*freshly-initialized")
            network = keras.applications.VGG16(
                include_top=False, weights=source if source == IMAGENET else str(path)
            )
    except Exception as err:  # Keras and h5py raise whatever they come across
        why = " ".join(str(err).split())[:120]
        if source == IMAGENET:
            raise SwapError(
                "the weights of VGG16 (perceptual_weights=imagenet) cannot be fetched; give the path of "
                f"vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 instead: {why}"
            ) from err
        raise SwapError(
            f"{path}: does not hold the weights of Keras's VGG16 without top; give the file "
            f"vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5: {why}"
        ) from err
    if not all(np.isfinite(array).all() for array in network.get_weights()):
        raise SwapError(f"{path}: some of VGG16's weights are not numbers; put back a sound copy of the file")
    return network

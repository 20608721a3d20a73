"""SAEHD's loss terms as pure functions, most of them AMP's too (model reference, sections 7.2 and 7.3).

Every term is (N,) float32 and weighed as DFL weighs it. `mask` is the target's, (N, R, R, 1), and `soft` what
`soft_mask` makes of it. A style's power is the option's value / 100.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from core.nn.losses import (
    dssim,
    gaussian_blur,
    sigmoid_cross_entropy,
    squared_error,
    style_loss,
    total_variation,
)

TWO_WINDOWS_FROM = 256  # resolution
STRUCTURE, PIXELS, MASK, EYES = 10.0, 10.0, 10.0, 300.0
FACE_STYLE, BACKGROUND = 10000.0, 10.0
FORGERY_VARIATION, FORGERY_BORDER = 1e-6, 0.02


def total(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of terms, rounded alike in every run (`core.nn.losses`)."""
    return tf.reduce_sum(tf.stack(list(terms)), axis=0)


# What a face is compared with


def soft_mask(mask: tf.Tensor) -> tf.Tensor:
    """`mask` with a soft edge outwards: 1 wherever at least half of the neighbourhood is face."""
    return 2.0 * tf.clip_by_value(gaussian_blur(mask, max(1, mask.shape[1] // 32)), 0.0, 0.5)


def blurred_surroundings(target: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Faces (N, R, R, 3) whose pixels outside of `mask` are blurred among themselves."""
    outside = 1.0 - mask
    blurred = gaussian_blur(tf.concat([target * outside, mask], axis=-1), mask.shape[1] / 128)
    share = 1.0 - blurred[..., 3:]  # of the window that lies outside
    around = blurred[..., :3] / tf.where(share == 0.0, tf.ones_like(share), share)
    return target * mask + around * outside


# A reconstruction


def window_sizes(resolution: int) -> tuple[int, ...]:
    """Sides of DSSIM's windows: one, or from 256 pixels on two, the larger first."""
    sizes = (int(resolution / 11.6), int(resolution / 23.2))
    return sizes if resolution >= TWO_WINDOWS_FROM else sizes[:1]


def structure(wanted: tf.Tensor, found: Sequence[tf.Tensor]) -> tf.Tensor:
    """DSSIM, its mean over `window_sizes`.

    Args:
        wanted: (N, R, R, 3).
        found: Copies of the reconstruction (`fan_out`), one for each window.
    """
    sizes = window_sizes(wanted.shape[1])
    terms = [tf.reduce_mean(dssim(wanted, copy, size), axis=-1) for copy, size in zip(found, sizes)]
    return STRUCTURE * tf.reduce_mean(tf.stack(terms), axis=0)


def pixels(wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    return PIXELS * squared_error(wanted, found)


def mask_error(mask: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    return MASK * squared_error(mask, found)


def eyes_and_mouth(target: tf.Tensor, found: tf.Tensor, eyes: tf.Tensor) -> tf.Tensor:
    """Absolute differences where `eyes`, (N, R, R, 1), shows eyes and mouth."""
    return EYES * tf.reduce_mean(tf.abs(target * eyes - found * eyes), axis=(1, 2, 3))


# The swap


def face_style(
    swap: tf.Tensor, swap_mask: tf.Tensor, dst: tf.Tensor, dst_mask: tf.Tensor, power: float
) -> tf.Tensor:
    """Colours of the swap against those of the destination's reconstruction, inside their masks.

    Only `swap`, (N, R, R, 3), gets a gradient.
    """
    wanted = tf.stop_gradient(dst * dst_mask)
    return style_loss(swap * tf.stop_gradient(swap_mask), wanted, swap.shape[1] // 8, FACE_STYLE * power)


def background_style(swap: tf.Tensor, target: tf.Tensor, soft: tf.Tensor, power: float) -> tf.Tensor:
    """The swap against the destination's target outside of `soft`; one window at every resolution."""
    outside = 1.0 - tf.stop_gradient(soft)
    wanted, found = target * outside, swap * outside
    likeness = tf.reduce_mean(dssim(wanted, found, window_sizes(target.shape[1])[0]), axis=-1)
    return BACKGROUND * power * (likeness + squared_error(wanted, found))


# The discriminators


def judgement(discriminator: keras.Model, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What the patch discriminator's two outputs say: the forger's loss, and the discriminator's.

    Args:
        discriminator: See `core.nn.discriminators`; it is called once.
        real: (N, R, R, 3).
        fake: Alike.
    """
    outputs = discriminator(tf.concat([real, fake], axis=0))
    forger, judge = [], []
    for logits in (outputs["center"], outputs["out"]):
        of_real, of_fake = tf.split(logits, 2)
        forger.append(sigmoid_cross_entropy(1.0, of_fake))
        judge.append(sigmoid_cross_entropy(1.0, of_real) + sigmoid_cross_entropy(0.0, of_fake))
    return forger[0] + forger[1], 0.5 * (judge[0] + judge[1])


def smooth_forgery(face: Sequence[tf.Tensor], target: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
    """What keeps a face sound outside of `soft`, where the discriminator does not look.

    Args:
        face: Two copies (`fan_out`) of the reconstruction (N, R, R, 3).
        target: Alike.
        soft: (N, R, R, 1).
    """
    border = squared_error(face[0] * (1.0 - soft), target * (1.0 - soft))
    return FORGERY_VARIATION * total_variation(face[1]) + FORGERY_BORDER * border


def true_face(discriminator: keras.Model, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss of an encoder whose source's codes are to pass for the destination's, and the discriminator's.

    Args:
        discriminator: See `core.nn.discriminators`; it is called once.
        codes: (2N, side, side, C), the source's before the destination's.
    """
    of_src, of_dst = tf.split(discriminator(codes), 2)
    judge = sigmoid_cross_entropy(1.0, of_dst) + sigmoid_cross_entropy(0.0, of_src)
    return sigmoid_cross_entropy(1.0, of_src), 0.5 * judge

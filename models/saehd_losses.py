"""The loss terms that only SAEHD has (model reference, section 7.3); those it shares with AMP: `face_losses`.

Every term is (N,) float32 and weighed as DFL weighs it. A style's power is the option's value / 100.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from core.nn.losses import dssim, fan_out, sigmoid_cross_entropy, squared_error, style_loss
from models import face_losses

TWO_WINDOWS_FROM = 256  # resolution
FACE_STYLE_POWER, BACKGROUND_POWER = 10000.0, 10.0
BORDER_POWER = 0.02


def total(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of terms, rounded alike in every run (`core.nn.losses`)."""
    return tf.reduce_sum(tf.stack(list(terms)), axis=0)


def window_sizes(resolution: int) -> tuple[int, ...]:
    """Sides of DSSIM's windows: one, or from 256 pixels on two, the larger first."""
    sizes = (int(resolution / 11.6), int(resolution / 23.2))
    return sizes if resolution >= TWO_WINDOWS_FROM else sizes[:1]


def face_style(
    swap: tf.Tensor, swap_mask: tf.Tensor, dst: tf.Tensor, dst_mask: tf.Tensor, power: float
) -> tf.Tensor:
    """Colours of the swap against those of the destination's reconstruction, inside their masks.

    Only `swap`, (N, R, R, 3), gets a gradient.
    """
    wanted, found = tf.stop_gradient(dst * dst_mask), swap * tf.stop_gradient(swap_mask)
    return style_loss(found, wanted, swap.shape[1] // 8, FACE_STYLE_POWER * power)


def background_style(swap: tf.Tensor, target: tf.Tensor, soft: tf.Tensor, power: float) -> tf.Tensor:
    """The swap against the destination's target outside of the mask `soft`; one window at all resolutions."""
    outside = 1.0 - tf.stop_gradient(soft)
    wanted, (for_structure, for_pixels) = target * outside, fan_out(swap * outside, 2)
    likeness = tf.reduce_mean(dssim(wanted, for_structure, window_sizes(target.shape[1])[:1]), axis=-1)
    return BACKGROUND_POWER * power * (likeness + squared_error(wanted, for_pixels))


def clean_border(found: tf.Tensor, target: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
    """What keeps a face sound outside of the mask `soft`, where the patch discriminator does not look."""
    outside, (for_variation, for_border) = 1.0 - soft, fan_out(found, 2)
    error = squared_error(for_border * outside, target * outside)
    return face_losses.variation(for_variation) + BORDER_POWER * error


def judged_faces(discriminator: keras.Model, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The patch discriminator, called once: the loss of whoever made the `fake` faces, and its own.

    Args:
        discriminator: See `core.nn.discriminators`.
        real: (N, R, R, 3), what it is to know from `fake`.
        fake: Alike.
    """
    answers = {
        name: tf.split(logits, 2) for name, logits in discriminator(tf.concat([real, fake], axis=0)).items()
    }
    of_real, of_fake = ({name: pair[side] for name, pair in answers.items()} for side in (0, 1))
    own = face_losses.cross_entropies(1.0, of_real) + face_losses.cross_entropies(0.0, of_fake)
    return face_losses.cross_entropies(1.0, of_fake), 0.5 * own


def judged_codes(discriminator: keras.Model, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The code discriminator, called once: the encoder's loss while the source's codes do not pass for the
    destination's, and the discriminator's own.

    Args:
        discriminator: See `core.nn.discriminators`.
        codes: (2N, side, side, C), the source's before the destination's.
    """
    of_src, of_dst = tf.split(discriminator(codes), 2)
    own = sigmoid_cross_entropy(1.0, of_dst) + sigmoid_cross_entropy(0.0, of_src)
    return sigmoid_cross_entropy(1.0, of_src), 0.5 * own

"""Loss terms that SAEHD and AMP share (sections 7.2, 7.3 and 8.4 of the reference), each per sample, (N,)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from core.nn.losses import (
    dssim,
    gaussian_blur,
    sigmoid_cross_entropy,
    squared_error,
    total_variation,
)

STRUCTURE_POWER, PIXEL_POWER, MASK_POWER, EYES_POWER = 10.0, 10.0, 10.0, 300.0
VARIATION_POWER = 1e-6


@dataclass(frozen=True)
class Targets:
    """What faces should become, (N, R, R, C) each."""

    face: tf.Tensor
    mask: tf.Tensor
    eyes: tf.Tensor | None  # of eyes and mouth
    soft: tf.Tensor  # see `soft_mask`

    @property
    def masked(self) -> tf.Tensor:
        return self.face * self.soft

    @property
    def around(self) -> tf.Tensor:
        """1 outside of the soft mask."""
        return 1.0 - self.soft


def targets(face: tf.Tensor, mask: tf.Tensor, eyes: tf.Tensor | None, blur_out: bool) -> Targets:
    """
    Args:
        face: (N, R, R, 3) in [0, 1].
        mask: (N, R, R, 1) in [0, 1].
        eyes: The mask of eyes and mouth, if they count more.
        blur_out: Blur what lies around the mask.
    """
    return Targets(blurred_around(face, mask) if blur_out else face, mask, eyes, soft_mask(mask))


def soft_mask(mask: tf.Tensor) -> tf.Tensor:
    """`mask` with a soft edge outwards: 1 wherever at least half of the neighbourhood is face."""
    return 2.0 * tf.clip_by_value(gaussian_blur(mask, max(1, mask.shape[1] // 32)), 0.0, 0.5)


def blurred_around(face: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The face with its surroundings blurred among themselves."""
    outside = 1.0 - mask
    blurred = gaussian_blur(tf.concat([face * outside, mask], axis=-1), face.shape[1] / 128)
    share = 1.0 - blurred[..., 3:]  # of the window that lies outside
    around = blurred[..., :3] / tf.where(share == 0.0, tf.ones_like(share), share)
    return face * mask + around * outside


def structure(wanted: tf.Tensor, found: tf.Tensor, sizes: tuple[int, ...]) -> tf.Tensor:
    """Structural dissimilarity, its mean over windows of several sizes."""
    return STRUCTURE_POWER * tf.reduce_mean(dssim(wanted, found, sizes), axis=-1)


def pixels(wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    return PIXEL_POWER * squared_error(wanted, found)


def eyes_and_mouth(wanted: Targets, found: tf.Tensor) -> tf.Tensor:
    """Absolute error at eyes and mouth."""
    error = tf.abs(wanted.face * wanted.eyes - found * wanted.eyes)
    return EYES_POWER * tf.reduce_mean(error, axis=(1, 2, 3))


def mask_error(wanted: Targets, found_mask: tf.Tensor) -> tf.Tensor:
    return MASK_POWER * squared_error(wanted.mask, found_mask)


def variation(found: tf.Tensor, channels_first: bool = False) -> tf.Tensor:
    """Total variation, with the small weight that keeps noise of an adversarial training down.

    Args:
        found: (N, R, R, 3).
        channels_first: Compare channels and rows, not rows and columns: what DFL's formula comes to in its
            other layout, which its AMP always has.
    """
    return VARIATION_POWER * total_variation(tf.transpose(found, (0, 3, 1, 2)) if channels_first else found)


def cross_entropies(label: float, answers: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Of both answers of the patch discriminator with what `label` says the faces are."""
    return sigmoid_cross_entropy(label, answers["center"]) + sigmoid_cross_entropy(label, answers["out"])

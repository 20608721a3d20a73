"""Recipes: optimizers and schedules. Pure functions of the iteration, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True)
class Plan:
    """What one iteration does."""

    rate: float  # learning rate
    keep: float = 1.0  # learning-rate dropout: share of the elements that are updated; 1 is off
    decay: float = 0.0  # of the decoders' kernels, per unit of the rate
    augment_share: float = 1.0  # of the ranges of the random affine
    encoder_share: float = 1.0  # of the rate, for the encoder and the layer that reads its features


@dataclass(frozen=True)
class Recipe:
    """An optimizer and its schedule.

    Every `unwarped_every`-th iteration repeats the batch before, its targets as inputs (DFL: 3; 0: never).
    """

    optimizer: str
    beta1: float
    beta2: float
    eps: float
    bias_correction: bool
    unwarped_every: int
    dfl_warp: bool
    primes: bool  # a fresh bottleneck is fitted to the faces before the first iteration
    plan: Callable[[int], Plan]
    clipnorm: float = 0.0  # most that the norm of all gradients together may be; 0 sets no limit
    clips_sum: bool = False  # the norm is that of the sum over the batch (DFL), not of the mean

    def batch_for(self, iteration: int) -> tuple[int, bool]:
        """Number of the batch of an iteration, and whether it is a repetition with unwarped inputs."""
        every = self.unwarped_every
        if not every:
            return iteration, False
        return iteration - iteration // every, iteration > 0 and iteration % every == 0

    def first_iteration(self, batch: int) -> int:
        """The iteration that is the first to use a batch; inverse of `batch_for`."""
        every = self.unwarped_every
        if not every or batch == 0:
            return batch
        return batch + (batch - 1) // (every - 1)

    def augment_share(self, batch: int) -> float:
        """How much of the random rotation, scale and shift a batch gets, 0 to 1."""
        return self.plan(self.first_iteration(batch)).augment_share


def _dfl(iteration: int) -> Plan:
    return Plan(rate=2e-4, keep=0.3)


def _ramp(iteration: int, start: int, end: int) -> float:
    """0 up to `start`, 1 from `end`, straight between."""
    return min(1.0, max(0.0, (iteration - start) / (end - start)))


# The fast schedule, by benchmarks/quality.py on two clips of 200 faces. Priming makes the code tell
# expressions, alike for both persons, and it must stay so until the decoders can read it: the encoder waits,
# then follows slowly. If it follows from the start, the code drifts to what suits each person alone, and
# swaps lose half of the expression.
FAST_RATE, FAST_LAST_RATE = 5e-4, 5e-5
FAST_WARM_UP, FAST_DECAY = 20, (800, 10000)
FAST_ENCODER, FAST_ENCODER_SHARE = (1500, 6000), 0.15
FAST_AUGMENT, FAST_AUGMENT_SHARE = (1000, 8000), 0.3  # small movements until the face is there
FAST_DECAY_OF_DECODERS, FAST_DECAY_UNTIL = 1.0, (400, 1200)
FAST_DROPOUT_FROM, FAST_KEEP = 12000, 0.3


def _fast(iteration: int) -> Plan:
    descent = (1 + cos(pi * _ramp(iteration, *FAST_DECAY))) / 2
    rate = FAST_LAST_RATE + (FAST_RATE - FAST_LAST_RATE) * descent
    share = FAST_AUGMENT_SHARE + (1 - FAST_AUGMENT_SHARE) * _ramp(iteration, *FAST_AUGMENT)
    encoder = FAST_ENCODER_SHARE * _ramp(iteration, *FAST_ENCODER)
    if iteration < FAST_DROPOUT_FROM:
        rate *= _ramp(iteration + 1, 0, FAST_WARM_UP)
        decay = FAST_DECAY_OF_DECODERS * (1 - _ramp(iteration, *FAST_DECAY_UNTIL))
        return Plan(rate=rate, decay=decay, augment_share=share, encoder_share=encoder)
    # DFL's trick for the last polish
    return Plan(rate=2e-4, keep=FAST_KEEP, augment_share=share, encoder_share=encoder)


RECIPES = {
    "fast": Recipe(
        "adam",
        0.9,
        0.99,
        1e-8,
        bias_correction=True,
        unwarped_every=3,
        dfl_warp=False,
        primes=True,
        plan=_fast,
    ),
    "dfl": Recipe(
        "rmsprop",
        0.0,
        0.9,
        1e-6,
        bias_correction=False,
        unwarped_every=3,
        dfl_warp=True,
        primes=False,
        plan=_dfl,
    ),
}


DETAIL_RATE, DETAIL_CLIPNORM = 5e-5, 1.0
DETAIL_KEEP = 0.3  # learning-rate dropout: share of the elements that are updated
DETAIL_PERIOD = 500  # of the rate's cosine, which DFL joins with dropout, in iterations


def _steady(iteration: int) -> Plan:
    return Plan(rate=DETAIL_RATE)


def _swinging(iteration: int) -> Plan:
    swing = (cos(2 * pi * iteration / DETAIL_PERIOD) + 1) / 2
    return Plan(rate=DETAIL_RATE * swing, keep=DETAIL_KEEP)


def detail_recipe(kind: str, dfl_compat: bool, lr_dropout: bool, clipgrad: bool) -> Recipe:
    """DFL's schedule of SAEHD and AMP: one rate, which swings down to zero and back with dropout.

    Args:
        kind: Of the optimizer.
        dfl_compat: No bias correction, the norm of the batch's summed gradient is clipped, and DFL's warp.
        lr_dropout: Update a random part of the weights.
        clipgrad: Limit the norm of the gradient.
    """
    return Recipe(
        kind,
        0.0 if kind == "rmsprop" else 0.9,
        0.9 if kind == "rmsprop" else 0.999,
        1e-6,
        bias_correction=not dfl_compat,
        unwarped_every=0,
        dfl_warp=dfl_compat,
        primes=False,
        plan=_swinging if lr_dropout else _steady,
        clipnorm=DETAIL_CLIPNORM if clipgrad else 0.0,
        clips_sum=dfl_compat,
    )

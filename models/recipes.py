"""Recipes: optimizers and schedules. Pure functions of the iteration, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi


@dataclass(frozen=True)
class Plan:
    """What one iteration does."""

    rate: float  # learning rate
    keep: float = 1.0  # learning-rate dropout: share of the elements that are updated; 1 is off
    decay: float = 0.0  # of the decoders' kernels, per unit of the rate
    augment_share: float = 1.0  # of the ranges of the random affine
    encoder_share: float = 1.0  # of the rate, for the encoder and the layer that reads its features
    swing_period: int = 0  # updates in which each optimizer's rate goes down to zero and back; 0: it rests


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
# At a steady 5e-4 Quick96 grew worse from iteration 1,500 on; the default SAEHD did from 1,250, and died at
# 1,650.
FAST_WARM_UP, FAST_DECAY = 20, (200, 1500)
FAST_ENCODER, FAST_ENCODER_SHARE = (1500, 6000), 0.15
FAST_AUGMENT, FAST_AUGMENT_SHARE = (1000, 8000), 0.3  # small movements until the face is there
FAST_DECAY_OF_DECODERS, FAST_DECAY_UNTIL = 1.0, (400, 1200)
FAST_DROPOUT_FROM, FAST_KEEP = 12000, 0.3


def _descent(iteration: int, first_rate: float) -> Plan:
    """The fast schedule, which ends at `FAST_LAST_RATE`."""
    descent = (1 + cos(pi * _ramp(iteration, *FAST_DECAY))) / 2
    rate = FAST_LAST_RATE + (first_rate - FAST_LAST_RATE) * descent
    return Plan(
        rate=rate * _ramp(iteration + 1, 0, FAST_WARM_UP),
        decay=FAST_DECAY_OF_DECODERS * (1 - _ramp(iteration, *FAST_DECAY_UNTIL)),
        augment_share=FAST_AUGMENT_SHARE + (1 - FAST_AUGMENT_SHARE) * _ramp(iteration, *FAST_AUGMENT),
        encoder_share=FAST_ENCODER_SHARE * _ramp(iteration, *FAST_ENCODER),
    )


def _fast(iteration: int) -> Plan:
    plan = _descent(iteration, FAST_RATE)
    if iteration < FAST_DROPOUT_FROM:
        return plan
    return replace(plan, rate=2e-4, keep=FAST_KEEP)  # DFL's trick for the last polish


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
# A layer's outputs move by the rate times the number of its inputs, so wider networks than those of the fast
# schedule's trials take smaller rates (Yang et al., "Tensor Programs V", 2022, section 8).
FAST_WIDTH = 512  # channels, of Quick96's widest layer
FAST_ENCODER_FREE = (6000, 12000)  # the encoder's share of the rate rises to all of it


def _steady(iteration: int) -> Plan:
    return Plan(rate=DETAIL_RATE)


def _swinging(iteration: int, base: Callable[[int], Plan]) -> Plan:
    return replace(base(iteration), swing_period=DETAIL_PERIOD, keep=DETAIL_KEEP)


def fast_detail_rate(width: int) -> float:
    """The first rate of networks whose widest map has `width` channels."""
    return max(DETAIL_RATE, FAST_RATE * min(1.0, FAST_WIDTH / width))


def _fast_detail(iteration: int, first_rate: float) -> Plan:
    """The fast schedule, and after it DFL's rate for everything."""
    plan = _descent(iteration, first_rate)
    share = plan.encoder_share + (1 - plan.encoder_share) * _ramp(iteration, *FAST_ENCODER_FREE)
    return replace(plan, encoder_share=share)


def detail_recipe(
    kind: str, dfl_compat: bool, lr_dropout: bool, clipgrad: bool, first_rate: float | None = None
) -> Recipe:
    """The recipe of SAEHD and AMP: DFL's schedule, or the fast one before it.

    DFL's has one rate, which swings down to zero and back with dropout.

    Args:
        kind: Of the optimizer.
        dfl_compat: No bias correction, the norm of the batch's summed gradient is clipped, and DFL's warp.
        lr_dropout: Update a random part of the weights.
        clipgrad: Limit the norm of the gradient.
        first_rate: Of the fast schedule; `None` is DFL's.
    """
    base = _steady if first_rate is None else partial(_fast_detail, first_rate=first_rate)
    return Recipe(
        kind,
        0.0 if kind == "rmsprop" else 0.9,
        0.9 if kind == "rmsprop" else 0.999,
        1e-6,
        bias_correction=not dfl_compat,
        unwarped_every=0,
        dfl_warp=dfl_compat,
        primes=first_rate is not None,
        plan=partial(_swinging, base=base) if lr_dropout else base,
        clipnorm=DETAIL_CLIPNORM if clipgrad else 0.0,
        clips_sum=dfl_compat,
    )

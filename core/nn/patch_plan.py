"""The strides of DFL's patch discriminator for a wished receptive field. No TensorFlow: prompts need this."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import prod

from core.errors import UsageError

MAX_LAYERS = 9
LEAST_PATCH, LARGEST_PATCH = 3, 640


@cache
def patch_strides(patch_size: int) -> tuple[int, ...]:
    """Strides of the 3x3 convolutions whose receptive field is nearest to `patch_size` pixels.

    The first stride is 2, the others 1 or 2, at most nine in all. Of two fields equally near the smaller is
    taken; of the plans of one field the shortest, then the one with more strides of 2.
    """
    plans = _plans()
    return plans[min(plans, key=lambda field: (abs(field - patch_size), field))]


def shrinkage(patch_size: int) -> int:
    """The power of two that the sides of the discriminator's faces must be multiples of."""
    return prod(patch_strides(patch_size))


def check_patch_size(resolution: int, patch_size: int) -> None:
    """
    Raises:
        UsageError: The plan of this patch size halves a face of this resolution more often than it can.
    """
    if resolution % shrinkage(patch_size):
        raise UsageError(
            f"GAN patch size {patch_size} needs a resolution that is a multiple of {shrinkage(patch_size)}, "
            f"not {resolution}; {fitting_patch_size(resolution, patch_size)} is the nearest that fits"
        )


def fitting_patch_size(resolution: int, wished: int) -> int:
    """`wished`, or the nearest patch size whose plan fits the resolution, a multiple of 16."""
    candidates = range(LEAST_PATCH, LARGEST_PATCH + 1)
    return min((p for p in candidates if resolution % shrinkage(p) == 0), key=lambda p: (abs(p - wished), p))


@cache
def _plans() -> dict[int, tuple[int, ...]]:
    """The best plan of each receptive field."""
    best: dict[int, tuple[int, ...]] = {}
    for layers in range(1, MAX_LAYERS + 1):
        # DFL counts down from all strides 2, the last layer being the highest bit; ties keep the first
        for tail in product((2, 1), repeat=layers - 1):
            strides = (2, *reversed(tail))
            field = 3 + 2 * sum(prod(strides[:i]) for i in range(1, layers))
            known = best.get(field)
            if known is None or (len(known) == layers and sum(strides) > sum(known)):
                best[field] = strides
    return best

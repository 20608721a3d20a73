"""Notices a training that has collapsed: a loss that is not a number, or far above what it was."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

REMEMBERED = 200  # iterations whose median is the measure
FROM = 50  # iterations before anything but NaN is called a collapse
# Times the usual loss, and for how many iterations in a row. A decoder that dies paints one flat colour: no
# worse than a fresh model, only a few times the loss of a trained one, but for good.
LIMITS = ((10.0, 5), (3.0, 20))
# For what is not a face's loss, such as a discriminator's: it may rise and fall by a lot while it and the
# decoders learn from each other, but never to many times the loss of guessing, which is about 1.
OTHER_LIMITS = ((100.0, 5), (10.0, 20))
LEAST_OTHER = 1.0


class CollapseGuard:
    """Fed with the losses of each iteration; says when the last good save should be taken back."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, after going back to a save."""
        self._recent: dict[str, deque[float]] = {}
        self._high: dict[tuple[str, float], int] = {}  # iterations in a row above a limit

    @property
    def is_alarmed(self) -> bool:
        """Whether the last loss was far too high, though not for long enough: no time to save."""
        return any(self._high.values())

    def observe(self, losses: Mapping[str, float]) -> str:
        """Take in one iteration's losses; returns why this is a collapse, or an empty text.

        Args:
            losses: By side; by a name with a slash where it is no side's, and may vary by more.
        """
        broken = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if broken:
            told = ", ".join(f"{name} {value}" for name, value in broken.items())
            return f"the loss is not a number any more ({told})"
        for name, value in losses.items():
            usual = self._usual(name)
            for factor, patience in OTHER_LIMITS if "/" in name else LIMITS:
                count = self._high.get((name, factor), 0) + 1 if value > factor * usual else 0
                self._high[name, factor] = count
                if count >= patience:
                    return f"the {name} loss has exploded ({value:.4g}, it was {usual:.4g})"
        if not self.is_alarmed:  # an outlier must not move the median
            for name, value in losses.items():
                self._recent.setdefault(name, deque(maxlen=REMEMBERED)).append(value)
        return ""

    def _usual(self, name: str) -> float:
        recent = self._recent.get(name, ())
        if len(recent) < FROM:
            return math.inf
        return max(median(recent), LEAST_OTHER if "/" in name else 1e-12)

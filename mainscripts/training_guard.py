"""Notices a training that has collapsed: a loss that is not a number, or far above what it was."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

REMEMBERED = 200  # iterations whose median is the measure
FROM = 50  # iterations before anything but NaN is called a collapse
# Times the usual loss, and for how many iterations in a row. A decoder that dies paints one flat colour: no
# worse than a fresh model, only a few times the loss of a trained one, but for good.
LIMITS = ((10.0, 5), (3.0, 20))


class CollapseGuard:
    """Fed with the losses of each iteration; says when the last good save should be taken back."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, after going back to a save."""
        self._recent: tuple[deque[float], ...] = (deque(maxlen=REMEMBERED), deque(maxlen=REMEMBERED))
        self._high = dict.fromkeys(LIMITS, 0)  # iterations in a row above each

    @property
    def is_alarmed(self) -> bool:
        """Whether the last loss was far too high, though not for long enough: no time to save."""
        return any(self._high.values())

    def observe(self, src: float, dst: float) -> str:
        """Take in one iteration's losses; returns why this is a collapse, or an empty text."""
        if not (math.isfinite(src) and math.isfinite(dst)):
            return f"the loss is not a number any more (src {src}, dst {dst})"
        usual = [median(recent) if len(recent) >= FROM else math.inf for recent in self._recent]
        excess = {"src": src / max(usual[0], 1e-12), "dst": dst / max(usual[1], 1e-12)}
        worst = max(excess, key=lambda side: excess[side])
        for factor, patience in LIMITS:
            count = self._high[factor, patience] + 1 if excess[worst] > factor else 0
            self._high[factor, patience] = count
            if count >= patience:
                value = {"src": src, "dst": dst}[worst]
                return f"the {worst} loss has exploded ({value:.4g}, it was {value / excess[worst]:.4g})"
        if not self.is_alarmed:  # an outlier must not move the median
            for value, recent in zip((src, dst), self._recent):
                recent.append(value)
        return ""

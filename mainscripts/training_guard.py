"""Notices a training that has collapsed: a loss that is not a number, or far above what it was."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

REMEMBERED = 200  # iterations whose median is the measure
FROM = 50  # iterations before anything but NaN is called a collapse
FACTOR = 10.0
PATIENCE = 5  # iterations in a row


class CollapseGuard:
    """Fed with the losses of each iteration; says when the last good save should be taken back."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, after going back to a save."""
        self._recent: tuple[deque[float], ...] = (deque(maxlen=REMEMBERED), deque(maxlen=REMEMBERED))
        self._high = 0

    @property
    def is_alarmed(self) -> bool:
        """Whether the last loss was far too high, though not for long enough: no time to save."""
        return self._high > 0

    def observe(self, src: float, dst: float) -> str:
        """Take in one iteration's losses; returns why this is a collapse, or an empty text."""
        if not (math.isfinite(src) and math.isfinite(dst)):
            return f"the loss is not a number any more (src {src}, dst {dst})"
        for name, value, recent in zip(("src", "dst"), (src, dst), self._recent):
            usual = median(recent) if len(recent) >= FROM else math.inf
            if value > FACTOR * usual:
                self._high += 1
                if self._high >= PATIENCE:
                    return f"the {name} loss has exploded ({value:.4g}, it was {usual:.4g})"
                return ""  # an outlier must not move the median
        self._high = 0
        for value, recent in zip((src, dst), self._recent):
            recent.append(value)
        return ""

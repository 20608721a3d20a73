"""Where one shot ends and the next begins, from a few numbers for each picture."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

__all__ = ["CutFinder", "picture_signature"]

SIDE = 12
# Mean difference of two signatures, of 1, from which there may be a cut. Two people who change places before
# one grey wall differ by 0.05; within the shared clips no two frames differ by 0.005.
DIFFERENCE = 0.025
RATIO = 6.0  # times the usual difference of the frames before ...
RECENT_RATIO = 2.5  # ... and times the largest of the last few: a camera that begins to move is no cut
MEMORY, RECENT = 12, 4  # frames


def picture_signature(image: np.ndarray) -> np.ndarray:
    """(12, 12, 3) uint8 mean colours of an (H, W, 3) uint8 image: 432 bytes by which cuts are seen."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


class CutFinder:
    """Takes the frames' signatures in order."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._differences: deque[float] = deque(maxlen=MEMORY)
        self._jump = 0.0  # the difference that was taken for the last cut

    def is_cut(self, signature: np.ndarray | None) -> bool:
        """Whether the shot changed since the last frame; False where either has no signature."""
        last, self._last = self._last, signature
        if last is None or signature is None:
            return False
        difference = float(np.abs(last.astype(np.int16) - signature).mean()) / 255
        before = list(self._differences)
        usual = float(np.median(before)) if before else 0.0
        # right after a cut it alone tells what is usual: a shot that moves fast is not a cut in each frame
        recent = max(before[-RECENT:], default=self._jump)
        if difference > max(DIFFERENCE, RATIO * usual, RECENT_RATIO * recent):
            self._differences.clear()
            self._jump = difference
            return True
        self._differences.append(difference)
        return False

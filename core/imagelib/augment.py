"""Random colour changes of training samples, drawn and applied apart as in `core.imagelib.warp`."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

JITTER_GAIN = 0.5  # at strength 1 a channel is scaled by exp(+-0.5)
JITTER_GAMMA = 0.5  # and bent by a power of exp(+-0.5)
JITTER_OFFSET = 0.15  # and raised or lowered by 0.15


@dataclass(frozen=True)
class HsvShift:
    """DFL's random HSV: hue in whole degrees, saturation and value by an offset (reference section 7.4)."""

    hue: int
    saturation: float
    value: float

    @classmethod
    def sample(cls, rng: np.random.Generator, amount: float) -> HsvShift:
        """Draw a shift of strength `amount` in [0, 1]."""
        widest = max(1, int(180 * amount))
        hue = int(rng.integers(-widest, widest + 1))
        saturation, value = ((rng.random(2) - 0.5) * amount).tolist()
        return cls(hue, saturation, value)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Shift a (H, W, 3) float32 BGR image in [0, 1]; the result is in [0, 1]."""
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)  # hue in degrees for float images
        hsv[..., 0] = (hsv[..., 0] + self.hue) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] + self.saturation, 0, 1)
        hsv[..., 2] = np.clip(hsv[..., 2] + self.value, 0, 1)
        return np.clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), 0, 1)


@dataclass(frozen=True)
class ColorJitter:
    """Another exposure and white balance: per channel gain * x ** gamma + offset, the same over the image."""

    gain: tuple[float, float, float]  # blue, green, red
    gamma: float
    offset: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> ColorJitter:
        """Draw a change of `strength` in [0, 1]; 0 changes nothing."""
        draws = rng.uniform(-strength, strength, 6).tolist()
        light = draws[0] * JITTER_GAIN / 2  # common to the channels; the rest is colour
        gain = tuple(float(np.exp(light + draw * JITTER_GAIN / 2)) for draw in draws[1:4])
        return cls(gain, float(np.exp(draws[4] * JITTER_GAMMA)), draws[5] * JITTER_OFFSET)

    def table(self) -> np.ndarray:
        """(256, 1, 3) uint8 table for `cv2.LUT`."""
        levels = np.linspace(0, 1, 256)[:, None] ** self.gamma
        values = levels * np.array(self.gain) + self.offset
        return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)[:, None]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change a (H, W, 3) uint8 BGR image."""
        return cv2.LUT(image, self.table())

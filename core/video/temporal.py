"""Taking out noise with the help of the frames before and after, each moved onto the one in the middle.

A dense optical flow (DIS: Kroeger et al., ECCV 2016) tells where every pixel was; the neighbours are
resampled along it and averaged with the middle frame. Weights of each pixel keep out what must not be
averaged:

- where the neighbour, so moved, differs by more than the noise explains (patches are compared, as in
  non-local means: Buades et al., CVPR 2005), it shows something else: an occlusion, another light, a flow
  gone astray;
- where going along the flow and back does not lead to where one started, one of the two pixels is hidden.

A still background gains the most; what no neighbour shows stays as noisy as it was. Nothing is smoothed
within a picture, so its detail stays. `benchmarks/denoise.py` measures it against the filter that DFL uses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from core.imageio import to_uint8

USUAL_FACTOR = 7  # forgives just what the measured noise explains
RADIUS = 3  # frames before and after that are taken in at the usual factor; 1 to 7 over the whole range
TOLERANCE = (1.0, 1.5)  # of the measured noise, at the usual factor and the strongest
NOISE_RANGE = (0.5, 40.0)  # levels of 8 bits: below nothing is to be seen, above it is no noise
MEASURED_PAIRS = 5
PATCH = 5  # pixels, side of the patches that are compared
DECAY = 1.5  # how fast the weight falls with the excess of a patch's difference over that of noise
LOOP_SLACK = (1.0, 0.05)  # pixels, and share of the way, that a walk there and back may miss its start by
FLOW_SIDE = 400  # longer pictures are halved for the flow: faster, and it does not follow the noise
CLIPPED = 10  # levels next to black and white, where noise is cut off
CALM_PERCENT = 35  # of the patches are taken for still, so that what differs there is noise


@dataclass(frozen=True)
class Flow:
    """Where the pixels of a frame are in a neighbour, and how far that can be trusted.

    `there` is (h, w, 2) float32 in pixels of a picture of that size, `trust` (h, w) float32 in [0, 1]. Of
    large pictures they are kept smaller, as they were found: many are held at a time.
    """

    there: np.ndarray
    trust: np.ndarray

    def sized(self, shape: tuple[int, ...]) -> Flow:
        """The same for pictures of `shape`."""
        height, width = self.there.shape[:2]
        if (height, width) == shape[:2]:
            return self
        size = (shape[1], shape[0])
        scale = np.array([shape[1] / width, shape[0] / height], np.float32)
        there = cv2.resize(self.there, size, interpolation=cv2.INTER_LINEAR) * scale
        return Flow(there, cv2.resize(self.trust, size, interpolation=cv2.INTER_LINEAR))


class FlowFinder:
    """Flows between frames; OpenCV's search holds buffers, so one is for one thread."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def between(self, first: np.ndarray, second: np.ndarray) -> tuple[Flow, Flow]:
        """From the first to the second and back; (H, W, 3) uint8 or uint16 each."""
        a, b = _flow_image(first), _flow_image(second)
        if min(a.shape) < 16:  # the search wants some room; so small nothing is lost by standing still
            still = Flow(np.zeros((*first.shape[:2], 2), np.float32), np.ones(first.shape[:2], np.float32))
            return still, still
        there, back = self._search.calc(a, b, None), self._search.calc(b, a, None)
        return _with_trust(there, back), _with_trust(back, there)


def estimate_noise(first: np.ndarray, second: np.ndarray, flow: Flow) -> float:
    """The standard deviation of the noise of two pictures, in levels of 8 bits.

    It is what differs between them after one was moved onto the other, in the calmer part of what can be
    trusted. Unlike noise measured within a picture, grain that is coarser than a pixel counts, too.

    Args:
        first: (H, W, 3) uint8 or uint16.
        second: Like it.
        flow: From the first to the second.
    """
    flow = flow.sized(first.shape)
    base, moved = _levels(first), _sample(_levels(second), flow.there, cv2.INTER_CUBIC)
    usable = (base.min(axis=2) > CLIPPED) & (base.max(axis=2) < 255 - CLIPPED)
    usable = usable & (flow.trust > 0.5) if (usable & (flow.trust > 0.5)).any() else flow.trust >= 0
    squares = cv2.boxFilter(np.square(moved - base).mean(axis=2), -1, (2 * PATCH + 1, 2 * PATCH + 1))
    return float(np.sqrt(np.percentile(squares[usable], CALM_PERCENT) / 2))


def measure_noise(count: int, read: Callable[[int], np.ndarray]) -> float:
    """The noise of a row of frames, by a few pairs spread over it (see `estimate_noise`)."""
    finder, found = FlowFinder(), []
    for index in sorted({round(i) for i in np.linspace(0, count - 2, MEASURED_PAIRS)}) if count > 1 else []:
        first, second = read(index), read(index + 1)
        if first.shape == second.shape:
            found.append(estimate_noise(first, second, finder.between(first, second)[0]))
    return float(np.median(found)) if found else 0.0


@dataclass(frozen=True)
class Strength:
    """How hard noise is gone after.

    `radius` frames before and after help, each with a weight of up to `share` (1: as much as the frame
    itself); differences are forgiven for a `noise` of that standard deviation, in levels of 8 bits.
    """

    radius: int
    noise: float
    share: float = 1.0

    @classmethod
    def of(cls, factor: int, noise: float) -> Strength:
        """That of a factor 1..20, for noise as it was measured."""
        ratio = factor / USUAL_FACTOR
        radius = int(np.clip(round(RADIUS * ratio), 1, 7))
        forgiven = float(np.clip(noise, *NOISE_RANGE)) * float(np.clip(ratio, *TOLERANCE))
        return cls(radius, forgiven, min(1.0, ratio))


def denoised(frames: Iterable[np.ndarray], strength: Strength, skipped: int = 0) -> Iterator[np.ndarray]:
    """Yield each frame with less noise; holds `2 * radius + 1` of them and their flows.

    Args:
        frames: (H, W, 3) uint8 or uint16, in order.
        strength: How far and how much.
        skipped: So many at the beginning only help others and are not yielded.
    """
    finder, window = FlowFinder(), deque()  # of (frame, {distance: flow})
    middle, source, ended = 0, iter(frames), False
    while True:
        while not ended and len(window) <= middle + strength.radius:
            frame = next(source, None)
            if frame is None:
                ended = True
                break
            window.append((frame, {}))
        if middle >= len(window):
            return
        if skipped:
            skipped -= 1
        else:
            yield _fuse_in(window, middle, strength, finder)
        middle += 1
        if middle > strength.radius:
            window.popleft()
            middle -= 1


def _fuse_in(window: deque, middle: int, strength: Strength, finder: FlowFinder) -> np.ndarray:
    radius, (image, flows) = strength.radius, window[middle]
    neighbours = []
    for index in range(max(0, middle - radius), min(len(window), middle + radius + 1)):
        distance = index - middle
        if not distance:
            continue
        other, back = window[index]
        if distance not in flows:
            flows[distance], back[-distance] = finder.between(image, other)
        neighbours.append((other, flows.pop(distance)))
    return fuse(image, neighbours, strength.noise, strength.share)


def fuse(
    middle: np.ndarray, neighbours: Sequence[tuple[np.ndarray, Flow]], noise: float, share: float = 1.0
) -> np.ndarray:
    """Average a frame with its neighbours where they show the same.

    Args:
        middle: (H, W, 3) uint8 or uint16.
        neighbours: Frames like it, each with the flow from `middle` to it.
        noise: Standard deviation in levels of 8 bits that differences are forgiven for.
        share: Largest weight of a neighbour, that of `middle` being 1.

    Returns:
        Shape and type of `middle`.
    """
    base = _levels(middle)
    total, weights = base.copy(), np.ones(base.shape[:2], np.float32)
    for image, found in neighbours:
        flow = found.sized(middle.shape)
        moved = _sample(_levels(image), flow.there, cv2.INTER_CUBIC)
        difference = cv2.boxFilter(np.square(moved - base).mean(axis=2), -1, (PATCH, PATCH))
        excess = np.maximum(difference / (2 * noise**2) - 1, 0)
        weight = share * np.exp(-DECAY * excess) * flow.trust
        total += moved * weight[..., None]
        weights += weight
    most, scale = (255, 1) if middle.dtype == np.uint8 else (65535, 257)
    return np.clip(np.rint(total * (scale / weights)[..., None]), 0, most).astype(middle.dtype)


def _levels(image: np.ndarray) -> np.ndarray:
    """float32 in levels of 8 bits, with fractions where there were 16."""
    return image.astype(np.float32) if image.dtype == np.uint8 else image.astype(np.float32) / 257


def _flow_image(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(to_uint8(image), cv2.COLOR_BGR2GRAY)
    if max(grey.shape) > FLOW_SIDE:
        size = (-(-grey.shape[1] // 2), -(-grey.shape[0] // 2))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(grey, (0, 0), 1.0)


def _with_trust(there: np.ndarray, back: np.ndarray) -> Flow:
    closing = there + _sample(back, there, cv2.INTER_LINEAR)
    miss, way = (np.sqrt(np.square(steps).sum(axis=2)) for steps in (closing, there))
    trust = np.exp(-np.square(miss / (LOOP_SLACK[0] + LOOP_SLACK[1] * way)))
    return Flow(there, trust)


def _sample(image: np.ndarray, flow: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image, columns + flow[..., 0], rows + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE
    )

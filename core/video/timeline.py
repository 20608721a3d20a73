"""The times at which a video shows its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from core.video.probe import VideoInfo, opened

TOLERANCE = 0.0011  # seconds; Matroska and WebM round every time to a millisecond
FINE_TICKS = 10_000  # per second
NTSC = Fraction(1000, 1001)
VP8_SHOWN = 0x10  # bit of the first byte of a VP8 frame (RFC 6386, 9.1); others only serve as references


@dataclass(frozen=True)
class Timeline:
    """Presentation times: (N,) int64 rising ticks of `time_base` seconds."""

    ticks: np.ndarray
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def seconds(self) -> np.ndarray:
        """(N,) float64, counted from the first frame."""
        return (self.ticks - self.ticks[0]) * float(self.time_base)

    def constant_rate(self, candidates: Iterable[Fraction]) -> Fraction | None:
        """The frame rate that explains all times to within their rounding, None if the rate varies."""
        if len(self) < 2:
            return next(iter(candidates), None)
        candidates = [
            *candidates,
            Fraction(len(self) - 1) / (int(self.ticks[-1] - self.ticks[0]) * self.time_base),
        ]
        # Averages of containers are rounded; the standard rate next to them is meant if it fits.
        standards = [rate for c in candidates for rate in _standards_near(c)]
        tolerance = max(TOLERANCE, 1.01 * float(self.time_base))
        index = np.arange(len(self))
        for rate in [candidates[0], *standards, *candidates[1:]]:
            if np.abs(self.seconds - index / float(rate)).max() <= tolerance:
                return rate
        return None


def constant_timeline(count: int, rate: Fraction) -> Timeline:
    """`count` frames at a constant rate, exactly, in ticks of at most 0.1 ms."""
    fineness = -(-FINE_TICKS // rate.numerator)
    return Timeline(np.arange(count) * rate.denominator * fineness, Fraction(1, rate.numerator * fineness))


def _standards_near(rate: Fraction) -> list[Fraction]:
    """The whole rate and the NTSC rate next to `rate`, the nearer one first."""
    near = {Fraction(round(rate)), round(rate / NTSC) * NTSC} - {Fraction(0)}
    return sorted(near, key=lambda standard: abs(standard - rate))


def read_timeline(info: VideoInfo) -> Timeline:
    """Collect the times of all frames from the container, without decoding.

    Frames before the start that an edit list sets are left out, as ffmpeg does.

    Raises:
        VideoError: The file cannot be read.
    """
    shown: list[int | None] = []
    decoded: list[int | None] = []
    with opened(info.path) as container:
        stream = container.streams[info.stream_index]
        time_base = stream.time_base
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard or is_hidden(info.codec, packet):
                continue
            shown.append(packet.pts)
            decoded.append(packet.dts)
    # AVI stores no times of display; in it the order of decoding is the only clock.
    usable = None not in shown and info.container != "avi"
    times = shown if usable else [t for t in decoded if t is not None]
    return Timeline(np.unique(np.array(times, dtype=np.int64)), time_base)


def is_hidden(codec: str, packet: object) -> bool:
    """Whether a packet holds a frame that only serves as a reference for others."""
    return codec == "vp8" and not bytes(memoryview(packet)[:1])[0] & VP8_SHOWN

"""The times of a film's frames: those of the video that the frames were made of, as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from core.video.containers import Container
from core.video.extraction import Request
from core.video.probe import VideoInfo
from core.video.rates import rate_text
from core.video.timeline import Timeline, read_timeline
from core.video.timestamps import Recorded, find_recorded

DEFAULT_RATE = Fraction(25)
MAX_REPEATED_RATE = Fraction(60)  # the nominal rate of a varying one can be 1000


@dataclass(frozen=True)
class Clock:
    """`rate` in frames per second (nominal where it varies) and, unless that says it all, `timeline`.

    `begins` is the time of the first frame in seconds from that of the video's; `length` the seconds at which
    sound is cut off, None where the film is as long as the video.
    """

    rate: Fraction
    timeline: Timeline | None = None
    begins: float = 0.0
    length: float | None = None


def choose_clock(
    images: Sequence[Path],
    reference: VideoInfo | None,
    rate: Fraction | None,
    container: Container,
    notes: list[str],
) -> Clock:
    """The clock of a film of `images`; what the user should know of the choice is added to `notes`."""
    whole = read_timeline(reference) if reference is not None else None
    count = len(images)
    if reference is None or whole is None or len(whole) == 0:
        return _without_reference(images, rate, container, notes)
    constant = whole.constant_rate(reference.rates)
    usual = constant or reference.frame_rate
    recorded = _recorded_of(images, reference)
    if rate is not None and rate != usual:
        notes.append(
            f"{rate_text(rate)} frames per second as asked; the reference video has {rate_text(usual)}"
        )
        return Clock(rate, length=count / float(rate))
    if count == len(whole) and (recorded is None or not recorded.rate):
        timeline = None if constant is not None else whole
        clock = _settled(usual, timeline, container, reference.rates, notes)
        return (
            clock if rate in (None, usual) else Clock(clock.rate, clock.timeline, length=count / float(rate))
        )
    times = recorded.times(whole) if recorded is not None and rate is None else None
    if times is None:
        notes.append(
            f"WARNING: {count} frames, but the reference video has {len(whole)}: the result "
            f"lasts {count / float(usual):.2f} s instead of {len(whole) / float(usual):.2f} s and may "
            "not fit its sound; if the frames were extracted at another rate, give it with --fps"
        )
        return Clock(usual, length=count / float(usual))
    return _by_numbers(recorded, times, usual, len(whole), container, reference.rates, notes)


def _recorded_of(images: Sequence[Path], reference: VideoInfo) -> Recorded | None:
    """What was recorded of these frames, if it is about this video."""
    recorded = find_recorded(images)
    if recorded is None or not recorded.request.same_video(Request.of(reference.path, Fraction(0), ".png")):
        return None
    return recorded


def _by_numbers(
    recorded: Recorded,
    times: Timeline,
    usual: Fraction,
    whole: int,
    container: Container,
    rates: tuple[Fraction, ...],
    notes: list[str],
) -> Clock:
    """Some frames of a video, or frames taken at another rate: each at the time that its number has."""
    numbers, rate = recorded.numbers, recorded.rate or usual
    gaps = int(numbers[-1] - numbers[0]) + 1 - len(numbers)
    begins = float(times.ticks[0] * times.time_base)
    if recorded.rate:
        notes.append(f"{rate_text(rate)} frames per second, as the frames were extracted")
    else:
        notes.append(f"{len(numbers)} of the {whole} frames of the reference video: each keeps its time")
    if gaps:
        notes.append(
            f"{gaps} frames between are missing: the one before stays for their time; "
            "with --fps the others would follow without a gap, and out of step with the sound"
        )
    end = times.seconds[-1] + 1 / float(rate)
    timeline = Timeline(times.ticks - times.ticks[0], times.time_base)
    if not gaps and timeline.constant_rate([rate]) == rate:
        return Clock(rate, None, begins, end)
    return _settled(rate, timeline, container, rates, notes, begins, end)


def _without_reference(
    images: Sequence[Path], rate: Fraction | None, container: Container, notes: list[str]
) -> Clock:
    recorded = find_recorded(images) if rate is None else None
    if recorded is None or recorded.timeline is None:
        return Clock(rate or DEFAULT_RATE)
    times = recorded.times(None)
    if times is None or len(times) < 2:
        return Clock(DEFAULT_RATE)
    average = Fraction(len(times) - 1) / (int(times.ticks[-1] - times.ticks[0]) * times.time_base)
    average = average.limit_denominator(1001)
    notes.append("no reference video: frames are shown at the times that timestamps.json tells")
    timeline = Timeline(times.ticks - times.ticks[0], times.time_base)
    finest = Fraction(1) / (int(np.diff(times.ticks).min()) * times.time_base)
    return _settled(average, timeline, container, (finest,), notes)


def _settled(
    rate: Fraction,
    timeline: Timeline | None,
    container: Container,
    rates: tuple[Fraction, ...],
    notes: list[str],
    begins: float = 0.0,
    length: float | None = None,
) -> Clock:
    """A clock that the container can hold."""
    if timeline is None:
        return Clock(rate, None, begins, length)
    if not container.has_times:
        fine = min(max(rates, default=rate), MAX_REPEATED_RATE)
        notes.append(
            f"the reference video has a varying frame rate, which {container.suffix} cannot hold: frames are "
            f"repeated to make {rate_text(fine)} per second; choose .mp4 or .mkv to keep the times"
        )
        return Clock(fine, timeline, begins, length)
    if length is None:
        notes.append("the reference video has a varying frame rate: each frame keeps its time")
    return Clock(rate, timeline, begins, length)

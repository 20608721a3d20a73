"""When the numbered frames of a folder are to be shown: written at extraction, read when a film is made.

`timestamps.json` stands beside the frames of a video whose frame rate varies:

    {"version": 1, "video": "<name>", "time_base": "1/12800", "ticks": [0, 512, ...]}

with one entry for each frame, from number 1 on, counted from the first frame. Where the rate is constant it
is not needed: `.frames.json` says which video the frames are of and how many of a second were taken. Folders
inside a folder of frames (`merged`, `merged_mask`) hold frames under the same numbers, so what the parent
says holds for them, too; a number that is missing costs no other frame its time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from core import storage
from core.errors import SwapError
from core.video.extraction import Request, read_manifest
from core.video.timeline import Timeline

TIMESTAMPS = "timestamps.json"
VERSION = 1
NUMBER = re.compile(r"\d{5,}")
LARGEST = 1 << 53  # what JSON carries exactly


@dataclass(frozen=True)
class Recorded:
    """What is known of a folder of frames: `request` made them, `numbers` (from 1) are here.

    `timeline` is that of all frames of the video, None where their rate is constant.
    """

    request: Request
    numbers: np.ndarray
    timeline: Timeline | None

    @property
    def rate(self) -> Fraction:
        """Frames of a second that were taken; 0 for all."""
        return Fraction(self.request.fps)

    def times(self, timeline: Timeline | None) -> Timeline | None:
        """When the frames that are here are shown, `timeline` being that of the whole video.

        None where a number has no time there. The first tick is that of the first frame that is here, so that
        it tells how much is missing before.
        """
        if self.rate:
            return Timeline((self.numbers - 1) * self.rate.denominator, Fraction(1, self.rate.numerator))
        timeline = self.timeline or timeline
        if timeline is None or self.numbers[-1] > len(timeline):
            return None
        return Timeline((timeline.ticks - timeline.ticks[0])[self.numbers - 1], timeline.time_base)


def write_timestamps(folder: Path, video: str, timeline: Timeline | None) -> None:
    """Record the times of the frames in `folder`; None removes the record of other frames."""
    path = folder / TIMESTAMPS
    if timeline is None:
        path.unlink(missing_ok=True)
        return
    ticks = (timeline.ticks - timeline.ticks[0]).tolist()
    record = {"version": VERSION, "video": video, "time_base": str(timeline.time_base), "ticks": ticks}
    storage.write_bytes(path, storage.encode_json(record))


def read_timestamps(folder: Path) -> Timeline | None:
    """The times that `timestamps.json` in `folder` holds; None if it is absent or of no use."""
    try:
        record = storage.read_json(folder / TIMESTAMPS)
        if record["version"] != VERSION:
            return None
        ticks, base = record["ticks"], Fraction(record["time_base"])
        usable = base > 0 and all(type(tick) is int and 0 <= tick < LARGEST for tick in ticks)
        array = np.array(ticks if usable else [], dtype=np.int64)
    except (OSError, SwapError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return Timeline(array, base) if len(array) and (np.diff(array) > 0).all() else None


def find_recorded(images: Sequence[Path]) -> Recorded | None:
    """What was recorded of these frames, in their folder or the one above; None if nothing fits them."""
    if not all(NUMBER.fullmatch(path.stem) for path in images):
        return None
    numbers = np.array([int(path.stem) for path in images], dtype=np.int64)
    if not len(numbers) or numbers[0] < 1 or (np.diff(numbers) <= 0).any():
        return None
    for folder in (images[0].parent, images[0].absolute().parent.parent):
        request, _, count = read_manifest(folder)
        if request is not None:
            if count and numbers[-1] > count:
                return None
            return Recorded(request, numbers, None if request.fps != "0" else read_timestamps(folder))
    return None

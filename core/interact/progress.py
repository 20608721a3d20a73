"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LINE_SECONDS = 5.0  # between the plain lines
BYTES = "B"  # the unit that is shown in megabytes


class Progress:
    """A running count of work done. Use as a context manager; `update` may be called from any one thread.

    With the unit `B` bytes are counted, and shown in megabytes. `initial` was done before: it counts towards
    the total but not to the rate.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "it", initial: int = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.count = self._initial = initial
        self._started = self._shown = time.monotonic()
        self._closed = False
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                desc=label,
                unit=unit,
                unit_scale=unit == BYTES,
                initial=initial,
                ascii=True,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(finished=kind is None)

    def update(self, n: int = 1) -> None:
        """Count `n` more items."""
        self.count += n
        if self._bar is not None:
            self._bar.update(n)
        elif time.monotonic() - self._shown >= LINE_SECONDS:
            self._print_line()

    def write(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def close(self, finished: bool = True) -> None:
        """End the display, once; without a terminal the final count is printed."""
        if self._closed:
            return
        self._closed = True
        if self._bar is not None:
            self._bar.close()
        elif finished:
            self._print_line()

    def _print_line(self) -> None:
        self._shown = time.monotonic()
        rate = (self.count - self._initial) / max(1e-6, self._shown - self._started)
        unit, scale, digits = ("MB", 1e6, 1) if self.unit == BYTES else (self.unit, 1, 0)
        line = f"{self.label}: {self.count / scale:.{digits}f}"
        if self.total is not None:
            line += f"/{self.total / scale:.{digits}f}"
        line += f" {unit}, {rate / scale:.1f} {unit}/s"
        if self.total is not None and rate > 0 and self.count < self.total:
            line += f", {duration_text((self.total - self.count) / rate)} left"
        print(line, flush=True)


def duration_text(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def track(items: Iterable[Item], label: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield the items and show the progress through them."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.update()

"""The numbers of a training: the status line's brackets and the file `<model>_history.csv`.

The file has one row per iteration and is only ever appended to, except that a training which goes on from
an earlier iteration (resumed, or rolled back) first cuts off the rows after it. A row cut short by a crash
goes too. The file of another training (other columns, or rows where a new one begins) is put aside.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.interact.progress import duration_text

COLUMNS = ("iteration", "unix_time", "ms", "wait_ms")  # then a loss for each side, `src_loss` and so on
AVERAGE_OVER = 100  # iterations
COMPILING = 2  # first iterations of a process, which build graphs and would spoil the average
MAX_PENDING = 100_000  # rows kept for a disk that is full
DAY = 24 * 3600.0


def history_path(prefix: Path) -> Path:
    """`<model>_history.csv`."""
    return prefix.with_name(f"{prefix.name}_history.csv")


def header_for(sides: Sequence[str]) -> bytes:
    """The first line of the file of a training of these sides."""
    return (",".join([*COLUMNS, *(f"{side}_loss" for side in sides)]) + "\n").encode()


@dataclass(frozen=True)
class Row:
    """One finished iteration; `iteration` is the model's count after it."""

    iteration: int
    unix_time: float
    ms: float
    wait_ms: float
    losses: tuple[float, ...]  # in the order of the model's sides

    def encode(self) -> bytes:
        numbers = (f"{self.unix_time:.3f}", f"{self.ms:.1f}", f"{self.wait_ms:.1f}")
        return (
            ",".join([str(self.iteration), *numbers, *(f"{loss:.6g}" for loss in self.losses)]) + "\n"
        ).encode()

    def brackets(self) -> str:
        """DFL's `[HH:MM:SS][#000123][0456ms][0.1234][0.5678]`."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.unix_time))
        took = f"{int(self.ms):04}ms" if self.ms < 10000 else f"{str(self.ms / 1000)[:5]}s"
        losses = "".join(f"[{loss:.4f}]" for loss in self.losses)
        return f"[{clock}][#{self.iteration:06}][{took}]{losses}"


class Averages:
    """Mean time of the last iterations of this process, the share of it spent waiting, and the time left."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque(maxlen=AVERAGE_OVER)
        self._seen = 0

    def add(self, row: Row) -> None:
        self._seen += 1
        if self._rows and row.iteration <= self._rows[-1].iteration:  # it went back
            self._rows.clear()
        if self._seen > COMPILING:
            self._rows.append(row)

    def text(self, left: int = 0) -> str:
        """`avg 412 ms/it, 3 % waiting, 2:03:04 left (until 17:20) `, empty while there is nothing to tell.

        Args:
            left: Iterations to the target; 0 where there is none.
        """
        if not self._rows:
            return ""
        total, waited = (sum(row.ms for row in self._rows), sum(row.wait_ms for row in self._rows))
        mean = total / len(self._rows)
        text = f"avg {mean:.0f} ms/it, {100 * waited / max(total, 1e-9):.0f} % waiting"
        return f"{text}{self._left_text(left, mean / 1000)} "

    def _left_text(self, left: int, least: float) -> str:
        """By the clock, so that previews and saves count; at least what iterations take alone."""
        first, last = self._rows[0], self._rows[-1]
        steps = last.iteration - first.iteration
        if left <= 0 or steps == 0:
            return ""
        seconds = left * max(least, (last.unix_time - first.unix_time) / steps)
        form = "%H:%M" if seconds < DAY else "%d %b %H:%M"
        until = time.strftime(form, time.localtime(last.unix_time + seconds))
        return f", {duration_text(seconds)} left (until {until})"


class HistoryFile:
    """Appends rows to the file; a full disk costs no row as long as it is emptied in the same run."""

    def __init__(self, path: Path, iteration: int, sides: Sequence[str] = ("src", "dst")) -> None:
        self.path, self.header = path, header_for(sides)
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING)
        self._good = 0  # size of the file up to its last whole row
        self._file = None
        with contextlib.suppress(OSError):
            if self._is_of_another_training(iteration):
                self.path.rename(_free_name(self.path))
        self.cut_back(iteration)

    def _is_of_another_training(self, iteration: int) -> bool:
        """Whether the columns differ, or a new training finds more than a start that was broken off."""
        with self.path.open("rb") as file:
            header = file.read(len(self.header))
        if header != self.header:
            return not self.header.startswith(header)
        ends = [end_of_rows(self.path, self.header, last) for last in (1, sys.maxsize)]
        return iteration == 0 and ends[0] < ends[1]

    def cut_back(self, iteration: int) -> None:
        """Drop the rows after `iteration`."""
        self.close()
        self._pending.clear()
        with contextlib.suppress(OSError):  # a full disk must not stop a training; `append` tries again
            self._file = open(self.path, "ab")  # noqa: SIM115 (open for the life of this object)
            self._good = end_of_rows(self.path, self.header, iteration)
            self._file.truncate(self._good)
            if self._good == 0:
                self._pending.append(self.header)

    def append(self, row: Row) -> None:
        """Add a row; on a full disk it waits in memory until a later call gets through."""
        self._pending.append(row.encode())
        self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        try:
            if self._file is None:
                self._file = open(self.path, "ab")  # noqa: SIM115
            self._file.write(data)
            self._file.flush()
        except OSError:
            self._drop_partial_row()
            return
        self._pending.clear()
        self._good += len(data)

    def _drop_partial_row(self) -> None:
        """Forget what the failed write left in the buffer and on the disk."""
        with contextlib.suppress(OSError):
            os.truncate(self.path, self._good)
        broken, self._file = self._file, None
        if broken is not None:
            with contextlib.suppress(OSError):
                broken.raw.close()  # below the buffer, which must not be written later

    def close(self) -> None:
        if self._file is not None:
            self.flush()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def end_of_rows(path: Path, header: bytes, iteration: int) -> int:
    """Length in bytes of the header and the whole rows up to `iteration`; 0 for an empty or broken file.

    Reads from the end, so a file of millions of rows costs nothing when little or nothing is cut.
    """
    if path.stat().st_size < len(header):
        return 0
    columns = header.count(b",") + 1
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = data.rfind(b"\n") + 1
        while end > len(header):
            start = data.rfind(b"\n", 0, end - 1) + 1
            fields = data[start:end].split(b",")
            if len(fields) == columns and fields[0].isdigit() and int(fields[0]) <= iteration:
                return end
            end = start
        return min(end, len(header))


def _free_name(path: Path) -> Path:
    """`<stem>.old.csv`, or `.old2.csv` and so on where that is taken."""
    names = (path.with_suffix(f".old{number or ''}.csv") for number in (0, *range(2, 10_000)))
    return next(name for name in names if not name.exists())

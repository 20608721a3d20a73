"""The numbers of a training: the status line's brackets and the file `<model>_history.csv`.

The file has one row per iteration and is only ever appended to, except that a training which goes on from
an earlier iteration (resumed, or rolled back) first cuts off the rows after it. A row cut short by a crash
goes too.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("iteration", "unix_time", "ms", "wait_ms", "src_loss", "dst_loss")
HEADER = (",".join(COLUMNS) + "\n").encode()
AVERAGE_OVER = 100  # iterations
COMPILING = 2  # first iterations of a process, which build graphs and would spoil the average
MAX_PENDING = 100_000  # rows kept for a disk that is full


@dataclass(frozen=True)
class Row:
    """One finished iteration; `iteration` is the model's count after it."""

    iteration: int
    unix_time: float
    ms: float
    wait_ms: float
    src: float
    dst: float

    def encode(self) -> bytes:
        return (
            f"{self.iteration},{self.unix_time:.3f},{self.ms:.1f},{self.wait_ms:.1f},"
            f"{self.src:.6g},{self.dst:.6g}\n"
        ).encode()

    def brackets(self) -> str:
        """DFL's `[HH:MM:SS][#000123][0456ms][0.1234][0.5678]`."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.unix_time))
        took = f"{int(self.ms):04}ms" if self.ms < 10000 else f"{str(self.ms / 1000)[:5]}s"
        return f"[{clock}][#{self.iteration:06}][{took}][{self.src:.4f}][{self.dst:.4f}]"


class Averages:
    """Mean time of the last iterations of this process, and the share of it spent waiting for samples."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, float]] = deque(maxlen=AVERAGE_OVER)
        self._seen = 0

    def add(self, row: Row) -> None:
        self._seen += 1
        if self._seen > COMPILING:
            self._rows.append((row.ms, row.wait_ms))

    def text(self) -> str:
        """`avg 412 ms/it, 3 % waiting `, empty while there is nothing to tell."""
        if not self._rows:
            return ""
        total, waited = (sum(column) for column in zip(*self._rows))
        return f"avg {total / len(self._rows):.0f} ms/it, {100 * waited / max(total, 1e-9):.0f} % waiting "


class HistoryFile:
    """Appends rows to the file; a full disk costs no row as long as it is emptied in the same run."""

    def __init__(self, path: Path, iteration: int) -> None:
        self.path = path
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING)
        self._good = 0  # size of the file up to its last whole row
        self._file = None
        self.cut_back(iteration)

    def cut_back(self, iteration: int) -> None:
        """Drop the rows after `iteration`; a file with other columns is put aside."""
        self.close()
        self._pending.clear()
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            header = file.read(len(HEADER))
            if header != HEADER and not HEADER.startswith(header):
                os.replace(self.path, self.path.with_suffix(".old.csv"))
        with contextlib.suppress(OSError):  # a full disk must not stop a training; `append` tries again
            self._file = open(self.path, "ab")  # noqa: SIM115 (open for the life of this object)
            self._good = end_of_rows(self.path, iteration)
            self._file.truncate(self._good)
            if self._good == 0:
                self._pending.append(HEADER)

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


def end_of_rows(path: Path, iteration: int) -> int:
    """Length in bytes of the header and the whole rows up to `iteration`; 0 for an empty or broken file.

    Reads from the end, so a file of millions of rows costs nothing when little or nothing is cut.
    """
    if path.stat().st_size < len(HEADER):
        return 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = data.rfind(b"\n") + 1
        while end > len(HEADER):
            start = data.rfind(b"\n", 0, end - 1) + 1
            fields = data[start:end].split(b",")
            if len(fields) == len(COLUMNS) and fields[0].isdigit() and int(fields[0]) <= iteration:
                return end
            end = start
        return min(end, len(HEADER))

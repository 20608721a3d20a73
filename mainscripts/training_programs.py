"""Programs that run beside a training, at set times: the texts of `--execute-program`.

DFL executes such a text inside its training loop, where an error or a slow copy stops the training. Here each
is a Python process of its own.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import UsageError

GRACE_SECONDS = 10.0  # for programs that still run when the training ends
MAX_LINES = 1000  # printed of one run, lest a program that floods its output drowns the training's


@dataclass(frozen=True)
class ProgramSpec:
    """One `--execute-program`."""

    seconds: float  # above 0: once, so long after the start; below: again and again, so far apart
    code: str

    @property
    def title(self) -> str:
        """The first line, shortened, for messages."""
        lines = self.code.strip().splitlines()
        return lines[0] if len(lines[0]) <= 40 else lines[0][:39] + "…"


def parse_programs(pairs: Sequence[Sequence[str]]) -> list[ProgramSpec]:
    """What `--execute-program SECONDS CODE` gave.

    Raises:
        UsageError: The seconds are no number or 0, or the code is empty or no Python.
    """
    return [_parse_program(seconds, code) for seconds, code in pairs]


def _parse_program(seconds: str, code: str) -> ProgramSpec:
    flag = f"--execute-program {seconds} {code!r}"
    try:
        number = float(seconds)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number == 0:
        raise UsageError(f"{flag}: give seconds above 0 to run it once, below 0 to repeat it")
    if not code.strip():
        raise UsageError(f"{flag}: give the text of a Python program")
    try:
        compile(code, "program", "exec")
    except (SyntaxError, ValueError) as err:
        raise UsageError(f"{flag}: this is no Python: {err}") from err
    return ProgramSpec(number, code)


class Programs:
    """Starts programs when they are due and passes on what they print; `poll` never waits."""

    def __init__(
        self, specs: Sequence[ProgramSpec], say: Callable[[str], None], now: float | None = None
    ) -> None:
        """Start the clock.

        Args:
            say: Prints a line; called by `poll` and `close` only, in the caller's thread.
            now: The time on the clock of `poll`; by default `time.monotonic`.
        """
        start = time.monotonic() if now is None else now
        self._say = say
        self._entries = [_Entry(spec, number, start) for number, spec in enumerate(specs, 1)]

    def poll(self, now: float | None = None) -> None:
        """Start what is due, print what was printed, tell what has failed."""
        now = time.monotonic() if now is None else now
        for entry in self._entries:
            entry.report(self._say)
            if entry.is_due(now):
                entry.start(now, self._say)

    def close(self) -> None:
        """Let what runs come to its end for a few seconds, then stop it."""
        end = time.monotonic() + GRACE_SECONDS
        for entry in self._entries:
            entry.report(self._say)
        running = [entry for entry in self._entries if entry.is_running]
        if running:
            self._say(f"Waiting up to {GRACE_SECONDS:g} s for {len(running)} program(s) to end.")
        for entry in running:
            entry.finish(max(0.0, end - time.monotonic()), self._say)


class _Entry:
    """One program: when it is due next, and its process if it runs."""

    def __init__(self, spec: ProgramSpec, number: int, start: float) -> None:
        self._spec = spec
        self._name = f"program {number} ({spec.title})"
        self._due: float | None = start + abs(spec.seconds)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._told_late = False

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def is_due(self, now: float) -> bool:
        return self._due is not None and now >= self._due

    def start(self, now: float, say: Callable[[str], None]) -> None:
        """Run it, unless it still runs; work out when it is due again."""
        period = -self._spec.seconds
        if period > 0:
            missed = (now - self._due) // period  # while an iteration or a save took long
            self._due += (missed + 1) * period
        else:
            self._due = None
        if self.is_running:
            if not self._told_late:
                say(f"{self._name} still runs; it is not started a second time beside itself.")
            self._told_late = True
            return
        self._lines = queue.SimpleQueue()
        try:
            self._process = _spawn(self._spec.code)
        except OSError as err:
            say(f"/!\\ {self._name} cannot be started: {err.strerror}.")
            return
        self._reader = threading.Thread(target=_read, args=(self._process, self._lines), daemon=True)
        self._reader.start()

    def report(self, say: Callable[[str], None]) -> None:
        """Print what it printed since; once it has ended, say so if it failed."""
        if self._process is None:
            return
        code = self._process.poll()
        if code is not None and self._reader is not None:
            self._reader.join(0.2)  # the last lines; a grandchild may hold the pipe open
        with contextlib.suppress(queue.Empty):
            while True:
                say(f"{self._name}: {self._lines.get_nowait()}")
        if code is not None:
            self._process = None
            if code:
                say(f"/!\\ {self._name} failed with exit code {code}; the training goes on.")

    def finish(self, seconds: float, say: Callable[[str], None]) -> None:
        """Wait for its end, or bring it about."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            self.report(say)
            return
        self._process.terminate()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        say(f"/!\\ {self._name} was stopped: the training has ended.")


def _spawn(code: str) -> subprocess.Popen[str]:
    """A Python process in a group of its own, which Ctrl-C at the terminal does not reach."""
    apart = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if os.name == "nt"
        else {"start_new_session": True}
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
        **apart,
    )


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    """Pass on lines until the pipe ends; more than anybody reads are thrown away, so that it never blocks."""
    assert process.stdout is not None
    with contextlib.suppress(OSError, ValueError), process.stdout:
        for number, line in enumerate(process.stdout):
            if number < MAX_LINES:
                lines.put(line.rstrip())
            elif number == MAX_LINES:
                lines.put("(what it prints from here on is not shown)")

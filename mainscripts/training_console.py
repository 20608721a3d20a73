"""The terminal of a training: status line, Enter, and the signals that end it in good order."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

LINE_SECONDS = 1.0  # between two status lines where they cannot be rewritten in place
IMPATIENT = 3  # this many Ctrl-C end a run that is not saving, saved or not


class Console:
    """Prints lines, and below them one status line that is rewritten in place (on a pipe: one per second)."""

    def __init__(self) -> None:
        self.lost = False  # nobody can read what we print any more
        self._rewrites = sys.stdout.isatty()
        self._status = ""
        self._printed_at = -LINE_SECONDS
        self._unprinted = ""

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._rewrites:
            self._write(f"{self._clear()}{text}\n{self._status}")
        else:
            self.finish()  # lines stay in the order of what happened
            self._write(f"{text}\n")

    def status(self, prefix: str, brackets: str) -> None:
        """Show the state of this moment; `prefix` is left out where the terminal is narrow."""
        line = prefix + brackets
        if self._rewrites:
            if len(line) >= shutil.get_terminal_size().columns:
                line = brackets
            self._write(self._clear() + line)
            self._status = line
        elif time.monotonic() - self._printed_at >= LINE_SECONDS:
            self._write(line + "\n")
            self._printed_at, self._unprinted = time.monotonic(), ""
        else:
            self._unprinted = line

    def finish(self) -> None:
        """Leave the last status standing."""
        if self._rewrites and self._status:
            self._write("\n")
            self._status = ""
        elif self._unprinted:
            self._write(self._unprinted + "\n")
            self._printed_at, self._unprinted = time.monotonic(), ""

    def _clear(self) -> str:
        return "\r" + " " * len(self._status) + "\r" if self._status else ""

    def _write(self, text: str) -> None:
        if self.lost:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):  # the terminal or the reader of the pipe is gone
            self.lost = True
            # Python flushes standard output when it ends, and would report the broken pipe again
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TerminalKeys:
    """Lines typed while training, without waiting for them; none where standard input is not a terminal."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stop = threading.Event()
        try:
            self.active = bool(sys.stdin) and sys.stdin.isatty()
        except ValueError:  # closed
            self.active = False
        if self.active:
            target = self._read_windows if os.name == "nt" else self._read_posix
            threading.Thread(target=target, daemon=True).start()

    def lines(self) -> list[str]:
        """What was typed since the last call, one text per Enter."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._lines.get_nowait())
        return found

    def close(self) -> None:
        self._stop.set()

    def _read_posix(self) -> None:
        import select

        descriptor, buffer = sys.stdin.fileno(), b""
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.is_set():
                # reading the terminal from the background would stop the whole training (SIGTTIN)
                if os.tcgetpgrp(descriptor) != os.getpgrp():
                    self._stop.wait(1.0)
                    continue
                if not select.select([descriptor], [], [], 0.2)[0]:
                    continue
                data = os.read(descriptor, 4096)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._lines.put(line.decode(errors="replace").strip())

    def _read_windows(self) -> None:
        import msvcrt

        typed = ""
        while not self._stop.wait(0.1):
            while msvcrt.kbhit():
                char = msvcrt.getwch()
                if char in "\r\n":
                    self._lines.put(typed.strip())
                    typed = ""
                else:
                    typed += char


class StopSignals:
    """While active, Ctrl-C, SIGTERM and a closed terminal only set `requested`: the step and the save finish.

    The trainer sets `saving`, during which no number of Ctrl-C interrupts, and `awaited` while it only waits
    for one.
    """

    NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")

    def __init__(self) -> None:
        self.requested = ""  # name of the first signal
        self.received = 0  # signals
        self.saving = self.awaited = False
        self._count = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for name in self.NAMES:
                number = getattr(signal, name, None)
                if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    continue  # nohup asks to ignore it
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or signal.Signals(number).name
        self.received += 1
        self._count += number == signal.SIGINT
        # not print: a signal may arrive in the middle of another print
        with contextlib.suppress(OSError):
            if self.saving:
                os.write(2, b"\nsaving, please wait\n")
            elif self._count < IMPATIENT and not self.awaited:
                os.write(2, b"\nstopping after this iteration, then saving\n")
        if self._count >= IMPATIENT and not self.saving:
            raise KeyboardInterrupt

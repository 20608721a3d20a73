"""Running ffmpeg: its progress, its complaints in one line, and its end when ours comes first."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import VideoError
from core.video.binary import ffmpeg_path

OnFrames = Callable[[int], None]  # called with the number of frames done so far
GLOBAL_ARGS = ("-hide_banner", "-loglevel", "error", "-nostats")
TAIL_LINES = 2
MAX_TAIL = 300
UNTELLING = ("Conversion failed!", "Last message repeated")


class _FileUrl(str):
    """An argument for ffmpeg whose `str()` is UTF-8: ffmpeg-python hashes that, and a name need not be."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.encode("utf-8", "backslashreplace").decode("utf-8")


def file_url(path: Path) -> str:
    """`path` as ffmpeg takes it whatever it holds: a colon would be read as a protocol, a dash as a flag."""
    return _FileUrl(f"file:{Path(path).absolute()}")


def run(spec: Any, subject: str, on_frames: OnFrames | None = None, cwd: Path | None = None) -> None:
    """Run one ffmpeg-python output to its end.

    Args:
        spec: What `ffmpeg.output` returned.
        subject: The file that a failure is about, for the message.
        on_frames: Told the number of frames written, about twice a second.
        cwd: Folder that relative paths of `spec` are in.

    Raises:
        VideoError: ffmpeg failed; the message carries the end of what it said.
    """
    spec = spec.global_args("-nostdin", "-progress", "pipe:1")
    with running(spec, subject, cwd=cwd) as process:
        for line in process.stdout:
            key, _, value = line.partition(b"=")
            if key == b"frame" and on_frames is not None:
                on_frames(int(value))


@contextlib.contextmanager
def running(
    spec: Any, subject: str, pipe_in: bool = False, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ffmpeg with its standard output (and, with `pipe_in`, its input) piped.

    Left normally, the input is closed and the end awaited. Left by an exception, an interruption included,
    ffmpeg is killed. A pipe that breaks because ffmpeg gave up is reported as ffmpeg's failure.

    Raises:
        VideoError: ffmpeg failed.
    """
    import ffmpeg

    command = ffmpeg.compile(spec.global_args(*GLOBAL_ARGS), cmd=ffmpeg_path(), overwrite_output=True)
    with tempfile.TemporaryFile() as complaints:  # a file, so that nobody has to read along
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if pipe_in else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=cwd,
            preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
        )
        try:
            try:
                yield process
            except OSError as err:
                if err.errno not in (errno.EPIPE, errno.EINVAL):  # the latter is Windows' broken pipe
                    raise
            _close_input(process)
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            _close_input(process)
            process.stdout.close()
        if process.returncode != 0:
            why = _tail(complaints) or _ending(process.returncode)
            remedy = "; free some space" if os.strerror(errno.ENOSPC) in why else ""
            raise VideoError(f"{subject}: ffmpeg failed: {why}{remedy}")


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()


def _die_with_parent() -> Callable[[], None]:
    """A hook for the child: be killed when our process ends, however it ends (Linux only)."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # looked up before the fork, where loading is still safe
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0) and None


def _tail(complaints: BinaryIO) -> str:
    """The last lines ffmpeg wrote, as one."""
    size = complaints.seek(0, 2)
    complaints.seek(max(0, size - 8192))
    lines = [line.strip() for line in complaints.read().decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(UNTELLING)]
    return "; ".join(dict.fromkeys(lines[-TAIL_LINES:]))[-MAX_TAIL:]


def _ending(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code} and no message"

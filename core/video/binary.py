"""Which ffmpeg is used: the one on PATH if it can do what we need, else the one inside `imageio-ffmpeg`."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from core.errors import VideoError

TRIAL_SECONDS = 30.0  # a cold disk and a virus scanner can make the first start slow
# All that we rely on in one go: -fps_mode (5.1 on), lavfi, the colour options of scale, libx264 in both
# forms.
TRIAL = (
    *("-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi"),
    *("-i", "color=size=16x16:rate=2:duration=1"),
    *("-filter_complex", "split[a][b];[a]scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[yuv]"),
    *("-map", "[yuv]", "-fps_mode", "passthrough", "-c:v", "libx264", "-f", "null", "-"),
    *("-map", "[b]", "-fps_mode", "passthrough", "-c:v", "libx264rgb", "-f", "null", "-"),
)  # fmt: skip


def ffmpeg_path() -> str:
    """The path of an ffmpeg that works.

    Raises:
        VideoError: Neither PATH nor `imageio-ffmpeg` has one that works; the message says what is wrong with
            each.
    """
    return _find(os.environ.get("PATH", ""), os.environ.get("IMAGEIO_FFMPEG_EXE", ""))


@functools.lru_cache(maxsize=4)
def _find(search_path: str, override: str) -> str:
    faults = []
    on_path = shutil.which("ffmpeg", path=search_path)
    if on_path is None:
        faults.append("there is none on PATH")
    else:
        fault = trial_fault(on_path)
        if not fault:
            return on_path
        faults.append(f"{on_path} is too old or broken ({fault})")
    try:
        import imageio_ffmpeg

        bundled = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as err:
        faults.append(f"the package imageio-ffmpeg has none ({str(err).splitlines()[0]})")
    else:
        fault = trial_fault(bundled)
        if not fault:
            return bundled
        faults.append(f"{bundled} does not work ({fault})")
    raise VideoError(
        f"no usable ffmpeg: {'; '.join(faults)}; install ffmpeg 5.1 or newer, or `pip install imageio-ffmpeg`"
    )


def trial_fault(path: str) -> str:
    """Encode two tiny pictures with the ffmpeg at `path`; what went wrong in few words, "" if nothing did."""
    try:
        done = subprocess.run(
            [path, *TRIAL],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {TRIAL_SECONDS:.0f} s"
    except OSError as err:
        return str(err.strerror or err)
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else f"exit code {done.returncode}"

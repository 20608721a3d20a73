"""What the actions of `videoed` ask and say alike."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.interact.progress import Progress, duration_text
from core.interact.prompts import Prompter
from core.paths import require_file, resolve_wildcard

if TYPE_CHECKING:
    from core.video import VideoInfo

BITRATES = (1, 1000)  # Mbit/s


def find_video(path: Path) -> Path:
    return require_file(resolve_wildcard(path), "the video")


def describe(info: VideoInfo) -> str:
    """A video in one line."""
    from core.video import rate_text

    turned = f", turned by {info.rotation} degrees" if info.rotation else ""
    deep = f" {info.bits}-bit" if info.bits > 8 else ""
    return (
        f"{info.path.name}: {info.codec}{deep} {info.width}x{info.height}{turned}, "
        f"{rate_text(info.frame_rate)} frames per second, {length_text(info)}, {sound_text(info)}"
    )


def sound_text(info: VideoInfo) -> str:
    return f"{len(info.audio)} sound tracks" if len(info.audio) != 1 else "1 sound track"


def length_text(info: VideoInfo) -> str:
    if info.duration is None:
        return "length unknown"
    return f"{info.duration:.2f} s ({duration_text(info.duration)})"


def advance(progress: Progress) -> Callable[[int], None]:
    """The progress as the video room reports it, in frames done so far."""
    return lambda done: progress.update(done - progress.count) if done > progress.count else None


def ask_fps(prompter: Prompter, given: str | None, default: str, help: str) -> Fraction:
    from core.video import parse_rate

    while True:
        text = given if given is not None else prompter.ask_text("Enter FPS", default, help=help)
        try:
            return parse_rate(text)
        except UsageError as err:
            if given is not None or not prompter.interactive:
                raise
            print(err)


def ask_time(prompter: Prompter, given: str | None, label: str) -> float:
    from core.video import parse_time

    while True:
        text = given if given is not None else prompter.ask_text(label, "00:00:00.000")
        try:
            return parse_time(text)
        except UsageError as err:
            if given is not None or not prompter.interactive:
                raise
            print(err)


def ask_number(
    prompter: Prompter,
    given: int | None,
    label: str,
    default: int,
    limits: tuple[int, int],
    help: str = "",
    flag: str = "--bitrate",
) -> int:
    """A whole number: refused outside the limits as a flag, moved into them at the prompt."""
    if given is None:
        return prompter.ask_int(label, default, *limits, help=help)
    if not limits[0] <= given <= limits[1]:
        raise UsageError(f"{flag} {given} is outside {limits[0]}..{limits[1]}")
    return given

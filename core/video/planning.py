"""Deciding how a folder of frames becomes a film: times, sound, colours, size. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from core.errors import VideoError
from core.video.colour import SDR_TAGS, ColourTags
from core.video.containers import Container, container_for
from core.video.frames import check_sizes
from core.video.probe import AudioStream, VideoInfo
from core.video.rates import rate_text
from core.video.timeline import Timeline, constant_timeline, read_timeline

DEFAULT_BITRATE = 16  # Mbit/s, as in DFL
DEFAULT_RATE = Fraction(25)
MAX_REPEATED_RATE = Fraction(60)  # the nominal rate of a varying one can be 1000
SMALL_OFFSET = 0.0005  # seconds; below it a late start of the film is rounding


@dataclass(frozen=True)
class EncodingPlan:
    """All that `encode_sequence` needs; `notes` are what the user should know of the choices."""

    images: tuple[Path, ...]
    output: Path
    container: Container
    lossless: bool
    bitrate: int
    size: tuple[int, int]
    rate: Fraction
    timeline: Timeline | None  # None where `rate` says it all
    offset: float  # seconds from the start of the sound to the first frame
    colour: ColourTags
    pixel_aspect: Fraction
    sound_file: Path | None
    sound: AudioStream | None
    length: float | None  # seconds at which the sound is cut off
    notes: tuple[str, ...]

    @property
    def padding(self) -> tuple[int, int]:
        """Columns and rows added at the right and the bottom: 4:2:0 wants even sides."""
        return (0, 0) if self.lossless else (self.size[0] % 2, self.size[1] % 2)


def plan_encoding(
    images: Sequence[Path],
    output: Path,
    reference: VideoInfo | None = None,
    rate: Fraction | None = None,
    include_audio: bool = False,
    lossless: bool = False,
    bitrate: int = DEFAULT_BITRATE,
) -> EncodingPlan:
    """Work out the film that `images` make.

    Args:
        images: The frames in order; at least one.
        output: Its suffix chooses the container.
        reference: The video the frames were made of: gives frame times, colour tags, pixel shape and sound.
        rate: Frames per second; without it the reference's times, or 25.
        include_audio: Take the first sound track of the reference.
        lossless: The very pixels of the frames can be got back.
        bitrate: Mbit/s of a film that is not lossless.

    Raises:
        VideoError: `output` or the reference is unusable, or they are one file.
        SampleError: The images differ in size or cannot be read.
    """
    from core.imageio import read_image

    container = container_for(output)
    _check_output(Path(output), reference)
    if not images:
        raise VideoError(f"{output}: there are no frames to make it of")
    check_sizes(images)
    height, width = read_image(images[0]).shape[:2]
    notes: list[str] = []
    timeline = read_timeline(reference) if reference is not None else None
    clock, times = _choose_clock(len(images), reference, timeline, rate, container, notes)
    sound = _choose_sound(reference, include_audio, container, notes)
    offset = reference.start if sound is not None and reference.start > SMALL_OFFSET else 0.0
    if offset and times is None:
        times = constant_timeline(len(images), clock)
    complete = timeline is not None and len(timeline) == len(images) and rate in (None, clock)
    if not lossless and (width % 2 or height % 2):
        even = f"{width + width % 2}x{height + height % 2}"
        notes.append(
            f"frames of {width}x{height} become a video of {even}: its last row or column is repeated"
        )
    same_shape = reference is not None and (reference.width, reference.height) == (width, height)
    if reference is not None and not same_shape:
        notes.append(
            f"frames are {width}x{height}, the reference video is {reference.width}x{reference.height}"
        )
    return EncodingPlan(
        images=tuple(images),
        output=Path(output),
        container=container,
        lossless=lossless,
        bitrate=bitrate,
        size=(width, height),
        rate=clock,
        timeline=times,
        offset=offset,
        colour=reference.colour.for_yuv() if reference is not None else SDR_TAGS,
        pixel_aspect=reference.pixel_aspect if same_shape else Fraction(1),
        sound_file=reference.path if sound is not None else None,
        sound=sound,
        length=None if complete or sound is None else len(images) / float(clock),
        notes=tuple(notes),
    )  # fmt: skip


def _check_output(output: Path, reference: VideoInfo | None) -> None:
    if output.is_dir():
        raise VideoError(f"{output}: the result must be a file, this is a folder; choose another name")
    if reference is not None and output.exists() and output.samefile(reference.path):
        raise VideoError(
            f"{output}: the result would take the place of its reference video; choose another name"
        )


def _choose_clock(
    count: int,
    reference: VideoInfo | None,
    timeline: Timeline | None,
    rate: Fraction | None,
    container: Container,
    notes: list[str],
) -> tuple[Fraction, Timeline | None]:
    """The constant rate, or a nominal rate and the reference's own times where those vary."""
    if reference is None or timeline is None or len(timeline) == 0:
        return rate or DEFAULT_RATE, None
    constant = timeline.constant_rate(reference.rates)
    usual = constant or reference.frame_rate
    if rate is not None and rate != usual:
        notes.append(
            f"{rate_text(rate)} frames per second as asked; the reference video has {rate_text(usual)}"
        )
        return rate, None
    if count != len(timeline):
        notes.append(
            f"WARNING: {count} frames, but the reference video has {len(timeline)}: the result "
            f"lasts {count / float(usual):.2f} s instead of {len(timeline) / float(usual):.2f} s and may "
            "not fit its sound; if the frames were extracted at another rate, give it with --fps"
        )
        return usual, None
    if constant is not None:
        return constant, None
    if not container.has_times:
        fine = min(max(reference.rates, default=usual), MAX_REPEATED_RATE)
        notes.append(
            f"the reference video has a varying frame rate, which {container.suffix} cannot hold: frames are "
            f"repeated to make {rate_text(fine)} per second; choose .mp4 or .mkv to keep the times"
        )
        return fine, timeline
    notes.append("the reference video has a varying frame rate: each frame keeps its time")
    return usual, timeline


def _choose_sound(
    reference: VideoInfo | None, wanted: bool, container: Container, notes: list[str]
) -> AudioStream | None:
    if not wanted:
        return None
    if reference is None:
        notes.append("no sound: --include-audio takes it from the reference video, and none is given")
        return None
    if not reference.audio:
        notes.append("no sound: the reference video has none")
        return None
    sound = reference.audio[0]
    how = "copied" if container.copies(sound) else f"encoded as {container.audio['c:a'].removeprefix('lib')}"
    notes.append(f"sound: {sound.codec} of the reference video, {how}")
    return sound

"""Deciding how a folder of frames becomes a film: times, sound, colours, size. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from core.errors import UsageError, VideoError
from core.video.clock import choose_clock
from core.video.codecs import Encoding, choose_encoding
from core.video.colour import SDR_TAGS, ColourTags
from core.video.containers import Container, container_for
from core.video.frames import check_sizes, is_deep
from core.video.hardware import HardwareEncoding, choose_hardware
from core.video.hdr import MasteringDisplay
from core.video.probe import AudioStream, VideoInfo
from core.video.timeline import Timeline, constant_timeline

DEFAULT_BITRATE = 16  # Mbit/s, as in DFL
SMALL_OFFSET = 0.0005  # seconds; below it a late start of the film is rounding


@dataclass(frozen=True)
class EncodingPlan:
    """All that `encode_sequence` needs; `notes` are what the user should know of the choices."""

    images: tuple[Path, ...]
    output: Path
    container: Container
    encoding: Encoding
    hardware: HardwareEncoding | None
    bitrate: int
    size: tuple[int, int]
    rate: Fraction
    timeline: Timeline | None  # None where `rate` says it all
    offset: float  # seconds from the start of the sound to the first frame
    colour: ColourTags
    mastering: MasteringDisplay | None
    pixel_aspect: Fraction
    sound_file: Path | None
    sounds: tuple[AudioStream, ...]
    length: float | None  # seconds at which the sound is cut off
    notes: tuple[str, ...]

    @property
    def lossless(self) -> bool:
        return self.encoding.lossless

    @property
    def padding(self) -> tuple[int, int]:
        """Columns and rows added at the right and the bottom: halved chroma wants even sides."""
        return (0, 0) if self.lossless else (self.size[0] % 2, self.size[1] % 2)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a film shall be, as far as the user says; the defaults are DFL's.

    `rate` in frames per second, None for the reference's times. `tracks` are the reference's sound tracks by
    number, None for all. `bitrate` in Mbit/s. `codec` and `hardware` are of `CODEC_NAMES` and
    `hardware.NAMES`.
    """

    rate: Fraction | None = None
    include_audio: bool = False
    tracks: tuple[int, ...] | None = (0,)
    lossless: bool = False
    bitrate: int = DEFAULT_BITRATE
    codec: str = "auto"
    hardware: str = "none"


def plan_encoding(
    images: Sequence[Path],
    output: Path,
    reference: VideoInfo | None = None,
    rate: Fraction | None = None,
    include_audio: bool = False,
    lossless: bool = False,
    bitrate: int = DEFAULT_BITRATE,
    **more: Any,
) -> EncodingPlan:
    """Work out the film that `images` make.

    Args:
        images: The frames in order; at least one, and the first is there.
        output: Its suffix chooses the container.
        reference: The video the frames were made of: gives frame times, colour tags, pixel shape and sound.
        rate: Frames per second; without it the reference's times, or 25.
        include_audio: Take sound of the reference.
        lossless: The very pixels of the frames can be got back.
        bitrate: Mbit/s of a film that is not lossless.
        more: Further fields of `Wishes`.

    Raises:
        VideoError: `output` or the reference is unusable, they are one file, or the codec does not fit.
        SampleError: The images differ in size or cannot be read.
    """
    wishes = Wishes(rate=rate, include_audio=include_audio, lossless=lossless, bitrate=bitrate, **more)
    from core.imageio import read_image

    container = container_for(output)
    _check_output(Path(output), reference)
    if not images:
        raise VideoError(f"{output}: there are no frames to make it of")
    check_sizes(images)
    height, width = read_image(images[0]).shape[:2]
    notes: list[str] = []
    encoding = choose_encoding(
        wishes.codec, container.suffix, wishes.lossless, deep=any(map(is_deep, images))
    )
    hardware, note = choose_hardware(encoding, wishes.hardware)
    notes += [note] if note else []
    clock = choose_clock(images, reference, wishes.rate, container, notes)
    sounds = _choose_sounds(reference, wishes, container, notes)
    late = reference.start if reference is not None and reference.start > SMALL_OFFSET else 0.0
    offset = late + clock.begins if sounds else 0.0
    times = clock.timeline
    if offset and times is None:
        times = constant_timeline(len(images), clock.rate)
    same_shape = reference is not None and (reference.width, reference.height) == (width, height)
    mastering = reference.mastering if reference is not None and encoding.bits > 8 else None
    notes += _size_notes(encoding, reference, (width, height)) + _depth_notes(encoding, reference)
    return EncodingPlan(
        images=tuple(images),
        output=Path(output),
        container=container,
        encoding=hardware.encoding if hardware is not None else encoding,
        hardware=hardware,
        bitrate=wishes.bitrate,
        size=(width, height),
        rate=clock.rate,
        timeline=times,
        offset=offset,
        colour=reference.colour.for_yuv() if reference is not None else SDR_TAGS,
        mastering=mastering,
        pixel_aspect=reference.pixel_aspect if same_shape else Fraction(1),
        sound_file=reference.path if reference is not None and sounds else None,
        sounds=sounds,
        length=clock.length if sounds else None,
        notes=tuple(notes),
    )


def _size_notes(encoding: Encoding, reference: VideoInfo | None, size: tuple[int, int]) -> list[str]:
    width, height = size
    notes = []
    if not encoding.lossless and (width % 2 or height % 2):
        even = f"{width + width % 2}x{height + height % 2}"
        notes.append(
            f"frames of {width}x{height} become a video of {even}: its last row or column is repeated"
        )
    if reference is not None and (reference.width, reference.height) != size:
        notes.append(
            f"frames are {width}x{height}, the reference video is {reference.width}x{reference.height}"
        )
    return notes


def _depth_notes(encoding: Encoding, reference: VideoInfo | None) -> list[str]:
    """What the film has of the depth and the light of its reference."""
    if reference is None:
        return []
    notes = []
    if encoding.bits > 8:
        notes.append(f"the result has {encoding.bits} bits for each colour ({encoding.codec.shown})")
    elif reference.bits > 8:
        notes.append(
            f"the reference video has {reference.bits} bits for each colour, the frames have 8 and so has "
            "the result; frames extracted as png of 16 bits keep them"
        )
    if reference.dynamic_hdr:
        notes.append(
            f"{reference.dynamic_hdr} metadata of the reference video change with the scene and are left out"
        )
    return notes


def _check_output(output: Path, reference: VideoInfo | None) -> None:
    if output.is_dir():
        raise VideoError(f"{output}: the result must be a file, this is a folder; choose another name")
    if reference is not None and output.exists() and output.samefile(reference.path):
        raise VideoError(
            f"{output}: the result would take the place of its reference video; choose another name"
        )


def _choose_sounds(
    reference: VideoInfo | None, wishes: Wishes, container: Container, notes: list[str]
) -> tuple[AudioStream, ...]:
    if not wishes.include_audio:
        return ()
    if reference is None:
        notes.append("no sound: --include-audio takes it from the reference video, and none is given")
        return ()
    if not reference.audio:
        notes.append("no sound: the reference video has none")
        return ()
    numbers = range(len(reference.audio)) if wishes.tracks is None else wishes.tracks
    if any(not 0 <= number < len(reference.audio) for number in numbers):
        raise UsageError(
            f"sound track {max(numbers)} is outside 0..{len(reference.audio) - 1}, "
            f"which {reference.path.name} has"
        )
    sounds = tuple(reference.audio[number] for number in numbers)
    encoder = container.audio["c:a"].removeprefix("lib")
    for sound in sounds:
        how = "copied" if container.copies(sound) else f"encoded as {encoder}"
        name = f" ({sound.language})" if sound.language not in ("", "und") else ""
        notes.append(f"sound: {sound.codec}{name} of the reference video, {how}")
    if len(reference.audio) > len(sounds):
        notes.append(
            f"{len(sounds)} of its {len(reference.audio)} sound tracks; --audio-tracks all takes all"
        )
    return sounds

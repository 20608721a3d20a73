"""What a video file holds, read through PyAV; there is no need for ffprobe."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import VideoError
from core.paths import require_file
from core.video.colour import ColourTags
from core.video.hdr import MasteringDisplay, dynamic_metadata, read_mastering
from core.video.run import file_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av

PACKETS_TO_TRY = 200  # before a stream whose packets do not decode is given up
DEFAULT_RATE = Fraction(25)
ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: a cover, not a film
NEARLY_EQUAL = 0.002  # nominal and average rate of one video; containers round the average


@dataclass(frozen=True)
class AudioStream:
    """One sound track; `index` counts all streams of the file, `start` is in seconds.

    `language` (as the file spells it, `und` for none) and `title` are "" where the file does not say.
    """

    index: int
    codec: str
    sample_rate: int
    channels: int
    start: float
    language: str = ""
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The first film in a file.

    `width` and `height` are as seen: rotation is applied, the shape of pixels (`pixel_aspect`) is not.
    `start` and `duration` are in seconds, `start` counted from the earliest stream of the file. `frames` is
    what the container says, None if it does not. `bits` are those of each channel of a pixel. `dynamic_hdr`
    names metadata that only the original can carry ("" if there are none).
    """

    path: Path
    container: str
    codec: str
    pixel_format: str
    bits: int
    is_rgb: bool
    width: int
    height: int
    rotation: int
    pixel_aspect: Fraction
    frame_rate: Fraction
    rates: tuple[Fraction, ...]
    frames: int | None
    duration: float | None
    start: float
    stream_index: int
    colour: ColourTags
    mastering: MasteringDisplay | None = None
    dynamic_hdr: str = ""
    audio: tuple[AudioStream, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def expected_frames(self) -> int | None:
        """Number of frames, worked out of the duration where the container does not say."""
        if self.frames or self.duration is None:
            return self.frames
        return round(self.duration * self.frame_rate)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a media file; what PyAV raises in the block becomes a `VideoError` that names it."""
    try:
        import av
    except ImportError as err:
        raise VideoError(f"the package `av` cannot be imported ({err}); pip install av") from err
    try:
        with av.open(file_url(path), metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as err:
        raise VideoError(
            f"{path}: not a video that ffmpeg can read ({err.strerror}); check the file, or convert it to mp4"
        ) from err


def probe(path: Path) -> VideoInfo:
    """Describe the first film in `path`; decodes one frame of it.

    Raises:
        VideoError: Not a video, no film in it, or no frame of it can be decoded.
    """
    path = require_file(path, "the video")
    with opened(path) as container:
        stream = _film(container, path)
        frame = _first_frame(container, stream, path)
        context = stream.codec_context
        rotation = round(frame.rotation) % 360
        width, height = frame.width, frame.height
        aspect = Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
        if rotation % 180 == 90:
            width, height, aspect = height, width, 1 / (aspect or Fraction(1))
        rates = tuple(r for r in (stream.base_rate, stream.average_rate, stream.guessed_rate) if r)
        origin = (container.start_time or 0) / 1_000_000
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=context.name,
            pixel_format=frame.format.name,
            bits=max(component.bits for component in frame.format.components),
            is_rgb=frame.format.is_rgb,
            width=width,
            height=height,
            rotation=rotation,
            pixel_aspect=aspect or Fraction(1),
            frame_rate=_choose_rate(rates),
            rates=rates,
            frames=stream.frames or None,
            duration=_duration(container, stream),
            start=max(0.0, _seconds(stream.start_time, stream) - origin),
            stream_index=stream.index,
            colour=ColourTags.from_codes(
                int(context.colorspace),
                int(context.color_primaries),
                int(context.color_trc),
                int(context.color_range),
            ),
            mastering=read_mastering(frame),
            dynamic_hdr=dynamic_metadata(frame),
            audio=tuple(_audio_streams(container, origin)),
            metadata=dict(container.metadata),
        )


def _film(container: Any, path: Path) -> Any:
    films = [s for s in container.streams.video if not int(s.disposition) & ATTACHED_PICTURE]
    if not films:
        held = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"{path}: holds no film ({held} only); choose a video file")
    if films[0].codec_context is None:
        raise VideoError(f"{path}: its film is in a format that is not known here; convert it to mp4")
    return films[0]


def _first_frame(container: Any, stream: Any, path: Path) -> Any:
    import av

    for count, packet in enumerate(container.demux(stream)):
        with contextlib.suppress(
            av.error.InvalidDataError
        ):  # one bad packet at the start is no reason to stop
            for frame in packet.decode():
                return frame
        if count >= PACKETS_TO_TRY:
            break
    raise VideoError(f"{path}: no frame can be decoded; the file is damaged or was cut short")


def _choose_rate(rates: tuple[Fraction, ...]) -> Fraction:
    """The nominal rate, or the average one where they differ (variable frame rate)."""
    if not rates:
        return DEFAULT_RATE
    nominal, average = rates[0], rates[min(1, len(rates) - 1)]
    return nominal if abs(nominal / average - 1) <= NEARLY_EQUAL else average


def _seconds(ticks: int | None, stream: Any) -> float:
    return float((ticks or 0) * stream.time_base)


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return _seconds(stream.duration, stream)
    return container.duration / 1_000_000 if container.duration else None


def _audio_streams(container: Any, origin: float) -> Iterator[AudioStream]:
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is not None:
            start = _seconds(stream.start_time, stream) - origin
            tags = stream.metadata
            yield AudioStream(
                stream.index,
                context.name,
                context.sample_rate,
                context.channels,
                start,
                tags.get("language", ""),
                tags.get("title", ""),
            )

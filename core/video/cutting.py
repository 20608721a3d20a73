"""A piece of a video as a video of its own."""

from __future__ import annotations

import re
from pathlib import Path

from core import storage
from core.errors import UsageError, VideoError
from core.paths import require_writable_folder
from core.video.colour import SCALE_FLAGS
from core.video.containers import container_for
from core.video.probe import VideoInfo
from core.video.rates import MAX_RATE
from core.video.run import OnFrames, file_url, run

DEFAULT_BITRATE = 25  # Mbit/s, as in DFL
TIME = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?)")


def parse_time(text: str) -> float:
    """Seconds of `01:02:03.450`, `2:03` or `3.45`.

    Raises:
        UsageError: It is none of these.
    """
    match = TIME.fullmatch(text.strip())
    if match is None or (match[2] is not None and float(match[3]) >= 60):
        raise UsageError(f"{text!r} is not a time; give hours, minutes and seconds as 00:01:23.450")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])


def cut(
    info: VideoInfo,
    output: Path,
    start: float = 0.0,
    end: float = 0.0,
    audio_track: int = 0,
    bitrate: int = DEFAULT_BITRATE,
    on_frames: OnFrames | None = None,
) -> None:
    """Encode the seconds from `start` to `end` (0: the end) as H.264 (WebM: VP9) 4:2:0, exact to a frame.

    Frame times, colour tags and metadata are kept, rotation is applied. A sound track that is absent is no
    error.

    Raises:
        VideoError: The times are not inside the video, `output` has an unknown suffix, or ffmpeg failed.
    """
    import ffmpeg

    container = container_for(output)
    _check_times(info, start, end)
    times = ({"ss": f"{start:.6f}"} if start else {}) | ({"to": f"{end:.6f}"} if end else {})
    source = ffmpeg.input(file_url(info.path), **times)
    streams = [source[str(info.stream_index)]]
    options = {
        **container.lossy,
        "b:v": f"{bitrate}M",
        **container.options,
        **info.colour.for_yuv().encoder_options(),
    }
    if audio_track < len(info.audio):
        streams.append(source[str(info.audio[audio_track].index)])
        options |= container.audio
    clock = {"fps_mode": "passthrough"} if container.has_times else {"fps_mode": "cfr"}
    if not container.has_times and info.frame_rate <= MAX_RATE:
        clock["r"] = str(info.frame_rate)
    folder = require_writable_folder(output.parent, "the folder of the video")
    storage.remove_leavings(folder, output.name)
    with storage.replacing(output) as temporary:
        spec = ffmpeg.output(*streams, file_url(temporary), vf=_filters(info), **clock, **options)
        run(spec, str(info.path), on_frames)
    storage.sync_directory(folder)


def _check_times(info: VideoInfo, start: float, end: float) -> None:
    if end and end <= start:
        raise UsageError(f"the cut would end at {end:g} s, before it starts at {start:g} s")
    if info.duration is not None and start >= info.duration:
        raise VideoError(f"{info.path}: lasts {info.duration:.3f} s, so nothing starts at {start:g} s")


def _filters(info: VideoInfo) -> str:
    tags = info.colour.for_yuv()
    colours = f"scale=out_color_matrix={tags.scale_matrix}:out_range={tags.scale_range}:flags={SCALE_FLAGS}"
    if info.width % 2 == 0 and info.height % 2 == 0:
        return f"{colours},format=yuv420p"
    edges = f"right={info.width % 2}:bottom={info.height % 2}"  # the added row or column repeats the last one
    even = f"pad=ceil(iw/2)*2:ceil(ih/2)*2,fillborders={edges}:mode=smear"
    return f"{colours},format=yuv444p,{even},format=yuv420p"

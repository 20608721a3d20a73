"""A piece of a video as a video of its own: its packets as they are where the cut falls well, else anew."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core import storage
from core.errors import UsageError, VideoError
from core.paths import require_writable_folder
from core.video.codecs import choose_encoding, parameters, rate_options
from core.video.colour import SCALE_FLAGS
from core.video.containers import CONTAINERS, audio_options, container_for
from core.video.probe import VideoInfo, opened, probe
from core.video.rates import MAX_RATE
from core.video.run import OnFrames, file_url, run
from core.video.timeline import is_hidden

DEFAULT_BITRATE = 25  # Mbit/s, as in DFL
TIME = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?)")
METHODS = ("auto", "copy", "encode")
LEAD = 20.0  # seconds decoded before a piece of a film without an index
SLACK = 0.0005  # seconds; times are typed in milliseconds


@dataclass(frozen=True)
class CopyPlan:
    """Which packets of a video make a piece without touching a pixel.

    `packets` are counted in the order of decoding; `start` and `end` are the seconds of the first frame of
    the piece and of the first one behind it (None: the end of the video). `exact` says that these are the
    frames that were asked for.
    """

    start: float
    end: float | None
    packets: int
    exact: bool


@dataclass(frozen=True)
class _Index:
    """The packets of a film in the order of decoding: (N,) seconds from the first frame, and key frames."""

    times: np.ndarray
    keys: np.ndarray
    origin: float


def parse_time(text: str) -> float:
    """Seconds of `01:02:03.450`, `2:03` or `3.45`.

    Raises:
        UsageError: It is none of these.
    """
    match = TIME.fullmatch(text.strip())
    if match is None or (match[2] is not None and float(match[3]) >= 60):
        raise UsageError(f"{text!r} is not a time; give hours, minutes and seconds as 00:01:23.450")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])


def check_times(info: VideoInfo, start: float, end: float) -> None:
    """Refuse a piece that is none.

    Raises:
        UsageError: It would end before it starts.
        VideoError: It would start behind the end.
    """
    if end and end <= start:
        raise UsageError(f"the cut would end at {end:g} s, before it starts at {start:g} s")
    if info.duration is not None and start >= info.duration:
        raise VideoError(f"{info.path}: lasts {info.duration:.3f} s, so nothing starts at {start:g} s")


def piece_path(video: Path) -> Path:
    """Where a piece goes: `<name>_cut` beside the video; Matroska where its own container is not written."""
    suffix = video.suffix if video.suffix.lower() in CONTAINERS else ".mkv"  # it holds any film and sound
    return video.with_name(f"{video.stem}_cut{suffix}")


def plan_copy(info: VideoInfo, start: float, end: float) -> CopyPlan | None:
    """The piece from `start` to `end` (0: the end) that packets can make, moved to where they can be parted.

    It starts at the last key frame that is not behind the first frame asked for. It ends where all frames
    shown before come before all others in the order of decoding, too, at the first such place that is not
    before `end`.

    Returns:
        None if the container tells too little.
    """
    check_times(info, start, end)
    index = _read_index(info)
    if index is None:
        return None
    times = index.times
    least_left = np.minimum.accumulate(times[::-1])[::-1]
    # A key frame that others are decoded behind but shown before does not part them from what is left out.
    parting = index.keys & (least_left >= times)
    wanted = times[times >= start - index.origin - SLACK]
    usable = np.flatnonzero(parting & (times <= wanted.min() + SLACK)) if len(wanted) else []
    if not len(usable):
        return None
    first = int(usable[np.argmax(times[usable])])
    exact = bool(abs(wanted.min() - times[first]) <= SLACK)
    last = len(times)
    if end:
        shown_before = np.maximum.accumulate(times) < np.append(least_left[1:], np.inf)
        parts = np.flatnonzero(shown_before) + 1  # so many packets are shown before all others
        parts = parts[parts > first]
        goal = int((times < end - index.origin - SLACK).sum())
        fitting = parts[parts >= goal]
        if not len(fitting):
            return None
        last = int(fitting[0])
        exact = exact and last == goal
    stop = None if last >= len(times) else float(times[last:].min() + index.origin)
    return CopyPlan(float(times[first] + index.origin), stop, last - first, exact)


def _read_index(info: VideoInfo) -> _Index | None:
    times: list[float] = []
    keys: list[bool] = []
    with opened(info.path) as container:
        stream = container.streams[info.stream_index]
        base = float(stream.time_base)
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            ticks = packet.dts if info.container == "avi" else packet.pts
            if ticks is None or packet.is_discard or is_hidden(info.codec, packet):
                return None  # something that a copy would bring to light, or that has no time
            times.append(ticks * base)
            keys.append(packet.is_keyframe)
    if not times:
        return None
    array = np.array(times)
    return _Index(array - array.min(), np.array(keys), info.start)


def copy_piece(
    info: VideoInfo,
    plan: CopyPlan,
    output: Path,
    tracks: tuple[int, ...] = (0,),
    on_frames: OnFrames | None = None,
) -> str:
    """Write a piece by copying packets of film and sound, and look at what came out.

    Rotation, colours, metadata and everything else stay as they are. Tracks that are absent are no error.

    Returns:
        "" if the piece is right; else what is wrong with it, and nothing is written.

    Raises:
        VideoError: ffmpeg failed.
    """
    import ffmpeg

    container = container_for(output)
    # A hair before the key frame: wherever the search lands, what is earlier is dropped.
    times = {"ss": f"{math.floor(plan.start * 1e6 - 1) / 1e6:.6f}"} if plan.start > 1e-5 else {}
    source = ffmpeg.input(file_url(info.path), **times)
    sounds = [info.audio[number] for number in tracks if number < len(info.audio)]
    streams = [source[str(info.stream_index)], *(source[str(sound.index)] for sound in sounds)]
    options: dict[str, Any] = {"c": "copy", "copypriorss": 0, **container.options}
    if plan.end is not None:
        options |= {"frames:v": plan.packets, "t": f"{plan.end - plan.start:.6f}"}
    folder = require_writable_folder(output.parent, "the folder of the video")
    storage.remove_leavings(folder, output.name)
    fault = ""
    try:
        with storage.replacing(output) as temporary:
            run(ffmpeg.output(*streams, file_url(temporary), **options), str(info.path), on_frames)
            fault = _fault(info, plan, temporary)
            if fault:
                raise _NotRightError
    except _NotRightError:
        return fault
    storage.sync_directory(folder)
    return ""


class _NotRightError(Exception):
    """The copy does not show what it should."""


def _fault(info: VideoInfo, plan: CopyPlan, piece: Path) -> str:
    """What is wrong with a copied piece: its number of frames, or its first picture."""
    index, done = _read_index(info), probe(piece)
    copied = _read_index(done)
    if index is None or copied is None:
        return "its packets have no times"
    begin, end = plan.start - index.origin, np.inf if plan.end is None else plan.end - index.origin
    expected = int(((index.times >= begin - SLACK) & (index.times < end - SLACK)).sum())
    if len(copied.times) != expected:
        return f"it has {len(copied.times)} frames instead of {expected}"
    ours, theirs = _picture_at(done, 0.0), _picture_at(info, begin)
    if ours is None or theirs is None or not np.array_equal(ours, theirs):
        return "its first picture is another one"
    return ""


def _picture_at(info: VideoInfo, seconds: float) -> np.ndarray | None:
    """The first picture that is shown not before `seconds` from the first frame."""
    with opened(info.path) as container:
        stream = container.streams[info.stream_index]
        first = stream.start_time or 0
        goal = first + round(seconds / float(stream.time_base))
        if seconds:
            container.seek(goal, stream=stream)
        for frame in container.decode(stream):
            if not seconds or frame.pts is None or frame.time >= (goal * stream.time_base) - SLACK:
                return frame.to_ndarray()
    return None


def cut(
    info: VideoInfo,
    output: Path,
    start: float = 0.0,
    end: float = 0.0,
    audio_track: int | tuple[int, ...] = 0,
    bitrate: int = DEFAULT_BITRATE,
    on_frames: OnFrames | None = None,
) -> None:
    """Encode the seconds from `start` to `end` (0: the end) as H.264 4:2:0, exact to a frame.

    WebM becomes VP9, and what has more than 8 bits H.265 (WebM: VP9) of 10. Frame times, colour tags, the
    light of HDR and metadata are kept, rotation is applied. A sound track that is absent is no error.

    Raises:
        VideoError: The times are not inside the video, `output` has an unknown suffix, or ffmpeg failed.
    """
    import ffmpeg

    container = container_for(output)
    check_times(info, start, end)
    times, piece = _time_options(info, start, end)
    source = ffmpeg.input(file_url(info.path), **times)
    encoding = choose_encoding("auto", container.suffix, False, deep=info.bits > 8)
    mastering = info.mastering.encoder_parameters() if info.mastering is not None and encoding.deep else []
    options = {
        **encoding.options,
        **rate_options(encoding, bitrate),
        **parameters(encoding, mastering),
        **container.options,
        **info.colour.for_yuv().encoder_options(),
    }
    numbers = (audio_track,) if isinstance(audio_track, int) else audio_track
    sounds = [info.audio[number] for number in numbers if number < len(info.audio)]
    if sounds:
        # Cut anywhere, sound is encoded: packets begin and end where they like.
        said = {key: value for key, value in audio_options(container, sounds).items() if "metadata" in key}
        options |= {**container.audio, **said}
    clock = {"fps_mode": "passthrough"} if container.has_times else {"fps_mode": "cfr"}
    if not container.has_times and info.frame_rate <= MAX_RATE:
        clock["r"] = str(info.frame_rate)
    streams = [source[str(info.stream_index)], *(source[str(sound.index)] for sound in sounds)]
    folder = require_writable_folder(output.parent, "the folder of the video")
    storage.remove_leavings(folder, output.name)
    with storage.replacing(output) as temporary:
        filters = _filters(info, encoding.pixel_format)
        spec = ffmpeg.output(*streams, file_url(temporary), vf=filters, **clock, **piece, **options)
        run(spec, str(info.path), on_frames)
    storage.sync_directory(folder)


def _time_options(info: VideoInfo, start: float, end: float) -> tuple[dict[str, str], dict[str, str]]:
    """ffmpeg's options for the seconds of a piece, before its input and before its output."""
    if info.path.suffix.lower() in CONTAINERS:
        return ({"ss": f"{start:.6f}"} if start else {}) | ({"to": f"{end:.6f}"} if end else {}), {}
    # Without an index, ffmpeg lands where it can, perhaps too late: begin earlier, and drop what is too much.
    lead = min(start, LEAD)
    before = {"ss": f"{start - lead:.6f}"} if start > lead else {}
    piece = {"ss": f"{lead:.6f}"} if lead else {}
    return before, piece | ({"t": f"{end - start:.6f}"} if end else {})


def _filters(info: VideoInfo, pixel_format: str) -> str:
    tags = info.colour.for_yuv()
    colours = f"scale=out_color_matrix={tags.scale_matrix}:out_range={tags.scale_range}:flags={SCALE_FLAGS}"
    if info.width % 2 == 0 and info.height % 2 == 0:
        return f"{colours},format={pixel_format}"
    edges = f"right={info.width % 2}:bottom={info.height % 2}"  # the added row or column repeats the last one
    even = f"pad=ceil(iw/2)*2:ceil(ih/2)*2,fillborders={edges}:mode=smear"
    return f"{colours},format={pixel_format.replace('420', '444')},{even},format={pixel_format}"

"""Frames into a film, through a pipe to ffmpeg, marked as AI-altered."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import storage
from core.paths import require_writable_folder
from core.video import provenance
from core.video.codecs import parameters, rate_options
from core.video.containers import audio_options
from core.video.frames import read_frames
from core.video.planning import EncodingPlan
from core.video.run import OnFrames, file_url, running

if TYPE_CHECKING:
    import numpy as np

MAX_TIMESCALE = 1_000_000  # of an mp4 track
USUAL_RATES = (5, 240)  # a gap before the last frame that fits none of these is not its length


def encode_sequence(
    plan: EncodingPlan,
    on_frames: OnFrames | None = None,
    wait: Callable[[Path], object] | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Encode the film of `plan`; it appears under its name only when it is whole.

    Args:
        plan: What to make.
        on_frames: Told how many frames are done.
        wait: Called with the path of each frame, in order, before it is read; may wait for it to be there.
        check: Called when the film is whole, before it gets its name; an error of it keeps the name free.

    Raises:
        VideoError: ffmpeg failed.
        SampleError: A frame cannot be read or has another size.
    """
    import cv2

    folder = require_writable_folder(plan.output.parent, "the folder of the result")
    storage.remove_leavings(folder, plan.output.name)
    right, bottom = plan.padding
    with storage.replacing(plan.output) as temporary:
        spec = _build_spec(plan, temporary)
        with running(spec, str(plan.output), pipe_in=True) as process, _feeder(plan, process) as feed:
            frames = read_frames(plan.images, plan.encoding.deep, wait)
            for done, frame in enumerate(frames, start=1):
                if right or bottom:
                    frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
                feed(frame[..., ::-1].copy() if plan.encoding.deep else frame)
                if on_frames is not None:
                    on_frames(done)
        if check is not None:
            check()
    storage.sync_directory(folder)


def _build_spec(plan: EncodingPlan, target: Path) -> Any:
    import ffmpeg

    width, height = (side + extra for side, extra in zip(plan.size, plan.padding))
    source: dict[str, Any] = dict(plan.hardware.input_options) if plan.hardware is not None else {}
    if plan.timeline is not None:
        source |= {"format": "nut"}
    else:
        source |= {
            "format": "rawvideo",
            "pix_fmt": _piped_format(plan),
            "video_size": (width, height),
            "framerate": str(plan.rate),
        }
    if plan.offset:
        source["itsoffset"] = f"{plan.offset:.6f}"
    streams = [ffmpeg.input("pipe:0", **source)["0"]]
    if plan.sounds:
        sound_file = ffmpeg.input(file_url(plan.sound_file))
        streams += [sound_file[str(sound.index)] for sound in plan.sounds]
    options: dict[str, Any] = {**plan.container.options, **_picture_options(plan), **_clock_options(plan)}
    if plan.sounds:
        options |= audio_options(plan.container, plan.sounds)
        if plan.length is not None:
            options["t"] = f"{plan.length + plan.offset:.6f}"
    for number, (name, value) in enumerate(provenance.film_metadata().items()):
        options[f"metadata:g:{number}"] = f"{name}={value}"
    return ffmpeg.output(*streams, file_url(target), map_metadata="-1", **options)


def _piped_format(plan: EncodingPlan) -> str:
    return "rgb48le" if plan.encoding.deep else "bgr24"


def _picture_options(plan: EncodingPlan) -> dict[str, Any]:
    encoding, colour = plan.encoding, plan.colour
    options: dict[str, Any] = {**encoding.options, **rate_options(encoding, plan.bitrate)}
    mastering = plan.mastering.encoder_parameters() if plan.mastering is not None else []
    options |= parameters(encoding, mastering)
    if encoding.lossless:
        options["pix_fmt"] = encoding.pixel_format
        options |= colour.encoder_options(rgb=True)
        filters = [colour.tag_filter()]
    else:
        convert = colour.from_deep_rgb if encoding.deep else colour.from_rgb
        upload = plan.hardware.filters if plan.hardware is not None else ""
        filters = [convert(encoding.pixel_format) + upload]
        options |= colour.encoder_options()
    if plan.pixel_aspect != 1:
        filters.append(f"setsar={plan.pixel_aspect.numerator}/{plan.pixel_aspect.denominator}")
    return options | {"vf": ",".join(filters)}


def _clock_options(plan: EncodingPlan) -> dict[str, Any]:
    if not plan.container.has_times:
        return {"fps_mode": "cfr", "r": str(plan.rate)}
    if plan.timeline is None:
        return {"fps_mode": "passthrough"}
    base = plan.timeline.time_base
    options: dict[str, Any] = {
        "fps_mode": "passthrough",
        "enc_time_base": f"{base.numerator}:{base.denominator}",
    }
    if (
        plan.container.suffix in (".mp4", ".m4v", ".mov")
        and base.numerator == 1
        and base.denominator <= MAX_TIMESCALE
    ):
        options["video_track_timescale"] = base.denominator
    return options


@contextlib.contextmanager
def _feeder(plan: EncodingPlan, process: subprocess.Popen[bytes]) -> Iterator[Callable[[np.ndarray], object]]:
    """A function that hands frames to ffmpeg: bare pixels at a constant rate, else NUT with their times."""
    if plan.timeline is None:
        yield lambda frame: process.stdin.write(frame.data)
        return
    import av

    ticks = plan.timeline.ticks - plan.timeline.ticks[0]
    base = plan.timeline.time_base
    pipe = _WriteOnly(process.stdin)
    with av.open(pipe, "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=_last_rate(plan))
        stream.width, stream.height = (side + extra for side, extra in zip(plan.size, plan.padding))
        stream.pix_fmt = _piped_format(plan)
        stream.time_base = stream.codec_context.time_base = Fraction(base)
        position = iter(ticks)

        def feed(frame: np.ndarray) -> None:
            picture = av.VideoFrame.from_ndarray(frame, format=_piped_format(plan))
            picture.pts, picture.time_base = int(next(position)), Fraction(base)
            for packet in stream.encode(picture):
                container.mux(packet)
            if pipe.error is not None:
                raise pipe.error

        yield feed
        for packet in stream.encode(None):
            container.mux(packet)


def _last_rate(plan: EncodingPlan) -> Fraction:
    """The rate that ffmpeg is told: the last frame is shown for one over it, so as long as the one before."""
    timeline = plan.timeline
    if timeline is None or len(timeline) < 2:
        return plan.rate
    rate = 1 / (int(timeline.ticks[-1] - timeline.ticks[-2]) * Fraction(timeline.time_base))
    return rate if USUAL_RATES[0] <= rate <= USUAL_RATES[1] else plan.rate


class _WriteOnly:
    """A pipe as PyAV takes it: without the methods by which it would try to seek.

    An error is kept in `error`: one that passed through PyAV would come back on closing as another.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._pipe.write(data)
            except OSError as err:
                self.error = err
        return len(data)

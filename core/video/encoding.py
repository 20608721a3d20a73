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
from core.video.containers import audio_options
from core.video.frames import read_frames
from core.video.planning import EncodingPlan
from core.video.run import OnFrames, file_url, running

if TYPE_CHECKING:
    import numpy as np

MAX_TIMESCALE = 1_000_000  # of an mp4 track


def encode_sequence(plan: EncodingPlan, on_frames: OnFrames | None = None) -> None:
    """Encode the film of `plan`; it appears under its name only when it is whole.

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
            for done, frame in enumerate(read_frames(plan.images), start=1):
                if right or bottom:
                    frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
                feed(frame)
                if on_frames is not None:
                    on_frames(done)
    storage.sync_directory(folder)


def _build_spec(plan: EncodingPlan, target: Path) -> Any:
    import ffmpeg

    width, height = (side + extra for side, extra in zip(plan.size, plan.padding))
    if plan.timeline is not None:
        source = {"format": "nut"}
    else:
        source = {
            "format": "rawvideo",
            "pix_fmt": "bgr24",
            "video_size": (width, height),
            "framerate": str(plan.rate),
        }
    if plan.offset:
        source["itsoffset"] = f"{plan.offset:.6f}"
    streams = [ffmpeg.input("pipe:0", **source)["0"]]
    if plan.sound is not None:
        streams.append(ffmpeg.input(file_url(plan.sound_file))[str(plan.sound.index)])
    options: dict[str, Any] = {**plan.container.options, **_picture_options(plan), **_clock_options(plan)}
    if plan.sound is not None:
        options |= audio_options(plan.container, plan.sound)
        if plan.length is not None:
            options["t"] = f"{plan.length + plan.offset:.6f}"
    for number, (name, value) in enumerate(provenance.film_metadata().items()):
        options[f"metadata:g:{number}"] = f"{name}={value}"
    return ffmpeg.output(*streams, file_url(target), map_metadata="-1", **options)


def _picture_options(plan: EncodingPlan) -> dict[str, Any]:
    filters = []
    if plan.lossless:
        options = dict(plan.container.lossless)
        options["pix_fmt"] = plan.container.lossless_format
        options |= plan.colour.encoder_options(rgb=True)
        filters.append(plan.colour.tag_filter())
    else:
        filters.append(plan.colour.from_rgb("yuv420p"))
        options = {**plan.container.lossy, "b:v": f"{plan.bitrate}M", **plan.colour.encoder_options()}
    if plan.pixel_aspect != 1:
        filters.append(f"setsar={plan.pixel_aspect.numerator}/{plan.pixel_aspect.denominator}")
    return options | ({"vf": ",".join(filters)} if filters else {})


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
        stream = container.add_stream("rawvideo", rate=plan.rate)
        stream.width, stream.height = (side + extra for side, extra in zip(plan.size, plan.padding))
        stream.pix_fmt = "bgr24"
        stream.time_base = stream.codec_context.time_base = Fraction(base)
        position = iter(ticks)

        def feed(frame: np.ndarray) -> None:
            picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
            picture.pts, picture.time_base = int(next(position)), Fraction(base)
            for packet in stream.encode(picture):
                container.mux(packet)
            if pipe.error is not None:
                raise pipe.error

        yield feed
        for packet in stream.encode(None):
            container.mux(packet)


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

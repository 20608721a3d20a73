"""The frames of a video without files: the very pixels that extraction writes as PNG, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from core.errors import VideoError
from core.video.extraction import ALL_FRAMES, rgb_filters
from core.video.probe import VideoInfo
from core.video.run import running

MAGIC = b"P6"  # of PPM, which tells the size and the bits of every single picture and nothing else
LEVELS = {b"255": np.dtype(np.uint8), b"65535": np.dtype(">u2")}  # the largest value, as PPM writes it


def decode_frames(
    info: VideoInfo, fps: Fraction = ALL_FRAMES, skipped: int = 0, depth: int = 8
) -> Iterator[np.ndarray]:
    """Yield the frames of a video as they are seen (rotated): those of `extract_frames`.

    ffmpeg decodes in a process of its own, a little ahead of the reader. Left early, it is ended.

    Args:
        info: The video.
        fps: Frames per second, 0 for each frame of the video once.
        skipped: So many frames at the beginning are decoded but not handed over.
        depth: Bits of each channel, 8 or 16.

    Yields:
        (H, W, 3) uint8 or uint16 in the order R, G, B, read-only.

    Raises:
        VideoError: ffmpeg failed or was ended.
    """
    import ffmpeg

    filters = rgb_filters(info, fps, f"gte(n\\,{skipped})" if skipped else "", depth)
    spec = ffmpeg.output(
        _input(info),
        "pipe:1",
        vf=",".join(filters),
        fps_mode="passthrough",
        f="image2pipe",
        **{"c:v": "ppm"},
    ).global_args("-nostdin")
    with running(spec, str(info.path)) as process:
        while (picture := _read_ppm(process.stdout, info)) is not None:
            yield picture


def _input(info: VideoInfo):
    import ffmpeg

    from core.video.run import file_url

    return ffmpeg.input(file_url(info.path))[str(info.stream_index)]


def _read_ppm(stream: BinaryIO, info: VideoInfo) -> np.ndarray | None:
    """The next picture; None at the end of the stream, and where ffmpeg ended amid one (its code tells)."""
    magic = stream.readline().strip()
    if not magic:
        return None
    sizes, levels = stream.readline().split(), stream.readline().strip()
    if magic != MAGIC or levels not in LEVELS or len(sizes) != 2:
        raise VideoError(f"{info.path}: ffmpeg sent something else than pictures; install another ffmpeg")
    width, height = map(int, sizes)
    data = np.empty(height * width * 3 * LEVELS[levels].itemsize, np.uint8)
    view, filled = memoryview(data), 0
    while filled < len(view):
        count = stream.readinto(view[filled:])
        if not count:
            return None
        filled += count
    picture = data.view(LEVELS[levels]).reshape(height, width, 3)
    picture = picture.astype(picture.dtype.newbyteorder("="), copy=False)
    picture.flags.writeable = False
    return picture

"""Taking the noise out of a folder of frames, in place, over space and time (ffmpeg's hqdn3d).

The filter carries each result into the next frame, so frames go through it in order. A line in
`.denoise.log`, written before a frame is replaced, holds the frame's name and the checksum of what replaces
it: a run that was stopped goes on behind the last replaced frame and filters none twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import storage
from core.errors import VideoError
from core.paths import require_writable_folder
from core.video.colour import SCALE_FLAGS
from core.video.frames import check_sizes, read_frames
from core.video.run import OnFrames, running

if TYPE_CHECKING:
    import numpy as np

LOG = ".denoise.log"
LOG_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}  # names of files need not be UTF-8
TEMPORAL = 5  # strength over time, as in DFL
JPEG_QUALITY = 97  # about ffmpeg's scale 2
FACTORS = (1, 20)


def unfinished_run(images: Sequence[Path]) -> tuple[int, int]:
    """Factor and number of frames done of a run that was stopped in this folder; (0, 0) if there is none."""
    log = images[0].parent / LOG
    try:
        head, *lines = log.read_text(**LOG_TEXT).splitlines()
        factor = int(head.removeprefix("factor "))
        entries = [line.split(" ", 1) for line in lines]
        names = [name for _, name in entries]
    except (OSError, ValueError):
        return 0, 0
    if not names or names != [path.name for path in images[: len(names)]]:
        return 0, 0  # frames came or went since: the log says nothing about these
    digest, name = entries[-1]
    replaced = hashlib.sha256((log.parent / name).read_bytes()).hexdigest() == digest
    return factor, len(names) if replaced else len(names) - 1


def denoise(images: Sequence[Path], factor: int, done: int = 0, on_frames: OnFrames | None = None) -> None:
    """Replace each image by its denoised self, one by one and atomically; names and formats stay.

    Args:
        images: Frames of one size, in order, in one folder.
        factor: Strength in space, 1..20.
        done: Frames that a stopped run with this factor has replaced already (see `unfinished_run`).
        on_frames: Told how many frames are done.

    Raises:
        SampleError: An image cannot be read or has another size.
        VideoError: ffmpeg failed; the frames so far are replaced, and calling again with `done` goes on.
    """
    folder = require_writable_folder(images[0].parent, "the folder of frames")
    storage.remove_leavings(folder)
    check_sizes(images)
    # The last frame of the stopped run goes in again to set the filter's memory; what comes out is dropped.
    primer = 1 if done else 0
    todo = images[done - primer :] if done else images
    log = folder / LOG
    if not done:
        with storage.naming(log):
            log.write_text(f"factor {factor}\n", **LOG_TEXT)
    if done < len(images):
        _filter_images(todo, primer, factor, done, log, on_frames)
    log.unlink(missing_ok=True)


def _filter_images(
    images: Sequence[Path], primer: int, factor: int, done: int, log: Path, on_frames: OnFrames | None
) -> None:
    import numpy as np

    from core.imageio import read_image

    height, width, _ = shape = read_image(images[0]).shape
    spec = _build_spec(width, height, factor)
    with running(spec, str(images[0].parent), pipe_in=True) as process:
        feeder = _Feeder(images, process)
        feeder.start()
        try:
            for position, path in enumerate(images):
                data = process.stdout.read(width * height * 3)
                if len(data) < width * height * 3:
                    break  # ffmpeg or the feeder gave up; either says why below
                if position < primer:
                    continue
                image = np.frombuffer(data, np.uint8).reshape(shape)
                _replace(path, _encode(path, image), log)
                done += 1
                if on_frames is not None:
                    on_frames(done)
        finally:
            feeder.stop()
        if feeder.error is not None:
            raise feeder.error
    if feeder.unsent or len(data) < width * height * 3:
        raise VideoError(
            f"{images[0].parent}: ffmpeg returned fewer frames than it was given; run the command again"
        )


def _replace(path: Path, data: bytes, log: Path) -> None:
    with storage.naming(log), log.open("a", **LOG_TEXT) as file:
        file.write(f"{hashlib.sha256(data).hexdigest()} {path.name}\n")
    storage.write_bytes(path, data)


def _encode(path: Path, image: np.ndarray) -> bytes:
    """As extraction writes frames: JPEG without chroma subsampling."""
    import cv2

    from core.imageio import JPEG_SUFFIXES, encode_image

    if path.suffix.lower() not in JPEG_SUFFIXES:
        return encode_image(path.suffix, image)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling])[1].tobytes()


def _build_spec(width: int, height: int, factor: int) -> Any:
    import ffmpeg

    source = ffmpeg.input(
        "pipe:0", format="rawvideo", pix_fmt="bgr24", video_size=(width, height), framerate=25
    )
    # 16 bits between the two conversions: rounding there would be added to the noise
    filters = (
        f"scale=out_color_matrix=bt709:in_range=pc:out_range=tv:flags={SCALE_FLAGS},format=yuv444p16le,"
        f"hqdn3d={factor}:{factor}:{TEMPORAL}:{TEMPORAL},"
        f"scale=in_color_matrix=bt709:in_range=tv:out_range=pc:flags={SCALE_FLAGS},format=bgr24"
    )
    return ffmpeg.output(
        source, "pipe:1", vf=filters, format="rawvideo", pix_fmt="bgr24", fps_mode="passthrough"
    )


class _Feeder(threading.Thread):
    """Sends the frames while the main thread receives: ffmpeg stops reading while its output waits."""

    def __init__(self, images: Sequence[Path], process: Any) -> None:
        super().__init__(daemon=True)
        self.images, self.process = images, process
        self.error: BaseException | None = None
        self.unsent = len(images)
        self._stopping = False

    def run(self) -> None:
        try:
            for frame in read_frames(self.images):
                if self._stopping:
                    return
                self.process.stdin.write(frame.data)
                self.unsent -= 1
        except (BrokenPipeError, ValueError):  # ffmpeg ended, or the pipe was closed by `stop`
            pass
        except BaseException as err:  # handed to the main thread, which raises it
            self.error = err
        finally:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.close()

    def stop(self) -> None:
        """Wait for the thread; if frames are left, ffmpeg is ended first so that it cannot block."""
        self._stopping = True
        if self.unsent and self.error is None and self.is_alive():
            self.process.kill()
        self.join()

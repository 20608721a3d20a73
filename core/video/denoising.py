"""Taking the noise out of a folder of frames, in place and over time, by one of two methods.

`hqdn3d` is ffmpeg's filter, as DFL uses it; `motion` follows what moves (see `temporal`). Both need frames
in order. A line in `.denoise.log`, written before a frame is replaced, holds the frame's name and the
checksum of what replaces it: a run that was stopped goes on behind the last replaced frame and filters none
twice. `hqdn3d` carries each result into the next frame, so that one frame sets it going again. `motion` looks
at frames as they were: those that others still need are kept in `.denoise`, as hard links where the disk has
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import storage
from core.errors import VideoError
from core.paths import require_writable_folder
from core.video.colour import SCALE_FLAGS
from core.video.frames import check_sizes, is_deep, read_frames
from core.video.run import OnFrames, running

if TYPE_CHECKING:
    import numpy as np

LOG = ".denoise.log"
ORIGINALS = ".denoise"
LOG_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}  # names of files need not be UTF-8
METHODS = ("hqdn3d", "motion")
TEMPORAL = 5  # hqdn3d's strength over time, as in DFL
JPEG_QUALITY = 97  # about ffmpeg's scale 2
FACTORS = (1, 20)


def unfinished_run(images: Sequence[Path]) -> tuple[int, int]:
    """Factor and number of frames done of a run that was stopped in this folder; (0, 0) if there is none."""
    _, factor, done, _ = _read_log(images)
    return factor, done


def unfinished_method(images: Sequence[Path]) -> str:
    """The method of that run, `hqdn3d` if there is none."""
    return _read_log(images)[0]


def _read_log(images: Sequence[Path]) -> tuple[str, int, int, float]:
    """Method, factor, frames done and measured noise of a stopped run."""
    log, none = images[0].parent / LOG, (METHODS[0], 0, 0, 0.0)
    try:
        head, *lines = log.read_text(**LOG_TEXT).splitlines()
        words = head.removeprefix("factor ").split()
        method, noise = (words[1], float(words[2])) if len(words) > 1 else (METHODS[0], 0.0)
        factor = int(words[0])
        entries = [line.split(" ", 1) for line in lines]
        names = [name for _, name in entries]
    except (OSError, ValueError, IndexError):
        return none
    if method not in METHODS or not names or names != [path.name for path in images[: len(names)]]:
        return none  # frames came or went since: the log says nothing about these
    digest, name = entries[-1]
    replaced = hashlib.sha256((log.parent / name).read_bytes()).hexdigest() == digest
    return method, factor, len(names) if replaced else len(names) - 1, noise


def denoise(
    images: Sequence[Path],
    factor: int,
    done: int = 0,
    on_frames: OnFrames | None = None,
    method: str = METHODS[0],
) -> None:
    """Replace each image by its denoised self, one by one and atomically; names, formats and depths stay.

    Args:
        images: Frames of one size, in order, in one folder.
        factor: Strength 1..20.
        done: Frames that a stopped run of this factor and method has replaced (see `unfinished_run`).
        on_frames: Told how many frames are done.
        method: One of `METHODS`.

    Raises:
        SampleError: An image cannot be read or has another size.
        VideoError: ffmpeg failed; the frames so far are replaced, and calling again with `done` goes on.
    """
    folder = require_writable_folder(images[0].parent, "the folder of frames")
    storage.remove_leavings(folder)
    check_sizes(images)
    log = folder / LOG
    noise = _read_log(images)[3] if done else 0.0
    if not done:
        shutil.rmtree(folder / ORIGINALS, ignore_errors=True)
        noise = _measure(images) if method == "motion" else 0.0
        with storage.naming(log):
            log.write_text(f"factor {factor}" + (f" motion {noise:.4f}\n" if noise else "\n"), **LOG_TEXT)
    if done < len(images):
        if method == "motion":
            _average_images(images, factor, noise, done, log, on_frames)
        else:
            _filter_images(images, factor, done, log, on_frames)
    shutil.rmtree(folder / ORIGINALS, ignore_errors=True)
    log.unlink(missing_ok=True)


def _measure(images: Sequence[Path]) -> float:
    from core.imageio import read_deep_image
    from core.video.temporal import NOISE_RANGE, measure_noise

    measured = measure_noise(len(images), lambda index: read_deep_image(images[index]))
    return max(NOISE_RANGE[0], round(measured, 4))  # as the log holds it, so that going on is the same


def _average_images(
    images: Sequence[Path], factor: int, noise: float, done: int, log: Path, on_frames: OnFrames | None
) -> None:
    from core.video.temporal import Strength, denoised

    strength = Strength.of(factor, noise)
    radius = strength.radius
    kept = log.parent / ORIGINALS
    kept.mkdir(exist_ok=True)
    first = max(0, done - radius)
    todo = [*(_original(path, kept) for path in images[first:done]), *images[done:]]
    with contextlib.closing(read_frames(todo, any(map(is_deep, images)))) as frames:
        for image in denoised(frames, strength, skipped=done - first):
            path = images[done]
            _keep_original(path, kept)
            _replace(path, _encode(path, image), log)
            done += 1
            if done > radius:
                (kept / images[done - radius - 1].name).unlink(missing_ok=True)
            if on_frames is not None:
                on_frames(done)


def _original(path: Path, kept: Path) -> Path:
    """A frame as it was before it was replaced; the frame itself where somebody removed that."""
    return kept / path.name if (kept / path.name).exists() else path


def _keep_original(path: Path, kept: Path) -> None:
    target = kept / path.name
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # a disk without hard links
        with storage.replacing(target) as temporary:
            shutil.copyfile(path, temporary)


def _filter_images(
    images: Sequence[Path], factor: int, done: int, log: Path, on_frames: OnFrames | None
) -> None:
    import numpy as np

    from core.imageio import read_image

    # The last frame of the stopped run goes in again to set the filter's memory; what comes out is dropped.
    primer = 1 if done else 0
    images = images[done - primer :]
    height, width, _ = shape = read_image(images[0]).shape
    deep = any(map(is_deep, images))
    levels = np.dtype("<u2" if deep else "u1")
    size = width * height * 3 * levels.itemsize
    spec = _build_spec(width, height, factor, "bgr48le" if deep else "bgr24")
    with running(spec, str(images[0].parent), pipe_in=True) as process:
        feeder = _Feeder(images, process, deep)
        feeder.start()
        try:
            for position, path in enumerate(images):
                data = process.stdout.read(size)
                if len(data) < size:
                    break  # ffmpeg or the feeder gave up; either says why below
                if position < primer:
                    continue
                image = np.frombuffer(data, levels).reshape(shape)
                _replace(path, _encode(path, image), log)
                done += 1
                if on_frames is not None:
                    on_frames(done)
        finally:
            feeder.stop()
        if feeder.error is not None:
            raise feeder.error
    if feeder.unsent or len(data) < size:
        raise VideoError(
            f"{images[0].parent}: ffmpeg returned fewer frames than it was given; run the command again"
        )


def _replace(path: Path, data: bytes, log: Path) -> None:
    with storage.naming(log), log.open("a", **LOG_TEXT) as file:
        file.write(f"{hashlib.sha256(data).hexdigest()} {path.name}\n")
    storage.write_bytes(path, data)


def _encode(path: Path, image: np.ndarray) -> bytes:
    """As extraction writes frames: JPEG without chroma subsampling; in the depth of the file there is."""
    import cv2

    from core.imageio import JPEG_SUFFIXES, encode_image, to_uint8

    if not is_deep(path):
        image = to_uint8(image)
    if path.suffix.lower() not in JPEG_SUFFIXES:
        return encode_image(path.suffix, image)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling]
    return cv2.imencode(".jpg", image, parameters)[1].tobytes()


def _build_spec(width: int, height: int, factor: int, pixel_format: str) -> Any:
    import ffmpeg

    source = ffmpeg.input(
        "pipe:0", format="rawvideo", pix_fmt=pixel_format, video_size=(width, height), framerate=25
    )
    # 16 bits between the two conversions: rounding there would be added to the noise
    filters = (
        f"scale=out_color_matrix=bt709:in_range=pc:out_range=tv:flags={SCALE_FLAGS},format=yuv444p16le,"
        f"hqdn3d={factor}:{factor}:{TEMPORAL}:{TEMPORAL},"
        f"scale=in_color_matrix=bt709:in_range=tv:out_range=pc:flags={SCALE_FLAGS},format={pixel_format}"
    )
    return ffmpeg.output(
        source, "pipe:1", vf=filters, format="rawvideo", pix_fmt=pixel_format, fps_mode="passthrough"
    )


class _Feeder(threading.Thread):
    """Sends the frames while the main thread receives: ffmpeg stops reading while its output waits."""

    def __init__(self, images: Sequence[Path], process: Any, deep: bool) -> None:
        super().__init__(daemon=True)
        self.images, self.process, self.deep = images, process, deep
        self.error: BaseException | None = None
        self.unsent = len(images)
        self._stopping = False

    def run(self) -> None:
        try:
            for frame in read_frames(self.images, self.deep):
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

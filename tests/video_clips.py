"""Tiny videos for the tests, drawn by ffmpeg; no file is kept."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import av
import numpy as np

from core.video import ffmpeg_path

SOUND_FOR = {".webm": ["-c:a", "libopus"], ".avi": ["-c:a", "libmp3lame"]}
FILM_FOR = {
    ".webm": ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "8", "-b:v", "2M"],
    ".avi": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-avoid_negative_ts", "disabled"],
}
VARYING = ["-vf", "select='not(mod(n\\,3))+not(mod(n\\,5))'", "-fps_mode", "passthrough"]


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg and fail loudly."""
    command = [ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def tag_filter(matrix: str, range_: str = "tv", primaries: str = "bt709", transfer: str = "bt709") -> str:
    """Filter that tags frames, which new ffmpeg believes over the options of the encoder."""
    return f"setparams=colorspace={matrix}:range={range_}:color_primaries={primaries}:color_trc={transfer}"


TAGS_709 = ["-vf", tag_filter("bt709"), "-colorspace", "bt709", "-color_range", "tv"]
TAGS_709 += ["-color_primaries", "bt709", "-color_trc", "bt709"]


def make_clip(
    path: Path,
    frames: int = 12,
    rate: str = "25",
    size: str = "64x48",
    sound: bool = True,
    options: tuple[str, ...] | list[str] = (),
    source: str = "testsrc2",
) -> Path:
    """A moving test picture with a tone."""
    inputs = ["-f", "lavfi", "-i", f"{source}=size={size}:rate={rate}"]
    suffix = path.suffix.lower()
    if sound:
        inputs += ["-f", "lavfi", "-i", "sine=sample_rate=48000"]
    codecs = FILM_FOR.get(suffix, ["-c:v", "libx264", "-preset", "veryfast"])
    codecs = [*codecs, *(SOUND_FOR.get(suffix, ["-c:a", "aac"]) if sound else [])]
    seconds = frames / (int(rate.split("/")[0]) / int((rate + "/1").split("/")[1]))
    ffmpeg(*inputs, *codecs, "-pix_fmt", "yuv420p", *options, "-t", f"{seconds:.6f}", path)
    return path


def make_rotated(path: Path, degrees: int = 90, **more: object) -> Path:
    """A clip whose metadata says that players turn it."""
    upright = make_clip(path.with_name("upright.mp4"), **more)
    try:
        ffmpeg("-display_rotation", degrees, "-i", upright, "-c", "copy", path)
    except subprocess.CalledProcessError:  # before ffmpeg 6
        ffmpeg("-i", upright, "-c", "copy", "-metadata:s:v:0", f"rotate={-degrees % 360}", path)
    return path


def frame_times(path: Path) -> list[float]:
    """Seconds at which the frames of a film are shown, by decoding it."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def decoded(path: Path, pixel_format: str | None = None) -> list[np.ndarray]:
    """The frames of a film as arrays, converted to `pixel_format` if given."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=pixel_format) for frame in container.decode(video=0)]


def sound_digest(path: Path) -> str:
    """Checksum of the packets of the first sound track: equal if and only if it was copied."""
    with av.open(str(path)) as container:
        digest = hashlib.md5()
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
        return digest.hexdigest()


def make_hdr10(path: Path, frames: int = 12, size: str = "64x48") -> Path:
    """A film of 10 bits as HDR10: BT.2020, PQ, mastered on a screen that it names."""
    master = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    parameters = f"log-level=error:hdr10=1:repeat-headers=1:master-display={master}:max-cll=1000,400"
    tags = tag_filter("bt2020nc", "tv", "bt2020", "smpte2084")
    source = f"gradients=size={size}:rate=25:c0=0x203040:c1=0xd0c0b0:x0=0:y0=0:x1=60:y1=40:speed=0.01"
    inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", "sine=sample_rate=48000"]
    options = ["-vf", f"format=yuv420p10le,{tags}", "-c:v", "libx265", "-x265-params", parameters]
    options += ["-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084"]
    options += ["-color_range", "tv", "-tag:v", "hvc1", "-c:a", "aac", "-t", f"{frames / 25:.4f}"]
    ffmpeg(*inputs, *options, path)
    return path

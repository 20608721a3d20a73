"""A clip with sound of a drawn person, for the demo and for tests of the whole chain."""

from __future__ import annotations

import subprocess
import tempfile
import wave
from pathlib import Path

from core.errors import VideoError
from core.storage import replacing
from core.video import ffmpeg_path
from facelib.synthetic import Person, build_head, perform, render, speak

SOUND_RATE = 48000


def write_clip(path: Path, person: Person, seconds: float, fps: int = 25, size: int = 480) -> None:
    """Draw the person moving and speaking and write it as H.264 with AAC; takes about 0.1 s per frame.

    Args:
        path: Written atomically; an .mp4.
        person: Who is drawn.
        seconds: Length.
        fps: Frames per second.
        size: Side of the square picture, even.

    Raises:
        VideoError: ffmpeg failed.
    """
    with replacing(path) as target, tempfile.TemporaryDirectory() as scratch:
        sound = Path(scratch) / "voice.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SOUND_RATE)
            file.writeframes(speak(person, seconds, SOUND_RATE).tobytes())
        process = subprocess.Popen(
            [*_command(sound, fps, size), str(target)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        head = build_head(person)
        try:
            for number, motion in enumerate(perform(person, seconds, fps)):
                process.stdin.write(render(head, motion, size, grain=number).image.data)
        except BrokenPipeError:
            pass  # ffmpeg has ended; it says why below
        _, complaint = process.communicate()
        if process.returncode != 0:
            last = (complaint.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise VideoError(f"{path}: ffmpeg could not write the clip: {last}")


def _command(sound: Path, fps: int, size: int) -> list[str]:
    """The call of ffmpeg, without the file it writes."""
    picture = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size}x{size}", "-r", str(fps), "-i", "pipe:"]
    colour = [
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_range",
        "tv",
    ]
    return [
        *(ffmpeg_path(), "-y", "-loglevel", "error", *picture, "-i", str(sound)),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv", *colour),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-pix_fmt", "yuv420p"),
        *("-c:a", "aac", "-b:a", "128k", "-f", "mp4"),
    ]

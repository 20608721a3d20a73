"""What may be put into which container, and how it is encoded there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import VideoError
from core.video.probe import AudioStream

AAC = {"c:a": "aac", "b:a": "192k", "ar": "48000"}  # DFL's settings
OPUS = {"c:a": "libopus", "b:a": "160k", "ar": "48000"}
# faststart lets players begin before the file is loaded; use_metadata_tags admits any name into the metadata.
MP4_FLAGS = {"movflags": "+use_metadata_tags+faststart"}
# Sound begins a little before 0 (priming); shifting all by that would cost AVI, which counts frames, a whole
# one.
AVI_OPTIONS = {"avoid_negative_ts": "disabled"}
X264 = {"c:v": "libx264"}
X264_LOSSLESS = {"c:v": "libx264rgb", "crf": "0", "preset": "veryfast"}
VP9 = {"c:v": "libvpx-vp9", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


@dataclass(frozen=True)
class Container:
    """How films are written into one kind of file.

    `copied_audio` are the codecs that its players know, None for all; others are encoded with `audio`.
    `has_times` is False where frames can only follow each other at one rate.
    """

    suffix: str
    copied_audio: frozenset[str] | None
    audio: dict[str, str]
    lossy: dict[str, str]
    lossless: dict[str, str]
    lossless_format: str
    options: dict[str, str]
    has_times: bool = True

    def copies(self, stream: AudioStream) -> bool:
        """Whether the sound goes in as it is."""
        codec = "pcm" if stream.codec.startswith("pcm_") else stream.codec
        return self.copied_audio is None or codec in self.copied_audio


MP4_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
MOV_AUDIO = MP4_AUDIO | {"pcm"}
CONTAINERS = {
    ".mp4": Container(".mp4", MP4_AUDIO, AAC, X264, X264_LOSSLESS, "bgr24", MP4_FLAGS),
    ".m4v": Container(".m4v", MP4_AUDIO, AAC, X264, X264_LOSSLESS, "bgr24", MP4_FLAGS),
    # PNG frames: editing programs that take a lossless .mov know no H.264 in RGB.
    ".mov": Container(
        ".mov", MOV_AUDIO, AAC, X264, {"c:v": "png", "compression_level": "1"}, "rgb24", MP4_FLAGS
    ),
    ".mkv": Container(".mkv", None, AAC, X264, X264_LOSSLESS, "bgr24", {}),
    # AVI knows no order of display, hence no B frames.
    ".avi": Container(
        ".avi",
        frozenset({"aac", "mp3", "mp3float", "ac3", "pcm"}),
        AAC,
        {**X264, "bf": "0"},
        {**X264_LOSSLESS, "bf": "0"},
        "bgr24",
        AVI_OPTIONS,
        has_times=False,
    ),
    ".webm": Container(
        ".webm", frozenset({"opus", "vorbis"}), OPUS, VP9, {**VP9, "lossless": "1"}, "gbrp", {}
    ),
}


def container_for(path: Path) -> Container:
    """The container that the suffix of `path` names.

    Raises:
        VideoError: It names none that we write.
    """
    try:
        return CONTAINERS[Path(path).suffix.lower()]
    except KeyError:
        raise VideoError(
            f"{path}: videos are written as {', '.join(sorted(CONTAINERS))}; choose a name that ends in one"
        ) from None


def audio_options(container: Container, stream: AudioStream) -> dict[str, Any]:
    """Options for the sound: a copy where the container's players know the codec, else encoded."""
    return {"c:a": "copy"} if container.copies(stream) else dict(container.audio)

"""What sound may be put into which container, and how containers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import VideoError
from core.video.probe import AudioStream

AAC = {"c:a": "aac", "b:a": "192k", "ar:a": "48000"}  # DFL's settings
OPUS = {"c:a": "libopus", "b:a": "160k", "ar:a": "48000"}
# faststart lets players begin before the file is loaded; use_metadata_tags admits any name into the metadata.
MP4_FLAGS = {"movflags": "+use_metadata_tags+faststart"}
# Sound begins a little before 0 (priming); shifting all by that would cost AVI, which counts frames, a whole
# one.
AVI_OPTIONS = {"avoid_negative_ts": "disabled"}


@dataclass(frozen=True)
class Container:
    """How films are written into one kind of file.

    `copied_audio` are the codecs that its players know, None for all; others are encoded with `audio`.
    `has_times` is False where frames can only follow each other at one rate.
    """

    suffix: str
    copied_audio: frozenset[str] | None
    audio: dict[str, str]
    options: dict[str, str]
    has_times: bool = True

    def copies(self, stream: AudioStream) -> bool:
        """Whether the sound goes in as it is."""
        codec = "pcm" if stream.codec.startswith("pcm_") else stream.codec
        return self.copied_audio is None or codec in self.copied_audio


MP4_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
MOV_AUDIO = MP4_AUDIO | {"pcm"}
CONTAINERS = {
    ".mp4": Container(".mp4", MP4_AUDIO, AAC, MP4_FLAGS),
    ".m4v": Container(".m4v", MP4_AUDIO, AAC, MP4_FLAGS),
    ".mov": Container(".mov", MOV_AUDIO, AAC, MP4_FLAGS),
    ".mkv": Container(".mkv", None, AAC, {}),
    ".avi": Container(
        ".avi", frozenset({"aac", "mp3", "mp3float", "ac3", "pcm"}), AAC, AVI_OPTIONS, has_times=False
    ),
    ".webm": Container(".webm", frozenset({"opus", "vorbis"}), OPUS, {}),
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


def audio_options(container: Container, streams: Sequence[AudioStream]) -> dict[str, Any]:
    """Options for the sound tracks: a copy where the container's players know the codec, else encoded."""
    options: dict[str, Any] = {}
    for number, stream in enumerate(streams):
        chosen = {"c:a": "copy"} if container.copies(stream) else container.audio
        options |= {f"{key}:{number}": value for key, value in chosen.items()}
        # One track under two names, as options of ffmpeg-python cannot be repeated; the film is stream 0.
        if stream.language:
            options[f"metadata:s:a:{number}"] = f"language={stream.language}"
        if stream.title:
            options[f"metadata:s:{number + 1}"] = f"title={stream.title}"
    return options

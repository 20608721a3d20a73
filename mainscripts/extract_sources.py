"""Where `extract` takes its frames from: a folder of images, or a video that is decoded as it goes."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import SwapError

if TYPE_CHECKING:
    import numpy as np

IDENTITY = ("video_name", "video_size", "video_sha256", "fps")  # of a video, for going on with it
VIDEO_FRAME = re.compile(r"\d{5,}")  # stems of a video's frames, as `videoed extract-video` names them


class Frame(Protocol):
    """One frame that can be looked at."""

    @property
    def name(self) -> str:
        """As the metadata of its faces names it: `00001.png`."""

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR; SampleError where it cannot be decoded."""


class Source(Protocol):
    """All frames of an extraction."""

    skipped: dict[str, str]  # frames left out, and why
    ahead: int  # frames held beyond those in work, for each thread

    @property
    def subject(self) -> str:
        """The folder or the video, for messages."""

    @property
    def identity(self) -> dict[str, Any]:
        """What an extraction must share with an earlier one to go on with it; empty for folders."""

    def total(self) -> int | None:
        """Number of frames, None if nobody knows yet; a video's is what its container says."""

    def names(self, known: int | None) -> list[str] | None:
        """The names of all frames; None for a video whose end was not seen (`known` frames, if it was)."""

    def guessed_names(self) -> list[str]:
        """The names of all frames, perhaps of some that are not there."""

    def name_of(self, stem: str) -> str | None:
        """The name of the frame with that stem, None if there is none such."""

    def stamp(self, name: str) -> list[int] | None:
        """Numbers that change when the frame's file does; None where `identity` tells already."""

    def frames(self, done: Container[str]) -> Iterator[Frame]:
        """The frames that are not `done`, in order."""

    def chosen(self, names: list[str]) -> contextlib.AbstractContextManager[list[Frame]]:
        """Some frames that can be read in any order and several times."""


@dataclass(frozen=True)
class ImageFrame:
    """A frame that is a file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def read(self) -> np.ndarray:
        from core.imageio import read_image

        return read_image(self.path)


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A decoded frame of a video, under the name that its PNG would have."""

    number: int  # from 1
    rgb: np.ndarray

    @property
    def name(self) -> str:
        return frame_name(self.number)

    def read(self) -> np.ndarray:
        import cv2

        from core.imageio import to_uint8

        return cv2.cvtColor(to_uint8(self.rgb), cv2.COLOR_RGB2BGR)


class FolderSource:
    """The images of a folder."""

    ahead = 3

    def __init__(self, folder: Path) -> None:
        """List the folder.

        Raises:
            SwapError: There is no such folder, or no image in it.
        """
        from core.paths import IMAGE_SUFFIXES, list_images, require_folder

        self._folder = require_folder(folder, "the folder of frames")
        images = list_images(self._folder)
        if not images:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SwapError(f"{folder}: no frames in this folder ({kinds}); extract the video's frames first")
        by_stem: dict[str, Path] = {}
        self.skipped: dict[str, str] = {}  # their faces would get the names of another's
        for image in images:
            first = by_stem.setdefault(os.path.normcase(image.stem), image)
            if first is not image:
                self.skipped[image.name] = f"{first.name} has the same name but for its ending"
        self._images = {path.name: path for path in by_stem.values()}
        self._stems = {path.stem: path.name for path in by_stem.values()}

    @property
    def subject(self) -> str:
        return str(self._folder)

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def total(self) -> int:
        return len(self._images)

    def names(self, known: int | None = None) -> list[str]:
        return list(self._images)

    def guessed_names(self) -> list[str]:
        return self.names()

    def name_of(self, stem: str) -> str | None:
        return self._stems.get(stem)

    def stamp(self, name: str) -> list[int] | None:
        try:
            status = self._images[name].stat()
        except (KeyError, OSError):  # gone since
            return []
        return [status.st_size, status.st_mtime_ns]

    def frames(self, done: Container[str]) -> Iterator[Frame]:
        return (ImageFrame(path) for name, path in self._images.items() if name not in done)

    def chosen(self, names: list[str]) -> contextlib.AbstractContextManager[list[Frame]]:
        return contextlib.nullcontext([ImageFrame(self._images[name]) for name in names])


class VideoSource:
    """The frames of a video, numbered from 1 as `videoed extract-video` would; no folder is needed."""

    ahead = 1  # decoded frames wait in memory

    def __init__(self, path: Path, fps: Fraction) -> None:
        """Look into the video.

        Raises:
            SwapError: There is none, or nothing in it can be decoded.
        """
        from core import video
        from core.paths import require_file, resolve_wildcard
        from core.video.extraction import Request

        self._info = video.probe(require_file(resolve_wildcard(path), "the video"))
        if self._info.colour.is_hdr:
            print("This is an HDR video: its faces look flat, as its frames in pictures do.")
        self._fps = fps
        # as `videoed extract-video` writes them unless it is told otherwise, so that the faces are the same
        self._depth = 16 if self._info.bits > 8 else 8
        request = Request.of(self._info.path, fps, ".png")
        self._identity = {name: getattr(request, name) for name in IDENTITY}
        self.skipped: dict[str, str] = {}

    @property
    def subject(self) -> str:
        return str(self._info.path)

    @property
    def identity(self) -> dict[str, Any]:
        return {"video": self._identity}

    def total(self) -> int | None:
        info = self._info
        return round(info.duration * self._fps) if self._fps and info.duration else info.expected_frames

    def names(self, known: int | None = None) -> list[str] | None:
        return None if known is None else [frame_name(number) for number in range(1, known + 1)]

    def guessed_names(self) -> list[str]:
        """The names of all frames if the container tells their number truly."""
        return [frame_name(number) for number in range(1, (self.total() or 0) + 1)]

    def name_of(self, stem: str) -> str | None:
        return f"{stem}.png" if VIDEO_FRAME.fullmatch(stem) else None

    def stamp(self, name: str) -> list[int] | None:
        return None

    def frames(self, done: Container[str]) -> Iterator[Frame]:
        from core import video

        first = next(number for number in itertools.count(1) if frame_name(number) not in done)
        pictures = video.decode_frames(self._info, self._fps, first - 1, self._depth)
        with contextlib.closing(pictures):
            for number, rgb in enumerate(pictures, start=first):
                if frame_name(number) not in done:
                    yield VideoFrame(number, rgb)

    @contextlib.contextmanager
    def chosen(self, names: list[str]) -> Iterator[list[Frame]]:
        """The frames as files in a temporary folder: nobody can leaf through a video from end to end."""
        from core import video

        numbers = sorted(int(Path(name).stem) for name in names)
        with tempfile.TemporaryDirectory(prefix="extract-") as folder:
            if numbers:
                print(f"Decoding {len(numbers)} frames of {self._info.path.name} to look at.", flush=True)
            video.restore_frames(self._info, Path(folder), tuple(numbers), self._fps, depth=self._depth)
            paths = [Path(folder) / name for name in names]
            yield [ImageFrame(path) for path in paths if path.exists()]  # containers overstate their length


def frame_name(number: int) -> str:
    """The name of a video's frame, counted from 1."""
    return f"{number:05}.png"

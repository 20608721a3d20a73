"""Encoding while merge still writes: each frame is waited for, and none may change behind one's back.

merge writes a frame under its name only when it is whole, so what is there can be read. What was read is
looked at once more at the end: if merge has made a frame again since, the film would show the old one, and is
not given its name.
"""

from __future__ import annotations

import time
from pathlib import Path

from core.errors import SwapError

PATIENCE = 900.0  # seconds without the next frame before merge is given up
INTERVAL = 0.25


class Follower:
    """The results that there will be, in order."""

    def __init__(self, images: list[Path], patience: float = PATIENCE) -> None:
        self.images, self.patience = images, patience
        self._seen: dict[Path, tuple[int, int]] = {}

    @classmethod
    def of(cls, frames: Path, results: Path) -> Follower:
        """Results named after the images in `frames`, as merge names them.

        Raises:
            SwapError: There are no frames, or the two folders are one.
        """
        from core.video import require_images

        sources = require_images(frames, "the folder of the frames that are merged (--follow)")
        results = Path(results).expanduser()
        if results.exists() and results.samefile(frames):
            raise SwapError(f"{frames}: --follow names the frames that are merged, not the results")
        images = [results / f"{path.stem}.png" for path in sources]
        there = sum(path.exists() for path in images)
        print(f"{there} of {len(images)} results are there and taken as they are, the others are waited for")
        return cls(images)

    def wait(self, path: Path) -> None:
        """Return when `path` is there.

        Raises:
            SwapError: It did not come for a long time.
        """
        end = time.monotonic() + self.patience
        while (state := _state(path)) is None:
            if time.monotonic() > end:
                raise SwapError(
                    f"{path}: did not appear within {self.patience / 60:.0f} minutes; is merge running? "
                    "start it again, and this command too"
                )
            time.sleep(INTERVAL)
        self._seen[path] = state

    def check(self) -> None:
        """Refuse a film of frames that were made again since they were read.

        Raises:
            SwapError: Names the first.
        """
        for path, state in self._seen.items():
            if _state(path) != state:
                raise SwapError(
                    f"{path}: was made again while the video was encoded; start this command again"
                )


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

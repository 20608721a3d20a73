"""What a training shows of itself: on the screen, in `<model>_preview.jpg` and in the history folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import SwapError
from core.imageio import write_image
from core.imagelib.plot import compose_preview
from core.interact.screen import Screen

if TYPE_CHECKING:
    from models.base import Model

RANGES = (0, 5000, 10000, 50000, 100000)  # iterations shown in the graph of the screen; 0 is all
HISTORY_EVERY = 10  # iterations, times resolution // 64
JPEG_QUALITY = 90
KEYS = (
    "[Enter] save and quit  [s] save  [b] backup",
    "[p] refresh  [Space] next picture",
    "[l] range of the graph: {range}",
)


class PreviewWriter:
    """Draws the preview of one model and puts it where it can be seen; a full disk costs only the picture."""

    def __init__(self, model: Model, prefix: Path, screen: Screen, say: Callable[[str], None]) -> None:
        self._model, self._prefix, self._screen, self._say = model, prefix, screen, say
        self._pictures: dict[str, np.ndarray] = {}
        self._shown = 0  # index of the picture on the screen
        self._range = 0  # index into RANGES
        self._complained = False

    def refresh(self, batch: Mapping[str, np.ndarray]) -> None:
        """Draw the faces of `batch` anew, write the files and show one picture on the screen."""
        self._pictures = self._model.preview(batch)
        for name, picture in self._pictures.items():
            image = compose_preview(picture, self._model.loss_history, self._model.iteration)
            self._write(self.path_of(name), image)
        self.show()

    def path_of(self, name: str) -> Path:
        """`<prefix>_preview.jpg` for the plain picture, `<prefix>_preview_masked.jpg` for the masked one."""
        rest = _slug(name.removeprefix(self._model.kind))
        return self._prefix.with_name(f"{self._prefix.name}_preview{'_' + rest if rest else ''}.jpg")

    def files(self) -> tuple[Path, ...]:
        """The preview files that exist."""
        return tuple(path for path in map(self.path_of, self._pictures) if path.is_file())

    def show(self, caption: str = "") -> None:
        """Put the current picture, with its keys, on the screen."""
        if self._screen.closed or not self._pictures:
            return
        name = list(self._pictures)[self._shown % len(self._pictures)]
        count = RANGES[self._range]
        history = self._model.loss_history[-count:] if count else self._model.loss_history
        lines = [line.format(range=f"last {count}" if count else "all") for line in KEYS]
        picture = compose_preview(self._pictures[name], history, self._model.iteration, lines)
        self._screen.show(picture, caption or name)

    def next_picture(self) -> None:
        self._shown += 1
        self.show()

    def next_range(self) -> None:
        self._range = (self._range + 1) % len(RANGES)
        self.show()

    def keep_history(self, iteration: int, batch: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Every few iterations write the same faces: `<iteration>.jpg` and `_last.jpg`, a folder per picture.

        Args:
            iteration: Iterations done before the one at hand, which names the file.
            batch: Gives the faces; called only when it is time.
        """
        if iteration % (HISTORY_EVERY * max(1, self._model.resolution // 64)):
            return
        for name, picture in self._model.preview(batch()).items():
            folder = self._prefix.with_name(f"{self._prefix.name}_history") / name
            image = compose_preview(picture, self._model.loss_history, self._model.iteration)
            for stem in (f"{iteration:07}", "_last"):
                self._write(folder / f"{stem}.jpg", image)

    def _write(self, path: Path, image: np.ndarray) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, np.rint(image * 255).astype(np.uint8), JPEG_QUALITY)
        except (OSError, SwapError) as err:
            if not self._complained:
                self._say(f"{path}: the preview cannot be written ({getattr(err, 'strerror', None) or err})")
            self._complained = True
            return
        self._complained = False


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")

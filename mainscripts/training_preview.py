"""What a training shows of itself: on the screen, in `<model>_preview.jpg` and in the history folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import SwapError
from core.imageio import write_image
from core.imagelib.plot import compose_preview
from core.interact.screen import KeyEvent, Screen
from mainscripts.training_summary import pictures_path

if TYPE_CHECKING:
    from models.base import Model

RANGES = (0, 5000, 10000, 50000, 100000)  # iterations shown in the graph of the screen; 0 is all
HISTORY_EVERY = 10  # iterations, times resolution // 64
JPEG_QUALITY = 90
CHOICE_KEYS = (
    "Whose faces shall the preview history show?",
    "[p] others  [Space] next picture  [Enter] these",
)
KEYS = (
    "[Enter] save and quit  [s] save  [b] backup",
    "[p] refresh  [Space] next picture",
    "[l] range of the graph: {range}",
)


class PreviewWriter:
    """Draws the preview of one model and puts it where it can be seen; a full disk costs only the picture."""

    def __init__(self, model: Model, prefix: Path, screen: Screen, say: Callable[[str], None]) -> None:
        self.model: Model | None = model
        self._prefix, self._screen, self._say = prefix, screen, say
        self._pictures: dict[str, np.ndarray] = {}
        self._shown = 0  # index of the picture on the screen
        self._range = 0  # index into RANGES
        self._complained = False
        if model.iteration == 0:
            self._put_history_aside()

    @property
    def _history_folder(self) -> Path:
        return pictures_path(self._prefix)

    def _put_history_aside(self) -> None:
        """The pictures of an earlier model of this name (DFL deletes them) keep out of the new one's."""
        folder = self._history_folder
        with contextlib.suppress(OSError):
            if any(folder.iterdir()):
                names = (folder.with_name(f"{folder.name}_old{n or ''}") for n in (0, *range(2, 10_000)))
                aside = next(name for name in names if not name.exists())
                folder.rename(aside)
                self._say(f"The preview history of an earlier training is now in {aside.name}.")

    def refresh(self, batch: Mapping[str, np.ndarray]) -> None:
        """Draw the faces of `batch` anew, write the files and show one picture on the screen."""
        self._pictures = self.model.preview(batch)
        for name, picture in self._pictures.items():
            image = compose_preview(picture, self.model.loss_history, self.model.iteration)
            self._write(self.path_of(name), image)
        self.show()

    def path_of(self, name: str) -> Path:
        """`<prefix>_preview.jpg` for the plain picture, `<prefix>_preview_masked.jpg` for the masked one."""
        rest = _slug(name.removeprefix(self.model.kind))
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
        history = self.model.loss_history[-count:] if count else self.model.loss_history
        lines = [line.format(range=f"last {count}" if count else "all") for line in KEYS]
        picture = compose_preview(self._pictures[name], history, self.model.iteration, lines)
        self._screen.show(picture, caption or name)

    def choose_faces(
        self, batches: Callable[[int], Mapping[str, np.ndarray]], is_over: Callable[[], object]
    ) -> int | None:
        """Let the user look through batches until Enter; the number of the chosen one.

        Args:
            batches: The faces of a number.
            is_over: Whether the first ones will do after all: Enter at the terminal, a signal.

        Returns:
            `None` if nobody chose, because the screen is closed.
        """
        number = 0
        self._pictures = self.model.preview(batches(number))
        self._show_choice()
        while not self._screen.closed:
            if is_over():
                return number
            for event in self._screen.events(timeout=0.2):
                key = event.key if isinstance(event, KeyEvent) else ""
                if key == "enter":
                    return number
                if key == "p":
                    number += 1
                    self._pictures = self.model.preview(batches(number))
                self._shown += key == "space"
                if key in ("p", "space"):
                    self._show_choice()
        return None

    def _show_choice(self) -> None:
        name = list(self._pictures)[self._shown % len(self._pictures)]
        picture = compose_preview(
            self._pictures[name], self.model.loss_history, self.model.iteration, CHOICE_KEYS
        )
        self._screen.show(picture, f"{name}: faces for the history")

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
        if iteration % (HISTORY_EVERY * max(1, self.model.resolution // 64)):
            return
        for name, picture in self.model.preview(batch()).items():
            folder = self._history_folder / name
            image = compose_preview(picture, self.model.loss_history, self.model.iteration)
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

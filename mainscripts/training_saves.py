"""When a training is saved and backed up, and what is said about it.

A save is written as a stream, array by array, while training waits. A second thread with a snapshot of its
own would need the memory of weights and slots once more, to spare some seconds every 25 minutes: measured
with 400 million weights and AdaBelief (4.8 GB to write, 2 busy CPU cores) a save takes 8 to 18 s, some 1 % of
the time, and 60 MB of memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import CheckpointError
from mainscripts.training_history import Row
from models.tensor_file import NotFinite

if TYPE_CHECKING:
    from mainscripts.training_console import StopSignals
    from models import CheckpointStore
    from models.base import Model

SAVE_SECONDS = 25 * 60.0  # between automatic saves, as DFL
FIRST_SAVE_SECONDS = 3 * 60.0  # after the start; then twice as late each time, until saves are that far apart
RETRY_SECONDS = 5 * 60.0  # after one that failed
HOUR = 3600.0


@dataclass(frozen=True)
class Plan:
    """When a training ends and what it keeps, beside the model's own options."""

    prefix: Path  # `<model_dir>/<name>_<kind>`, what the names of the model's files begin with
    target: int = 0  # iteration to stop at; 0: none
    view_result: bool = False  # keep the screen open at the target, until Enter
    save_seconds: float = SAVE_SECONDS
    choose_history: bool = False  # let the user choose the faces of the preview history
    options_changed: bool = False  # since the model was saved


class Saver:
    """Saves one model by the clock; remembers what was saved last, and why the last save failed."""

    def __init__(
        self, store: CheckpointStore, plan: Plan, iteration: int, signals: StopSignals,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.store = store
        self.saved_at = iteration  # the iteration of the last save
        self.has_saved = False  # in this run
        self.is_stale = plan.options_changed  # another reason than its iterations to save the model
        self.failure: CheckpointError | None = None  # why the last save failed
        self._plan, self._signals, self._say = plan, signals, say
        self._started = self.backup_mark = time.monotonic()
        self._next = 0.0
        self.schedule()

    def schedule(self) -> None:
        """The first minutes teach the most, and a collapse then should not cost all of them."""
        now = time.monotonic()
        self._next = now + min(self._plan.save_seconds, max(FIRST_SAVE_SECONDS, now - self._started))

    def is_due(self, iteration: int) -> bool:
        """Whether it is time; always after the first iteration of all, as in DFL."""
        return (iteration == 1 and self.saved_at == 0) or time.monotonic() >= self._next

    def save(self, model: Model, extra: Mapping[str, Any], row: Row | None, told: bool = True) -> bool:
        """Save, and print the mean losses since the last save; False, with a word, if it failed.

        Args:
            told: Say why it failed; else the caller does, from `failure`.

        Raises:
            NotFinite: The model has gone wrong; nothing was written.
        """
        started = time.monotonic()
        self._signals.saving = True
        try:
            self.store.save(model, {**model.extra_state, **extra})
        except NotFinite:
            raise
        except CheckpointError as err:
            self.failure = err
            self._next = time.monotonic() + min(RETRY_SECONDS, self._plan.save_seconds)
            if told:
                self._say(f"/!\\ {err}.")
            return False
        finally:
            self._signals.saving = False
        self.schedule()
        self._say(self._saved_line(model, row, time.monotonic() - started))
        self.saved_at, self.has_saved, self.failure = model.iteration, True, None
        self.is_stale = False
        return True

    def has(self, model: Model) -> bool:
        """Whether the last save holds all that the model is."""
        return self.saved_at == model.iteration and not self.is_stale

    def _saved_line(self, model: Model, row: Row | None, seconds: float) -> str:
        recent = model.loss_history[self.saved_at - model.iteration :]
        if row is None or model.iteration == self.saved_at or not len(recent):
            return f"Saved at iteration {model.iteration}."
        means = tuple(float(value) for value in np.mean(recent, axis=0, dtype=np.float64))
        shown = Row(model.iteration, time.time(), row.ms, row.wait_ms, means)
        return f"saved in {seconds:.1f} s, mean losses since the last save: {shown.brackets()}"

    def backup_is_due(self, hours: int) -> bool:
        """Whether `hours` have passed since the last automatic backup; then counts anew."""
        period, passed = HOUR * hours, time.monotonic() - self.backup_mark
        if not period or passed < period:
            return False
        self.backup_mark += period * (passed // period)
        return True

    def backup(self, files: tuple[Path, ...]) -> None:
        """Copy what was saved last, with those of `files` that exist, to the backups."""
        try:
            folder = self.store.backup(tuple(path for path in files if path.is_file()))
            self._say(f"Backed up to {folder}.")
        except CheckpointError as err:
            self._say(f"/!\\ {err}.")

"""The training loop: batch, step, count, hooks (history, preview, keys, saves, backups, rollback, end)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import CheckpointError, SwapError
from core.interact.screen import ClosedEvent, KeyEvent, Screen
from mainscripts.training_batches import Batches
from mainscripts.training_console import Console, StopSignals, TerminalKeys
from mainscripts.training_guard import CollapseGuard
from mainscripts.training_history import Averages, HistoryFile, Row
from mainscripts.training_preview import PreviewWriter
from mainscripts.training_programs import Programs

if TYPE_CHECKING:
    from models import CheckpointStore
    from models.base import Model
    from samplelib import Faceset

SAVE_SECONDS = 25 * 60.0  # between automatic saves, as DFL
FIRST_SAVE_SECONDS = 3 * 60.0  # after the start; then twice as late each time, until saves are that far apart
RETRY_SECONDS = 5 * 60.0  # after one that failed
PREVIEW_SECONDS = 30.0  # at least; more where drawing is slow
PREVIEW_SHARE = 0.01  # of the time, at most
MAX_ROLLBACKS = 3  # without a save in between
CAUTION = 0.7  # factor on the learning rate with each rollback
HOUR = 3600.0
DONE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Plan:
    """When a training ends and what it keeps, beside the model's own options."""

    prefix: Path  # `<model_dir>/<name>_<kind>`, what the names of the model's files begin with
    target: int = 0  # iteration to stop at; 0: none
    view_result: bool = False  # keep the screen open at the target, until Enter
    save_seconds: float = SAVE_SECONDS


class Trainer:
    """Trains one model until its target, a key or a signal ends it; see `run`."""

    def __init__(
        self, model: Model, store: CheckpointStore, facesets: dict[str, Faceset], plan: Plan,
        console: Console, screen: Screen, keys: TerminalKeys | None = None, programs: Programs | None = None,
    ) -> None:  # fmt: skip
        self.model, self.store, self.facesets, self.plan = model, store, facesets, plan
        self.console, self.screen = console, screen
        self.keys = keys or TerminalKeys()
        self.programs = programs or Programs((), console.say)
        self.signals = StopSignals()
        self.guard = CollapseGuard()
        self.attempt = _rollbacks_before(model)
        self.batches = Batches(model, facesets, self.attempt)
        self.history = self._open_history()
        self.averages = Averages()
        self.preview = self._open_preview()
        self.quit = False
        self.failure: CheckpointError | None = None  # why the last save failed
        self._saved_at = model.iteration  # the iteration of the last save
        self._started = time.monotonic()
        self._next_save = self._next_preview = 0.0
        self._backup_mark = time.monotonic()
        self._rollbacks = 0  # without a save in between
        self._row: Row | None = None
        self._first_batch: dict[str, np.ndarray] | None = None
        self._is_sound = True  # nothing speaks against saving

    def _open_history(self) -> HistoryFile:
        return HistoryFile(_beside(self.plan.prefix, "_history.csv"), self.model.iteration)

    def _open_preview(self) -> PreviewWriter:
        return PreviewWriter(self.model, self.plan.prefix, self.screen, self.console.say)

    def run(self) -> int:
        """Train to the end.

        Returns:
            0 at the target or after Enter in the window, 130 after Ctrl-C or a signal, 1 if the last save
            failed.

        Raises:
            SwapError: It cannot go on (samples gone, collapse again and again); what is sound was saved.
        """
        with self.signals:
            try:
                self._schedule_save()
                self.model.rate_scale = CAUTION**self.attempt
                self.model.prime(self.batches.by_number)
                self._show_preview()
                while not self._is_over():
                    self._iterate()
                    self._after_iteration()
                return self._end()
            except Exception:
                self._rescue()
                raise
            finally:
                self.console.finish()
                self.programs.close()
                self.keys.close()
                self.history.close()
                self.batches.close()
                self.screen.close()

    def _is_over(self) -> bool:
        return bool(self.quit or self.signals.requested or self.console.lost or self._at_target())

    def _at_target(self) -> bool:
        return 0 < self.plan.target <= self.model.iteration

    def _iterate(self) -> None:
        """One iteration and its row of numbers; a collapse is answered at once."""
        if self.model.options.write_preview_history:
            self.preview.keep_history(self.model.iteration, self._history_faces)
        started = time.perf_counter()
        batch = self.batches.get(self.model.iteration)
        waited = time.perf_counter() - started
        losses = self.model.train_step(batch)
        took = time.perf_counter() - started
        row = Row(self.model.iteration, time.time(), 1000 * took, 1000 * waited, losses["src"], losses["dst"])
        self._row = row
        self.history.append(row)
        self.averages.add(row)
        self.console.status(self.averages.text(), row.brackets())
        why = self.guard.observe(row.src, row.dst)
        if why:
            self._roll_back(why)

    def _history_faces(self) -> dict[str, np.ndarray]:
        """The faces of the preview history: always those of the first batch."""
        if self._first_batch is None:
            self._first_batch = self.batches.get(0)
        return self._first_batch

    def _after_iteration(self) -> None:
        self._obey_keys()
        self.programs.poll()
        now = time.monotonic()
        first = self.model.iteration == 1 and self._saved_at == 0
        if (first or now >= self._next_save) and not self.guard.is_alarmed:
            self.save()
            self._show_preview()
        elif now >= self._next_preview:
            self._show_preview()

    def _obey_keys(self) -> None:
        """Enter at the terminal saves; in the window it saves and quits, as in DFL."""
        commands = {
            "": self._save_and_show,
            "s": self._save_and_show,
            "b": self.backup,
            "p": self._show_preview,
        }
        for line in self.keys.lines():
            commands.get(line.lower(), self._save_and_show)()
        commands |= {
            "enter": self._request_quit,
            "space": self.preview.next_picture,
            "l": self.preview.next_range,
        }
        for event in self.screen.events():
            if isinstance(event, KeyEvent):
                commands.get(event.key, lambda: None)()
            elif isinstance(event, ClosedEvent):
                self.console.say("The window is closed; training goes on. Ctrl-C saves and ends it.")
                self.save()

    def _request_quit(self) -> None:
        self.quit = True

    def _save_and_show(self) -> None:
        self.save()
        self._show_preview()

    def save(self) -> bool:
        """Save the model and print the mean losses since the last save; False, with a word, if it failed."""
        if not self._weights_are_finite():
            self._roll_back("the weights are not numbers any more")
            return False
        started = time.monotonic()
        self.signals.saving = True
        try:
            self.store.save(self.model, {**self.model.extra_state, "rollbacks": self.attempt})
        except CheckpointError as err:
            self.failure = err
            self._next_save = time.monotonic() + min(RETRY_SECONDS, self.plan.save_seconds)
            self.console.say(f"/!\\ {err}.")
            return False
        finally:
            self.signals.saving = False
        self._schedule_save()
        self._say_saved(time.monotonic() - started)
        self._saved_at, self._rollbacks, self.failure = self.model.iteration, 0, None
        self._backup_if_due()
        return True

    def _schedule_save(self) -> None:
        """The first minutes teach the most, and a collapse then should not cost all of them."""
        now = time.monotonic()
        self._next_save = now + min(self.plan.save_seconds, max(FIRST_SAVE_SECONDS, now - self._started))

    def _say_saved(self, seconds: float) -> None:
        recent = self.model.loss_history[self._saved_at - self.model.iteration :]
        if self._row is None or self.model.iteration == self._saved_at or not len(recent):
            self.console.say(f"Saved at iteration {self.model.iteration}.")
            return
        src, dst = (float(value) for value in np.mean(recent, axis=0, dtype=np.float64))
        row = Row(self.model.iteration, time.time(), self._row.ms, self._row.wait_ms, src, dst)
        self.console.say(f"saved in {seconds:.1f} s, mean losses since the last save: {row.brackets()}")

    def _backup_if_due(self) -> None:
        period = HOUR * self.model.options.autobackup_hour
        if period and time.monotonic() - self._backup_mark >= period:
            self._backup_mark += period * ((time.monotonic() - self._backup_mark) // period)
            self._copy_to_backup()

    def backup(self) -> None:
        """Save, and copy what was saved to the backups."""
        if self.save():
            self._copy_to_backup()

    def _copy_to_backup(self) -> None:
        files = (*self.preview.files(), _beside(self.plan.prefix, "_summary.txt"))
        try:
            folder = self.store.backup(tuple(path for path in files if path.is_file()))
            self.console.say(f"Backed up to {folder}.")
        except CheckpointError as err:
            self.console.say(f"/!\\ {err}.")

    def _show_preview(self) -> None:
        started = time.monotonic()
        self.preview.refresh(self.batches.get(self.model.iteration))
        ended = time.monotonic()
        self._next_preview = ended + max(PREVIEW_SECONDS, (ended - started) / PREVIEW_SHARE)

    def _roll_back(self, why: str) -> None:
        """Take the last good save and go on from it with other samples.

        Raises:
            CheckpointError: There is none, or it happened again and again since it.
        """
        self._rollbacks += 1
        self._is_sound = False
        lower = "a smaller batch_size changes little; try recipe=dfl or precision=float32"
        if not self.store.exists():
            raise CheckpointError(
                f"iteration {self.model.iteration}: {why}, and nothing is saved yet; {lower}"
            )
        if self._rollbacks > MAX_ROLLBACKS:
            raise CheckpointError(
                f"iteration {self.model.iteration}: {why}, for the {self._rollbacks}th time since the save "
                f"at iteration {self._saved_at}, which is kept; {lower}"
            )
        collapsed = self.model.iteration
        saved = self.store.load_latest()
        self.model.load_weights(saved.weights)
        self.model.load_optimizer_state(saved.optimizer)
        self.model.restore(saved.iteration, saved.loss_history)
        self._saved_at, self._is_sound = saved.iteration, True
        self.guard.reset()
        self.attempt += 1
        self.model.rate_scale = CAUTION**self.attempt
        self.batches.close()
        self.batches = Batches(self.model, self.facesets, self.attempt)
        self.history.cut_back(saved.iteration)
        for note in saved.notes:
            self.console.say(note)
        self.console.say(
            f"/!\\ Iteration {collapsed}: {why}. Went back to the save at iteration {saved.iteration}; "
            "going on from there with other samples, more slowly."
        )

    def _weights_are_finite(self) -> bool:
        return all(np.isfinite(array).all() for array in self.model.weights().values())

    def _end(self) -> int:
        """Save what is new and choose the exit code."""
        interrupted = bool(self.signals.requested or self.console.lost)
        if self._at_target() and not self.quit and not interrupted:
            return self._end_at_target()
        if self.signals.requested:
            self.console.say(f"Stopped by {self.signals.requested}.")
        failed = not self._save_last()
        return FAILED if failed else INTERRUPTED if interrupted else DONE

    def _end_at_target(self) -> int:
        done = self._saved_at == self.model.iteration or self._save_last()
        self._show_preview()
        self.console.say(f"Reached the target iteration {self.plan.target}.")
        if self.plan.view_result and not self.screen.closed:
            self.console.say("Press Enter, here or in the preview, to end.")
            self._look_on()
        return DONE if done else FAILED

    def _save_last(self) -> bool:
        """The save at the end; a collapse found only now leaves the last good one in place."""
        if self._saved_at == self.model.iteration and self.store.exists():
            self.console.say(f"The model is saved, at iteration {self._saved_at}.")
            return True
        if not self._weights_are_finite():
            self.console.say(f"Not saved: the weights are not numbers. The save at {self._saved_at} is kept.")
            return True
        saved = self.save()
        if not saved:
            self.console.say(f"What was learnt since iteration {self._saved_at} is lost.")
        elif not self._at_target():
            self._show_preview()
        return saved

    def _look_on(self) -> None:
        """After the target: answer the preview's keys until Enter."""
        shown = self.model.iteration
        while not (self.screen.closed or self.signals.requested or self.keys.lines()):
            self.programs.poll()
            for event in self.screen.events(timeout=0.2):
                key = event.key if isinstance(event, KeyEvent) else ""
                if key == "enter":
                    return
                if key == "p":
                    shown += 1  # other faces
                    self.preview.refresh(self.batches.get(shown))
                actions: dict[str, Callable[[], None]] = {
                    "space": self.preview.next_picture,
                    "l": self.preview.next_range,
                }
                actions.get(key, lambda: None)()

    def _rescue(self) -> None:
        """After an error: keep what was learnt, if it is sound; the caller reports the error itself."""
        if self.model.iteration <= self._saved_at or not self._is_sound or self.guard.is_alarmed:
            return
        try:
            if self._weights_are_finite():
                self.save()
        except Exception as err:  # the first error matters more than that this came on top of it
            self.console.say(f"/!\\ Not saved: {err}")


def explain_memory_error(error: Exception) -> SwapError | None:
    """What to do about TensorFlow's out-of-memory error; None for any other."""
    import tensorflow as tf

    if isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError)):
        return SwapError("out of memory; lower batch_size (--option batch_size=2), or give --cpu-only")
    return None


def _rollbacks_before(model: Model) -> int:
    count = model.extra_state.get("rollbacks", 0)
    if type(count) is not int or count < 0:
        raise CheckpointError(
            f"{model.name}: its state.json says {count!r} rollbacks; write 0 there, or put back a backup"
        )
    return count


def _beside(prefix: Path, tail: str) -> Path:
    return prefix.with_name(prefix.name + tail)

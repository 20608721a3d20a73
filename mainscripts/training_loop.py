"""The training loop: batch, step, count, hooks (history, preview, keys, saves, backups, rollback, end)."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import CheckpointError
from core.interact.screen import Screen
from mainscripts.training_batches import Batches
from mainscripts.training_console import Console, StopSignals, TerminalKeys
from mainscripts.training_guard import CollapseGuard
from mainscripts.training_history import Averages, HistoryFile, Row, history_path
from mainscripts.training_keys import look_on, obey_keys, room_was_made
from mainscripts.training_memory import halved_batch, is_out_of_memory, nothing_left
from mainscripts.training_preview import PreviewWriter
from mainscripts.training_programs import Programs
from mainscripts.training_saves import Plan, Saver
from mainscripts.training_summary import summary_path
from models.tensor_file import NotFinite

if TYPE_CHECKING:
    from models import CheckpointStore
    from models.base import Model, ModelOptions
    from samplelib import Faceset

PREVIEW_SECONDS = 30.0  # at least; more where drawing is slow
PREVIEW_SHARE = 0.01  # of the time, at most
MAX_ROLLBACKS = 3  # without a save in between
CAUTION = 0.7  # factor on the learning rates with each rollback
CHOOSE = "Choose the faces of the preview history, in the preview; Enter here takes those shown, too."
HISTORY_BATCH = "history_batch"  # in the trainer's saved state: which faces the preview history shows
DONE, FAILED, INTERRUPTED = 0, 1, 130


class Trainer:
    """Trains one model until its target, a key or a signal ends it; see `run`."""

    def __init__(
        self, model: Model, store: CheckpointStore, facesets: Mapping[str, Faceset], plan: Plan,
        console: Console, screen: Screen, keys: TerminalKeys | None = None, programs: Programs | None = None,
        rebuild: Callable[[ModelOptions], Model] | None = None,
    ) -> None:  # fmt: skip
        """Set up; nothing is trained yet.

        Args:
            programs: To run beside the training.
            rebuild: Makes the model anew: as it was saved last, or fresh where nothing is saved; with these
                options. Without it a collapse before the first save ends the training, and so does a
                shortage of memory. The caller keeps no reference to the model.
        """
        self.model: Model | None = model
        self.store, self.facesets, self.plan = store, facesets, plan
        self.console, self.screen = console, screen
        self.keys = keys or TerminalKeys()
        self.programs = programs or Programs((), console.say)
        self.signals = StopSignals()
        self.guard = CollapseGuard()
        self.attempt = _count(model, "rollbacks")
        self.history_batch = _count(model, HISTORY_BATCH)
        self.batches = Batches(model, facesets, self.attempt, console.say)
        self.history = self._open_history()
        self.averages = Averages()
        self.preview = self._open_preview()
        self.saver = Saver(store, plan, model.iteration, self.signals, console.say)
        self.quit = False
        self._rebuild = rebuild
        self._next_preview = 0.0
        self._rollbacks = 0  # without a save in between
        self._row: Row | None = None
        self._history_faces: dict[str, np.ndarray] | None = None
        self._is_to_choose = plan.choose_history
        self._begun = False  # primed and shown
        self._stepping = False
        self._is_sound = True  # nothing speaks against saving

    def _open_history(self) -> HistoryFile:
        return HistoryFile(history_path(self.plan.prefix), self.model.iteration, self.model.sides)

    def _open_preview(self) -> PreviewWriter:
        return PreviewWriter(self.model, self.plan.prefix, self.screen, self.console.say)

    @property
    def failure(self) -> CheckpointError | None:
        """Why the last save failed."""
        return self.saver.failure

    def run(self) -> int:
        """Train to the end.

        Returns:
            0 at the target or after Enter in the window, 130 after Ctrl-C or a signal, 1 if the last save
            failed.

        Raises:
            SwapError: It cannot go on (samples gone, collapse again and again, no memory for the smallest
                batch); what is sound was saved.
        """
        with self.signals:
            try:
                self.saver.schedule()
                while not self._begun or not self._is_over():
                    if not self._advance():
                        self._shrink()
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

    def _advance(self) -> bool:
        """Begin, or train one iteration; False if that took more memory than there is."""
        try:
            if not self._begun:
                self._begin()
            else:
                self._iterate()
                if self._begun:
                    self._after_iteration()
        except Exception as err:
            if not is_out_of_memory(err):
                raise
            self._is_sound, self._stepping = not self._stepping, False  # a step may be half done
            if self._rebuild is None or not halved_batch(self.model):
                raise nothing_left(self.model) from err
            return False
        return True

    def _begin(self) -> None:
        self.model.rate_scale = CAUTION**self.attempt
        if self.model.waits_for_priming:
            self.console.say("Fitting the first layer to some hundred faces, which saves hours later ...")
        self.model.prime(self.batches.by_number)
        if self._is_to_choose:
            self._choose_history()
        self.show_preview()
        self._begun = True

    def _choose_history(self) -> None:
        self._is_to_choose = False
        if not self.screen.closed:
            self.console.say(CHOOSE)
        number = self.preview.choose_faces(
            self.batches.by_number, lambda: self.signals.requested or self.keys.lines()
        )
        if number is not None:
            self.history_batch, self._history_faces = number, None
            self.model.extra_state = {**self.model.extra_state, HISTORY_BATCH: number}
            self.saver.is_stale = True

    def _is_over(self) -> bool:
        return bool(self.quit or self.signals.requested or self.console.lost or self._at_target())

    def _at_target(self) -> bool:
        return 0 < self.plan.target <= self.model.iteration

    def _iterate(self) -> None:
        """One iteration and its row of numbers; a collapse is answered at once."""
        if self.model.options.write_preview_history:
            self.preview.keep_history(self.model.iteration, self._faces_of_history)
        started = time.perf_counter()
        batch = self.batches.take(self.model.iteration)
        waited = time.perf_counter() - started
        self._stepping = True
        losses = self.model.train_step(batch)
        self._stepping = False
        took = time.perf_counter() - started
        shown = tuple(losses[side] for side in self.model.sides)
        self._row = row = Row(self.model.iteration, time.time(), 1000 * took, 1000 * waited, shown)
        self.history.append(row)
        self.averages.add(row)
        left = self.plan.target - row.iteration if self.plan.target else 0
        self.console.status(self.averages.text(left), row.brackets())
        why = self.guard.observe(losses)
        if why:
            self._roll_back(why)
        if self.model.resolution != self.batches.resolution:
            self._follow_resolution()

    def _follow_resolution(self) -> None:
        """The model grew: its faces are loaded anew, in the new size, and its losses are others."""
        self._load_batches()
        self.guard.reset()
        self.averages, self._next_preview = Averages(), 0.0
        self.console.say(f"The faces have {self.model.resolution} pixels now.")

    def _load_batches(self) -> None:
        self.batches.close()
        self._history_faces = None
        self.batches = Batches(self.model, self.facesets, self.attempt, self.console.say)

    def _faces_of_history(self) -> dict[str, np.ndarray]:
        """The faces of the preview history: always the same."""
        if self._history_faces is None:
            self._history_faces = self.batches.by_number(self.history_batch)
        return self._history_faces

    def _after_iteration(self) -> None:
        obey_keys(self)
        self.programs.poll()
        if self.saver.is_due(self.model.iteration) and not self.guard.is_alarmed:
            self.save_and_show()
        elif time.monotonic() >= self._next_preview:
            self.show_preview()

    def request_quit(self) -> None:
        """Save and end after this iteration."""
        self.quit = True

    def save_and_show(self) -> None:
        self.save()
        self.show_preview()

    def save(self) -> bool:
        """Save the model and print the mean losses since the last save; False, with a word, if it failed."""
        try:
            saved = self.saver.save(self.model, {"rollbacks": self.attempt}, self._row)
        except NotFinite as err:
            self._roll_back(f"the weights are not numbers any more: {err}")
            return False
        if saved:
            self._rollbacks = 0
            if self.saver.backup_is_due(self.model.options.autobackup_hour):
                self.copy_to_backup()
        return saved

    def backup(self) -> None:
        """Save, and copy what was saved to the backups."""
        if self.save():
            self.copy_to_backup()

    def copy_to_backup(self) -> None:
        """Copy what was saved last."""
        self.saver.backup((*self.preview.files(), summary_path(self.plan.prefix)))

    def show_preview(self) -> None:
        """Draw the faces of this iteration, on the screen and in files."""
        started = time.monotonic()
        self.preview.refresh(self.batches.get(self.model.iteration))
        ended = time.monotonic()
        self._next_preview = ended + max(PREVIEW_SECONDS, (ended - started) / PREVIEW_SHARE)

    def _roll_back(self, why: str) -> None:
        """Take the last good save, or the fresh model, and go on from it with other samples.

        Raises:
            CheckpointError: It happened again and again.
        """
        self._rollbacks += 1
        self._is_sound = False
        lower = "a smaller batch_size changes little; try recipe=dfl or precision=float32"
        collapsed, is_saved = self.model.iteration, self.store.exists()
        kept = f"the save at iteration {self.saver.saved_at}, which is kept" if is_saved else "the start"
        if self._rollbacks > MAX_ROLLBACKS or not (is_saved or self._rebuild):
            raise CheckpointError(
                f"iteration {collapsed}: {why}, for the {_nth(self._rollbacks)} time since {kept}"
                f"{'' if is_saved else ', and nothing is saved yet'}; {lower}"
            )
        if self._rebuild and not (is_saved and self.saver.has_saved):
            # what was saved before this run may be of other options, such as pretraining
            self._start_anew(self.model.options)
        else:
            self._load_saved()
        self.attempt += 1
        self._resume()
        self.console.say(
            f"/!\\ Iteration {collapsed}: {why}. Went back to {self._place()}; "
            "going on from there with other samples, more slowly."
        )

    def _load_saved(self) -> None:
        saved = self.store.load_latest()
        self.model.restore(saved.iteration, saved.loss_history)  # first, for a model of growing faces
        self.model.load_weights(saved.weights)
        self.model.load_optimizer_state(saved.optimizer)
        for note in saved.notes:
            self.console.say(note)

    def _start_anew(self, options: ModelOptions) -> None:
        """Another model in place of this one, which is gone before: there may be no room for both."""
        self.batches.close()
        self.model = self.preview.model = None
        gc.collect()
        self.model = self.preview.model = self._rebuild(options)
        self._begun = False

    def _resume(self) -> None:
        """All that counts iterations, set to where the model is now."""
        self.saver.saved_at, self._is_sound = self.model.iteration, True
        self.guard.reset()
        self.model.rate_scale = CAUTION**self.attempt
        self._load_batches()
        self.history.cut_back(self.model.iteration)

    def _place(self) -> str:
        """Where the model is, in words."""
        if not self.store.exists():
            return "the start, as nothing was saved yet"
        return f"the save at iteration {self.model.iteration}"

    def _shrink(self) -> None:
        """After a shortage of memory: half the batch, from the last save on."""
        options, smaller = self.model.options, halved_batch(self.model)
        if self._is_sound and self.model.iteration > self.saver.saved_at and not self.guard.is_alarmed:
            try:
                self.save()
            except MemoryError:
                self.console.say("/!\\ Not saved: out of memory.")
        stood = self.model.iteration
        extra = self.model.extra_state
        self._start_anew(replace(options, batch_size=smaller))
        self.model.extra_state = {**extra, **self.model.extra_state}
        self._resume()
        self.saver.is_stale = True
        self.averages = Averages()
        self.console.say(
            f"/!\\ Out of memory at iteration {stood} with batch_size {options.batch_size}. Going on with "
            f"--option batch_size={smaller}, which the model keeps, from {self._place()}."
        )

    def _end(self) -> int:
        """Save what is new and choose the exit code."""
        interrupted = bool(self.signals.requested or self.console.lost)
        if self._at_target() and not self.quit and not interrupted:
            return self._end_at_target()
        if self.signals.requested:
            self.console.say(f"Stopped by {self.signals.requested}.")
        failed = not self.save_last()
        return FAILED if failed else INTERRUPTED if interrupted else DONE

    def _end_at_target(self) -> int:
        looks_on = self.plan.view_result and not self.screen.closed
        done = self.saver.has(self.model) or self.save_last(told=looks_on)
        self.show_preview()
        self.console.say(f"Reached the target iteration {self.plan.target}.")
        if looks_on:
            self.console.say("Press Enter, here or in the preview, to end.")
            look_on(self)
            done = done or self.saver.has(self.model)  # by a key, with room made meanwhile
            if not done:
                self._say_what_is_lost()
        return DONE if done else FAILED

    def save_last(self, told: bool = False) -> bool:
        """The save at the end; a collapse found only now leaves the last good one in place.

        Args:
            told: Say why it failed; else the command ends with that, see `failure`.
        """
        if self.saver.has(self.model) and self.store.exists():
            self.console.say(f"The model is saved, at iteration {self.saver.saved_at}.")
            return True
        try:
            saved = self.saver.save(self.model, {"rollbacks": self.attempt}, self._row, told)
            while not saved and not told and room_was_made(self):
                saved = self.saver.save(self.model, {"rollbacks": self.attempt}, self._row, told)
        except NotFinite as err:
            kept = f"The save at {self.saver.saved_at} is kept." if self.store.exists() else ""
            self.console.say(f"Not saved: the weights are not numbers ({err}). {kept}".rstrip())
            return self.store.exists()
        if not saved and not told:
            self._say_what_is_lost()
        elif saved and not self._at_target():
            self.show_preview()
        return saved

    def _say_what_is_lost(self) -> None:
        since = self.saver.saved_at
        learnt = f"What was learnt since iteration {since} is lost."
        self.console.say(learnt if self.model.iteration > since else "The options are not saved.")

    def _rescue(self) -> None:
        """After an error: keep what was learnt, if it is sound; the caller reports the error itself."""
        if self.model is None or self.model.iteration <= self.saver.saved_at:
            return
        if not self._is_sound or self.guard.is_alarmed:
            return
        try:
            self.saver.save(self.model, {"rollbacks": self.attempt}, self._row)
        except Exception as err:  # the first error matters more than that this came on top of it
            self.console.say(f"/!\\ Not saved: {err}")


def _count(model: Model, name: str) -> int:
    """A number of the trainer's saved state; 0 where it is not there."""
    count = model.extra_state.get(name, 0)
    if type(count) is not int or count < 0:
        raise CheckpointError(
            f"{model.name}: its state.json says {count!r} {name}; write 0 there, or put back a backup"
        )
    return count


def _nth(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"

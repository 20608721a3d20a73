"""Which model to train and with which options: the questions before TensorFlow is loaded."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import models
from core.errors import SwapError, UsageError
from core.interact.prompts import Prompter
from core.options import Scalar
from core.paths import require_folder
from mainscripts.training_defaults import load_default_options, save_default_options, unasked_line

if TYPE_CHECKING:
    from models.base import ModelOptions

DEFAULT_NAME = "new"
OVERRIDE = "Press Enter within 2 seconds to override the model's settings."
OVERRIDE_SECONDS = 2.0
LIST_HELP = (
    "Enter takes the first model, a number the model of that line, any other text starts a new model of that "
    "name; r renames a model, d deletes one."
)
NAME_HELP = "The name of the model's files; no underscore and no path."


@dataclass(frozen=True)
class Choice:
    """The model to train."""

    name: str
    is_new: bool
    options: ModelOptions
    notes: tuple[str, ...] = ()
    asked: bool = False  # the questions were put, to whoever answers
    saved: ModelOptions | None = None  # the options of a model that exists, before

    @property
    def is_changed(self) -> bool:
        """Whether the options are other than those that are saved."""
        return self.options != self.saved

    @property
    def ends_pretraining(self) -> bool:
        """Whether the saved model is a pretrained one that is to learn its persons now."""
        return getattr(self.saved, "pretrain", False) and not getattr(self.options, "pretrain", False)


def choose_model(prompter: Prompter, model_dir: Path, kind: str, forced: str | None = None) -> str:
    """The name of the model to train: `forced`, or chosen from those saved, or a new one."""
    if forced is not None:
        return models.check_model_name(forced.strip())
    while True:
        saved = models.list_models(model_dir, kind)
        if not saved:
            return _ask_name(prompter, "No saved models found. Name of the new model", DEFAULT_NAME)
        answer = _ask_list(prompter, saved)
        if answer == "r":
            _rename(prompter, model_dir, kind, saved)
        elif answer == "d":
            _delete(prompter, model_dir, kind, saved)
        elif answer.isdigit() and int(answer) >= len(saved):
            print(f"There is no [{answer}].")
        else:
            name = _by_number(answer, saved) or _cleaned(answer)
            if name is not None:
                return name


def _ask_list(prompter: Prompter, saved: list[str]) -> str:
    print("Choose one of the saved models, or type a name to create a new model.")
    print("[r] : rename    [d] : delete")
    for index, name in enumerate(saved):
        print(f"[{index}] : {name}{' - latest' if index == 0 else ''}")
    return prompter.ask_text("Model", "0", help=LIST_HELP)


def _ask_name(prompter: Prompter, label: str, default: str) -> str:
    while True:
        name = _cleaned(prompter.ask_text(label, default, help=NAME_HELP))
        if name is not None:
            return name


def _by_number(answer: str, saved: list[str]) -> str | None:
    if answer in saved:  # a model may be called 1
        return answer
    return saved[int(answer)] if answer.isdigit() and int(answer) < len(saved) else None


def _cleaned(name: str) -> str | None:
    """A typed name that can be used, underscores made spaces; None, with a word, where it cannot."""
    cleaned = name.replace("_", " ").strip()
    try:
        models.check_model_name(cleaned)
    except SwapError as err:
        print(err)
        return None
    if cleaned != name:
        print(f"The model is called {cleaned!r}; names have no underscore.")
    return cleaned


def _pick(prompter: Prompter, verb: str, saved: list[str]) -> str | None:
    """A saved model by number or name; None for anything else."""
    answer = prompter.ask_text(f"Which model to {verb} (its number or name, Enter for none)")
    name = _by_number(answer, saved)
    if answer and name is None:
        print(f"There is no model {answer!r}.")
    return name


def _rename(prompter: Prompter, model_dir: Path, kind: str, saved: list[str]) -> None:
    old = _pick(prompter, "rename", saved)
    new = _cleaned(prompter.ask_text(f"New name of {old}", old, help=NAME_HELP)) if old else None
    if old and new and old != new:
        try:
            models.rename_model(model_dir, kind, old, new)
            print(f"{old} is now {new}.")
        except SwapError as err:
            print(err)


def _delete(prompter: Prompter, model_dir: Path, kind: str, saved: list[str]) -> None:
    name = _pick(prompter, "delete", saved)
    if name is None:
        return
    for path in models.model_files(model_dir, name, kind):
        print(f"  {path.name}")
    if prompter.ask_bool(f"Delete {name} with these files, backups included, for good?", False):
        try:
            models.delete_model(model_dir, kind, name)
            print(f"{name} is deleted.")
        except SwapError as err:
            print(err)


def choose_options(
    prompter: Prompter, model_dir: Path, kind: str, name: str, pairs: list[str], gpu_memory: int = 0
) -> Choice:
    """Ask for the options of a model: all at its first run, at later ones only on request.

    Args:
        pairs: `KEY=VALUE` from the command line, taken over without a question.
        gpu_memory: See `ModelOptions.usual`.

    Raises:
        UsageError: An unknown option, a value out of range, or another value for what the first run fixed.
    """
    chosen = models.options_class(kind)
    given = chosen.parse_pairs(pairs)
    if not models.model_exists(model_dir, name, kind):
        defaults, notes = load_default_options(model_dir, kind, gpu_memory)
        if not prompter.interactive:
            print(f"{name} is a new model; {unasked_line(model_dir, kind, defaults, given, gpu_memory)}.")
        options = defaults.ask(prompter, first_run=True, given=given)
        if prompter.interactive:
            save_default_options(model_dir, kind, options)
        return Choice(name, True, options, (*notes, *options.idle(given)), asked=True)
    options = saved = models.saved_options(model_dir, name, kind)
    _refuse_fixed(options, given, name)
    asked = prompter.pressed_enter_within(OVERRIDE_SECONDS, OVERRIDE)
    if asked:
        options = options.ask(prompter, first_run=False, given=given)
    else:
        options = options.changed(**given)
    return Choice(name, False, options, tuple(options.idle(given)), asked, saved)


def _refuse_fixed(options: ModelOptions, given: dict[str, Scalar], name: str) -> None:
    specs = options.specs()
    for key, value in given.items():
        if specs[key].fixed and value != getattr(options, key):
            raise UsageError(
                f"--option {key}={value}: fixed at {getattr(options, key)} since the first run of {name}; "
                "leave it out or train a new model"
            )


def choose_devices(prompter: Prompter, cpu_only: bool, forced: str | None) -> tuple[bool, list[int] | None]:
    """Whether to leave the GPUs alone, and the numbers of those to use (`None`: the best one).

    Raises:
        UsageError: `forced` is not a list of numbers.
    """
    if cpu_only:
        return True, None
    if forced is not None:
        return False, parse_indices(forced)
    names = list_gpus()
    if not names or not prompter.interactive:
        return False, None
    print("Choose one or several GPUs (separated by comma), or CPU.")
    print("[CPU] : CPU")
    for index, name in enumerate(names):
        print(f"  [{index}] : {name}")
    while True:
        answer = prompter.ask_text("Which GPU", "0")
        if answer.lower() == "cpu":
            return True, None
        with contextlib.suppress(UsageError):
            indices = parse_indices(answer)
            if all(index < len(names) for index in indices):
                return False, indices
        print(f"{answer!r} is none of the list")


def parse_indices(text: str) -> list[int]:
    """`0,1` as numbers.

    Raises:
        UsageError: It is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"--force-gpu-idxs {text!r}: give the numbers of GPUs, such as 0 or 0,1")
    return [int(part) for part in dict.fromkeys(parts)]


def gpu_memory(cpu_only: bool, forced: str | None) -> int:
    """Bytes of the smallest of the GPUs `forced`, or of the first one; 0 where none is to be used.

    Raises:
        UsageError: `forced` is not a list of numbers.
    """
    wanted = [0] if forced is None else parse_indices(forced)
    sizes = [] if cpu_only else [re.search(r"(\d+) MiB", gpu) for gpu in list_gpus()]
    found = [sizes[number] for number in wanted if number < len(sizes)]
    return min((int(size[1]) << 20 if size else 0 for size in found), default=0)


def list_gpus() -> list[str]:
    """Names of the NVIDIA GPUs, without loading TensorFlow; none where the driver does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        found = subprocess.run(
            [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=15,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]


def require_faces(path: Path, what: str, step: str) -> Path:
    """`path` if it is a folder with something to train on; checked before anything slow is loaded.

    Raises:
        SwapError: It is missing or empty; names the step that fills it.
    """
    folder = require_folder(path, what)
    if _has_faces(folder):
        return folder
    readable = [part for part in sorted(folder.iterdir()) if os.access(part, os.R_OK | os.X_OK)]
    below = [part.name for part in readable if _has_faces(part)]
    if below:
        more = f" and {len(below) - 3} more" if len(below) > 3 else ""
        raise SwapError(
            f"{folder}: {what} has pictures in its subfolders only ({', '.join(below[:3])}{more}); give one "
            "of them, or pack several into one faceset (util --pack-faceset)"
        )
    raise SwapError(f"{folder}: {what} holds no faces; extract them first ({step})")


def _has_faces(folder: Path) -> bool:
    """Whether a faceset could be in it."""
    from core.paths import list_images

    return folder.is_dir() and (any(folder.glob("*.pak")) or bool(list_images(folder)))

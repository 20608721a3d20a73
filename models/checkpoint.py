"""Checkpoints: directories written whole and renamed into place, with checksums; the one before is kept.

A model `<name>_<kind>` lives in `<model_dir>/<name>_<kind>/`, as generations `<counter>-<iteration>/` of

    weights.safetensors    float32 weights by variable path
    optimizer.safetensors  slots by `<slot>/<variable path>`, counters
    history.safetensors    `loss_history` (N, K) float32, a column for each side
    state.json             iteration, options, the trainer's state, length and SHA-256 of the files above

A generation appears under its name by one rename, after everything in it is on the disk. A process killed or
a disk filled at any moment leaves the generations before it as they were.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import CheckpointError
from core.storage import sync_directory
from models.model_files import check_model_name, clear_errors, reserved
from models.tensor_file import Arrays, fingerprint, read_tensors, write_tensors

if TYPE_CHECKING:
    from models.base import Model

FORMAT = 1
GENERATION = re.compile(r"^(\d{7,})-(\d+)$")
TEMPORARY = ".saving-"
STATE = "state.json"
WEIGHTS, OPTIMIZER, HISTORY = "weights.safetensors", "optimizer.safetensors", "history.safetensors"
KEPT = 2  # generations: the newest and the one before
BACKUPS = 24


@dataclass
class Checkpoint:
    """A saved state of a model, in memory."""

    kind: str
    iteration: int
    options: dict[str, Any]  # as saved; the model's option class checks them
    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]  # empty: it was not asked for, or none was saved
    loss_history: np.ndarray  # (N, K) float32
    extra: dict[str, Any] = field(default_factory=dict)
    source: Path = Path()
    notes: list[str] = field(default_factory=list)  # what the user should be told


class CheckpointStore:
    """The checkpoints of one model on disk. One process may save to it at a time."""

    def __init__(self, model_dir: Path | str, name: str, kind: str) -> None:
        self.model_dir, self.name, self.kind = Path(model_dir), check_model_name(name), kind
        self.folder = self.model_dir / f"{name}_{kind}"
        self._damaged: set[Path] = set()  # found by this store; never kept as the generation to fall back on

    def exists(self) -> bool:
        """Whether anything was ever saved here, sound or not."""
        return bool(self.generations())

    def generations(self) -> list[Path]:
        """Folders of the generations, newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if GENERATION.match(path.name)]
        return sorted(found, key=lambda path: int(path.name.partition("-")[0]), reverse=True)

    def reserved(self) -> contextlib.AbstractContextManager[None]:
        """See `models.model_files.reserved`."""
        return reserved(self.folder)

    def check_writable(self) -> None:
        """Try to write where `save` will.

        Raises:
            CheckpointError: It cannot; the message says why. Better now than after an hour of training.
        """
        probe = self.folder / f"{TEMPORARY}probe-{os.getpid()}"
        is_new = not self.folder.exists()
        with clear_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"probe")
            probe.unlink()
            if is_new:  # a start that fails after this leaves nothing behind
                self.folder.rmdir()

    def save(self, model: Model, extra_state: Mapping[str, Any] | None = None) -> Path:
        """Write the model as a new generation and remove those older than the one before.

        Args:
            model: What to save.
            extra_state: JSON-like state of the trainer, given back as `Checkpoint.extra`.

        Returns:
            The folder of the new generation.

        Raises:
            NotFinite: Weights or the optimizer's state are not numbers any more; nothing was saved.
            CheckpointError: It could not be written; the generations before are untouched.
        """
        tensors = {
            WEIGHTS: model.deferred_weights(),
            OPTIMIZER: model.deferred_optimizer_state(),
            HISTORY: {"loss_history": np.asarray(model.loss_history, np.float32)},
        }
        state = {
            "format": FORMAT,
            "kind": model.kind,
            "iteration": int(model.iteration),
            "options": {**model.unknown_options, **model.options.to_json()},
            "extra": dict(extra_state or {}),
        }
        return self._write(state, tensors)

    def _write(self, state: dict[str, Any], tensors: Mapping[str, Arrays]) -> Path:
        older = self.generations()
        counter = int(older[0].name.partition("-")[0]) + 1 if older else 1
        temporary = self.folder / f"{TEMPORARY}{os.getpid()}"
        final = self.folder / f"{counter:07d}-{state['iteration']}"
        with clear_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _sweep(self.folder)
            try:
                _write_generation(temporary, state, tensors)
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_directory(self.folder)
        self._prune(final, older)
        return final

    def _prune(self, newest: Path, older: list[Path]) -> None:
        """Keep the newest generation and the newest sound one before it."""
        sound = (path for path in older if path not in self._damaged and _lengths_fit(path))
        kept = {newest, *itertools.islice(sound, KEPT - 1)}
        for path in older:
            if path not in kept:
                _remove_generation(path)

    def load_latest(self, training: bool = True) -> Checkpoint:
        """Read the newest generation whose checksums hold.

        Args:
            training: Read the optimizer's state, too.

        Raises:
            CheckpointError: There is none; every generation with its fault is named.
        """
        faults: list[str] = []
        for path in self.generations():
            try:
                checkpoint = self._read(path, training)
            except _Damaged as err:
                self._damaged.add(path)
                faults.append(f"{path.name}: {err}")
                continue
            if faults:
                checkpoint.notes.append(
                    f"{self.folder}: damaged checkpoint ({'; '.join(faults)}); "
                    f"going on from the one before, {path.name}, at iteration {checkpoint.iteration}"
                )
            return checkpoint
        raise self._nothing_sound(faults)

    def read_options(self) -> dict[str, Any]:
        """The options saved last, without reading the weights.

        Raises:
            CheckpointError: No generation has a readable record.
        """
        return dict(self._read_newest_state()["options"])

    def read_iteration(self) -> int:
        """The iteration saved last; see `read_options`."""
        return int(self._read_newest_state()["iteration"])

    def _read_newest_state(self) -> dict[str, Any]:
        faults: list[str] = []
        for path in self.generations():
            try:
                return _read_state(path)
            except _Damaged as err:
                faults.append(f"{path.name}: {err}")
        raise self._nothing_sound(faults)

    def _nothing_sound(self, faults: list[str]) -> CheckpointError:
        if not faults:
            return CheckpointError(f"{self.folder}: no saved model; train one under this name first")
        if self.backup_folder.is_dir():
            remedy = f"copy the content of a folder of {self.backup_folder.name} into it"
        else:
            remedy = "put back a copy of it, or move it away to train the model anew"
        return CheckpointError(f"{self.folder}: no checkpoint is sound ({'; '.join(faults)}); {remedy}")

    def _read(self, path: Path, training: bool) -> Checkpoint:
        state = _read_state(path)
        if state["format"] > FORMAT:
            raise CheckpointError(f"{path}: written by a newer version (format {state['format']}); update")
        if state["kind"] != self.kind:
            raise CheckpointError(
                f"{path}: holds a {state['kind']} model, not {self.kind}; give that --model"
            )
        tensors = {}
        for name in (WEIGHTS, OPTIMIZER, HISTORY):
            if name != OPTIMIZER or training:
                tensors[name] = _read_tensors(path / name, state["files"].get(name))
        return Checkpoint(
            kind=state["kind"],
            iteration=state["iteration"],
            options=state["options"],
            weights=tensors[WEIGHTS],
            optimizer=tensors.get(OPTIMIZER, {}),
            loss_history=tensors[HISTORY]["loss_history"],
            extra=state["extra"],
            source=path,
        )

    @property
    def backup_folder(self) -> Path:
        return self.model_dir / f"{self.name}_{self.kind}_autobackups"

    def backup(self, extra_files: tuple[Path, ...] = (), keep: int = BACKUPS) -> Path:
        """Copy the newest generation to `<name>_<kind>_autobackups/01`, after moving 01 to 02 and so on.

        To go back to a backup, put its content in place of that of the model's folder.

        Args:
            extra_files: Further files to keep with it, such as previews.

        Raises:
            CheckpointError: Nothing was saved yet, or the disk is full (the other backups are untouched).
        """
        root = self.backup_folder
        with self._copied(root, extra_files) as copy:
            _make_room(root, keep)
            copy.rename(root / "01")
        return root / "01"

    def keep_apart(self, label: str) -> Path:
        """Keep the newest generation for good, as a model of its own: `<name>_<kind>_<label>/<name>_<kind>`.

        What an earlier call kept under this label is replaced.

        Raises:
            CheckpointError: Nothing was saved yet, or the disk is full.
        """
        root = self.model_dir / f"{self.folder.name}_{label}"
        with self._copied(root) as copy:
            shutil.rmtree(root / self.folder.name, ignore_errors=True)
            copy.rename(root / self.folder.name)
        return root / self.folder.name

    @contextlib.contextmanager
    def _copied(self, root: Path, extra_files: tuple[Path, ...] = ()) -> Iterator[Path]:
        """A folder in `root` with a copy of the newest generation, to be renamed in the block."""
        generations = self.generations()
        if not generations:
            raise CheckpointError(f"{self.folder}: nothing to back up yet; save first")
        temporary = root / f"{TEMPORARY}{os.getpid()}"
        with clear_errors(root):
            _sweep(root)
            temporary.mkdir(parents=True)
            try:
                shutil.copytree(generations[0], temporary / generations[0].name, copy_function=_link_or_copy)
                for path in extra_files:
                    shutil.copy2(path, temporary)
                yield temporary
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_directory(root)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for path in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


class _Damaged(Exception):
    """A generation cannot be read as it was written."""


def _write_generation(folder: Path, state: dict[str, Any], tensors: Mapping[str, Arrays]) -> None:
    folder.mkdir()
    with ThreadPoolExecutor(len(tensors)) as pool:  # hashing and writing release the interpreter
        jobs = {
            name: pool.submit(write_tensors, folder / name, values, only_numbers=name != HISTORY)
            for name, values in tensors.items()
        }
        files = {name: job.result() for name, job in jobs.items()}
    record = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    text = json.dumps({**state, "files": record}, indent=1)
    with (folder / STATE).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(folder)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
    except OSError as err:
        raise _Damaged(f"{STATE} cannot be read: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise _Damaged(f"{STATE} cannot be read: {err}") from err
    wanted = {"format": int, "kind": str, "iteration": int, "options": dict, "extra": dict, "files": dict}
    if not isinstance(state, dict):
        raise _Damaged(f"{STATE} holds no record")
    for key, kind in wanted.items():
        if type(state.get(key)) is not kind:
            raise _Damaged(f"{STATE} lacks {key}")
    if not path.name.endswith(f"-{state['iteration']}"):
        raise _Damaged(f"{STATE} is of iteration {state['iteration']}")
    return state


def _read_tensors(path: Path, record: Any) -> dict[str, np.ndarray]:
    if not isinstance(record, dict):
        raise _Damaged(f"{path.name} is not listed in {STATE}")
    try:
        size, digest = fingerprint(path)
        if size != record.get("bytes"):
            raise _Damaged(f"{path.name} has {size} bytes instead of {record.get('bytes')}")
        if digest != record.get("sha256"):
            raise _Damaged(f"{path.name} does not match its checksum")
        return read_tensors(path)
    except OSError as err:
        raise _Damaged(f"{path.name} cannot be read: {err.strerror}") from err
    except CheckpointError as err:
        raise _Damaged(str(err)) from err


def _lengths_fit(path: Path) -> bool:
    """Whether a generation is all there, as far as can be told without reading it."""
    try:
        files = _read_state(path)["files"]
        return all((path / name).stat().st_size == record["bytes"] for name, record in files.items())
    except (_Damaged, OSError, KeyError, TypeError):
        return False


def _remove_generation(path: Path) -> None:
    """Remove a generation; a half-removed one must not carry a generation's name."""
    doomed = path.with_name(f"{TEMPORARY}old-{path.name}")
    with contextlib.suppress(OSError):  # it is swept at the next save
        path.rename(doomed)
        shutil.rmtree(doomed)


def _link_or_copy(source: str, target: str) -> None:
    """Files of a generation never change, so a second name for them is as good as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _make_room(root: Path, keep: int) -> None:
    shutil.rmtree(root / f"{keep:02d}", ignore_errors=True)
    for number in range(keep - 1, 0, -1):
        if (root / f"{number:02d}").exists():
            (root / f"{number:02d}").rename(root / f"{number + 1:02d}")

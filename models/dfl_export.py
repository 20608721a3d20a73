"""Writes a model as DeepFaceLab saves one, so that it opens there.

Arrays are pickled under the names of NumPy 1.x, which DeepFaceLab runs on (`core.pickle_stream`); the pickles
of NumPy 2 name `numpy._core` and cannot be read there. The model is held against DeepFaceLab's tables before
anything is written, for it would begin anew with what does not fit, and not say so.

Of the training state, `sample_for_preview` is None: DeepFaceLab then draws one, as it does for its own models
that never showed a preview. An optimizer whose slots are not those of DeepFaceLab's (another recipe) gets no
file: DeepFaceLab begins with zeros where there is none, which zeros on disk would only say at greater length.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core import safe_pickle
from core.errors import CheckpointError
from core.nn.state import STEPS, check_state
from core.pickle_stream import StreamPickler
from core.storage import naming, remove_leavings, sync_directory
from models.checkpoint import Checkpoint
from models.dfl_layout import (
    COUNTER,
    DATA,
    DISCRIMINATOR_FILES,
    DISCRIMINATORS,
    KINDS,
    MAIN_OPTIMIZER_FILE,
    SUMMARY,
    UNTRAINED,
    Shapes,
    dfl_prefix,
    dims_of,
    discriminator_shapes,
    file_of,
    network_shapes,
    part_of,
    slot_key,
    weight_file,
    weight_key,
)
from models.dfl_options import returned
from models.growth import resolution_at
from models.model_files import model_files

NARROWEST_NAME = 17  # of the column of names in the summary
Entries = list[tuple[str, np.ndarray | np.generic]]


@dataclass
class Export:
    """What was written."""

    files: dict[Path, str] = field(default_factory=dict)  # with what each holds
    left_out: dict[str, Any] = field(default_factory=dict)  # our options that DeepFaceLab does not know
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    suffix: str
    content: str
    write: Callable[[BinaryIO], object]


def check_kind(kind: str) -> None:
    """
    Raises:
        CheckpointError: DeepFaceLab has no such model.
    """
    if kind not in KINDS:
        raise CheckpointError(f"DeepFaceLab has no {kind} model; only {', '.join(KINDS)} can be given to it")


def refuse_overwriting(folder: Path | str, name: str, kind: str) -> None:
    """
    Raises:
        CheckpointError: The folder has files of a model of this name; DeepFaceLab would mix them with ours.
    """
    begin = f"{name}_{kind}_"
    there = [path.name for path in model_files(folder, name, kind) if path.name.startswith(begin)]
    if there:
        whole = f"{begin}{DATA}" in there
        why = "" if whole else f" (without {DATA}, as an export leaves it that is killed at its end)"
        raise CheckpointError(
            f"{folder}: {', '.join(there)} are there already{why}; move them away or choose another folder"
        )


def export_dfl_model(saved: Checkpoint, name: str, folder: Path | str) -> Export:
    """Write a model's state as `<name>_<kind>_*` into a folder.

    All files are written under other names first, then renamed, `data.dat` last: without it DeepFaceLab sees
    no model.

    Raises:
        CheckpointError: DeepFaceLab has no place for such a model, or the folder has files of its name.
    """
    check_kind(saved.kind)
    if saved.options.get("persons"):
        raise CheckpointError(
            f"{saved.source}: a model of several persons, {saved.options['persons']}, which DeepFaceLab does "
            "not know; exportdfm writes a pair of them"
        )
    if saved.options.get("grow_from"):
        present = resolution_at(saved.options, saved.iteration)
        saved = replace(saved, options={**saved.options, "resolution": present})
    prefix = dfl_prefix(folder, name, saved.kind)
    options, left_out, changes = returned(saved.kind, saved.options)
    if saved.iteration == 0:
        raise CheckpointError(
            f"{saved.source}: at iteration 0 DeepFaceLab asks for everything anew and keeps nothing of a "
            "model; train it first"
        )
    groups = _grouped(saved)
    files = _weight_files(saved.weights, groups)
    optimizers, notes = _optimizer_files(saved, groups)
    history = _finite_history(saved.loss_history)
    files += [*optimizers, _summary_file(prefix, saved.iteration, options)]
    files.append(_data_file(saved.iteration, options, history))
    refuse_overwriting(folder, name, saved.kind)
    _write_together(prefix, files)
    return Export({file_of(prefix, file.suffix): file.content for file in files}, left_out, changes + notes)


def _grouped(saved: Checkpoint) -> dict[str, Shapes]:
    """Weights by part in the order of creation, held against DeepFaceLab's tables."""
    source, kind = str(saved.source), saved.kind
    wanted = network_shapes(dims_of(kind, saved.options))
    known = DISCRIMINATORS[kind]
    own = {path: array for path, array in saved.weights.items() if part_of(path) not in known}
    parts, strange = _parts(wanted), sorted(set(_parts(own)) ^ set(_parts(wanted)))
    if strange:
        raise CheckpointError(
            f"{source}: its networks {', '.join(_parts(own))} are not those of DeepFaceLab's {kind}, "
            f"{', '.join(parts)}"
        )
    check_state(own, wanted, f"{source}: what DeepFaceLab would make of the options")
    groups: dict[str, Shapes] = {
        part: {path: shape for path, shape in wanted.items() if part_of(path) == part} for part in parts
    }
    for part in known:
        weights = {path: array for path, array in saved.weights.items() if part_of(path) == part}
        if weights:
            groups[part] = discriminator_shapes(part, weights)
            check_state(weights, groups[part], f"{source}: DeepFaceLab's {part}")
    return groups


def _parts(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(part_of, paths)))


def _weight_files(weights: Mapping[str, np.ndarray], groups: Mapping[str, Shapes]) -> list[_File]:
    files = []
    for part, shapes in groups.items():
        entries: Entries = [(weight_key(path), weights[path]) for path in shapes]
        count = sum(math.prod(shape) for shape in shapes.values())
        files.append(_File(weight_file(part), f"{len(shapes)} weights, {count:,} numbers", _pickled(entries)))
    return files


def _optimizer_files(saved: Checkpoint, groups: Mapping[str, Shapes]) -> tuple[list[_File], list[str]]:
    """Files of the optimizers that can go on there, and a note on each that cannot."""
    kind, files, notes = saved.kind, [], []
    untrained = UNTRAINED.get(kind, ())
    owners = {"": [part for part in groups if part not in DISCRIMINATOR_FILES and part not in untrained]}
    owners |= {part: [part] for part in groups if part in DISCRIMINATOR_FILES}
    slots = _wanted_slots(saved)
    for owner, parts in owners.items():
        suffix = DISCRIMINATOR_FILES[owner][1] if owner else MAIN_OPTIMIZER_FILE
        steps = saved.optimizer.get(f"{STEPS}/{owner}" if owner else STEPS)
        paths = [path for part in parts for path in groups[part]]
        keys = {slot_key(slot, path): f"{slot}/{path}" for slot in slots for path in paths}
        if steps is None or not slots or not all(key in saved.optimizer for key in keys.values()):
            notes.append(f"{suffix} is not written: no slots suit DeepFaceLab's optimizer, which starts anew")
            continue
        entries: Entries = [(COUNTER, np.int64(steps)), *((k, saved.optimizer[v]) for k, v in keys.items())]
        files.append(_File(suffix, f"{int(steps)} updates, {len(keys)} slots", _pickled(entries)))
    if any(key.split("/")[1:2] == [part] for part in untrained for key in saved.optimizer):
        notes.append(f"DeepFaceLab does not train {' and '.join(untrained)}: their slots are left out")
    return files, notes


def _wanted_slots(saved: Checkpoint) -> tuple[str, ...]:
    """The slots of the optimizer that DeepFaceLab would make; none if ours computes something else."""
    if saved.kind == "Quick96":  # by the fast recipe Adam's
        return ("acc",) if saved.options.get("recipe", "dfl") == "dfl" else ()
    if saved.kind == "SAEHD" and not saved.options.get("adabelief", True):
        return ("acc",)
    return "m", "v"


def _pickled(entries: Entries) -> Callable[[BinaryIO], object]:
    return lambda file: StreamPickler(file, one_type=True).write_dict(
        (key, _as_stored(value)) for key, value in entries
    )


def _as_stored(value: np.ndarray | np.generic) -> np.ndarray | np.generic:
    return value if isinstance(value, np.generic) else np.asarray(value, np.float32, order="C")


def _finite_history(history: np.ndarray) -> list[list[float]]:
    """Rows as lists; a loss that is no number, on which DeepFaceLab's graph fails, repeats the one before."""
    rows = np.array(history, np.float64).reshape(len(history), -1)
    good = np.isfinite(rows)
    if not good.all():
        last = np.maximum.accumulate(np.where(good, np.arange(len(rows))[:, None], -1), axis=0)
        rows = np.where(last >= 0, np.take_along_axis(rows, np.maximum(last, 0), axis=0), 0.0)
    return rows.tolist()


def _data_file(iteration: int, options: Mapping[str, Any], history: list[list[float]]) -> _File:
    state = {
        "iter": int(iteration),
        "options": dict(options),
        "loss_history": history,
        "sample_for_preview": None,
        "choosed_gpu_indexes": None,
    }
    content = f"iteration {iteration}, {len(options)} options, {len(history)} losses"
    return _File(DATA, content, lambda file: file.write(safe_pickle.dumps(state)))


def _summary_file(prefix: Path, iteration: int, options: Mapping[str, Any]) -> _File:
    text = summary(prefix.name, iteration, options)
    return _File(SUMMARY, "the same to read", lambda file: file.write(text.encode()))


def summary(name: str, iteration: int, options: Mapping[str, Any], device: str = "none, exported") -> str:
    """DeepFaceLab's box about a model; it reads none of it."""
    head = {"Model name": name, "Current iteration": iteration}
    running = {"Using device": device}
    rows = [*head.items(), *options.items(), *running.items()]
    names = max(NARROWEST_NAME, *(len(key) for key, _ in rows)) + 1
    values = max(len(str(value)) for _, value in rows) + 1
    inner = names + values + 2

    def row(key: str) -> str:
        value = {**options, **head, **running}[key]
        return f"=={key:>{names}}: {value!s:<{values}}=="

    empty = f"=={'':{inner}}=="
    lines = [f"{' Model Summary ':=^{inner + 4}}", empty, row("Model name"), empty, row("Current iteration")]
    lines += [empty, f"=={' Model Options ':-^{inner}}==", empty, *map(row, options), empty]
    lines += [f"=={' Running On ':-^{inner}}==", empty, row("Using device"), empty, "=" * (inner + 4)]
    return "\n".join(lines)


def _write_together(prefix: Path, files: list[_File]) -> None:
    """All files or none; the last one counts, and gets its name when all others have theirs."""
    folder = prefix.parent
    folder.mkdir(parents=True, exist_ok=True)
    remove_leavings(folder)
    paths = [file_of(prefix, file.suffix) for file in files]
    # Nothing may end as a model's file does before it is one: DeepFaceLab lists whatever ends in `data.dat`.
    mark = f".{os.getpid()}-{threading.get_ident()}."
    temporaries = [folder / f"{mark}{path.name}.new" for path in paths]
    try:
        for temporary, path, file in zip(temporaries, paths, files):
            with naming(path), temporary.open("wb") as target:
                file.write(target)
                target.flush()
                os.fsync(target.fileno())
        for temporary, path in zip(temporaries, paths):
            os.replace(temporary, path)
    except BaseException:
        _remove(paths)  # none of them was there before
        raise
    finally:
        _remove(temporaries)
    sync_directory(folder)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

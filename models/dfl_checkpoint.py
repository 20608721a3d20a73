"""Models that DeepFaceLab saved: pickled dicts of arrays, one file per network.

`<name>_<Class>_<part>.npy` holds the weights of a part by `<path>:0`; `<name>_<Class>_src_dst_opt.npy` the
optimizer's `iters:0` and `<slot>_<part>/<path>_0:0`; `<name>_<Class>_data.dat` iteration, options and loss
history. Discriminators have files of their own (`models.dfl_layout`). Files are read through
`core.safe_pickle`, one after another, and never changed.

DeepFaceLab takes whatever it finds: a weight that lacks begins anew, one too many is dropped, and shapes may
differ as long as the number of elements agrees. Here every name is checked, and every shape but for axes of
length 1. Only what DeepFaceLab itself makes when it is first needed may be absent: the files of a
discriminator, and those of optimizers.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import safe_pickle
from core.errors import CheckpointError, FileFormatError
from core.nn.state import STEPS, check_state
from models.checkpoint import Checkpoint
from models.dfl_layout import (
    COUNTER,
    DATA,
    DISCRIMINATOR_FILES,
    DISCRIMINATORS,
    MAIN_OPTIMIZER_FILE,
    SLOTS,
    UNTRAINED,
    Shapes,
    dfl_prefix,
    discriminator_shapes,
    file_of,
    part_of,
    weight_file,
)
from models.tensor_file import is_finite

__all__ = [
    "dfl_model_exists",
    "dfl_prefix",
    "list_dfl_models",
    "load_dfl_checkpoint",
    "load_dfl_parts",
    "read_dfl_state",
]

STRUCTURE = 1 << 24  # bytes beside the arrays' content; a thousand weights need some hundred thousand
SLOT_KEY = re.compile(r"(acc|ms|vs)_(.+)_0:0", re.DOTALL)
State = dict[str, np.ndarray]


def dfl_model_exists(model_dir: Path | str, name: str, kind: str) -> bool:
    return file_of(dfl_prefix(model_dir, name, kind), DATA).is_file()


def list_dfl_models(model_dir: Path | str, kind: str) -> dict[str, Path]:
    """`data.dat` files by model name."""
    tail = f"_{kind}_{DATA}"
    found = sorted(Path(model_dir).glob(f"[!.]*{tail}")) if Path(model_dir).is_dir() else []
    return {path.name[: -len(tail)]: path for path in found}


def load_dfl_checkpoint(
    model_dir: Path | str, name: str, kind: str, shapes: Shapes, training: bool = True
) -> Checkpoint:
    """Read a model that DFL saved.

    Args:
        shapes: Path and shape of every weight that the model has; the parts follow from the paths.
        training: Read the optimizers' slots, too, and discriminators that are not in use now.

    Returns:
        The state. Discriminators whose files are absent are not in it, nor are slots of an absent optimizer
        file and of AMP's inters, which DeepFaceLab does not train; notes say so. A discriminator may have
        another size than `shapes` says, that of former options.

    Raises:
        CheckpointError: A file is missing or damaged, or its weights are not exactly those of `shapes`.
    """
    prefix = dfl_prefix(model_dir, name, kind)
    data = read_dfl_state(model_dir, name, kind)
    notes = [
        f"read the model {name} that DeepFaceLab saved at iteration {data['iteration']}; its files are kept"
    ]
    weights = _read_networks(prefix, name, {p: s for p, s in shapes.items() if not _is_discriminator(p)})
    optimizer: State = {}
    if training:
        optimizer, told = _read_main_optimizer(prefix, kind, {path: a.shape for path, a in weights.items()})
        notes += told
    used = {part_of(path) for path in shapes}
    for part in DISCRIMINATORS.get(kind, ()):
        if training or part in used:
            found, slots, told = _read_discriminator(prefix, part, part in used, training)
            weights, optimizer, notes = weights | found, optimizer | slots, notes + told
    return Checkpoint(
        kind=kind,
        iteration=data["iteration"],
        options=data["options"],
        weights=weights,
        optimizer=optimizer,
        loss_history=data["loss_history"],
        source=file_of(prefix, DATA),
        notes=notes,
    )


def load_dfl_parts(folder: Path | str, shapes: Shapes) -> State:
    """Weights alone, from files without a model's name (`encoder.npy`), as pretrained models come.

    Discriminators may be absent, and of another size, as in `load_dfl_checkpoint`.

    Raises:
        CheckpointError: A file is missing or damaged, or its weights are not exactly those of `shapes`.
    """
    folder = Path(folder)
    files = {part: folder / weight_file(part) for part in map(part_of, shapes)}
    judges = {part: files.pop(part) for part in DISCRIMINATOR_FILES if part in files}
    _require(files.values(), f"{folder}: the pretrained model")
    weights = _read_parts(files, shapes)
    for part, path in judges.items():
        weights |= _read_discriminator_weights(path, part) if path.is_file() else {}
    return weights


def read_dfl_state(model_dir: Path | str, name: str, kind: str) -> dict[str, Any]:
    """Iteration, options (numpy scalars made plain) and loss history (N, 2) from `data.dat`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = file_of(dfl_prefix(model_dir, name, kind), DATA)
    data = _read_pickle(path, structure=None)
    iteration, options = _plain(data.get("iter")), data.get("options")
    if type(iteration) is not int or iteration < 0 or not isinstance(options, dict):
        raise CheckpointError(f"{path}: it lacks the iteration or the options of a DeepFaceLab model")
    return {
        "iteration": iteration,
        "options": {str(key): _plain(value) for key, value in options.items()},
        "loss_history": _history(data.get("loss_history"), path),
    }


def _is_discriminator(path: str) -> bool:
    return part_of(path) in DISCRIMINATOR_FILES


def _require(files: Iterable[Path], what: str) -> None:
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise CheckpointError(f"{what} lacks {', '.join(absent)}; copy all its files")


def _read_networks(prefix: Path, name: str, shapes: Shapes) -> State:
    files = {part: file_of(prefix, weight_file(part)) for part in map(part_of, shapes)}
    _require(files.values(), f"{prefix.parent}: the model {name} of DeepFaceLab")
    return _read_parts(files, shapes)


def _read_parts(files: Mapping[str, Path], shapes: Shapes) -> State:
    weights: State = {}
    for part, path in files.items():
        wanted = {weight: shape for weight, shape in shapes.items() if part_of(weight) == part}
        found = _fitted(_read_part(path, part), wanted)
        check_state(found, wanted, str(path))
        weights |= found
    return weights


def _read_part(path: Path, part: str) -> State:
    """Weights of one file by our paths: `conv1/weight:0` of `encoder` becomes `encoder/conv1/weight`."""
    record = _read_pickle(path)
    strange = [key for key in record if not isinstance(key, str) or not key.endswith(":0")]
    if strange:
        raise CheckpointError(f"{path}: {strange[0]!r} is no name of a weight")
    return {f"{part}/{key[:-2]}": _array(key, value, path) for key, value in record.items()}


def _read_main_optimizer(prefix: Path, kind: str, shapes: Shapes) -> tuple[State, list[str]]:
    """Slots by our paths, but for parts that DeepFaceLab never trains; empty where it saved none."""
    path = file_of(prefix, MAIN_OPTIMIZER_FILE)
    if not path.is_file():
        return {}, [f"{path.name} is absent: the optimizer starts anew"]
    with _way_out(path):
        steps, slots = _read_optimizer(path)
        untrained = {
            part for part in UNTRAINED.get(kind, ()) if not any(part in key.split("/")[1:2] for key in slots)
        }
        _check_slots(slots, {p: s for p, s in shapes.items() if part_of(p) not in untrained}, path)
    notes = []
    if untrained:
        parts = " and ".join(sorted(untrained))
        notes.append(
            f"DeepFaceLab does not train {parts}: {path.name} has no slots for them; with "
            "--option dfl_compat=n they learn here"
        )
    return {STEPS: steps, **slots}, notes


def _read_discriminator(
    prefix: Path, part: str, used: bool, training: bool
) -> tuple[State, State, list[str]]:
    """Weights, slots and notes. A discriminator that is not in use is kept if it is sound."""
    path, optimizer_path = (file_of(prefix, suffix) for suffix in DISCRIMINATOR_FILES[part])
    if not path.is_file():
        return {}, {}, []
    try:
        weights = _read_discriminator_weights(path, part)
        if not training:
            return weights, {}, []
        if not optimizer_path.is_file():
            return weights, {}, [f"{optimizer_path.name} is absent: the optimizer of {part} starts anew"]
        with _way_out(optimizer_path):
            steps, slots = _read_optimizer(optimizer_path)
            _check_slots(slots, {key: array.shape for key, array in weights.items()}, optimizer_path)
    except CheckpointError as err:
        if used:
            raise
        return {}, {}, [f"{err}; it is not in use and left out"]
    return weights, {f"{STEPS}/{part}": steps, **slots}, []


@contextlib.contextmanager
def _way_out(path: Path) -> Iterator[None]:
    """What a faulty optimizer's file is called, with the choice that a network's does not leave."""
    try:
        yield
    except CheckpointError as err:
        raise CheckpointError(f"{err}. Or move {path.name} away: the optimizer then starts anew") from err


def _read_discriminator_weights(path: Path, part: str) -> State:
    """All weights of a sound discriminator, of whatever size."""
    weights = _read_part(path, part)
    shapes = discriminator_shapes(part, weights)
    weights = _fitted(weights, shapes)
    check_state(weights, shapes, str(path))
    return weights


def _read_optimizer(path: Path) -> tuple[np.ndarray, State]:
    """The counter, and the slots by our paths: `ms_encoder/conv1/bias_0:0` becomes `m/encoder/conv1/bias`.

    Raises:
        CheckpointError: It lacks the counter, or holds anything else.
    """
    record = _read_pickle(path)
    steps = _plain(record.pop(COUNTER, None))
    if type(steps) is not int or not 0 <= steps < 2**63:
        raise CheckpointError(f"{path}: it lacks the counter {COUNTER} of DeepFaceLab's optimizers")
    slots: State = {}
    for key, value in record.items():
        match = SLOT_KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None:
            raise CheckpointError(f"{path}: {key!r} is no name of an optimizer's slot")
        slots[f"{SLOTS[match[1]]}/{match[2]}"] = _array(key, value, path)
    return np.asarray(steps, np.int64), slots


def _check_slots(slots: State, shapes: Shapes, path: Path) -> None:
    """Each kind of slot must be there for all weights, and nothing else; shapes are settled in place."""
    kinds = sorted({part_of(key) for key in slots})
    if kinds not in (["acc"], ["m", "v"]):
        raise CheckpointError(f"{path}: its slots are of neither RMSprop (acc) nor AdaBelief (ms, vs)")
    wanted = {f"{slot}/{weight}": shape for slot in kinds for weight, shape in shapes.items()}
    slots.update(_fitted(slots, wanted))
    check_state(slots, wanted, str(path))


def _fitted(found: State, shapes: Shapes) -> State:
    """Axes of length 1 put in or left out, which moves no number: () or (1, 3) where (1,) or (3,) belongs."""
    return {
        path: array.reshape(shapes[path])
        if path in shapes and _long_axes(array.shape) == _long_axes(shapes[path])
        else array
        for path, array in found.items()
    }


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]


def _read_pickle(path: Path, structure: int | None = STRUCTURE) -> dict[Any, Any]:
    try:
        record = safe_pickle.load_file(path, structure=structure)
    except FileFormatError as err:
        raise CheckpointError(str(err)) from err
    if not isinstance(record, dict):
        raise CheckpointError(f"{path}: holds {type(record).__name__}, not the dict that DeepFaceLab writes")
    return record


def _array(name: str, value: Any, path: Path) -> np.ndarray:
    """Float32, C order; half precision is widened. Scalars are DeepFaceLab's arrays without axes."""
    if not isinstance(value, (np.ndarray, np.floating)) or value.dtype.kind != "f":
        raise CheckpointError(f"{path}: {name!r} is {type(value).__name__}, not an array of floats")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.asarray(value, np.float32, order="C")
    if not is_finite(array):
        raise CheckpointError(
            f"{path}: {name!r} holds values that are not numbers: the training has collapsed; take a backup "
            "from before"
        )
    return array


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers; DFL's options pass through `numpy.clip`."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _history(rows: Any, path: Path) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            history = np.asarray(rows if rows is not None else [], np.float32)
    except (TypeError, ValueError, OverflowError) as err:
        raise CheckpointError(f"{path}: the loss history is not a table of numbers") from err
    if history.size == 0:
        return np.zeros((0, 2), np.float32)
    if history.ndim != 2 or history.shape[1] != 2:
        raise CheckpointError(f"{path}: the loss history has the shape {history.shape} instead of (N, 2)")
    return history

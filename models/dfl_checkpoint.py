"""Models that DeepFaceLab saved: pickled dicts of arrays, one file per network.

`<name>_<Class>_<part>.npy` holds the weights of a part by `<path>:0`; `<name>_<Class>_src_dst_opt.npy` the
optimizer's `iters:0` and `<slot>_<part>/<path>_0:0`; `<name>_<Class>_data.dat` iteration, options and loss
history. Files are read through `core.safe_pickle`, strictly, and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import safe_pickle
from core.errors import CheckpointError, FileFormatError
from core.nn.state import STEPS, check_state
from models.checkpoint import Checkpoint

DATA = "data.dat"
OPTIMIZER_FILE = "src_dst_opt.npy"
SLOTS = {"acc": "acc", "ms": "m", "vs": "v"}  # DFL's slot names and ours
Shapes = Mapping[str, tuple[int, ...]]


def dfl_prefix(model_dir: Path | str, name: str, kind: str) -> Path:
    """What the names of a model's files begin with; append `_encoder.npy` and so on."""
    return Path(model_dir) / f"{name}_{kind}"


def dfl_model_exists(model_dir: Path | str, name: str, kind: str) -> bool:
    return _file(dfl_prefix(model_dir, name, kind), DATA).is_file()


def list_dfl_models(model_dir: Path | str, kind: str) -> dict[str, Path]:
    """`data.dat` files by model name."""
    tail = f"_{kind}_{DATA}"
    found = sorted(Path(model_dir).glob(f"*{tail}")) if Path(model_dir).is_dir() else []
    return {path.name[: -len(tail)]: path for path in found}


def load_dfl_checkpoint(
    model_dir: Path | str, name: str, kind: str, shapes: Shapes, training: bool = True
) -> Checkpoint:
    """Read a model that DFL saved.

    Args:
        shapes: Path and shape of every weight that the model has; the parts follow from the paths.
        training: Read the optimizer's accumulators, too.

    Raises:
        CheckpointError: A file is missing or damaged, or its weights are not exactly those of `shapes`.
    """
    prefix = dfl_prefix(model_dir, name, kind)
    data = read_dfl_state(model_dir, name, kind)
    parts = list(dict.fromkeys(path.partition("/")[0] for path in shapes))
    absent = [path.name for path in (_file(prefix, f"{part}.npy") for part in parts) if not path.is_file()]
    if absent:
        raise CheckpointError(
            f"{prefix.parent}: the model {name} of DeepFaceLab lacks {', '.join(absent)}; copy all its files"
        )
    weights: dict[str, np.ndarray] = {}
    for part in parts:
        weights.update(_read_part(_file(prefix, f"{part}.npy"), part))
    check_state(weights, shapes, f"{prefix}_*.npy")
    optimizer = _read_optimizer(_file(prefix, OPTIMIZER_FILE), shapes) if training else {}
    notes = [
        f"read the model {name} that DeepFaceLab saved at iteration {data['iteration']}; its files are kept"
    ]
    return Checkpoint(
        kind=kind,
        iteration=data["iteration"],
        options=data["options"],
        weights=weights,
        optimizer=optimizer,
        loss_history=data["loss_history"],
        source=_file(prefix, DATA),
        notes=notes,
    )


def load_dfl_parts(folder: Path | str, shapes: Shapes) -> dict[str, np.ndarray]:
    """Weights alone, from files without a model's name (`encoder.npy`), as pretrained models come.

    Raises:
        CheckpointError: A file is missing or damaged, or its weights are not exactly those of `shapes`.
    """
    folder = Path(folder)
    parts = list(dict.fromkeys(path.partition("/")[0] for path in shapes))
    absent = [f"{part}.npy" for part in parts if not (folder / f"{part}.npy").is_file()]
    if absent:
        raise CheckpointError(f"{folder}: the pretrained model lacks {', '.join(absent)}; copy all its files")
    weights: dict[str, np.ndarray] = {}
    for part in parts:
        weights.update(_read_part(folder / f"{part}.npy", part))
    check_state(weights, shapes, f"{folder}: the pretrained model")
    return weights


def read_dfl_state(model_dir: Path | str, name: str, kind: str) -> dict[str, Any]:
    """Iteration, options (numpy scalars made plain) and loss history (N, 2) from `data.dat`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = _file(dfl_prefix(model_dir, name, kind), DATA)
    data = _read_pickle(path)
    iteration = _plain(data.get("iter"))
    options = data.get("options")
    if not isinstance(iteration, int) or not isinstance(options, dict):
        raise CheckpointError(f"{path}: it lacks the iteration or the options of a DeepFaceLab model")
    return {
        "iteration": iteration,
        "options": {str(key): _plain(value) for key, value in options.items()},
        "loss_history": _history(data.get("loss_history"), path),
    }


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(f"{prefix.name}_{suffix}")


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        record = safe_pickle.loads(path.read_bytes(), str(path))
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read: {err.strerror}") from err
    except FileFormatError as err:
        raise CheckpointError(str(err)) from err
    if not isinstance(record, dict):
        raise CheckpointError(f"{path}: holds {type(record).__name__}, not the dict that DeepFaceLab writes")
    return record


def _read_part(path: Path, part: str) -> dict[str, np.ndarray]:
    """Weights of one file by our paths: `conv1/weight:0` of `encoder` becomes `encoder/conv1/weight`."""
    return {f"{part}/{_without_zero(key)}": _array(value, path) for key, value in _read_pickle(path).items()}


def _read_optimizer(path: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    """Slots by our paths; empty where DFL saved none."""
    if not path.is_file():
        return {}
    state: dict[str, np.ndarray] = {}
    for key, value in _read_pickle(path).items():
        if key == "iters:0":
            state[STEPS] = np.asarray(_plain(value), np.int64)
            continue
        slot, _, rest = str(key).partition("_")
        state[f"{SLOTS.get(slot, slot)}/{_without_zero(rest).removesuffix('_0')}"] = _array(value, path)
    slots = sorted({key.partition("/")[0] for key in state} - {STEPS})
    check_state(
        {key: value for key, value in state.items() if key != STEPS},
        {f"{slot}/{weight}": shape for slot in slots for weight, shape in shapes.items()},
        str(path),
    )
    return state


def _without_zero(key: str) -> str:
    return str(key).removesuffix(":0")


def _array(value: Any, path: Path) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise CheckpointError(f"{path}: holds {type(value).__name__} where an array of floats belongs")
    return np.ascontiguousarray(value, np.float32)


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers; DFL's options pass through `numpy.clip`."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _history(rows: Any, path: Path) -> np.ndarray:
    try:
        history = np.asarray(rows if rows is not None else [], np.float32)
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"{path}: the loss history is not a table of numbers") from err
    if history.size == 0:
        return np.zeros((0, 2), np.float32)
    if history.ndim != 2 or history.shape[1] != 2:
        raise CheckpointError(f"{path}: the loss history has the shape {history.shape} instead of (N, 2)")
    return history

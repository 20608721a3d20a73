"""How the weights of a training begin: pretrained ones, and the arithmetic a saved one was trained in."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError, SwapError
from core.storage import read_json
from models.base import PRECISIONS

if TYPE_CHECKING:
    from core.nn.devices import Devices
    from models import CheckpointStore
    from models.base import Model, ModelOptions


def load_pretrained(model: Model, folder: Path) -> None:
    """Put the weights found in `folder` into a new model; iteration and optimizer stay at the start.

    `folder` is either a saved model of ours (`<name>_<kind>`), or holds one that DFL saved, or DFL's files
    without a prefix (`encoder.npy` and so on).

    Raises:
        CheckpointError: It holds none of these or several, or the weights are not exactly those of this kind
            of model.
    """
    from models import CheckpointStore
    from models.dfl_checkpoint import list_dfl_models, load_dfl_checkpoint, load_dfl_parts

    tail = f"_{model.kind}"
    name = folder.name.removesuffix(tail)
    if folder.name.endswith(tail) and CheckpointStore(folder.parent, name, model.kind).exists():
        saved = CheckpointStore(folder.parent, name, model.kind).load_latest(training=False)
        try:
            model.load_weights(saved.weights)
        except CheckpointError as err:
            raise CheckpointError(f"{saved.source}: {err}") from err
        model.notes.append(f"begins with the weights of {saved.source}")
    elif (named := list(list_dfl_models(folder, model.kind))) and not (folder / "encoder.npy").exists():
        if len(named) > 1:
            raise CheckpointError(
                f"{folder}: holds the {model.kind} models {', '.join(named)}; give a folder that holds one"
            )
        saved = load_dfl_checkpoint(folder, named[0], model.kind, model.weight_shapes(), training=False)
        model.load_weights(saved.weights)
        model.notes.append(f"begins with the weights of {saved.source}")
    elif any(folder.glob("*.npy")):
        model.load_weights(load_dfl_parts(folder, model.weight_shapes()))
        model.notes.append(f"begins with the pretrained weights of {folder}")
    else:
        raise CheckpointError(
            f"{folder}: no pretrained weights; expected encoder.npy and so on, or the folder of a saved "
            f"model, whose name ends in {tail}"
        )


def settled_precision(store: CheckpointStore, options: ModelOptions, devices: Devices) -> str | None:
    """The arithmetic that a training went on in so far, where its option leaves that to a probe.

    A probe measures, so two starts could choose differently, and a resumed training would not be the same as
    one that was never stopped. On another machine it is probed anew.
    """
    generations = store.generations()
    if options.precision != "auto" or not generations:
        return None
    with contextlib.suppress(SwapError, OSError, KeyError, TypeError):
        extra = read_json(generations[0] / "state.json")["extra"]
        if extra["machine"] == machine_name(devices) and extra["computes_in"] in PRECISIONS:
            return str(extra["computes_in"])
    return None


def machine_name(devices: Devices) -> str:
    """What the choice of the arithmetic depends on: devices, processor, its instructions."""
    flags = []
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = (line for line in file if line.startswith("flags"))
        present = set(next(lines, "").split())
        flags = sorted(present & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})
    return " ".join([devices.describe(), platform.machine(), *flags])

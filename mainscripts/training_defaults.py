"""What the questions of a new model propose: the answers given for the last new one of its kind."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from core import safe_pickle
from core.errors import SwapError, UsageError
from core.options import shown
from core.storage import read_json, write_json

if TYPE_CHECKING:
    from models.base import ModelOptions


def load_default_options(
    model_dir: Path, kind: str, gpu_memory: int = 0
) -> tuple[ModelOptions, tuple[str, ...]]:
    """Our last answers, else DFL's (`<kind>_default_options.dat`), else the defaults of the program.

    Args:
        model_dir: Where both are.
        kind: Of the model.
        gpu_memory: See `ModelOptions.usual`.

    Returns:
        The options, and a word on a file of ours that could not be used.
    """
    path = _path(model_dir, kind)
    if not path.is_file():
        return _dfl_defaults(model_dir, kind, gpu_memory), ()
    try:
        record: Any = read_json(path)
        if not isinstance(record, dict):
            raise UsageError("it holds no table of options")
        return models.options_class(kind).from_json(_inheritable(kind, record))[0], ()
    except (SwapError, OSError) as err:
        return models.options_class(kind).usual(gpu_memory), (f"{path}: not used as defaults: {err}",)


def unasked_line(
    model_dir: Path, kind: str, defaults: ModelOptions, given: Container[str], gpu_memory: int = 0
) -> str:
    """What the options of a new model are that are neither asked nor `given`, in words.

    Args:
        defaults: What `load_default_options` found.
    """
    usual = models.options_class(kind).usual(gpu_memory)
    handed_on = [
        f"{name}={shown(value)}"
        for name, value in defaults.inherited().items()
        if name not in given and value != getattr(usual, name)
    ]
    path = _path(model_dir, kind) if _path(model_dir, kind).is_file() else _dfl_path(model_dir, kind)
    rest = f", but for what {path.name} hands on: {', '.join(handed_on)}" if handed_on else ""
    return f"every option that is not given takes its default{rest}"


def save_default_options(model_dir: Path, kind: str, options: ModelOptions) -> None:
    """Keep the answers for the next new model."""
    write_json(_path(model_dir, kind), options.inherited())


def _dfl_defaults(model_dir: Path, kind: str, gpu_memory: int) -> ModelOptions:
    """What DFL kept of its last new model; as in DFL, what cannot be read is passed over without a word."""
    usual = models.options_class(kind).usual(gpu_memory)
    with contextlib.suppress(SwapError, OSError):
        path = _dfl_path(model_dir, kind)
        record = safe_pickle.loads(path.read_bytes(), str(path))
        if isinstance(record, dict):
            specs, usable = usual.specs(), {}
            for name, value in _inheritable(kind, record).items():
                with contextlib.suppress(ValueError):
                    usable[name] = specs[name].check(value)
            return usual.changed(**usable)
    return usual


def _inheritable(kind: str, record: dict[str, Any]) -> dict[str, Any]:
    specs = models.options_class(kind).specs()
    return {name: record[name] for name, spec in specs.items() if spec.inherited and name in record}


def _path(model_dir: Path, kind: str) -> Path:
    return model_dir / f"{kind}_default_options.json"


def _dfl_path(model_dir: Path, kind: str) -> Path:
    return model_dir / f"{kind}_default_options.dat"

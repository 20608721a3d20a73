"""Random weights of the right names and shapes for the pretrained networks, and DFL's fixtures."""

from __future__ import annotations

import functools
import importlib.util
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

Shape = tuple[int, ...]


def random_weights(shapes: Mapping[str, Shape], gain: float, seed: int = 0) -> dict[str, np.ndarray]:
    """float32 arrays: kernels keep the size of what passes through (times `gain`), norms are mild."""
    return {name: _random(name, shape, gain, seed) for name, shape in shapes.items()}


def _random(name: str, shape: Shape, gain: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    part = name.rsplit("/", 1)[-1]
    if part == "bias":
        return rng.standard_normal(shape, np.float32) * np.float32(0.05)
    if part == "running_mean":
        return rng.standard_normal(shape, np.float32) * np.float32(0.1)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(gain / np.sqrt(np.prod(shape[:-1])))


def load_recipe(shared_data: Path) -> ModuleType:
    """The module that rebuilds the weights and pictures of DFL's fixtures."""
    spec = importlib.util.spec_from_file_location("dfl_recipe", shared_data / "dfl" / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def fixture_weights(shared_data: Path, name: str) -> dict[str, np.ndarray]:
    """The weights of the fixture `name`, without `:0`."""
    spec = json.loads((shared_data / "dfl" / name / "spec.json").read_text())
    (file,) = spec["files"]
    weights = load_recipe(shared_data).make_weights(spec, file)
    return {key.removesuffix(":0"): values for key, values in weights.items()}


def fixture_arrays(shared_data: Path, name: str) -> dict[str, np.ndarray]:
    """What DFL computed for the fixture `name`."""
    with np.load(shared_data / "dfl" / name / "reference.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}

"""DeepFaceLab's fixtures: weights rebuilt by its recipe, outputs, losses, gradients."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def dfl_fixture(shared_data, tmp_path_factory):
    """A function: fixture folder and file prefix to spec, reference, inputs and a rebuilt model folder."""
    where = importlib.util.spec_from_file_location("dfl_recipe", shared_data / "dfl" / "recipe.py")
    recipe = importlib.util.module_from_spec(where)
    where.loader.exec_module(recipe)

    def build(folder: str, prefix: str) -> SimpleNamespace:
        source = shared_data / "dfl" / folder
        spec = json.loads((source / "spec.json").read_text())
        made = tmp_path_factory.mktemp(folder)
        weights = {}
        for name in spec["files"]:
            part = recipe.make_weights(spec, name)
            recipe.write_dfl_npy(part, made / f"{prefix}{name}")
            stem = Path(name).stem
            weights.update({f"{stem}/{key.removesuffix(':0')}": value for key, value in part.items()})
        rng = np.random.default_rng(3)
        for name, entries in spec["opt_files"].items():
            state = {key: rng.random(shape, np.float32) if shape else np.int64(7) for key, shape in entries}
            recipe.write_dfl_npy(state, made / f"{prefix}{name}")
        data = source / f"{prefix}data.dat"
        (made / data.name).write_bytes(data.read_bytes())
        resolution, batch = 96, spec["options"]["batch_size"]
        return SimpleNamespace(
            folder=made,
            spec=spec,
            weights=weights,
            reference=dict(np.load(source / "reference.npz")),
            inputs=recipe.inputs(resolution, batch, False),
        )

    return build


@pytest.fixture(scope="session")
def quick96_fixture(dfl_fixture) -> SimpleNamespace:
    return dfl_fixture("quick96", "fx_Quick96_")

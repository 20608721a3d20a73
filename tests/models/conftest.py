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


SAEHD_OPTIONS = {
    "resolution": np.int64(64),
    "face_type": "wf",
    "models_opt_on_gpu": True,
    "archi": "df-ud",
    **{name: np.int64(16) for name in ("ae_dims", "e_dims", "d_dims", "d_mask_dims")},
    "masked_training": True,
    "adabelief": True,
    "lr_dropout": "n",
    "random_hsv_power": np.float64(0.05),
    "gan_power": np.float64(0.0),
    "gan_patch_size": np.int64(8),
    "gan_dims": np.int64(16),
    "true_face_power": np.float64(0.0),
    "ct_mode": "rct",
    "autobackup_hour": 0,
    "batch_size": 2,
    "eyes_prio": False,
}


@pytest.fixture(scope="session")
def write_dfl_model():
    """A function that writes a small model as DeepFaceLab would, random, and returns its parts' arrays."""
    from core import safe_pickle
    from models import dfl_layout as layout

    def write(folder: Path, kind: str, discriminators: dict[str, dict] | None = None, **options) -> dict:
        options = {**SAEHD_OPTIONS, **options}
        if kind == "AMP":
            options = {key: value for key, value in options.items() if key not in ("archi", "adabelief")}
        rng = np.random.default_rng(1)
        shapes = layout.network_shapes(layout.dims_of(kind, options))
        groups = {"": shapes, **(discriminators or {})}
        prefix = layout.dfl_prefix(folder, "old", kind)
        arrays = {}
        for owner, entries in groups.items():
            for part in dict.fromkeys(map(layout.part_of, entries)):
                own = {path: shape for path, shape in entries.items() if layout.part_of(path) == part}
                record = {
                    layout.weight_key(p): rng.normal(0, 0.1, s).astype(np.float32) for p, s in own.items()
                }
                suffix = layout.weight_file(part)
                layout.file_of(prefix, suffix).write_bytes(safe_pickle.dumps(record))
                arrays[suffix] = record
            trained = [p for p in entries if layout.part_of(p) not in layout.UNTRAINED.get(kind, ())]
            slots = ("m", "v") if options.get("adabelief", True) else ("acc",)
            record = {layout.COUNTER: np.int64(9)} | {
                layout.slot_key(slot, path): rng.random(entries[path], np.float32)
                for slot in slots
                for path in trained
            }
            suffix = layout.DISCRIMINATOR_FILES[owner][1] if owner else layout.MAIN_OPTIMIZER_FILE
            layout.file_of(prefix, suffix).write_bytes(safe_pickle.dumps(record))
            arrays[suffix] = record
        state = {"iter": 5, "options": options, "loss_history": [[0.5, 0.25]] * 5}
        state |= {"sample_for_preview": [[np.zeros((2, 3, 4, 4), np.float32)]], "choosed_gpu_indexes": None}
        layout.file_of(prefix, layout.DATA).write_bytes(safe_pickle.dumps(state))
        return arrays

    return write

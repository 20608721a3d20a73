"""Real models on the way to DeepFaceLab and back: every network, discriminator and slot arrives."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import main
import models
from core import safe_pickle
from core.errors import CheckpointError
from models.checkpoint import CheckpointStore
from models.dfl_layout import gan_shapes, part_of

SMALL = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16, "batch_size": 2}
JUDGED = {"gan_power": 0.1, "gan_patch_size": 8, "gan_dims": 4}
CASES = {
    "df": ("SAEHD", {"archi": "df-ud", "true_face_power": 0.01, **JUDGED}),
    "liae": ("SAEHD", {"archi": "liae-udt", "adabelief": False, "dfl_compat": True}),
    "AMP": ("AMP", {"inter_dims": 32, **JUDGED}),
    "AMP as DFL": ("AMP", {"inter_dims": 32, "dfl_compat": True}),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case == "AMP as DFL")) for case in CASES]
)
def test_there_and_back(tmp_path, case, capsys):
    kind, changes = CASES[case]
    model = models.create_model(kind, models.options_class(kind)(**SMALL, **changes), "here")
    rng = np.random.default_rng(2)
    state = {
        key: np.int64(7) if value.ndim == 0 else rng.random(value.shape, np.float32)
        for key, value in model.optimizer_state().items()
    }
    assert model.load_optimizer_state(state)
    model.restore(3, np.full((3, 2), 0.5, np.float32))
    CheckpointStore(tmp_path / "ours", "here", kind).save(model)
    flags = ["--model-dir", str(tmp_path / "ours"), "--model", kind, "--output-dir", str(tmp_path / "dfl")]
    assert main.main(["exportdfl", *flags, "--no-prompt"]) == 0
    assert "left out: " in capsys.readouterr().out

    back = models.load_model(tmp_path / "dfl", "here", kind)
    assert back.iteration == 3 and back.options.dfl_compat
    weights = back.weights()
    assert weights.keys() == model.weights().keys()
    for path, value in model.weights().items():
        np.testing.assert_array_equal(weights[path], value)
    found = back.optimizer_state()
    for key, value in state.items():
        if kind == "AMP" and part_of(key.partition("/")[2]) in ("inter_src", "inter_dst"):
            continue  # DeepFaceLab has none
        np.testing.assert_array_equal(found[key], value)
    assert main.main(["exportdfl", *flags, "--no-prompt"]) == 1


def test_deepfacelabs_own_saehd_goes_on_here(dfl_fixture, tmp_path):
    fixture = dfl_fixture("saehd_df-ud_16", "fx_SAEHD_")
    model = models.load_model(fixture.folder, "fx", "SAEHD")
    assert model.iteration == 1 and model.options.dfl_compat and model.options.archi == "df-ud"
    for path, value in model.weights().items():
        np.testing.assert_array_equal(value, fixture.weights[path])
    assert model.optimizer_state()["steps"] == 7
    assert not any("anew" in note or "fresh" in note for note in model.notes)


def test_ours_is_loaded_and_what_deepfacelab_learnt_since_is_told(write_dfl_model, tmp_path):
    write_dfl_model(tmp_path, "SAEHD", ae_dims=np.int64(32))
    model = models.load_model(tmp_path, "old", "SAEHD")
    model.restore(8, np.full((8, 2), 0.5, np.float32))
    CheckpointStore(tmp_path, "old", "SAEHD").save(model)
    path = tmp_path / "old_SAEHD_data.dat"
    state, later = safe_pickle.load_file(path), time.time() + 60
    for iteration, told in ((5, False), (20, True)):
        path.write_bytes(safe_pickle.dumps({**state, "iter": iteration}))
        os.utime(path, (later, later))
        loaded = models.load_model(tmp_path, "old", "SAEHD", training=False)
        assert loaded.iteration == 8
        assert any("old_SAEHD_data.dat is newer, of iteration 20" in note for note in loaded.notes) == told
    path.write_bytes(b"damaged")
    os.utime(path, (later, later))
    assert models.load_model(tmp_path, "old", "SAEHD", training=False).iteration == 8


def test_a_new_model_begins_with_the_weights_of_deepfacelabs(write_dfl_model, tmp_path):
    from mainscripts.training_start import load_pretrained

    write_dfl_model(tmp_path, "SAEHD", ae_dims=np.int64(32))
    options = models.options_class("SAEHD")(**SMALL, archi="df-ud", face_type="wf", true_face_power=0.01)
    model = models.create_model("SAEHD", options, "new")
    load_pretrained(model, tmp_path)
    wanted = models.load_model(tmp_path, "old", "SAEHD").weights()
    found = model.weights()
    assert model.iteration == 0 and all(np.array_equal(found[path], wanted[path]) for path in wanted)
    assert any("dis begins with fresh weights" in note for note in model.notes)
    (tmp_path / "second_SAEHD_data.dat").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds the SAEHD models old, second; give a folder"):
        load_pretrained(model, tmp_path)


def test_a_discriminators_optimizer_of_another_kind_starts_anew_alone(write_dfl_model, tmp_path):
    judged = {"ae_dims": np.int64(32), "gan_power": np.float64(0.1), "gan_dims": np.int64(4)}
    discriminators = {"D_src": gan_shapes("D_src", 4, 2)}
    path = tmp_path / "old_SAEHD_GAN_opt.npy"
    write_dfl_model(tmp_path, "SAEHD", discriminators, adabelief=False, **judged)
    old = path.read_bytes()
    write_dfl_model(tmp_path, "SAEHD", discriminators, **judged)
    for content, told in ((path.read_bytes(), False), (old, True)):
        path.write_bytes(content)
        model = models.load_model(tmp_path, "old", "SAEHD")
        state = model.optimizer_state()
        assert (state["steps"], state["steps/D_src"]) == (9, 0 if told else 9)
        assert any("the optimizer of D_src starts anew" in note for note in model.notes) == told

"""Faces that grow while SAEHD learns: what is carried over, exact resuming, use of a half-grown model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from core.errors import UsageError
from models.checkpoint import CheckpointStore
from models.growth import Grid, grown_slots, grown_weights, resolution_at, stages
from tests.model_state import assert_same_state
from tests.saehd_case import EVERYTHING, QUIET

GROWING = {**EVERYTHING, **QUIET, "resolution": 128, "grow_from": 64, "grow_iters": 2, "batch_size": 1,
           "eyes_mouth_prio": False, "lr_dropout": "y"}  # fmt: skip


def made(**changes):
    return models.create_model("SAEHD", models.options_class("SAEHD")(**{**GROWING, **changes}))


def drawn_batch(model) -> dict[str, np.ndarray]:
    rng, size = np.random.default_rng([8, model.iteration]), model.resolution
    return {
        name: rng.random((1, size, size, 1 if name.endswith("mask") else 3), np.float32)
        for name in model.batch_names()
    }


def train(model, count: int):
    for _ in range(count):
        model.train_step(drawn_batch(model))
    return model


def test_resolutions_double_up_to_the_last():
    assert stages(64, 256) == (64, 128, 256)
    assert stages(64, 224) == (64, 128, 224)
    assert stages(96, 128) == (96, 128)
    assert stages(0, 128) == (128,)
    saved = {"resolution": 224, "grow_from": 64, "grow_iters": 10}
    assert [resolution_at(saved, n) for n in (0, 9, 10, 19, 20, 1000)] == [64, 64, 128, 128, 224, 224]
    assert resolution_at({"resolution": 224}, 7) == 224


@given(st.sampled_from([(2, 4), (4, 8), (3, 5)]), st.integers(1, 3), st.integers(0, 100))
def test_dense_layers_mean_the_same_on_a_finer_grid(sides, channels, seed):
    """A smooth picture read at twice the resolution gives about the same code, and what is painted is it."""
    rng, (old, new) = np.random.default_rng(seed), sides
    reading = rng.normal(size=(channels * old * old, 5)).astype(np.float32)
    painting = rng.normal(size=(5, channels * old * old)).astype(np.float32)
    weights = {"inter/dense1/weight": reading, "inter/dense2/weight": painting, "encoder/x/weight": reading}
    grown = grown_weights(weights, Grid(old, old), Grid(new, new))
    assert grown["encoder/x/weight"] is reading
    flat = np.repeat(rng.normal(size=channels), new * new)  # the same everywhere in a channel
    coarse = flat.reshape(channels, new, new)[:, :old, :old].reshape(-1)
    share = 1.0 if new % old == 0 else None  # else pixels of the old grid are met unequally often
    if share:
        np.testing.assert_allclose(flat @ grown["inter/dense1/weight"], coarse @ reading, atol=1e-4)
    painted = grown["inter/dense2/weight"].reshape(5, channels, new, new)
    assert painted.min() >= painting.min() - 1e-6 and painted.max() <= painting.max() + 1e-6
    corners = painting.reshape(5, channels, old, old)[..., :: old - 1, :: old - 1]
    np.testing.assert_allclose(painted[..., :: new - 1, :: new - 1], corners, atol=1e-6)


def test_slots_follow_the_gradients_they_are_means_of():
    slots = {
        f"{slot}/inter/{layer}": np.ones(4, np.float32) for slot in ("m", "v") for layer in ("dense2/bias",)
    }
    grown = grown_slots(slots, Grid(2, 2), Grid(4, 4))
    np.testing.assert_allclose(grown["m/inter/dense2/bias"], np.full(16, 0.25))
    np.testing.assert_allclose(grown["v/inter/dense2/bias"], np.full(16, 0.0625))


@pytest.mark.parametrize("archi", ["df-ud", "liae-udt"])
def test_networks_grow_and_keep_what_they_learnt(archi, monkeypatch):
    model = made(archi=archi, batch_size=2)
    monkeypatch.setattr(model, "_step", lambda batch: {"src": 1.0, "dst": 1.0})
    for slot in model.optimizers["main"].slots.values():
        slot.assign(slot + 1.0)
    model.optimizers["main"].steps.assign(2)
    small = model.weights()
    assert model.resolution == 64 and model.sample_request("src").resolution == 64
    train(model, 2)
    assert model.resolution == 128 and model.sample_request("src").resolution == 128
    plain = made(archi=archi, grow_from=0)
    assert model.weight_shapes() == plain.weight_shapes()
    grown, inter = model.weights(), "inter" if archi.startswith("df") else "inter_AB"
    for path, array in small.items():
        if "/dense" not in path:
            np.testing.assert_array_equal(grown[path], array, err_msg=path)
    np.testing.assert_allclose(
        grown[f"{inter}/dense1/weight"].sum(axis=0), small[f"{inter}/dense1/weight"].sum(axis=0), atol=1e-3
    )
    assert model.predictor()(drawn_batch(model)["target_dst"])[0].shape == (1, 128, 128, 3)
    state = model.optimizer_state()
    assert state["steps"] == 2
    np.testing.assert_allclose(state[f"m/{inter}/dense1/weight"], 1.0)
    np.testing.assert_allclose(state[f"v/{inter}/dense2/weight"], 1 / 16)


@pytest.mark.slow
@pytest.mark.parametrize("saved_at", [1, 2, 3])
def test_resuming_is_exact_before_at_and_after_the_growth(tmp_path, saved_at):
    straight = train(made(), 4)
    first = train(made(), saved_at)
    CheckpointStore(tmp_path, "new", "SAEHD").save(first)
    second = models.load_model(tmp_path, "new", "SAEHD")
    assert second.resolution == (64 if saved_at < 2 else 128) and not second.notes
    train(second, 4 - saved_at)
    assert_same_state(second, straight)


def test_a_half_grown_model_is_of_its_present_size(tmp_path):
    from models.dfl_export import export_dfl_model

    store, model = CheckpointStore(tmp_path, "new", "SAEHD"), made(grow_iters=5)
    model.restore(4, np.ones((4, 2), np.float32))
    store.save(model)
    loaded = models.load_model(tmp_path, "new", "SAEHD", training=False)
    assert loaded.resolution == 64 and loaded.options.resolution == 128
    assert loaded.predictor()(drawn_batch(loaded)["target_dst"])[0].shape == (1, 64, 64, 3)
    assert {p.shape for p in loaded.preview(drawn_batch(loaded)).values()} == {(64, 5 * 64, 3)}
    export_dfl_model(store.load_latest(), "new", tmp_path / "dfl")
    back = models.load_model(tmp_path / "dfl", "new", "SAEHD", training=False)
    assert back.options.resolution == back.resolution == 64
    model.restore(5, np.ones((5, 2), np.float32))
    assert model.resolution == 128
    model.restore(4, np.ones((4, 2), np.float32))
    assert model.resolution == 64


@pytest.mark.parametrize("archi", ["df", "liae-udt"])
def test_the_memory_that_is_told_is_that_of_the_full_size(archi):
    growing, plain = made(archi=archi), made(archi=archi, grow_from=0)
    assert growing.memory().parameters == pytest.approx(plain.memory().parameters, rel=1e-3)
    assert growing.memory().total == pytest.approx(plain.memory().total, rel=0.02)
    assert ("grows", "64 from 0, 128 from 2") in growing.summary_rows()


def test_what_judges_full_size_waits_for_it():
    model = made(gan_power=0.1, gan_patch_size=8, gan_dims=4, recipe="dfl")
    assert "D_src" not in model.parts
    with pytest.raises(
        UsageError, match="still grows, with faces of 64 of 128 pixels; give 0 until iteration 2"
    ):
        model.prime(lambda number: {})
    model.restore(2, np.ones((2, 2), np.float32))
    model.is_fresh = False
    model.prime(lambda number: {})
    assert "D_src" in model.parts
    with pytest.raises(UsageError, match="give grow_from 0, or pretrain n"):
        made(pretrain=True)


@pytest.mark.slow
def test_several_persons_grow_too():
    model = train(made(persons="ann,bob,cleo"), 2)
    assert model.resolution == 128 and model.sample_request("cleo").resolution == 128
    train(model, 1)
    assert model.loss_history.shape == (3, 3)

"""SAEHD's fast recipe: what it fits, how it goes on, where DeepFaceLab's takes its place, exact resuming."""

from __future__ import annotations

import numpy as np
import pytest

import models
from models import autoencoder
from models.checkpoint import CheckpointStore
from models.saehd_recipe import in_force, saehd_recipe
from tests.model_state import assert_same_state
from tests.saehd_case import EVERYTHING, QUIET

FAST = {**EVERYTHING, **QUIET, "ae_dims": 32, "batch_size": 10, "recipe": "fast"}
READERS = {"df": ("inter",), "liae": ("inter_AB", "inter_B")}


@pytest.fixture(autouse=True)
def few_faces(monkeypatch):
    monkeypatch.setattr(autoencoder, "PRIMING_FACES", 10)


def options(**changes):
    return models.options_class("SAEHD")(**{**FAST, **changes})


def made(**changes):
    return models.create_model("SAEHD", options(**changes))


def drawn_batch(model, number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([9, number])
    found = {}
    for side in model.sides:
        for spec in model.sample_request(side).specs:
            shape = (68, 2) if spec.kind == "landmarks" else (64, 64, 1 if spec.kind == "mask" else 3)
            found[spec.name] = rng.random((model.options.batch_size, *shape), np.float32)
    return found


def primed(model):
    model.prime(lambda number: drawn_batch(model, number))
    return model


def test_a_new_model_is_fast_and_deepfacelabs_ways_are_its_own():
    assert models.options_class("SAEHD")().recipe == "fast"
    fast = saehd_recipe(options())
    assert fast.primes and fast.plan(100).rate == 5e-4 and fast.plan(100).encoder_share == 0
    for changes in ({"recipe": "dfl"}, {"dfl_compat": True}, {"pretrain": True}):
        assert in_force(options(**changes)).recipe == "dfl"
        recipe = saehd_recipe(options(**changes))
        assert not recipe.primes
        assert {recipe.plan(number) for number in (0, 100, 2000, 99999)} == {recipe.plan(5)}
        assert recipe.plan(5).rate == 5e-5 and recipe.plan(5).encoder_share == 1


def test_the_fast_schedule_ends_as_deepfacelabs():
    fast, dfl = saehd_recipe(options()), saehd_recipe(options(recipe="dfl"))
    for number in (12000, 50000, 1000000):
        assert fast.plan(number) == dfl.plan(number)
    rates = [fast.plan(number).rate for number in range(20, 12000, 100)]
    assert rates == sorted(rates, reverse=True) and max(rates) == 5e-4 and min(rates) == 5e-5
    assert fast.plan(1500).rate == 5e-5  # at 5e-4 a default liae-ud died at iteration 1,650
    shares = [fast.plan(number).encoder_share for number in range(0, 12000, 100)]
    assert shares == sorted(shares)
    for name in ("optimizer", "beta1", "beta2", "eps", "bias_correction", "unwarped_every"):
        assert getattr(fast, name) == getattr(dfl, name)  # so that the slots mean the same


def test_rates_suit_the_networks_and_what_is_switched_on():
    def first(**changes):
        return saehd_recipe(options(**changes)).plan(100).rate

    assert first(d_dims=64, e_dims=64, ae_dims=256) == 5e-4
    assert first(d_dims=128) == first(e_dims=128) == first(ae_dims=512) == 2.5e-4
    assert 5e-5 <= first(ae_dims=1024, d_dims=256) <= 1.25e-4
    for name in ("gan_power", "true_face_power", "face_style_power", "bg_style_power"):
        assert first(**{name: 0.01}) == 5e-5
    dropped = saehd_recipe(options(lr_dropout="y"))
    assert dropped.plan(150).rate == 5e-4 and dropped.plan(150).keep == 0.3
    assert dropped.plan(250).swing_period == 500


def test_samples_move_little_at_first_and_landmarks_are_read_once():
    model = made(archi="df")
    request = model.sample_request("src")
    assert request.augment_share(0) == pytest.approx(0.3) and request.augment_share(99999) == 1.0
    assert request.specs[-1].name == "landmarks_src" and "landmarks_src" not in model.batch_names()
    primed(model)
    assert request.specs[:-1] == model.sample_request("src").specs
    plain = made(archi="df", recipe="dfl").sample_request("src")
    assert plain.augment_share is None and plain.specs == request.specs[:-1]


@pytest.mark.parametrize("archi", ["df-ud", "liae-ud", "df-t", "liae-c"])
def test_the_readers_of_a_fresh_model_are_fitted_once(archi):
    model = made(archi=archi)
    fresh = model.weights()
    after = primed(model).weights()
    readers = READERS[archi.partition("-")[0]]
    changed = {path for path in fresh if not np.array_equal(fresh[path], after[path])}
    assert changed == {f"{part}/dense1/{name}" for part in readers for name in ("weight", "bias")}
    for name in ("weight", "bias"):  # both persons' faces mean the same to liae's two inters
        own = [after[f"{part}/dense1/{name}"] for part in readers]
        assert all(np.array_equal(array, own[0]) and np.isfinite(array).all() for array in own)
    again = primed(model).weights()
    assert all(np.array_equal(again[path], array) for path, array in after.items())


def test_several_persons_are_fitted_together():
    model = made(persons="ann,bob,cleo", archi="df-ud", batch_size=8)
    before = model.weights()["inter/dense1/weight"]
    after = primed(model).weights()["inter/dense1/weight"]
    assert not np.array_equal(before, after) and np.isfinite(after).all()


def test_the_reader_is_fitted_again_when_pretraining_ends(tmp_path):
    before = made(pretrain=True)
    assert "landmarks_src" not in {spec.name for spec in before.sample_request("src").specs}
    random = primed(before).weights()["inter/dense1/weight"]
    before.restore(9, np.ones((9, 2), np.float32))
    store = CheckpointStore(tmp_path, "new", "SAEHD")
    store.save(before)

    after = models.load_model(tmp_path, "new", "SAEHD", options=lambda saved: saved.changed(pretrain=False))
    fitted = primed(after).weights()["inter/dense1/weight"]
    assert not np.array_equal(fitted, random)
    store.save(after)
    later = models.load_model(tmp_path, "new", "SAEHD")
    assert "landmarks_src" not in {spec.name for spec in later.sample_request("src").specs}
    np.testing.assert_array_equal(primed(later).weights()["inter/dense1/weight"], fitted)


@pytest.mark.slow
@pytest.mark.parametrize("archi", ["df-ud", "liae-ud"])
def test_resuming_is_exact_where_the_encoder_sets_out(tmp_path, archi):
    small = {"archi": archi, "batch_size": 2, "xla": "auto"}

    def start():
        model = primed(made(**small))
        model.restore(1498, np.ones((1498, 2), np.float32))
        return model

    def train(model, count):
        for _ in range(count):
            model.train_step(drawn_batch(model, model.iteration))
        return model

    begun = start()
    resting = {path: array for path, array in begun.weights().items() if path.startswith("encoder/")}
    train(begun, 3)  # of which the last has a share of nothing
    assert all(np.array_equal(begun.weights()[path], array) for path, array in resting.items())
    CheckpointStore(tmp_path, "new", "SAEHD").save(begun)
    loaded = train(models.load_model(tmp_path, "new", "SAEHD"), 3)
    straight = train(start(), 6)
    assert not any(np.array_equal(straight.weights()[path], array) for path, array in resting.items())
    assert_same_state(loaded, straight)

from __future__ import annotations

import numpy as np

import models
from models.priming import fit_bottleneck


def _features(count, rng, modes, offset):
    amounts = rng.normal(size=(count, len(modes))) * (6.0, 2.0, 0.5)
    noise = 0.01 * rng.normal(size=(count, modes.shape[1]))
    return (offset + amounts @ modes + noise).astype(np.float32), amounts


def test_codes_are_centred_ordered_and_blind_to_the_person():
    rng = np.random.default_rng(1)
    modes = np.linalg.qr(rng.normal(size=(500, 4)))[0].T
    common = 5 * rng.normal(size=500)
    src, amounts = _features(80, rng, modes[:3], common + 9 * modes[3])
    dst, _ = _features(80, rng, modes[:3], common - 9 * modes[3])

    weight, bias = fit_bottleneck(src, dst, 16)
    codes = np.concatenate([src, dst]).astype(np.float64) @ weight + bias

    np.testing.assert_allclose(codes[:80].mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(codes[80:].mean(axis=0), 0, atol=2e-3)
    deviation = codes.std(axis=0)
    np.testing.assert_allclose(deviation[:3], 2 * np.sqrt([1, 2 / 6, 0.5 / 6]), rtol=0.15)
    assert abs(np.corrcoef(codes[:80, 0], amounts[:, 0])[0, 1]) > 0.98
    assert np.abs(modes[3] @ weight).max() < 0.05 * np.abs(modes[0] @ weight).max()


def test_few_or_equal_faces_give_finite_weights():
    rng = np.random.default_rng(2)
    src = rng.normal(size=(3, 40)).astype(np.float32)
    for dst in (src, np.repeat(src[:1], 3, axis=0)):
        weight, bias = fit_bottleneck(src, dst, 32)
        assert weight.shape == (40, 32) and bias.shape == (32,)
        assert np.isfinite(weight).all() and np.isfinite(bias).all()
    weight, _ = fit_bottleneck(src[:1], src[:1], 8)
    assert not weight.any()


def _drawn_batch(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {f"warped_{side}": rng.random((40, 96, 96, 3), np.float32) for side in ("src", "dst")}


def test_a_fresh_model_is_primed_once_and_a_loaded_one_never():
    options = models.options_class("Quick96")(precision="float32", batch_size=40)
    model = models.create_model("Quick96", options)
    fresh = model.weights()
    model.prime(_drawn_batch)
    primed = model.weights()
    changed = {path for path in fresh if not np.array_equal(fresh[path], primed[path])}
    assert changed == {"inter/dense1/weight", "inter/dense1/bias"}

    model.prime(lambda number: _drawn_batch(number + 9))
    model.load_weights(fresh)
    model.prime(_drawn_batch)
    np.testing.assert_array_equal(model.weights()["inter/dense1/weight"], fresh["inter/dense1/weight"])


def test_dfls_recipe_begins_at_random():
    options = models.options_class("Quick96")(precision="float32", recipe="dfl")
    model = models.create_model("Quick96", options)
    before = model.weights()["inter/dense1/weight"]
    model.prime(_drawn_batch)
    np.testing.assert_array_equal(model.weights()["inter/dense1/weight"], before)

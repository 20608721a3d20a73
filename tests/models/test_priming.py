from __future__ import annotations

import numpy as np

import models
from models.priming import fit_bottleneck, usual_face


def _features(count, rng, modes, offset):
    amounts = rng.normal(size=(count, len(modes))) * (6.0, 2.0, 0.5)
    noise = 0.01 * rng.normal(size=(count, modes.shape[1]))
    return (offset + amounts @ modes + noise).astype(np.float32), amounts


def test_codes_are_ordered_and_blind_to_the_person():
    rng = np.random.default_rng(1)
    modes = np.linalg.qr(rng.normal(size=(500, 4)))[0].T
    common = 5 * rng.normal(size=500)
    src, amounts = _features(80, rng, modes[:3], common + 9 * modes[3])
    dst, _ = _features(80, rng, modes[:3], common - 9 * modes[3])

    weight, bias = fit_bottleneck(src, dst, common + 9 * modes[3], common - 9 * modes[3], 16)
    codes = np.concatenate([src, dst]).astype(np.float64) @ weight + bias

    deviation = codes.std(axis=0)
    np.testing.assert_allclose(deviation[:3], 2 * np.sqrt([1, 2 / 6, 0.5 / 6]), rtol=0.15)
    assert abs(np.corrcoef(codes[:80, 0], amounts[:, 0])[0, 1]) > 0.98
    assert np.abs(modes[3] @ weight).max() < 0.05 * np.abs(modes[0] @ weight).max()
    usual = np.stack([common + 9 * modes[3], common - 9 * modes[3]]) @ weight + bias
    np.testing.assert_allclose(usual, 0, atol=1e-3)


def test_the_usual_face_is_the_neutral_one_however_much_somebody_laughs():
    rng = np.random.default_rng(2)
    neutral, laugh = rng.normal(size=(2, 200))
    often = np.concatenate([np.zeros(40), rng.uniform(0.3, 1.5, 60)])
    features = neutral + np.outer(often, laugh) + 0.02 * rng.normal(size=(100, 200))
    usual = usual_face(features.astype(np.float32))
    assert np.linalg.norm(usual - neutral) < 0.05 * np.linalg.norm(features.mean(axis=0) - neutral)


def test_few_or_equal_faces_give_finite_weights():
    rng = np.random.default_rng(2)
    src = rng.normal(size=(3, 40)).astype(np.float32)
    for dst in (src, np.repeat(src[:1], 3, axis=0)):
        weight, bias = fit_bottleneck(src, dst, usual_face(src), usual_face(dst), 32)
        assert weight.shape == (40, 32) and bias.shape == (32,)
        assert np.isfinite(weight).all() and np.isfinite(bias).all()
    one = src[:1]
    weight, _ = fit_bottleneck(one, one, usual_face(one), usual_face(one), 8)
    assert not weight.any()


def _drawn_batch(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    names = ("warped_src", "warped_dst", "target_src", "target_dst")
    return {name: rng.random((40, 96, 96, 3), np.float32) for name in names}


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


def test_rates_reach_the_weights_they_are_for():
    """No rate moves nothing, a held encoder stays where it is, and decay shrinks what has no gradient."""
    import tensorflow as tf

    from core.nn.optimizers import Optimizer, OptimizerSpec

    weights = {path: tf.Variable([2.0]) for path in ("encoder/w", "decoder/w")}
    optimizer = Optimizer(
        weights, OptimizerSpec("adam"), 0, jit=False, slow=["encoder/w"], decayed=["decoder/w"]
    )
    gradients = [tf.constant([1.0]), tf.constant([0.0])]
    optimizer.apply(gradients, tf.constant(0.0), None, 1.0, 5.0)
    assert [float(w[0]) for w in weights.values()] == [2.0, 2.0]
    optimizer.apply(gradients, tf.constant(0.1), None, 0.0, 0.5)
    np.testing.assert_allclose(
        [float(w[0]) for w in weights.values()], [2.0, 2.0 - 0.1 * 0.5 * 2.0], rtol=1e-6
    )
    optimizer.apply(gradients, tf.constant(0.1), None, 1.0, 0.0)
    assert float(weights["encoder/w"][0]) < 2.0

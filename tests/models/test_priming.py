from __future__ import annotations

import numpy as np

import models
from models.priming import PersonFeatures, fit_bottleneck, usual_rows


def _modes(rng, count, dims=500):
    return np.linalg.qr(rng.normal(size=(dims, count)))[0].T


def _person(rng, usual, shape_modes, look_modes, points, faces=60):
    """Faces whose features show their shape by `shape_modes`, their look by `look_modes`; warps are noise."""
    usually = np.arange(faces) < faces // 3  # neutral, as in most videos
    amounts = np.where(usually[:, None], 0.02, 1.0) * rng.normal(size=(faces, len(shape_modes)))
    looks = np.where(usually[:, None], 0.02, 1.0) * rng.normal(size=(faces, len(look_modes)))
    target = usual + 4 * amounts @ shape_modes + 6 * looks @ look_modes
    warped = target + 0.2 * rng.normal(size=target.shape)
    landmarks = rng.uniform(20, 70, (68, 2)) + np.tensordot(amounts, points, 1)
    features = [part.astype(np.float32) for part in (warped, target, landmarks)]
    return PersonFeatures(*features), amounts, looks


def _usual(person):
    target = person.target.astype(np.float64)
    return target[usual_rows(target @ target.T)].mean(axis=0)


def test_an_expression_gets_one_code_though_it_looks_different_on_two_persons():
    rng = np.random.default_rng(1)
    modes, common = _modes(rng, 7), 5 * rng.normal(size=500)
    points = rng.normal(size=(2, 68, 2)) * (1.0, 0.5)
    src, src_amounts, _ = _person(rng, common + 9 * modes[6], modes[:2], modes[4:5], points)
    dst, dst_amounts, _ = _person(rng, common - 9 * modes[6], modes[2:4], modes[5:6], points)
    weight, bias = fit_bottleneck((src, dst), 16)
    codes = [person.target.astype(np.float64) @ weight + bias for person in (src, dst)]

    def fit(amounts, code):
        return np.linalg.lstsq(amounts, code[:, :2], rcond=None)[0]

    of_src, of_dst = fit(src_amounts, codes[0]), fit(dst_amounts, codes[1])
    np.testing.assert_allclose(of_src, of_dst, atol=0.15 * np.abs(of_src).max())
    assert np.abs(of_src).max() > 1.0
    # what tells the persons apart as such is not read, and both usual faces are the code's zero
    assert np.abs(modes[6] @ weight).max() < 0.05 * np.abs(weight).max() * np.sqrt(500)
    for person in (src, dst):
        np.testing.assert_allclose(_usual(person) @ weight + bias, 0, atol=1e-3)


def test_what_landmarks_do_not_show_is_in_the_code_too():
    rng = np.random.default_rng(3)
    modes, common = _modes(rng, 4), 5 * rng.normal(size=500)
    points = rng.normal(size=(1, 68, 2))
    src, _, looks = _person(rng, common + 3 * modes[3], modes[:1], modes[1:2], points)
    dst, _, _ = _person(rng, common - 3 * modes[3], modes[:1], modes[2:3], points)
    weight, bias = fit_bottleneck((src, dst), 8)
    codes = src.target.astype(np.float64) @ weight + bias
    assert max(abs(np.corrcoef(code, looks[:, 0])[0, 1]) for code in codes.T if code.std() > 0.2) > 0.95


def test_the_usual_face_is_the_neutral_one_however_much_somebody_laughs():
    rng = np.random.default_rng(2)
    neutral, laugh = rng.normal(size=(2, 200))
    often = np.concatenate([np.zeros(40), rng.uniform(0.3, 1.5, 60)])
    features = neutral + np.outer(often, laugh) + 0.02 * rng.normal(size=(100, 200))
    rows = usual_rows(features @ features.T)
    usual = features[rows].mean(axis=0)
    assert np.linalg.norm(usual - neutral) < 0.05 * np.linalg.norm(features.mean(axis=0) - neutral)


def test_the_size_of_features_does_not_matter_and_a_third_person_is_no_expression():
    rng = np.random.default_rng(4)
    modes, common = _modes(rng, 5), 5 * rng.normal(size=500)
    points = rng.normal(size=(1, 68, 2))
    persons = [_person(rng, common + 4 * mode, modes[:1], modes[1:2], points)[0] for mode in modes[2:]]
    tiny = [PersonFeatures(1e-3 * one.warped, 1e-3 * one.target, one.landmarks) for one in persons]
    (weight, bias), (other, other_bias) = fit_bottleneck(persons, 8), fit_bottleneck(tiny, 8)
    for person, small in zip(persons, tiny):
        code = person.target.astype(np.float64) @ weight + bias
        np.testing.assert_allclose(
            np.abs(small.target.astype(np.float64) @ other + other_bias), np.abs(code), atol=1e-2
        )
        np.testing.assert_allclose(_usual(person) @ weight + bias, 0, atol=1e-3)


def test_few_or_equal_faces_give_finite_weights():
    rng = np.random.default_rng(2)
    faces = rng.normal(size=(3, 40)).astype(np.float32)
    points = rng.normal(size=(3, 68, 2)).astype(np.float32)
    several = PersonFeatures(faces, faces, points)
    alike = PersonFeatures(*(np.repeat(part[:1], 3, axis=0) for part in (faces, faces, points)))
    still = PersonFeatures(faces, faces, np.repeat(points[:1], 3, axis=0))
    for src, dst in ((several, several), (several, alike), (still, still), (still, several)):
        weight, bias = fit_bottleneck((src, dst), 32)
        assert weight.shape == (40, 32) and bias.shape == (32,)
        assert np.isfinite(weight).all() and np.isfinite(bias).all() and weight.any()
    one = PersonFeatures(faces[:1], faces[:1], points[:1])
    weight, _ = fit_bottleneck((one, one), 8)
    assert not weight.any()


def _drawn_batch(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    names = ("warped_src", "warped_dst", "target_src", "target_dst")
    batch = {name: rng.random((40, 96, 96, 3), np.float32) for name in names}
    points = rng.random((2, 40, 68, 2), np.float32) * 96
    return batch | {"landmarks_src": points[0], "landmarks_dst": points[1]}


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


def test_the_encoder_waits_and_then_follows():
    options = models.options_class("Quick96")(precision="float32", batch_size=2)
    model = models.create_model("Quick96", options)
    batch = {name: array[:2] for name, array in _drawn_batch(0).items()}
    masks = {f"target_{side}_mask": np.ones((2, 96, 96, 1), np.float32) for side in ("src", "dst")}

    def changed(iteration):
        model.iteration, before = iteration, model.weights()
        model.train_step(batch | masks)
        return {path for path, value in model.weights().items() if not np.array_equal(value, before[path])}

    waiting, following = changed(1), changed(4000)
    assert any(path.startswith("decoder_src/") for path in waiting)
    assert not any(path.startswith(("encoder/", "inter/dense1")) for path in waiting)
    assert {path for path in model.weights() if path.endswith("/weight")} <= following

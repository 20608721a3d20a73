"""Optimizers against numbers worked out elsewhere; masks; saved states."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import CheckpointError


@pytest.fixture(scope="module")
def optimizers():
    from core.nn import devices

    devices.prepare(cpu_only=True)
    from core.nn import optimizers

    return optimizers


def make(optimizers, spec, jit=True, shape=(3,), seed=0):
    import tensorflow as tf

    weights = {"part/a": tf.Variable(tf.ones(shape)), "part/b": tf.Variable(tf.ones(shape))}
    return optimizers.Optimizer(weights, spec, seed, jit)


def steps(optimizer, count, rate=5e-5, keep=None):
    import tensorflow as tf

    keep = None if keep is None else tf.constant(keep)
    values = []
    for _ in range(count):
        optimizer.apply([0.5 * weight for weight in optimizer.weights.values()], tf.constant(rate), keep)
        values.append(optimizer.weights["part/a"].numpy()[0])
    return values


@pytest.mark.parametrize("jit", [True, False])
def test_dfls_optimizers(optimizers, jit):
    # Values of DeepFaceLab: w = 1, gradient w / 2, rate 5e-5.
    rmsprop = steps(make(optimizers, optimizers.DFL_RMSPROP, jit), 3)
    np.testing.assert_allclose(rmsprop, (0.99984187, 0.99972719, 0.99963117), atol=1e-7)
    belief = steps(make(optimizers, optimizers.DFL_ADABELIEF, jit), 3)
    np.testing.assert_allclose(belief, (0.99982435, 0.99957621, 0.99927288), atol=1e-7)


def test_adam_with_bias_correction_begins_with_steps_of_the_rate(optimizers):
    adam = optimizers.OptimizerSpec("adam", 0.9, 0.99, 1e-8, bias_correction=True)
    values = steps(make(optimizers, adam), 3, rate=1e-3)
    np.testing.assert_allclose(values, (0.999, 0.998, 0.997), atol=1e-5)


def test_a_rate_swings_by_the_optimizers_own_updates(optimizers):
    import tensorflow as tf

    first, second = (make(optimizers, optimizers.DFL_RMSPROP) for _ in range(2))
    assert float(first.swing(tf.constant(0.0))) == 1.0
    seen = []
    for _ in range(9):
        seen.append(float(first.swing(tf.constant(8.0))))
        steps(first, 1)
    wanted = (np.cos(np.arange(9) * 2 * np.pi / 8) + 1) / 2
    np.testing.assert_allclose(seen, wanted, atol=1e-6)
    assert float(second.swing(tf.constant(8.0))) == 1.0  # it has not begun
    first.steps.assign(500 * 10**7 + 125)  # beyond what float32 counts
    np.testing.assert_allclose(float(first.swing(tf.constant(500.0))), 0.5, atol=1e-6)


def test_mask_keeps_its_share_and_depends_on_the_key_only(optimizers):
    import tensorflow as tf

    def mask(key):
        return optimizers.keep_mask((100, 1000), tf.constant(0.3), tf.constant(key, tf.uint32)).numpy()

    assert set(np.unique(mask(1))) == {0.0, 1.0}
    assert abs(mask(1).mean() - 77 / 256) < 0.006
    np.testing.assert_array_equal(mask(1), mask(1))
    both = mask(1) * mask(2)
    assert abs(both.mean() - (77 / 256) ** 2) < 0.006
    neighbours = mask(1)[:, 1:] * mask(1)[:, :-1]
    assert abs(neighbours.mean() - (77 / 256) ** 2) < 0.006


def test_dropout_moves_some_weights_and_all_slots(optimizers):
    optimizer = make(optimizers, optimizers.DFL_RMSPROP, shape=(1000,))
    steps(optimizer, 1, keep=0.3)
    moved = optimizer.weights["part/a"].numpy() != 1
    assert 0.2 < moved.mean() < 0.4
    assert (optimizer.slots["acc/part/a"].numpy() > 0).all()
    other = optimizer.weights["part/b"].numpy() != 1
    assert (moved != other).any()


def test_state_round_trip_continues_exactly(optimizers):
    straight, first, second = (make(optimizers, optimizers.DFL_ADABELIEF, shape=(500,)) for _ in range(3))
    steps(straight, 6, keep=0.3)
    steps(first, 3, keep=0.3)
    for path, weight in second.weights.items():
        weight.assign(first.weights[path])
    assert second.load_state(first.state())
    steps(second, 3, keep=0.3)
    for path, weight in straight.weights.items():
        np.testing.assert_array_equal(weight, second.weights[path])


def test_state_of_another_optimizer_starts_anew(optimizers):
    adam = make(optimizers, optimizers.OptimizerSpec("adam"))
    steps(adam, 2)
    rmsprop = make(optimizers, optimizers.DFL_RMSPROP)
    steps(adam, 1)
    assert not rmsprop.load_state(adam.state())
    assert rmsprop.state()["steps"] == 0


def test_incomplete_state_is_refused_and_nothing_assigned(optimizers):
    optimizer = make(optimizers, optimizers.DFL_RMSPROP)
    steps(optimizer, 1)
    before = optimizer.state()
    state = {path: 2 * value for path, value in before.items() if path != "acc/part/b"}
    state["acc/part/c"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match=r"missing: acc/part/b; left over: acc/part/c"):
        optimizer.load_state(state)
    for path, value in before.items():
        np.testing.assert_array_equal(value, optimizer.state()[path])


def test_loss_scale_halves_on_overflow_and_recovers(optimizers):
    import tensorflow as tf

    scale = optimizers.LossScale()
    gradients, finite = scale.unscale([tf.constant([scale.START, 0.0], tf.float32)])
    assert finite and gradients[0][0] == 1
    _, finite = scale.unscale([tf.constant([np.inf], tf.float32)])
    assert not finite
    scale.adjust(finite)
    assert scale.scale == scale.START / 2
    for _ in range(scale.PATIENCE):
        scale.adjust(tf.constant(True))
    assert scale.scale == scale.START

"""The perceptual loss: its range, its gradient, its weights' files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from core.errors import SwapError


@pytest.fixture(scope="module")
def loss(vgg16_file):
    from core.nn.perceptual import PerceptualLoss

    return PerceptualLoss(str(vgg16_file))


def faces(seed: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 64, 64, 3), np.float32)


def test_equal_pictures_are_alike_and_others_are_not(loss):
    a, b = faces(1), faces(2)
    np.testing.assert_array_equal(loss(a, a), [0, 0])
    far, near = loss(a, b).numpy(), loss(a, 0.9 * a + 0.1 * b).numpy()
    assert far.shape == (2,) and far.dtype == np.float32
    assert (near > 0).all() and (near < far).all() and (far <= 1).all()
    np.testing.assert_allclose(loss(a, b), loss(b, a), rtol=1e-5)


def test_features_are_those_of_keras(loss, vgg16_file):
    import keras

    from core.nn.perceptual import load_vgg16

    network = load_vgg16(str(vgg16_file))
    tap = keras.Model(network.input, network.get_layer("block3_conv3").output)
    rgb = 255 * faces(3)[..., ::-1]
    wanted = tap(keras.applications.vgg16.preprocess_input(rgb.copy())).numpy()
    wanted /= np.sqrt((wanted**2).sum(axis=-1, keepdims=True) + 1.0)
    np.testing.assert_allclose(loss.features(faces(3))[2], wanted, atol=1e-4)


def test_only_what_was_found_gets_a_gradient(loss, wide_sums):
    import tensorflow as tf

    wanted, found = tf.constant(faces(1, 1)), tf.constant(faces(2, 1))

    def gradients(wanted, found):
        with tf.GradientTape() as tape:
            tape.watch((wanted, found))
            total = tf.reduce_sum(loss(wanted, found))
        return tape.gradient(total, (wanted, found), unconnected_gradients="zero")

    to_wanted, to_found = tf.function(gradients)(wanted, found)
    assert not np.any(to_wanted) and np.isfinite(to_found).all() and np.abs(to_found).max() > 0
    assert not wide_sums(gradients, wanted, found)


def test_a_step_along_the_gradient_lowers_it(loss):
    import tensorflow as tf

    wanted, found = tf.constant(faces(1, 1)), tf.constant(faces(2, 1))
    with tf.GradientTape() as tape:
        tape.watch(found)
        before = loss(wanted, found)[0]
    gradient = tape.gradient(before, found)
    assert loss(wanted, found - 0.05 * gradient / tf.reduce_max(tf.abs(gradient)))[0] < before


def test_files_of_either_layout_are_read(vgg16_file, tmp_path):
    from core.nn.perceptual import load_vgg16

    network = load_vgg16(str(vgg16_file))
    network.save(tmp_path / "legacy.h5")
    for found, wanted in zip(load_vgg16(str(tmp_path / "legacy.h5")).get_weights(), network.get_weights()):
        np.testing.assert_array_equal(found, wanted)


def test_half_precision_is_near(loss, vgg16_file):
    from core.nn.perceptual import PerceptualLoss

    half = PerceptualLoss(str(vgg16_file), "bfloat16")(faces(1), faces(2))
    np.testing.assert_allclose(half, loss(faces(1), faces(2)), rtol=0.05)
    assert half.dtype == np.float32


def test_weights_that_are_missing_or_of_something_else_are_refused(tmp_path, monkeypatch, vgg16_file):
    import h5py
    import keras

    from core.nn.perceptual import load_vgg16

    with pytest.raises(SwapError, match=r"gone\.h5: the file of VGG16's weights .* is not there"):
        load_vgg16(str(tmp_path / "gone.h5"))
    with pytest.raises(SwapError, match=f"{re.escape(str(Path.cwd()))}.gone\\.h5"):
        load_vgg16("gone.h5")  # saved so when the training began, perhaps in another folder
    text = tmp_path / "text.h5"
    text.write_text("these are no weights")
    other = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(other)
    partial = tmp_path / "partial.weights.h5"
    partial.write_bytes(vgg16_file.read_bytes())
    with h5py.File(partial, "r+") as file:
        del file["layers"][next(iter(file["layers"]))]
    for path in (text, other, partial):
        with pytest.raises(SwapError, match="does not hold the weights of Keras's VGG16") as caught:
            load_vgg16(str(path))
        assert "\n" not in str(caught.value)

    def offline(**_):
        raise OSError("URL fetch failure:\n no route to host")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    with pytest.raises(SwapError, match=r"cannot be fetched; .*no route to host"):
        load_vgg16("imagenet")

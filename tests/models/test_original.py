"""Original: what it learns, swaps and shows, and that it goes on exactly."""

from __future__ import annotations

import numpy as np
import pytest

import models
from models.checkpoint import CheckpointStore


def drawn_batch(number: int, size: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([5, number])
    batch = {}
    for side in ("src", "dst"):
        for name, channels in (("warped_{}", 3), ("target_{}", 3), ("target_{}_mask", 1)):
            batch[name.format(side)] = rng.random((size, 64, 64, channels), np.float32)
    return batch


def create(**values):
    options = models.options_class("Original")(**{"precision": "float32", "seed": 3, **values})
    return models.create_model("Original", options)


@pytest.fixture(scope="module")
def model():
    return create(batch_size=2)


def test_it_has_one_encoder_and_two_decoders_of_the_first_programs_sizes(model):
    shapes = model.weight_shapes()
    assert list(model.parts) == ["encoder", "decoder_src", "decoder_dst"]
    assert shapes["encoder/down3/weight"] == (5, 5, 512, 1024)
    assert shapes["encoder/dense1/weight"] == (4 * 4 * 1024, 1024)
    assert shapes["encoder/dense2/weight"] == (1024, 4 * 4 * 1024)
    assert shapes["decoder_src/face_up0/weight"] == (3, 3, 512, 4 * 256)
    assert shapes["decoder_dst/face_out/weight"] == (5, 5, 64, 3)
    assert sum(np.prod(shape) for shape in shapes.values()) == 84_607_784


def test_its_loss_is_the_mean_absolute_error_of_the_whole_crop(model):
    import tensorflow as tf

    batch = drawn_batch(0, size=2)
    found = model.losses({name: tf.constant(batch[name]) for name in model.batch_names()})
    for side in model.sides:
        made = model.parts[f"decoder_{side}"](model.parts["encoder"](batch[f"warped_{side}"]))
        wanted = np.abs(made["face"] - batch[f"target_{side}"]).mean(axis=(1, 2, 3))
        wanted += np.abs(made["mask"] - batch[f"target_{side}_mask"]).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(found.reported[side], wanted, rtol=1e-5)


def test_the_swap_is_the_sources_decoder_on_the_destinations_code(model):
    faces = drawn_batch(1, size=2)["target_dst"]
    face, src_mask, dst_mask = model.predictor()(faces)
    codes = model.parts["encoder"](faces)
    np.testing.assert_allclose(face, model.parts["decoder_src"](codes)["face"], atol=1e-6)
    np.testing.assert_allclose(src_mask, model.parts["decoder_src"](codes)["mask"], atol=1e-6)
    np.testing.assert_allclose(dst_mask, model.parts["decoder_dst"](codes)["mask"], atol=1e-6)
    assert face.shape == (2, 64, 64, 3) and src_mask.shape == dst_mask.shape == (2, 64, 64, 1)


def test_the_preview_has_a_row_per_face_and_five_columns(model):
    batch = drawn_batch(2, size=5)
    picture = model.preview(batch)["Original"]
    assert picture.shape == (4 * 64, 5 * 64, 3)
    np.testing.assert_array_equal(picture[64:128, 128:192], batch["target_dst"][1])


def test_the_samples_are_64_pixels_of_the_full_face(model):
    request = model.sample_request("src")
    assert (request.resolution, request.face_type, request.size_of(0)) == (64, "full_face", 2)


@pytest.mark.slow
def test_it_learns_one_batch(wide_sums):
    model, batch = create(batch_size=1), drawn_batch(3)
    assert not wide_sums(model._train_graph, *_step_of(model, batch))
    for _ in range(12):
        model.train_step(batch)
    assert (model.loss_history[-1] < 0.97 * model.loss_history[0]).all()


def _step_of(model, batch):
    import tensorflow as tf

    arrays = {name: tf.constant(batch[name]) for name in model.batch_names()}
    return arrays, tf.constant([5e-5, 1.0, 0.0, 0.0]), None, ()


@pytest.mark.slow
def test_six_iterations_equal_three_save_load_and_three(tmp_path):
    def train(model) -> None:
        for _ in range(3):
            model.train_step(drawn_batch(model.iteration))

    straight = create(batch_size=1)
    train(straight)
    CheckpointStore(tmp_path, "new", "Original").save(straight)
    train(straight)
    resumed = models.load_model(tmp_path, "new", "Original")
    assert resumed.iteration == 3 and not resumed.notes
    train(resumed)
    np.testing.assert_array_equal(straight.loss_history, resumed.loss_history)
    weights = straight.weights()
    for path, array in resumed.weights().items():
        np.testing.assert_array_equal(array, weights[path], err_msg=path)

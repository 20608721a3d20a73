"""SAEHD with the perceptual loss: where it counts, and that its weights are nobody's but VGG16's."""

from __future__ import annotations

import numpy as np
import pytest

import models
from core.errors import SwapError
from models.checkpoint import CheckpointStore
from tests.saehd_case import EVERYTHING, QUIET, reference_batch

POWER = 0.5


def made(path="", power=POWER, **changes):
    values = {**EVERYTHING, **QUIET, "perceptual_power": power, "perceptual_weights": str(path), **changes}
    return models.create_model("SAEHD", models.options_class("SAEHD")(**values))


def reported(model):
    import tensorflow as tf

    found = model.losses({name: tf.constant(array) for name, array in reference_batch().items()})
    return found.reported, found.objectives["main"]


def test_it_is_a_term_of_both_losses_and_of_the_objective(vgg16_file):
    from core.nn.perceptual import PerceptualLoss
    from models import face_losses, saehd_graph

    batch = reference_batch()
    with_it, without = made(vgg16_file), made(power=0.0)
    output = saehd_graph.run(without.parts, batch["warped_src"], batch["warped_dst"])
    (found, objective), (bare, bare_objective) = reported(with_it), reported(without)
    loss, extra = PerceptualLoss(str(vgg16_file)), 0.0
    for side, made_of in (("src", output.src), ("dst", output.dst)):
        soft = face_losses.soft_mask(batch[f"target_{side}_mask"])
        term = 10 * POWER * loss(batch[f"target_{side}"] * soft, made_of["face"] * soft)
        np.testing.assert_allclose(found[side], bare[side] + term, rtol=1e-5)
        extra = extra + term
    np.testing.assert_allclose(objective, bare_objective + extra, rtol=1e-5)


def test_its_weights_are_not_the_models(vgg16_file, tmp_path):
    model = made(vgg16_file)
    before = model.weights()
    model.train_step(reference_batch())
    assert model.weights().keys() == before.keys() == made(power=0.0).weights().keys()
    CheckpointStore(tmp_path, "new", "SAEHD").save(model)
    saved = CheckpointStore(tmp_path, "new", "SAEHD").load_latest()
    assert saved.weights.keys() == before.keys()


def test_its_maps_are_in_the_estimate_of_memory(vgg16_file):
    with_it, without = made(vgg16_file), made(power=0.0)
    extra = with_it.memory().total - without.memory().total
    assert extra == pytest.approx(1.6 * 2 * 2 * 64**2 * (64 * 20 + 128 / 4 * 20 + 256 / 16 * 24))


def test_a_missing_file_stops_a_training_before_it_begins_but_no_merge(tmp_path):
    model = made(tmp_path / "gone.h5")
    faces = reference_batch()["target_dst"]
    assert model.predictor()(faces)[0].shape == faces.shape
    with pytest.raises(SwapError, match=r"gone\.h5"):
        model.prime(lambda number: reference_batch())
    with pytest.raises(SwapError, match=r"gone\.h5"):
        model.train_step(reference_batch())
    assert model.iteration == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {**EVERYTHING, "gan_patch_size": 8, "gan_dims": 4}], ids=["alone", "all"]
)
def test_no_gradient_is_a_sum_of_three(vgg16_file, wide_sums, changes):
    import tensorflow as tf

    model = made(vgg16_file, **changes)
    tensors = {name: tf.constant(reference_batch()[name]) for name in model.batch_names()}
    names = list(model.optimizers)
    assert not wide_sums(lambda tensors: model._gradients(tensors, names, ())[1], tensors)

"""SAEHD's losses against a value that DeepFaceLab computed, and what each term is for."""

from __future__ import annotations

import numpy as np
import pytest

import models
from tests import dfl_vectors as vectors
from tests.saehd_case import EVERYTHING, QUIET, reference_batch


@pytest.fixture(scope="module")
def everything():
    """A df model with all discriminators and the reference's weights."""
    options = models.options_class("SAEHD")(**EVERYTHING, dfl_compat=True)
    model = models.create_model("SAEHD", options)
    for part in model.parts.values():
        vectors.filled(part)
    return model


@pytest.fixture
def losses_with(everything, monkeypatch):
    """A function: options to what the losses of the reference's batch are with them."""
    import tensorflow as tf

    from models.saehd_recipe import in_force

    tensors = {name: tf.constant(array) for name, array in reference_batch().items()}

    def compute(**changes):
        monkeypatch.setattr(everything, "now", in_force(everything.options.changed(**changes)))
        return everything.losses(tensors)

    return compute


def test_all_terms_together_are_dfls(losses_with):
    found = losses_with()
    np.testing.assert_allclose(found.reported["src"], [10.049124, 11.117505], atol=1e-5)
    np.testing.assert_allclose(found.reported["dst"], [8.872827, 10.815666], atol=1e-5)


@pytest.mark.parametrize(
    ("option", "sides"),
    [
        ("eyes_mouth_prio", ("src", "dst")),
        ("blur_out_mask", ("src", "dst")),
        ("face_style_power", ("src",)),
        ("bg_style_power", ("src",)),
        ("gan_power", ()),
        ("true_face_power", ()),
    ],
)
def test_every_term_is_paid_for_and_shown_where_dfl_shows_it(losses_with, option, sides):
    without, with_it = losses_with(**QUIET), losses_with(**{**QUIET, option: EVERYTHING[option]})
    changed = {
        side: not np.allclose(without.reported[side], with_it.reported[side], atol=1e-6)
        for side in ("src", "dst")
    }
    assert changed == {side: side in sides for side in ("src", "dst")}
    assert not np.allclose(without.objectives["main"], with_it.objectives["main"], atol=1e-6)
    assert set(with_it.objectives) - {"main"} == {
        {"gan_power": "D_src", "true_face_power": "dis"}.get(option, "main")
    } - {"main"}


def test_masked_training_leaves_the_surroundings_out(losses_with):
    masked, whole = losses_with(**QUIET), losses_with(**QUIET, masked_training=False)
    assert np.all(masked.reported["src"] < whole.reported["src"])
    face = losses_with(**QUIET, masked_training=False, face_type="f")  # where it is not asked
    np.testing.assert_array_equal(face.reported["src"], masked.reported["src"])


def test_the_background_is_where_the_swap_shows_unless_as_in_dfl(losses_with):
    only = {**QUIET, "bg_style_power": 50.0}
    ours, dfls = (losses_with(**only, dfl_compat=flag).reported["src"] for flag in (False, True))
    assert not np.allclose(ours, dfls, rtol=1e-3)


def test_face_style_moves_the_decoder_alone(everything, losses_with):
    import tensorflow as tf

    def gradients(**changes) -> dict[str, np.ndarray]:
        weights = everything.optimizers["main"].weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(weights.values()))
            total = tf.reduce_sum(losses_with(**changes).objectives["main"])
        return dict(zip(weights, map(np.asarray, tape.gradient(total, list(weights.values())))))

    plain, styled = gradients(**QUIET), gradients(**{**QUIET, "face_style_power": 100.0})
    moved = []
    for path, gradient in plain.items():
        change, scale = np.abs(styled[path] - gradient).max(), np.abs(gradient).max()
        if path.startswith("decoder_src/") and "upscalem" not in path and "out_convm" not in path:
            moved.append(change / scale)
        else:
            assert change <= 1e-4 * scale, path
    assert min(moved) > 1e-2


def cross_entropy(label: float, logits) -> np.ndarray:
    """Mean sigmoid cross-entropy by its textbook formula, (N,)."""
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p)).mean(axis=(1, 2, 3))


def test_discriminators_are_paid_as_section_7_3_says(everything, losses_with):
    import tensorflow as tf

    from models import face_losses, saehd_graph

    found, batch = losses_with(**{**QUIET, "gan_power": 0.1, "true_face_power": 0.01}), reference_batch()
    made = saehd_graph.run(everything.parts, batch["warped_src"], batch["warped_dst"])
    soft, face, target = (
        face_losses.soft_mask(batch["target_src_mask"]),
        made.src["face"],
        batch["target_src"],
    )
    fake, real = (everything.parts["D_src"](x * soft) for x in (face, target))
    code_src, code_dst = map(everything.parts["dis"], tf.split(made.codes, 2))

    own = 0.5 * sum(cross_entropy(1, real[name]) + cross_entropy(0, fake[name]) for name in fake)
    np.testing.assert_allclose(found.objectives["D_src"], own, rtol=1e-5)
    own = 0.5 * (cross_entropy(1, code_dst) + cross_entropy(0, code_src))
    np.testing.assert_allclose(found.objectives["dis"], own, rtol=1e-5)

    face, soft = np.asarray(face, np.float64), np.asarray(soft, np.float64)
    variation = sum(np.square(np.diff(face, axis=axis)).sum(axis=(1, 2, 3)) for axis in (1, 2))
    paid = 0.01 * cross_entropy(1, code_src)
    paid += 0.1 * sum(cross_entropy(1, fake[name]) for name in fake) + 1e-6 * variation
    paid += 0.02 * np.square((face - target) * (1 - soft)).mean(axis=(1, 2, 3))
    extra = found.objectives["main"] - found.reported["src"] - found.reported["dst"]
    np.testing.assert_allclose(extra, paid, rtol=1e-4)


def test_windows_are_dfls():
    from models.saehd_losses import window_sizes

    assert [window_sizes(size) for size in (64, 96, 128, 224, 256, 320, 640)] == [
        (5,), (8,), (11,), (19,), (22, 11), (27, 13), (55, 27),
    ]  # fmt: skip

"""AMP: DeepFaceLab's numbers, mixing of codes, trained and untrained inters, exact resuming, preview."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import models
from models import face_losses
from models.checkpoint import CheckpointStore
from tests.dfl_vectors import fill, five, uniform, waves
from tests.model_state import assert_same_state

SIDES = ("src", "dst")
TINY = {
    "resolution": 64,
    "ae_dims": 32,
    "inter_dims": 64,
    "e_dims": 16,
    "d_dims": 16,
    "d_mask_dims": 16,
    "batch_size": 2,
    "precision": "float32",
    "xla": "off",
}


def make(**values):
    return models.create_model("AMP", models.options_class("AMP")(**{**TINY, **values}))


def filled(model):
    model.load_weights({path: fill(path, shape) for path, shape in model.weight_shapes().items()})
    return model


def disc(x: float, y: float, radius: float, side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.clip((radius - np.hypot(columns - x, rows - y)) / 6 + 0.5, 0, 1)[..., None].astype(np.float32)


def reference_batch() -> dict[str, np.ndarray]:
    """Section 14's batch of two faces of each person."""
    s = waves(2, 64)
    noise = [None, *(uniform((2, 64, 64, 3), seed) for seed in (1, 2, 3, 4))]
    pictures = {
        "warped_src": 0.7 * s + 0.3 * noise[1],
        "target_src": 0.8 * s + 0.2 * noise[2],
        "warped_dst": 0.7 * s[::-1] + 0.3 * noise[3],
        "target_dst": 0.8 * s[::-1] + 0.2 * noise[4],
    }
    circles = {
        "target_src_mask": ((32, 30, 20), (30, 34, 22)),
        "target_dst_mask": ((31, 32, 21), (34, 31, 19)),
        "target_src_eyes": ((28, 26, 6), (27, 28, 6)),
        "target_dst_eyes": ((33, 27, 5), (36, 29, 7)),
    }
    masks = {name: np.stack([disc(*circle) for circle in pair]) for name, pair in circles.items()}
    return {**{name: x.astype(np.float32) for name, x in pictures.items()}, **masks}


def drawn_batch(number: int, size: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([4, number])
    kinds = (("warped", "", 3), ("target", "", 3), ("target", "_mask", 1), ("target", "_eyes", 1))
    return {
        f"{name}_{side}{tail}": rng.random((size, 64, 64, channels), np.float32)
        for side in SIDES
        for name, tail, channels in kinds
    }


def tensors_of(model, batch):
    import tensorflow as tf

    arrays = {name: batch[name] for name in model.batch_names()} | model.extra_inputs(batch)
    return {name: tf.constant(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def tiny():
    """A model whose weights are section 14's, with a discriminator."""
    return filled(make(blur_out_mask=True, gan_power=0.1, gan_patch_size=16))


def test_losses_are_dfls(tiny):
    found = tiny.losses(tensors_of(tiny, reference_batch()))
    np.testing.assert_allclose(found.reported["dst"], [8.886968, 10.931508], rtol=2e-6)
    assert found.reported["src"].shape == (2,)


def test_swaps_are_dfls():
    model = filled(make(resolution=96, ae_dims=64, inter_dims=128))
    for morph, face_wanted, mask_wanted in (
        (0.3, (0.588191, 0.425972, 0.536475, 0.146776, 0.497667),
         (0.410660, 0.263179, 0.474629, 0.315525, 0.397397)),
        (1.0, (0.587562, 0.424992, 0.623964, 0.005539, 0.415160), None),
    ):  # fmt: skip
        face, mask, dst_mask = model.predictor(morph_factor=morph)(waves(2, 96))
        np.testing.assert_allclose(five(face), face_wanted, atol=1e-5)
        np.testing.assert_allclose(
            five(dst_mask), (0.411310, 0.263602, 0.543917, 0.865466, 0.447133), atol=1e-5
        )
        if mask_wanted:
            np.testing.assert_allclose(five(mask), mask_wanted, atol=1e-5)
    np.testing.assert_array_equal(model.predictor()(waves(2, 96))[0], face)


def test_channels_of_the_source_depend_on_seed_iteration_and_sample_alone(tiny, monkeypatch):
    batch = drawn_batch(0, size=3)
    rows = tiny.extra_inputs(batch)["src_channels"]
    assert rows.shape == (3, 64) and (rows.sum(axis=1) == 32).all()
    assert len({row.tobytes() for row in rows}) == 3
    np.testing.assert_array_equal(tiny.extra_inputs(drawn_batch(1))["src_channels"], rows[:2])
    monkeypatch.setattr(tiny, "iteration", 1)
    assert (tiny.extra_inputs(batch)["src_channels"] != rows).any()


def test_int_of_the_morph_factor_is_cut_off():
    model = make(morph_factor=0.3)
    assert model.extra_inputs(drawn_batch(0))["src_channels"].sum(axis=1).tolist() == [19, 19]


def test_no_gradient_is_a_sum_of_three(tiny):
    """AddN of three terms rounds differently from run to run on a CPU; see core.nn.losses."""
    import tensorflow as tf

    tensors = tensors_of(tiny, drawn_batch(0))

    @tf.function
    def gradients(tensors):
        with tf.GradientTape(persistent=True) as tape:
            found = tiny.losses(tensors)
            totals = {name: tf.reduce_sum(x) for name, x in found.objectives.items()}
        return {
            name: tape.gradient(total, list(tiny.optimizers[name].weights.values()))
            for name, total in totals.items()
        }

    graph = gradients.get_concrete_function(tensors).graph
    wide = [op.name for op in graph.get_operations() if op.type == "AddN" and len(op.inputs) > 2]
    assert not wide


def test_the_generator_leaves_the_judge_alone_and_the_judge_the_generator(tiny):
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        found = tiny.losses(tensors_of(tiny, reference_batch()))
    weights = list(tiny.variables.values())
    judge = [path.startswith("GAN/") for path in tiny.variables]
    for name, own in (("main", False), ("GAN", True)):
        gradients = tape.gradient(found.objectives[name], weights)
        assert all(g is not None for g, of_judge in zip(gradients, judge) if of_judge == own)
    assert list(tiny.optimizer_parts) == ["main", "GAN"] and tiny.optimizer_parts["GAN"] == ("GAN",)


def test_the_border_keeps_the_reported_loss_as_it_is():
    plain, gan = filled(make(seed=1)), filled(make(seed=1, gan_power=1.0, gan_patch_size=16))
    batch = reference_batch()
    one, two = plain.losses(tensors_of(plain, batch)), gan.losses(tensors_of(gan, batch))
    np.testing.assert_allclose(one.reported["src"], two.reported["src"], rtol=1e-6)
    assert (one.objectives["main"] > one.reported["src"] + one.reported["dst"]).numpy().all()
    # four cross-entropies of at least ln 2 each or so, the judge being random
    assert (two.objectives["main"] > one.objectives["main"] + 1).numpy().all()


def test_variation_is_over_channels_and_rows_as_in_deepfacelabs_amp_if_it_is_followed(tiny, monkeypatch):
    import tensorflow as tf

    found = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    mask = np.zeros((4, 8, 8, 1), np.float32)
    wanted = face_losses.targets(tf.constant(found), tf.constant(mask), None, blur_out=False)
    for compat, axes in ((False, (1, 2)), (True, (3, 1))):
        monkeypatch.setattr(tiny, "options", replace(tiny.options, dfl_compat=compat, gan_power=0.0))
        dst = found[2:]
        variation = sum(np.square(np.diff(dst, axis=axis)).sum(axis=(1, 2, 3)) for axis in axes)
        np.testing.assert_allclose(tiny._border(wanted, tf.constant(found)), 1e-6 * variation, rtol=1e-4)


@pytest.mark.parametrize("compat", [False, True])
def test_inters_learn_unless_dfl_is_followed(compat):
    model = make(dfl_compat=compat)
    before = model.weights()
    for number in range(2):
        model.train_step(drawn_batch(number))
    changed = {path.partition("/")[0] for path, x in model.weights().items() if (x != before[path]).any()}
    assert changed == {"encoder", "decoder"} | (set() if compat else {"inter_src", "inter_dst"})
    slots = {key.split("/")[1] for key in model.optimizer_state() if key != "steps"}
    assert slots == changed
    assert model.recipe.dfl_warp == compat and model.recipe.bias_correction != compat


def test_a_state_without_the_inters_slots_can_be_trained_on(tmp_path):
    compat = make(dfl_compat=True)
    compat.train_step(drawn_batch(0))
    CheckpointStore(tmp_path, "new", "AMP").save(compat)
    ours = models.load_model(tmp_path, "new", "AMP", options=lambda o: replace(o, dfl_compat=False))
    state = ours.optimizer_state()
    assert any("inters" in note for note in ours.notes)
    assert state["steps"] == 1 and not state["m/inter_src/dense2/weight"].any()
    assert state["m/decoder/out_conv/weight"].any()
    ours.train_step(drawn_batch(1))
    CheckpointStore(tmp_path, "new", "AMP").save(ours)

    back = models.load_model(tmp_path, "new", "AMP", options=lambda o: replace(o, dfl_compat=True))
    kept = back.optimizer_state()["m/inter_src/dense2/weight"]
    np.testing.assert_array_equal(kept, ours.optimizer_state()["m/inter_src/dense2/weight"])
    assert kept.any()


@pytest.mark.parametrize("compat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_going_on_and_loading_are_the_same(tmp_path, compat):
    values = {
        "dfl_compat": compat,
        "gan_power": 0.1,
        "gan_patch_size": 8,
        "lr_dropout": "y",
        "clipgrad": True,
    }
    straight = make(**values)
    for number in range(2):
        straight.train_step(drawn_batch(number))
    CheckpointStore(tmp_path, "new", "AMP").save(straight)
    second = models.load_model(tmp_path, "new", "AMP")
    assert not second.notes
    for number in range(2, 4):
        straight.train_step(drawn_batch(number))
        second.train_step(drawn_batch(number))

    assert_same_state(second, straight)


def test_a_gan_of_another_patch_size_begins_anew_though_its_weights_fit(tmp_path):
    def judge(model):
        return {path: array for path, array in model.weights().items() if path.startswith("GAN/")}

    first = make(gan_power=0.1, gan_patch_size=10, gan_dims=4)
    first.train_step(drawn_batch(0))
    store = CheckpointStore(tmp_path, "new", "AMP")
    store.save(first)
    resized = models.load_model(tmp_path, "new", "AMP", options=lambda o: replace(o, gan_patch_size=16))
    assert ["another" in note for note in resized.notes] == [True]
    fresh = judge(make(gan_power=0.1, gan_patch_size=16, gan_dims=4))
    for path, array in judge(resized).items():
        np.testing.assert_array_equal(array, fresh[path])
    state = resized.optimizer_state()
    assert state["steps"] == 1 and state["steps/GAN"] == 0 and not state["v/GAN/out_conv/bias"].any()


def test_preview_mixes_from_the_destination_to_the_source(tiny):
    batch = drawn_batch(0)
    pictures = tiny.preview(batch)
    assert list(pictures) == ["AMP morph 1.0", "AMP morph list", "AMP morph list masked"]
    for picture in pictures.values():
        assert picture.shape == (2 * 64, 3 * 64, 3) and picture.dtype == np.float32
    plain, several = pictures["AMP morph 1.0"], pictures["AMP morph list"]
    np.testing.assert_array_equal(plain[:64, :64], batch["target_src"][0])
    swapped, _, _ = tiny.predictor(morph_factor=1.0)(batch["target_dst"][:1])
    np.testing.assert_allclose(plain[64:, 128:], swapped[0], atol=1e-4)
    quarter, _, _ = tiny.predictor(morph_factor=0.25)(batch["target_dst"][:1])
    np.testing.assert_allclose(several[:64, 64:128], quarter[0], atol=1e-4)


def test_samples_asked_for():
    model = make(
        dfl_compat=True, ct_mode="rct", random_warp=False, random_src_flip=True, random_dst_flip=False
    )
    src, dst = map(model.sample_request, SIDES)
    assert [spec.name for spec in src.specs] == [
        "warped_src", "target_src", "target_src_mask", "target_src_eyes"
    ]  # fmt: skip
    assert [spec.mask_type for spec in src.specs[2:]] == ["full", "eyes_mouth"]
    assert [spec.warp for spec in src.specs] == [False] * 4
    assert (src.augment.ct_mode, dst.augment.ct_mode) == ("rct", "none")
    assert (src.augment.flip, dst.augment.flip) == (True, False)
    assert src.augment.scale == (-0.15, 0.15) and src.augment.dfl_warp
    assert (src.resolution, src.face_type, src.size_of(0)) == (64, "whole_face", 2)
    assert model.batch_names() == [spec.name for request in (src, dst) for spec in request.specs]


def test_a_model_goes_to_deepfacelab_and_back(tmp_path):
    from models.dfl_export import export_dfl_model

    (tmp_path / "dfl").mkdir()
    model = make(precision="bfloat16")
    model.train_step(drawn_batch(0))
    store = CheckpointStore(tmp_path, "new", "AMP")
    store.save(model)
    export_dfl_model(store.load_latest(), "new", tmp_path / "dfl")

    back = models.load_model(tmp_path / "dfl", "new", "AMP", precision="float32")
    assert back.options.dfl_compat and back.iteration == 1  # who came from there goes on as there
    for path, array in model.weights().items():
        np.testing.assert_array_equal(back.weights()[path], array)
    assert not any(key.split("/")[1].startswith("inter") for key in back.optimizer_state() if key != "steps")
    ours = models.load_model(
        tmp_path / "dfl", "new", "AMP", options=lambda o: replace(o, dfl_compat=False, precision="float32")
    )
    state = ours.optimizer_state()
    assert state["steps"] == 1 and not state["v/inter_dst/dense2/bias"].any()
    np.testing.assert_array_equal(
        state["v/decoder/out_conv/weight"], model.optimizer_state()["v/decoder/out_conv/weight"]
    )

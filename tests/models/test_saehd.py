"""SAEHD: DeepFaceLab's numbers, every option and architecture, pretraining, exact resuming."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

import models
from models.checkpoint import CheckpointStore
from tests.model_state import assert_same_state
from tests.saehd_case import EVERYTHING, QUIET, reference_batch

TINY = {**EVERYTHING, **QUIET, "recipe": "dfl", "ae_dims": 32, "gan_patch_size": 8, "gan_dims": 4}
NAMES = ("warped_src", "target_src", "target_src_mask", "warped_dst", "target_dst", "target_dst_mask")
PARTS = {
    "df-ud": ("encoder", "inter", "decoder_src", "decoder_dst"),
    "liae-ud": ("encoder", "inter_AB", "inter_B", "decoder"),
}


def options(**changes):
    return models.options_class("SAEHD")(**{**TINY, **changes})


def made(**changes):
    return models.create_model("SAEHD", options(**changes))


def bare(**changes):
    """A model without networks: what it asks for and how it trains."""
    from core.nn.precision import Precision
    from models.saehd import Saehd

    class Bare(Saehd):
        part_names = ()

    return Bare("bare", options(**changes), Precision("float32", "not probed"))


def drawn_batch(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([6, number])
    return {name: rng.permuted(array, axis=0) for name, array in reference_batch().items()} | {
        name: rng.random((2, 64, 64, 3), np.float32) for name in NAMES if not name.endswith("mask")
    }


# DeepFaceLab's own model


@pytest.fixture(scope="module")
def fixture(dfl_fixture):
    return dfl_fixture("saehd_df-ud_16", "fx_SAEHD_")


@pytest.fixture(scope="module")
def loaded(fixture):
    return models.load_model(fixture.folder, "fx", "SAEHD", precision="float32")


def batch_of(fixture) -> dict[str, np.ndarray]:
    inputs = fixture.inputs
    return {name: inputs[name.replace("_src_mask", "_srcm").replace("_dst_mask", "_dstm")] for name in NAMES}


def test_dfls_model_loads_with_its_options(loaded, fixture):
    assert loaded.options.archi == "df-ud" and loaded.face_type == "whole_face" and loaded.options.dfl_compat
    for path, array in loaded.weights().items():
        np.testing.assert_array_equal(array, fixture.weights[path])
    assert loaded.optimizer_state()["steps"] == 7


def test_outputs_are_dfls(loaded, fixture):
    from models import saehd_graph

    reference, inputs = fixture.reference, fixture.inputs
    found = saehd_graph.run(loaded.parts, inputs["warped_src"], inputs["warped_dst"], swap=True)
    for tensor, wanted in (
        (found.src["face"], "pred_src_src"),
        (found.dst["face"], "pred_dst_dst"),
        (found.dst["mask"], "pred_dst_dstm"),
        (found.swap["face"], "pred_src_dst"),
        (found.swap["mask"], "pred_src_dstm"),
    ):
        np.testing.assert_allclose(tensor, reference[wanted], atol=1e-5)
    merged = loaded.predictor()(inputs["warped_dst"])
    for found, wanted in zip(merged, ("merge_bgr", "merge_src_mask", "merge_dst_mask")):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, reference[wanted], atol=1e-5)


def test_losses_and_gradients_are_dfls(loaded, fixture):
    import tensorflow as tf

    batch, reference, variables = batch_of(fixture), fixture.reference, loaded.variables
    with tf.GradientTape() as tape:
        found = loaded.losses({name: tf.constant(batch[name]) for name in NAMES})
        total = tf.reduce_sum(found.objectives["main"])
    gradients = dict(zip(variables, tape.gradient(total, list(variables.values()))))

    for side in ("src", "dst"):
        np.testing.assert_allclose(found.reported[side], reference[f"loss0_{side}"], rtol=1e-5)
    for key, wanted in zip(reference["grad0_keys"], reference["grad0_vals"]):
        gradient = gradients[str(key).removesuffix(":0")].numpy().astype(np.float64).ravel()
        picked = gradient[np.linspace(0, gradient.size - 1, 8).astype(int)]
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(np.abs(gradient).sum(), wanted[1], rtol=1e-4)
        # as in test_quick96: single elements of DeepFaceLab's are 4e-4 of the largest off
        np.testing.assert_allclose(
            [gradient.sum(), *picked], [wanted[0], *wanted[2:]], rtol=1e-4, atol=5e-4 * scale
        )


@pytest.mark.slow
def test_steps_are_dfls(fixture):
    model = models.load_model(fixture.folder, "fx", "SAEHD", precision="float32", training=False)
    batch = batch_of(fixture)
    found = [model.train_step(batch) for _ in range(4)]
    losses = [[step["src"], step["dst"]] for step in found]
    # its later steps are not reproducible, for its update races with the backward pass
    np.testing.assert_allclose(losses, fixture.reference["losses"], rtol=1e-2)
    np.testing.assert_allclose(losses[0], fixture.reference["losses"][0], rtol=1e-5)


# Architectures


@pytest.mark.slow
@pytest.mark.parametrize("family", ["df", "liae"])
def test_every_architecture_trains_and_swaps(family):
    import tensorflow as tf

    letters = ["".join(some) for size in range(5) for some in itertools.combinations("udtc", size)]
    batch = reference_batch()
    for some in letters:
        model = made(archi=f"{family}-{some}" if some else family, d_dims=16, e_dims=16)
        weights = list(model.variables.values())
        with tf.GradientTape() as tape:
            found = model.losses({name: tf.constant(array) for name, array in batch.items()})
            total = tf.reduce_sum(found.objectives["main"])
        gradients = tape.gradient(total, weights)
        assert all(g is not None and np.all(np.isfinite(g)) for g in gradients), some
        face, *masks = model.predictor()(batch["target_dst"])
        assert face.shape == (2, 64, 64, 3) and all(mask.shape == (2, 64, 64, 1) for mask in masks)


@pytest.mark.parametrize("archi", PARTS)
def test_networks_are_named_as_dfls_files(archi):
    model = bare(archi=archi)
    assert model.swap_part_names == PARTS[archi]
    everything = {**EVERYTHING, "archi": archi}
    parts = type(bare(**everything)).__mro__[1].part_names.fget(bare(**everything))
    assert parts == (*PARTS[archi], *(("dis", "D_src") if archi == "df-ud" else ("D_src",)))


@pytest.fixture(scope="module")
def liae():
    return made(archi="liae-ud")


def test_liae_swaps_by_the_shared_half_alone(liae):
    """The swap's code is the shared half twice, and the destination's own half makes only its own face."""
    from models import saehd_graph

    batch = reference_batch()
    before = saehd_graph.run(liae.parts, batch["target_src"], batch["target_dst"], swap=True)
    face, swap_mask, dst_mask = saehd_graph.swap(liae.parts, batch["target_dst"])
    np.testing.assert_allclose(face, before.swap["face"], atol=1e-5)
    np.testing.assert_allclose(swap_mask, before.swap["mask"], atol=1e-5)
    np.testing.assert_allclose(dst_mask, before.dst["mask"], atol=1e-5)
    weight = liae.variables["inter_B/dense1/weight"]
    kept = weight.numpy()
    weight.assign(kept * 2)
    after = saehd_graph.run(liae.parts, batch["target_src"], batch["target_dst"], swap=True)
    weight.assign(kept)
    np.testing.assert_array_equal(after.swap["face"], before.swap["face"])
    np.testing.assert_array_equal(after.src["face"], before.src["face"])
    assert np.abs(after.dst["face"] - before.dst["face"]).max() > 1e-3


def test_the_shared_inter_rests_without_warp():
    def frozen(**changes):
        model = bare(**{"archi": "liae-ud", **changes})
        return model.frozen(model.recipe.plan(0))

    assert frozen() == () and frozen(archi="df-ud", random_warp=False) == ()
    assert frozen(random_warp=False) == ("inter_AB/",)
    assert frozen(random_warp=False, dfl_compat=True) == ("inter_AB/",)
    assert frozen(pretrain=True) == ()
    assert frozen(pretrain=True, dfl_compat=True) == ("inter_AB/",)


# Options

# What each changes: the samples, the recipe, the networks, or the losses (which `test_saehd_losses` tests).
EFFECTS = {
    "random_src_flip": ("samples", True),
    "random_dst_flip": ("samples", False),
    "batch_size": ("samples", 3),
    "resolution": ("samples", 96),
    "face_type": ("samples", "head"),
    "uniform_yaw": ("samples", True),
    "random_warp": ("samples", False),
    "random_hsv_power": ("samples", 0.05),
    "ct_mode": ("samples", "rct"),
    "eyes_mouth_prio": ("samples", True),
    "adabelief": ("recipe", False),
    "lr_dropout": ("recipe", "y"),
    "clipgrad": ("recipe", True),
    "recipe": ("recipe", "fast"),
    "archi": ("networks", "df"),
    "ae_dims": ("networks", 48),
    "e_dims": ("networks", 18),
    "d_dims": ("networks", 18),
    "d_mask_dims": ("networks", 18),
    "gan_patch_size": ("networks", 16),
    "gan_dims": ("networks", 8),
}


# What the trainer, `models.network` and other tests see to.
ELSEWHERE = {
    "autobackup_hour", "write_preview_history", "target_iter", "precision", "xla", "seed", "pretrain",
    "models_opt_on_gpu", "dfl_compat", "masked_training", "perceptual_power", "perceptual_weights",
    "grow_from", "grow_iters", "persons",
}  # fmt: skip


def test_no_option_is_forgotten():
    assert {*EFFECTS, *QUIET, *ELSEWHERE} == set(models.options_class("SAEHD").specs())


@functools.cache
def seen(kind: str, **changes) -> object:
    """What can be seen of a model of these options."""
    from tests.dfl_vectors import symbolic

    model = bare(**changes)
    if kind == "samples":
        return [model.sample_request(side) for side in ("src", "dst")]
    if kind == "recipe":
        recipe = model.recipe
        return recipe.optimizer, recipe.clipnorm, [recipe.plan(number) for number in (0, 100)]
    shapes = [symbolic(model.build_part, name, "float32") for name in (*model.swap_part_names, "D_src")]
    return [[tuple(weight.shape) for weight in part.weights] for part in shapes]


@pytest.mark.parametrize("option", EFFECTS)
def test_every_option_has_its_effect(option):
    kind, value = EFFECTS[option]
    assert seen(kind) != seen(kind, **{option: value})


def test_samples_asked_for():
    model = bare(random_hsv_power=0.1, ct_mode="rct", eyes_mouth_prio=True, random_src_flip=False)
    src, dst = (model.sample_request(side) for side in ("src", "dst"))
    assert [spec.name for spec in dst.specs] == [
        "warped_dst", "target_dst", "target_dst_mask", "target_dst_eyes",
    ]  # fmt: skip
    assert [(spec.warp, spec.hsv, spec.color_transfer) for spec in src.specs[:2]] == [
        (True, True, True), (False, False, True),
    ]  # fmt: skip
    assert not any(spec.hsv or spec.color_transfer for spec in dst.specs)
    assert (src.augment.hsv_power, src.augment.ct_mode, src.augment.flip) == (0.1, "rct", False)
    assert (dst.augment.hsv_power, dst.augment.ct_mode, dst.augment.flip) == (0.0, "none", True)
    assert src.augment.scale == (-0.15, 0.15) and src.augment.rotation == (-10, 10)
    assert (src.resolution, src.face_type, src.size_of(9)) == (64, "whole_face", 2)
    assert model.batch_names() == [spec.name for spec in (*src.specs, *dst.specs)]


def test_as_in_dfl():
    ours, dfls = bare(clipgrad=True), bare(clipgrad=True, dfl_compat=True)
    assert not ours.steps_apart and dfls.steps_apart
    assert ours.recipe.bias_correction and not dfls.recipe.bias_correction
    assert not ours.recipe.clips_sum and dfls.recipe.clips_sum
    assert not ours.sample_request("src").augment.dfl_warp and dfls.sample_request("src").augment.dfl_warp


def test_the_schedule_swings_with_learning_rate_dropout():
    plain, swinging = bare().recipe, bare(lr_dropout="cpu").recipe
    assert {plain.plan(number).rate for number in range(0, 1000, 50)} == {5e-5}
    assert plain.plan(3).keep == 1.0 and swinging.plan(3).keep == 0.3
    assert plain.plan(3).swing_period == 0 and swinging.plan(3).swing_period == 500


# Pretraining


def test_pretraining_shows_everything_mirrored_and_spares_the_refinements():
    refined = {
        **EVERYTHING, "random_hsv_power": 0.1, "ct_mode": "rct", "lr_dropout": "y", "clipgrad": True,
    }  # fmt: skip
    model = bare(**refined, pretrain=True)
    for side in ("src", "dst"):
        request = model.sample_request(side)
        assert not request.specs[0].warp and request.augment.flip and request.uniform_yaw
        assert (request.augment.hsv_power, request.augment.ct_mode) == (0.0, "none")
        assert [spec.name for spec in request.specs][-1] == f"target_{side}_eyes"
    now = model.now
    assert now.gan_power == now.true_face_power == now.face_style_power == now.bg_style_power == 0
    assert now.blur_out_mask and now.clipgrad and model.recipe.plan(0).keep == 1.0
    assert bare(**refined, pretrain=True, dfl_compat=True).now.true_face_power == 0.01
    shown = dict(model.summary_rows())
    assert (shown["random_warp"], shown["gan_power"], shown["pretrain"]) == ("n", "0", "y")
    assert model.options.gan_power == 0.1  # what is saved


def test_in_dfls_pretraining_the_code_discriminator_speaks_but_does_not_learn():
    from models.saehd import Saehd

    model = bare(**EVERYTHING, pretrain=True, dfl_compat=True)
    names = Saehd.part_names.fget(model)
    assert names == (*PARTS["df-ud"], "dis")
    type(model).part_names = names
    assert list(model.optimizer_parts) == ["main"]


@pytest.mark.parametrize("archi", PARTS)
def test_the_end_of_pretraining_renews_the_inters_alone(tmp_path, archi):
    before = made(archi=archi, pretrain=True, seed=5)
    for variable in before.variables.values():
        variable.assign(variable + 0.25)
    before.optimizers["main"].steps.assign(9)
    before.restore(9, np.ones((9, 2), np.float32))
    CheckpointStore(tmp_path, "new", "SAEHD").save(before)

    same = models.load_model(tmp_path, "new", "SAEHD")
    assert same.iteration == 9 and not same.notes
    after = models.load_model(tmp_path, "new", "SAEHD", options=lambda saved: saved.changed(pretrain=False))
    assert after.iteration == 0 and after.loss_history.shape == (0, 2) and not after.is_fresh
    assert "pretraining is over" in after.notes[0]
    assert after.optimizer_state()["steps"] == 9
    fresh, kept = made(archi=archi, seed=5).weights(), before.weights()
    for path, array in after.weights().items():
        np.testing.assert_array_equal(
            array, (fresh if path.startswith("inter") else kept)[path], err_msg=path
        )


# The discriminators' life


def test_another_gan_begins_anew_and_an_unused_one_is_kept(tmp_path):
    store = CheckpointStore(tmp_path, "new", "SAEHD")
    first = made(gan_power=0.1, seed=2, gan_patch_size=10)
    for variable in first.variables.values():
        variable.assign(variable + 0.5)
    store.save(first)

    def loaded(**changes):
        return models.load_model(tmp_path, "new", "SAEHD", options=lambda saved: saved.changed(**changes))

    def judge(model):
        return {path: array for path, array in model.weights().items() if path.startswith("D_src/")}

    resized = loaded(gan_patch_size=16)  # of the same shapes as 10
    assert ["fresh weights" in note for note in resized.notes] == [True]
    fresh = judge(made(gan_power=0.1, seed=2, gan_patch_size=16))
    for path, array in judge(resized).items():
        np.testing.assert_array_equal(array, fresh[path])
    wider = loaded(gan_dims=8)
    assert ["fresh weights" in note for note in wider.notes] == [True]
    for path, array in wider.weights().items():
        if not path.startswith("D_src/"):
            np.testing.assert_array_equal(array, first.weights()[path])

    without = loaded(gan_power=0.0)
    assert "D_src" not in without.parts and not without.notes
    store.save(without)
    again = loaded(gan_power=0.2)
    assert not again.notes
    for path, array in judge(again).items():
        np.testing.assert_array_equal(array, first.weights()[path])
    resized = loaded(gan_power=0.2, gan_patch_size=16)
    assert ["fresh weights" in note for note in resized.notes] == [True]
    for path, array in judge(resized).items():
        np.testing.assert_array_equal(array, fresh[path])
    store.save(loaded(gan_patch_size=16))  # nothing is kept of it
    assert ["none was saved" in note for note in loaded(gan_power=0.2).notes] == [True]


# Steps

SMALL_GAN = {"gan_patch_size": 8, "gan_dims": 4}
AS_DFL = {"dfl_compat": True, "random_warp": False, "adabelief": False}
CASES = {
    "df": {**EVERYTHING, **SMALL_GAN, "lr_dropout": "y", "clipgrad": True, "xla": "auto"},
    "liae as dfl": {**EVERYTHING, **SMALL_GAN, **AS_DFL, "archi": "liae-ud"},
}
MORE_CASES = {
    **CASES,
    "other letters": {**EVERYTHING, **SMALL_GAN, "archi": "liae-udtc"},
    "unmasked": {**EVERYTHING, **SMALL_GAN, "masked_training": False, "face_style_power": 0.0},
    "no styles": {**EVERYTHING, **SMALL_GAN, "face_style_power": 0.0, "bg_style_power": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE_CASES)
def test_no_gradient_is_a_sum_of_three(case, wide_sums):
    import tensorflow as tf

    model = made(**MORE_CASES[case])
    tensors = {name: tf.constant(drawn_batch(0)[name]) for name in model.batch_names()}
    names = list(model.optimizers)
    assert not wide_sums(lambda tensors: model._gradients(tensors, names, ())[1], tensors)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_ten_iterations_equal_five_save_load_and_five(tmp_path, case):
    def train(model, count):
        for _ in range(count):
            model.train_step(drawn_batch(model.iteration))
        return model

    straight = train(made(**CASES[case], seed=3), 10)
    first = train(made(**CASES[case], seed=3), 5)
    CheckpointStore(tmp_path, "new", "SAEHD").save(first)
    second = models.load_model(tmp_path, "new", "SAEHD")
    assert second.iteration == 5 and not second.notes
    train(second, 5)
    assert_same_state(second, straight)


@pytest.mark.slow
def test_a_step_moves_what_it_should():
    """All parts, each by its own objective; the resting inter stays, and so do its slots."""
    model = made(**CASES["liae as dfl"])
    before = model.weights()
    model.train_step(drawn_batch(0))
    moved = {path.split("/")[0] for path, array in model.weights().items() if np.any(array != before[path])}
    assert moved == {"encoder", "inter_B", "decoder", "D_src"}
    state = model.optimizer_state()
    assert state["steps"] == state["steps/D_src"] == 1
    assert not any(np.any(array) for key, array in state.items() if "/inter_AB/" in key)


@pytest.mark.slow
def test_what_is_kept_off_a_gpu_changes_no_result(monkeypatch):
    def stepped(**changes) -> dict[str, np.ndarray]:
        model = made(**{"lr_dropout": "y", **changes})
        model.train_step(drawn_batch(0))
        return model.weights()

    plain = stepped()
    monkeypatch.setattr("models.network.on_cpu", lambda: False)
    spared = stepped(lr_dropout="cpu", models_opt_on_gpu=False)
    for path, array in plain.items():
        np.testing.assert_array_equal(spared[path], array, err_msg=path)


def test_a_step_changes_no_weight_where_the_cosine_is_zero():
    model = made(lr_dropout="y")
    model.optimizers["main"].steps.assign(250)
    before = model.weights()
    model.train_step(drawn_batch(0))
    assert max(np.abs(array - before[path]).max() for path, array in model.weights().items()) < 1e-9
    assert model.optimizer_state()["steps"] == 251
    model.train_step(drawn_batch(1))
    assert any(np.abs(array - before[path]).max() > 1e-9 for path, array in model.weights().items())


# Previews


@pytest.mark.parametrize("face_type", ["f", "head"])
def test_preview_is_two_pictures_of_a_small_face(liae, monkeypatch, face_type):
    monkeypatch.setattr(liae, "options", options(archi="liae-ud", face_type=face_type))
    batch = drawn_batch(0)
    pictures = liae.preview(batch)
    assert list(pictures) == ["SAEHD", "SAEHD masked"]
    for picture in pictures.values():
        assert picture.shape == (2 * 64, 5 * 64, 3) and picture.dtype == np.float32
    np.testing.assert_array_equal(pictures["SAEHD"][:64, :64], batch["target_src"][0])
    face, swap_mask, dst_mask = liae.predictor()(batch["target_dst"])
    shown = swap_mask if face_type == "head" else swap_mask * dst_mask
    np.testing.assert_allclose(pictures["SAEHD masked"][:64, -64:], (face * shown)[0], atol=1e-5)


def test_preview_is_six_pictures_of_a_large_face(monkeypatch):
    model, size = bare(resolution=288, archi="df-ud"), 288
    rng = np.random.default_rng(1)
    batch = {name: rng.random((4, size, size, 1 if "mask" in name else 3), np.float32) for name in NAMES}

    def show(src, dst):
        return [{"face": x * value, "mask": x[..., :1]} for x, value in ((src, 0.5), (dst, 0.5), (dst, 0.25))]

    monkeypatch.setattr(model, "_show", show)
    shapes = {name: picture.shape for name, picture in model.preview(batch).items()}
    assert shapes == {
        f"SAEHD{masked} {what}": (2 * size, 2 * size, 3)
        for masked in ("", " masked")
        for what in ("src-src", "dst-dst", "pred")
    }

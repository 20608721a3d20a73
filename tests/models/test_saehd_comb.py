"""SAEHD of several persons: what it learns, swaps and shows; who joins later; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import models
from core.errors import CheckpointError, UsageError
from models.checkpoint import CheckpointStore
from tests.model_state import assert_same_state
from tests.saehd_case import EVERYTHING, QUIET, disc

TRIO = ("ann", "bob-2", "cleo")
TINY = {**EVERYTHING, **QUIET, "persons": ",".join(TRIO), "eyes_mouth_prio": True, "blur_out_mask": True}


def options(**changes):
    return models.options_class("SAEHD")(**{**TINY, **changes})


def made(**changes):
    return models.create_model("SAEHD", options(**changes))


def drawn_batch(number: int, persons=TRIO) -> dict[str, np.ndarray]:
    batch = {}
    for place, person in enumerate(persons):
        rng = np.random.default_rng([7, number, place])
        for name in ("warped", "target"):
            batch[f"{name}_{person}"] = rng.random((2, 64, 64, 3), np.float32)
        centres = 32 + rng.integers(-3, 4, (2, 2))
        batch[f"target_{person}_mask"] = np.stack([disc(x, y, 21) for x, y in centres])
        batch[f"target_{person}_eyes"] = np.stack([disc(x - 5, y - 5, 6) for x, y in centres])
    return batch


@pytest.fixture(scope="module")
def trio():
    return made()


def test_one_encoder_and_inter_and_a_decoder_for_each(trio):
    assert trio.sides == TRIO
    assert list(trio.parts) == ["encoder", "inter", "decoder_ann", "decoder_bob-2", "decoder_cleo"]
    assert trio.loss_history.shape == (0, 3)
    decoders = [trio.variables[f"decoder_{person}/out_conv/weight"] for person in TRIO]
    assert not np.allclose(decoders[0], decoders[1])


def test_losses_are_those_of_a_df_model_for_each_person(trio):
    """With the networks of two of its persons, a model of a source and a destination says the same."""
    import tensorflow as tf

    batch, pair = drawn_batch(0), {"src": "bob-2", "dst": "cleo"}
    two = made(persons="")
    for path, variable in two.variables.items():
        for side, person in pair.items():
            path = path.replace(f"_{side}/", f"_{person}/")
        variable.assign(trio.variables[path])
    found = trio.losses({name: tf.constant(batch[name]) for name in trio.batch_names()})
    renamed = {}
    for name in two.batch_names():
        side = "src" if "src" in name else "dst"
        renamed[name] = tf.constant(batch[name.replace(side, pair[side])])
    wanted = two.losses(renamed).reported
    assert list(found.reported) == list(TRIO)
    for side, person in pair.items():
        np.testing.assert_allclose(found.reported[person], wanted[side], rtol=1e-5)
    np.testing.assert_allclose(found.objectives["main"], sum(found.reported.values()), rtol=1e-6)


def test_any_person_is_put_on_any_other(trio):
    faces = drawn_batch(1)["target_ann"]
    code = trio.parts["inter"](trio.parts["encoder"](faces))
    for how, (src, dst) in {
        (): ("ann", "bob-2"),
        ("src_person", "cleo"): ("cleo", "bob-2"),
        ("dst_person", "cleo"): ("ann", "cleo"),
    }.items():
        face, src_mask, dst_mask = trio.predictor(**dict([how] if how else []))(faces)
        wanted = trio.parts[f"decoder_{src}"](code)
        np.testing.assert_allclose(face, wanted["face"], atol=1e-5)
        np.testing.assert_allclose(src_mask, wanted["mask"], atol=1e-5)
        np.testing.assert_allclose(dst_mask, trio.parts[f"decoder_{dst}"](code)["mask"], atol=1e-5)
    assert trio.swap_parts_for(src_person="cleo") == ("encoder", "inter", "decoder_cleo", "decoder_bob-2")


def test_a_person_it_does_not_know_is_refused(trio):
    with pytest.raises(UsageError, match="no src_person 'dora'; known are ann, bob-2, cleo"):
        trio.predictor(src_person="dora")
    with pytest.raises(UsageError, match="knows no morph_factor"):
        trio.predictor(morph_factor=1.0)


def test_the_preview_shows_each_face_by_every_decoder(trio):
    batch = drawn_batch(2)
    pictures = trio.preview(batch)
    assert list(pictures) == ["SAEHD", "SAEHD masked"]
    for picture in pictures.values():
        assert picture.shape == (3 * 64, 4 * 64, 3) and picture.dtype == np.float32
    np.testing.assert_array_equal(pictures["SAEHD"][64:128, :64], batch["target_bob-2"][0])
    face, mask, own = trio.predictor(src_person="cleo", dst_person="ann")(batch["target_ann"][:1])
    np.testing.assert_allclose(pictures["SAEHD"][:64, -64:], face[0], atol=1e-5)
    np.testing.assert_allclose(pictures["SAEHD masked"][:64, -64:], (face * mask * own)[0], atol=1e-5)


def test_each_persons_samples_take_the_next_ones_colours():
    model = made(ct_mode="lct", random_hsv_power=0.1, random_src_flip=True)
    for person in TRIO:
        request = model.sample_request(person)
        assert [spec.name for spec in request.specs][:2] == [f"warped_{person}", f"target_{person}"]
        assert request.augment.flip and request.augment.ct_mode == "lct" and request.augment.hsv_power == 0.1


def test_what_needs_a_source_and_a_destination_is_refused():
    for name in ("gan_power", "true_face_power", "face_style_power", "bg_style_power"):
        with pytest.raises(
            UsageError, match=f"option {name}: 0.5 is for a source and a destination.*; give 0"
        ):
            options(**{name: 0.5})
    with pytest.raises(UsageError, match=r"option archi: .* give archi df-ud instead of liae-ud"):
        options(archi="liae-ud")


def test_deepfacelab_has_no_such_model(trio, tmp_path):
    from models.dfl_export import export_dfl_model

    CheckpointStore(tmp_path, "new", "SAEHD").save(trio)
    saved = CheckpointStore(tmp_path, "new", "SAEHD").load_latest()
    with pytest.raises(CheckpointError, match="a model of several persons, ann,bob-2,cleo"):
        export_dfl_model(saved, "new", tmp_path / "dfl")
    assert not (tmp_path / "dfl").exists()


def train(model, count: int):
    for _ in range(count):
        model.train_step(drawn_batch(model.iteration, model.sides))
    return model


@pytest.mark.slow
def test_six_iterations_equal_three_save_load_and_three(tmp_path):
    straight = train(made(lr_dropout="y"), 3)
    CheckpointStore(tmp_path, "new", "SAEHD").save(straight)
    train(straight, 3)
    resumed = models.load_model(tmp_path, "new", "SAEHD")
    assert resumed.sides == TRIO and resumed.iteration == 3 and not resumed.notes
    train(resumed, 3)
    assert_same_state(resumed, straight)


def test_a_person_joins_and_the_others_go_on(tmp_path):
    store, persons = CheckpointStore(tmp_path, "new", "SAEHD"), f"{TINY['persons']},dora"
    before = made()
    for variable in (*before.variables.values(), *before.optimizers["main"].slots.values()):
        variable.assign(variable + 0.25)
    before.optimizers["main"].steps.assign(2)
    before.restore(2, np.ones((2, 3), np.float32))
    store.save(before)

    def joined(**changes):
        return models.load_model(tmp_path, "new", "SAEHD", options=lambda o: o.changed(**changes))

    four = joined(persons=persons)
    assert four.notes == ["new in this model: dora, with fresh decoders; all others go on"]
    assert four.iteration == 2 and four.loss_history.shape == (2, 4)
    assert np.isnan(four.loss_history[:, 3]).all()
    np.testing.assert_array_equal(four.loss_history[:, :3], before.loss_history)
    weights, state = four.weights(), four.optimizer_state()
    for path, array in before.weights().items():
        np.testing.assert_array_equal(weights[path], array)
    for path, array in before.optimizer_state().items():
        np.testing.assert_array_equal(state[path], array)
    fresh = made(persons=persons).weights()
    for path in weights.keys() - before.weights().keys():
        assert path.startswith("decoder_dora/")
        np.testing.assert_array_equal(weights[path], fresh[path])
    store.save(four)
    again = joined()
    assert again.sides == (*TRIO, "dora") and not again.notes
    with pytest.raises(CheckpointError, match="of 4 persons, not only of ann, bob-2, cleo"):
        joined(persons=TINY["persons"])


@pytest.mark.slow
def test_no_gradient_is_a_sum_of_three(trio, wide_sums):
    import tensorflow as tf

    tensors = {name: tf.constant(drawn_batch(0)[name]) for name in trio.batch_names()}
    assert not wide_sums(lambda tensors: trio._gradients(tensors, ["main"], ())[1], tensors)

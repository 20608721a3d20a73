"""SAEHD and AMP as DeepFaceLab saves them: discriminators, optimizers, faults of every sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core import safe_pickle
from core.errors import CheckpointError
from models.dfl_checkpoint import load_dfl_checkpoint, load_dfl_parts
from models.dfl_layout import (
    code_discriminator_shapes,
    dims_of,
    gan_shapes,
    network_shapes,
    part_of,
)
from models.dfl_options import adopted

DIS, GAN = code_discriminator_shapes(16, 2), gan_shapes("D_src", 4, 2)
SHAPES = {
    archi: network_shapes(
        dims_of(
            "SAEHD",
            {"archi": archi, "resolution": 64} | {f"{n}_dims": 16 for n in ("ae", "e", "d", "d_mask")},
        )
    )
    for archi in ("df-ud", "liae-ud")
}
AMP = network_shapes(
    dims_of(
        "AMP", {"resolution": 64, "inter_dims": 16} | {f"{n}_dims": 16 for n in ("ae", "e", "d", "d_mask")}
    )
)


def owners(state: dict) -> set[str]:
    """The parts whose slots are there."""
    return {key.split("/")[1] for key in state if not key.startswith("steps")}


def test_discriminators_come_along_with_their_optimizers(write_dfl_model, tmp_path):
    files = write_dfl_model(tmp_path, "SAEHD", {"dis": DIS, "D_src": GAN})
    loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", {**SHAPES["df-ud"], **DIS, **GAN})
    assert {part_of(path) for path in loaded.weights} >= {"dis", "D_src"}
    np.testing.assert_array_equal(
        loaded.weights["D_src/in_conv/weight"], files["GAN.npy"]["in_conv/weight:0"]
    )
    np.testing.assert_array_equal(
        loaded.optimizer["v/dis/convs_0/bias"], files["D_code_opt.npy"]["vs_dis/convs_0/bias_0:0"]
    )
    assert {key: int(loaded.optimizer[key]) for key in loaded.optimizer if key.startswith("steps")} == {
        "steps": 9,
        "steps/dis": 9,
        "steps/D_src": 9,
    }
    assert type(loaded.options["gan_power"]) is float and type(loaded.options["resolution"]) is int
    # no slot of one network among those of another
    assert len(loaded.optimizer) == 3 + 2 * (len(SHAPES["df-ud"]) + len(DIS) + len(GAN))


def test_pretrained_parts_come_without_discriminators_or_with_those_they_have(write_dfl_model, tmp_path):
    files = write_dfl_model(tmp_path, "SAEHD", {"dis": DIS, "D_src": GAN})
    for path in tmp_path.glob("*.npy"):
        path.rename(path.with_name(path.name.removeprefix("old_SAEHD_")))
    wanted = {**SHAPES["df-ud"], **DIS, **gan_shapes("D_src", 8, 3)}  # the GAN of other options
    loaded = load_dfl_parts(tmp_path, wanted)
    assert {path for path in loaded if part_of(path) in ("dis", "D_src")} == {*DIS, *GAN}
    (tmp_path / "GAN.npy").unlink()
    (tmp_path / "code_discriminator.npy").unlink()
    assert load_dfl_parts(tmp_path, wanted).keys() == SHAPES["df-ud"].keys()
    (tmp_path / "GAN.npy").write_bytes(safe_pickle.dumps(dict(list(files["GAN.npy"].items())[:-1])))
    with pytest.raises(CheckpointError, match=r"GAN\.npy.*out_conv/bias"):
        load_dfl_parts(tmp_path, wanted)


def test_liae_has_its_own_parts(write_dfl_model, tmp_path):
    write_dfl_model(tmp_path, "SAEHD", archi="liae-ud", random_warp=False, adabelief=False)
    loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", SHAPES["liae-ud"])
    assert owners(loaded.optimizer) == {"encoder", "inter_AB", "inter_B", "decoder"}
    assert {key.partition("/")[0] for key in loaded.optimizer} == {"steps", "acc"}


def test_discriminators_may_be_absent_or_at_rest(write_dfl_model, tmp_path):
    write_dfl_model(tmp_path, "SAEHD", {"D_src": GAN})
    shapes = {**SHAPES["df-ud"], **DIS}  # true face was switched on here, GAN is off
    loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", shapes)
    assert owners(loaded.optimizer) == {"encoder", "inter", "decoder_src", "decoder_dst", "D_src"}
    assert "D_src/out_conv/bias" in loaded.weights and "dis/out_conv/bias" not in loaded.weights
    merging = load_dfl_checkpoint(tmp_path, "old", "SAEHD", shapes, training=False)
    assert merging.weights.keys() == SHAPES["df-ud"].keys() and merging.optimizer == {}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("fault", ["lacks", "left over", "misshapen", "cut", "slots"])
def test_a_damaged_discriminator_is_an_error_once_it_is_needed(write_dfl_model, tmp_path, fault, used):
    files = write_dfl_model(tmp_path, "SAEHD", {"D_src": GAN})
    record, path = dict(files["GAN.npy"]), tmp_path / "old_SAEHD_GAN.npy"
    if fault == "slots":
        path, record = tmp_path / "old_SAEHD_GAN_opt.npy", dict(files["GAN_opt.npy"])
        del record["vs_D_src/out_conv/weight_0:0"]
    elif fault == "lacks":
        del record["convs_1/bias:0"]
    elif fault == "left over":
        record["convs_7/bias:0"] = np.zeros(16, np.float32)
    elif fault == "misshapen":
        record["upconvs_1/weight:0"] = record["upconvs_1/weight:0"].swapaxes(2, 3)
    data = safe_pickle.dumps(record)
    path.write_bytes(data[: len(data) // 2] if fault == "cut" else data)
    shapes = {**SHAPES["df-ud"], **(GAN if used else {})}
    if used:
        with pytest.raises(CheckpointError, match=path.name):
            load_dfl_checkpoint(tmp_path, "old", "SAEHD", shapes)
    else:
        loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", shapes)
        assert "it is not in use and left out" in loaded.notes[-1]
        assert {part_of(key) for key in loaded.weights} == {"encoder", "inter", "decoder_src", "decoder_dst"}
        assert "steps/D_src" not in loaded.optimizer


def test_amps_inters_have_no_slots(write_dfl_model, tmp_path):
    gan = gan_shapes("GAN", 4, 2)
    write_dfl_model(tmp_path, "AMP", {"GAN": gan}, inter_dims=16, morph_factor=0.5)
    loaded = load_dfl_checkpoint(tmp_path, "old", "AMP", {**AMP, **gan})
    assert loaded.options["morph_factor"] == 0.5
    assert loaded.weights.keys() == {**AMP, **gan}.keys()
    assert "does not train inter_dst and inter_src" in loaded.notes[1] and "dfl_compat=n" in loaded.notes[1]
    assert owners(loaded.optimizer) == {"encoder", "decoder", "GAN"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("ms_inter/dense1/bias_0:0"), "missing: m/inter/dense1/bias"),
        (lambda r: r.pop("iters:0"), "lacks the counter iters:0"),
        (
            lambda r: r.update({"ms_elsewhere/bias_0:0": np.zeros(3, np.float32)}),
            "left over: m/elsewhere/bias",
        ),
        (
            lambda r: r.update({"momentum_encoder/bias_0:0": np.zeros(3, np.float32)}),
            "no name of an optimizer",
        ),
        (lambda r: r.update({"ms_inter/dense1/bias_0:0": np.zeros(3, np.float32)}), "misshapen"),
        (lambda r: r.update({"iters:0": np.float64(0.5)}), "lacks the counter"),
    ],
)
def test_an_optimizer_is_whole_or_an_error(write_dfl_model, tmp_path, change, told):
    record = dict(write_dfl_model(tmp_path, "SAEHD")["src_dst_opt.npy"])
    change(record)
    (tmp_path / "old_SAEHD_src_dst_opt.npy").write_bytes(safe_pickle.dumps(record))
    with pytest.raises(CheckpointError, match=f"{told}.* Or move old_SAEHD_src_dst_opt.npy away"):
        load_dfl_checkpoint(tmp_path, "old", "SAEHD", SHAPES["df-ud"])
    (tmp_path / "old_SAEHD_src_dst_opt.npy").unlink()
    assert not load_dfl_checkpoint(tmp_path, "old", "SAEHD", SHAPES["df-ud"]).optimizer


def test_half_precision_and_axes_of_length_one(write_dfl_model, tmp_path):
    record = dict(write_dfl_model(tmp_path, "SAEHD")["decoder_src.npy"])
    half = record["res0/conv1/weight:0"].astype(np.float16)
    record["res0/conv1/weight:0"] = np.asfortranarray(half)
    record["out_convm/bias:0"] = record["out_convm/bias:0"].reshape(())
    (tmp_path / "old_SAEHD_decoder_src.npy").write_bytes(safe_pickle.dumps(record))
    weights = load_dfl_checkpoint(tmp_path, "old", "SAEHD", SHAPES["df-ud"]).weights
    wide = weights["decoder_src/res0/conv1/weight"]
    assert wide.dtype == np.float32 and wide.flags.c_contiguous
    np.testing.assert_array_equal(wide, half)
    assert weights["decoder_src/out_convm/bias"].shape == (1,)


def test_a_collapsed_model_is_refused(write_dfl_model, tmp_path):
    record = dict(write_dfl_model(tmp_path, "SAEHD")["decoder_src.npy"])
    record["out_conv/bias:0"] = np.array([0, np.nan, 0], np.float32)
    (tmp_path / "old_SAEHD_decoder_src.npy").write_bytes(safe_pickle.dumps(record))
    with pytest.raises(CheckpointError, match="'out_conv/bias:0' holds values that are not numbers"):
        load_dfl_checkpoint(tmp_path, "old", "SAEHD", SHAPES["df-ud"])


TINY = {"encoder/conv1/weight": (2, 3), "encoder/conv1/bias": (3,)}


def write_tiny(folder) -> None:
    rng = np.random.default_rng(0)
    weights = {path: rng.random(shape, np.float32) for path, shape in TINY.items()}
    slots = {f"{s}_{path}_0:0": value for s in ("ms", "vs") for path, value in weights.items()}
    state = {"iter": 3, "options": {"batch_size": np.int64(4)}, "loss_history": [[1.0, 2.0]] * 3}
    for suffix, record in {
        "encoder.npy": {f"{path.partition('/')[2]}:0": value for path, value in weights.items()},
        "src_dst_opt.npy": {"iters:0": np.int64(3), **slots},
        "data.dat": {**state, "sample_for_preview": None},
    }.items():
        (folder / f"old_SAEHD_{suffix}").write_bytes(safe_pickle.dumps(record))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["encoder.npy", "src_dst_opt.npy", "data.dat"]),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 4000) | st.none(),
)
@example(suffix="src_dst_opt.npy", edits=[(1061, 10)], cut=None)  # a line's end in the name of a slot
def test_damage_is_told_and_nothing_else_happens(tmp_path, suffix, edits, cut):
    write_tiny(tmp_path)
    path = tmp_path / f"old_SAEHD_{suffix}"
    data = bytearray(path.read_bytes())
    for place, value in edits:
        data[place % len(data)] = value
    path.write_bytes(data if cut is None else data[:cut])
    try:
        loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", TINY)
    except CheckpointError as err:
        assert "old_SAEHD_" in str(err) and "\n" not in str(err)
    else:
        assert loaded.weights.keys() == TINY.keys()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["encoder.npy", "src_dst_opt.npy", "data.dat"]),
    key=st.sampled_from(
        ["conv1/bias:0", "iters:0", "ms_encoder/conv1/bias_0:0", "iter", "options", "loss_history", "x"]
    ),
    junk=JUNK,
)
def test_sound_pickles_of_anything_are_told_too(tmp_path, suffix, key, junk):
    write_tiny(tmp_path)
    path = tmp_path / f"old_SAEHD_{suffix}"
    path.write_bytes(safe_pickle.dumps({**safe_pickle.loads(path.read_bytes(), "test"), key: junk}))
    try:
        loaded = load_dfl_checkpoint(tmp_path, "old", "SAEHD", TINY)
    except CheckpointError as err:
        assert "old_SAEHD_" in str(err) and "\n" not in str(err)
    else:
        assert loaded.loss_history.shape[1] == 2


def test_options_of_every_age_become_ours():
    from models.saehd_options import SaehdOptions

    saved = {
        "batch_size": 0,
        "eyes_prio": True,
        "lr_dropout": True,
        "autobackup_hour": 100,
        "target_iter": None,
    }
    values, notes = adopted(
        {**saved, "resolution": 496, "archi": "liae-u", "face_type": "wf"}, SaehdOptions.specs()
    )
    assert [note.partition(":")[0] for note in notes] == ["option batch_size", "option autobackup_hour"]
    options, unknown = SaehdOptions.from_json(values)
    assert (options.batch_size, options.autobackup_hour, options.lr_dropout) == (1, 24, "y")
    assert options.dfl_compat and not unknown


def test_numbers_of_another_type_are_taken_for_what_they_say():
    from core.errors import UsageError
    from models.saehd_options import SaehdOptions

    saved = {"clipgrad": 1, "random_warp": 0.0, "ae_dims": 64.0, "batch_size": 6.0, "gan_power": False}
    options, _ = SaehdOptions.from_json(adopted(saved, SaehdOptions.specs())[0])
    assert (options.clipgrad, options.random_warp, options.gan_power) == (True, False, 0.0)
    assert (options.ae_dims, options.batch_size) == (64, 6) and type(options.batch_size) is int
    nan, inf = float("nan"), float("inf")
    for wrong in ({"clipgrad": 2}, {"ae_dims": 64.5}, {"resolution": nan}, {"target_iter": inf}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            SaehdOptions.from_json(adopted(wrong, SaehdOptions.specs())[0])


def test_choices_of_other_versions_become_the_default():
    from models.saehd_options import SaehdOptions

    saved = {"ct_mode": "fs-aug", "lr_dropout": 2, "clipgrad": True}
    values, notes = adopted(saved, SaehdOptions.specs())
    options, _ = SaehdOptions.from_json(values)
    assert (options.ct_mode, options.lr_dropout, options.clipgrad) == ("none", "n", True)
    assert notes == [
        "option ct_mode: fs-aug of DeepFaceLab is taken as none",
        "option lr_dropout: 2 of DeepFaceLab is taken as n",
    ]


def test_what_is_fixed_is_not_moved():
    from core.errors import UsageError
    from models.saehd_options import SaehdOptions

    values, _ = adopted({"resolution": 2000}, SaehdOptions.specs())
    with pytest.raises(UsageError, match="resolution"):
        SaehdOptions.from_json(values)
    with pytest.raises(UsageError, match="face_type"):
        SaehdOptions.from_json(adopted({"face_type": "custom"}, SaehdOptions.specs())[0])

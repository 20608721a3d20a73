"""A model goes to DeepFaceLab and back: the same arrays, in files that NumPy 1.x reads, all or none."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import main
from core import safe_pickle
from core.errors import CheckpointError
from models import dfl_layout as layout
from models.checkpoint import Checkpoint, CheckpointStore
from models.dfl_checkpoint import list_dfl_models, load_dfl_checkpoint
from models.dfl_export import export_dfl_model, summary
from models.dfl_options import returned

OLD_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


# SHA-256 of the fixture's files as NumPy 1.26 pickles them
WRITTEN_BY_NUMPY_1 = {
    "fx_SAEHD_inter.npy": "6c9a786c0273013c33cfc2c5719638cf8e2171ece2784dfdac275551f290fed4",
    "fx_SAEHD_decoder_src.npy": "f7e5e9cdfff61dd0373216734f9e2a3ff396fc2e7a5f3e00627c1d5facd6d07b",
    "fx_SAEHD_src_dst_opt.npy": "058e7dc12430371bdcc531b96a310f33c890ddd546dbdb52be12264e423634ab",
}


class OldReader(pickle.Unpickler):
    """Python's own reader with the names that DeepFaceLab's model files need of NumPy 1.x, and no others."""

    def find_class(self, module: str, name: str):
        return OLD_NAMES[module, name]


def read_as_dfl(path: Path) -> dict:
    data = path.read_bytes()
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(data)) <= 4
    return OldReader(io.BytesIO(data)).load()


def assert_same(found: dict, wanted: dict) -> None:
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert type(found[key]) is type(value) and found[key].dtype == value.dtype, key
        assert np.shape(found[key]) == np.shape(value)
        np.testing.assert_array_equal(found[key], value)


def shapes_of(kind: str, options: dict) -> dict:
    return layout.network_shapes(layout.dims_of(kind, options))


def kept_here(checkpoint: Checkpoint, folder: Path, name: str, kind: str) -> Checkpoint:
    """The state, saved as ours and read again."""
    model = SimpleNamespace(
        kind=kind,
        iteration=checkpoint.iteration,
        options=SimpleNamespace(to_json=lambda: {**checkpoint.options, "precision": "auto"}),
        unknown_options={},
        loss_history=checkpoint.loss_history,
        deferred_weights=lambda: checkpoint.weights,
        deferred_optimizer_state=lambda: {k: np.array(v) for k, v in checkpoint.optimizer.items()},
    )
    store = CheckpointStore(folder, name, kind)
    store.save(model)
    return store.load_latest()


@pytest.mark.parametrize("kind", ["SAEHD", pytest.param("Quick96", marks=pytest.mark.slow)])
def test_the_fixtures_come_back_as_deepfacelab_wrote_them(dfl_fixture, tmp_path, kind):
    fixture = dfl_fixture(
        *{"SAEHD": ("saehd_df-ud_16", "fx_SAEHD_"), "Quick96": ("quick96", "fx_Quick96_")}[kind]
    )
    shapes = {path: array.shape for path, array in fixture.weights.items()}
    loaded = load_dfl_checkpoint(fixture.folder, "fx", kind, shapes)
    done = export_dfl_model(kept_here(loaded, tmp_path, "fx", kind), "fx", tmp_path / "out")
    names = {path.name for path in fixture.folder.iterdir()} | {f"fx_{kind}_summary.txt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names == {p.name for p in done.files}
    for path in sorted((tmp_path / "out").glob("*.npy")):
        assert_same(read_as_dfl(path), safe_pickle.load_file(fixture.folder / path.name))
    for name, digest in WRITTEN_BY_NUMPY_1.items() if kind == "SAEHD" else ():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest, name
    path = tmp_path / "out" / f"fx_{kind}_data.dat"
    state, wanted = read_as_dfl(path), safe_pickle.load_file(fixture.folder / path.name)
    types = {key: type(value) for key, value in wanted["options"].items()}
    types |= {"gan_dims": np.int64} if kind == "SAEHD" else {}  # plain where DeepFaceLab did not ask for it
    assert state == wanted and list(state) == list(wanted)
    assert list(state["options"]) == list(wanted["options"])
    assert {key: type(value) for key, value in state["options"].items()} == types
    assert list(done.left_out) == ["precision"] and done.notes == []


@pytest.mark.parametrize(
    ("kind", "options", "discriminators"),
    [
        (
            "SAEHD",
            {"archi": "df-ud"},
            {"dis": layout.code_discriminator_shapes(16, 2), "D_src": layout.gan_shapes("D_src", 4, 2)},
        ),
        ("SAEHD", {"archi": "liae-udt", "adabelief": False}, {"D_src": layout.gan_shapes("D_src", 4, 3)}),
        ("AMP", {"inter_dims": 16, "morph_factor": np.float64(0.5)}, {"GAN": layout.gan_shapes("GAN", 4, 2)}),
    ],
    ids=["df", "liae", "amp"],
)
def test_discriminators_and_optimizers_go_back_too(write_dfl_model, tmp_path, kind, options, discriminators):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    files = write_dfl_model(source, kind, discriminators, **options)
    state = safe_pickle.load_file(source / f"old_{kind}_data.dat")
    loaded = load_dfl_checkpoint(source, "old", kind, shapes_of(kind, state["options"]))
    done = export_dfl_model(kept_here(loaded, tmp_path, "old", kind), "old", out)
    assert {path.name for path in out.glob("*.npy")} == {f"old_{kind}_{suffix}" for suffix in files}
    for suffix, record in files.items():
        assert_same(read_as_dfl(out / f"old_{kind}_{suffix}"), record)
    assert "precision" in done.left_out and (kind == "AMP" or "eyes_prio" in done.left_out)
    assert done.notes == []
    if kind == "AMP":  # trained here, the inters have slots, which DeepFaceLab has no use for
        loaded.optimizer["m/inter_src/dense2/bias"] = np.zeros(3, np.float32)
        done = export_dfl_model(loaded, "trained", out)
        assert done.notes == ["DeepFaceLab does not train inter_src and inter_dst: their slots are left out"]
        assert_same(read_as_dfl(out / "trained_AMP_src_dst_opt.npy"), files["src_dst_opt.npy"])


@pytest.fixture
def state(write_dfl_model, tmp_path) -> Checkpoint:
    """A small SAEHD state."""
    write_dfl_model(tmp_path, "SAEHD")
    options = safe_pickle.load_file(tmp_path / "old_SAEHD_data.dat")["options"]
    return load_dfl_checkpoint(tmp_path, "old", "SAEHD", shapes_of("SAEHD", options))


def test_an_optimizer_of_another_kind_gets_no_file(state, tmp_path):
    state.options["adabelief"] = False  # the slots are AdaBelief's
    done = export_dfl_model(state, "old", tmp_path / "out")
    assert "src_dst_opt.npy is not written" in done.notes[0]
    assert not (tmp_path / "out" / "old_SAEHD_src_dst_opt.npy").exists()


def test_what_deepfacelab_would_begin_anew_is_refused(state, tmp_path):
    weights = dict(state.weights)
    for change, told in {
        "resolution": (128, "does not fit the model; misshapen: inter/dense1/weight"),
        "archi": ("liae-ud", "are not those of DeepFaceLab's SAEHD, encoder, inter_AB, inter_B, decoder"),
        "face_type": ("mouth", "face type 'mouth' is unknown"),
    }.items():
        kept = state.options[change]
        state.options[change] = told[0]
        with pytest.raises(CheckpointError, match=told[1]):
            export_dfl_model(state, "old", tmp_path / "out")
        state.options[change] = kept
    del state.weights["inter/dense1/bias"]
    with pytest.raises(CheckpointError, match="missing: inter/dense1/bias"):
        export_dfl_model(state, "old", tmp_path / "out")
    state.weights, state.iteration = weights, 0
    with pytest.raises(CheckpointError, match="train it first"):
        export_dfl_model(state, "old", tmp_path / "out")
    state.kind = "Original"
    with pytest.raises(CheckpointError, match="DeepFaceLab has no Original model; only AMP, Quick96, SAEHD"):
        export_dfl_model(state, "old", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_and_losses_that_it_cannot_take_are_changed_and_told(state, tmp_path):
    state.options["ct_mode"] = "something new"
    state.loss_history[1:3, 0] = np.nan, np.inf
    done = export_dfl_model(state, "old", tmp_path / "out")
    assert done.notes == ["ct_mode something new becomes none"]
    data = read_as_dfl(tmp_path / "out" / "old_SAEHD_data.dat")
    assert data["loss_history"] == [[0.5, 0.25]] * 5
    assert data["options"]["ct_mode"] == "none"
    assert returned("Quick96", {"batch_size": 4, "recipe": "fast"})[:2] == (
        {"batch_size": 4},
        {"recipe": "fast"},
    )


def test_options_of_another_version_of_deepfacelab_go_back_to_it():
    from models import options_class
    from models.dfl_options import adopted

    other = {"loss_function": "SSIM", "random_downsample": True, "power": 0.5}
    values, _ = adopted(
        {"archi": "df", "resolution": 64, "eyes_prio": True, **other}, options_class("SAEHD").specs()
    )
    options, unknown = options_class("SAEHD").from_json(values)
    found, left_out, changes = returned("SAEHD", {**unknown, **options.to_json()})
    assert {key: found[key] for key in other} == other and not changes
    assert {"precision", "dfl_compat", "persons"} <= left_out.keys() and not left_out.keys() & found.keys()
    assert "eyes_prio" not in found


def test_files_of_the_same_name_stay(state, tmp_path):
    out = tmp_path / "out"
    export_dfl_model(state, "old", out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(CheckpointError, match=r"old_SAEHD_data\.dat, .* are there already"):
        export_dfl_model(state, "old", out)
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    export_dfl_model(state, "other", out)
    assert list_dfl_models(out, "SAEHD").keys() == {"old", "other"}


def test_a_full_disk_leaves_nothing(state, tmp_path, monkeypatch):
    real, calls = os.replace, []

    def replace(source, goal):
        calls.append(goal)
        if len(calls) == 4:
            raise OSError(28, "No space left on device", str(source))
        real(source, goal)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        export_dfl_model(state, "old", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


KILLED = """
import os, pickle, signal, sys
from models.dfl_export import export_dfl_model
state, out, last = pickle.load(open(sys.argv[1], "rb")), sys.argv[2], int(sys.argv[3])
real, calls = os.replace, []
def replace(source, goal):
    calls.append(goal)
    if len(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, goal)
os.replace = replace
export_dfl_model(state, "old", out)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize("rename", [1, 7])
def test_killed_while_it_writes_deepfacelab_sees_no_model(state, tmp_path, root, rename):
    (tmp_path / "state").write_bytes(pickle.dumps(state))
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "state"), str(out), str(rename)]
    assert subprocess.run(arguments, cwd=root).returncode == -signal.SIGKILL
    assert any(path.name.startswith(".") for path in out.iterdir())
    assert not list(out.glob("*_data.dat"))  # what DeepFaceLab looks for
    named = [path for path in out.iterdir() if not path.name.startswith(".")]
    assert len(named) == rename - 1
    if named:
        with pytest.raises(CheckpointError, match="killed"):
            export_dfl_model(state, "old", out)
    for path in named:
        path.unlink()
    export_dfl_model(state, "old", out)
    assert len(list(out.iterdir())) == 7  # and nothing hidden


def test_the_summary_is_deepfacelabs_box(dfl_fixture, shared_data):
    path = shared_data / "dfl" / "saehd_df-ud_16" / "fx_SAEHD_summary.txt"
    state = safe_pickle.load_file(path.with_name("fx_SAEHD_data.dat"))
    assert summary("fx_SAEHD", 1, state["options"], device="CPU") == path.read_text()


@pytest.fixture
def workshop(state, tmp_path) -> Path:
    """A folder with a SAEHD model of ours."""
    kept_here(state, tmp_path / "models", "old", "SAEHD")
    return tmp_path / "models"


def run(folder: Path, out: Path, *more: str, kind: str = "SAEHD") -> int:
    flags = ["--model-dir", str(folder), "--model", kind, "--output-dir", str(out), "--no-prompt"]
    return main.main(["exportdfl", *flags, *more])


def test_the_command_writes_and_reports(workshop, state, tmp_path, capsys):
    assert run(workshop, tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "old_SAEHD_encoder.npy" in told and "8 weights, 270,240 numbers" in told
    assert "left out: eyes_prio, precision" in told and "of iteration 5, as DeepFaceLab saves it" in told
    found = read_as_dfl(tmp_path / "out" / "old_SAEHD_inter.npy")
    np.testing.assert_array_equal(found["dense1/bias:0"], state.weights["inter/dense1/bias"])


def test_the_command_refuses_in_one_line(workshop, tmp_path, capsys):
    def refusal(*arguments, **named) -> str:
        assert run(*arguments, **named) in (1, 2)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "model's own folder" in refusal(workshop, workshop)
    assert "model's own folder" in refusal(workshop, workshop / "old_SAEHD")
    assert "no model 'Nonsense'" in refusal(workshop, tmp_path / "out", kind="Nonsense")
    assert "copy its files" in refusal(tmp_path, tmp_path / "out")
    assert "no SAEHD model is named 'x'" in refusal(workshop, tmp_path / "out", "--force-model-name", "x")
    assert run(workshop, tmp_path / "out") == 0
    capsys.readouterr()
    assert "are there already" in refusal(workshop, tmp_path / "out")

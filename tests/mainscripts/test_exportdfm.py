"""`main.py exportdfm`: the file's place and name, options, refusals, nothing half-written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import main
import models

SMALL = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16, "inter_dims": 32}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """A folder with one small AMP model."""
    folder = tmp_path_factory.mktemp("models")
    options = models.options_class("AMP")(**SMALL, precision="float32")
    models.CheckpointStore(folder, "eve", "AMP").save(models.create_model("AMP", options, name="eve"))
    return folder


@pytest.fixture
def converted(monkeypatch):
    """Stands for the conversion: a list of what it was asked for."""
    import core.system
    from mainscripts import exportdfm

    calls = []

    def convert(folder, name, kind, quantized, how):
        calls.append((name, kind, quantized, how))
        return b"onnx", type("Model", (), {"iteration": 5})

    monkeypatch.setattr(core.system, "lower_priority", lambda: None)
    monkeypatch.setattr(exportdfm, "convert", convert)
    return calls


def run(folder: Path, *more: str, kind: str = "AMP") -> int:
    return main.main(["exportdfm", "--model-dir", str(folder), "--model", kind, "--no-prompt", *more])


def test_a_saved_model_becomes_a_file_beside_it(model_dir, capsys, monkeypatch):
    import core.system

    onnx = pytest.importorskip("onnx", reason="onnx cannot be installed here")
    monkeypatch.setattr(core.system, "lower_priority", lambda: None)
    assert run(model_dir) == 0
    path = model_dir / "eve_AMP_model.dfm"
    said = capsys.readouterr().out
    assert f"{path}: iteration 0" in said and "eve has not been trained yet" in said
    written = onnx.load(str(path))
    assert [value.name for value in written.graph.input] == ["in_face:0", "morph_value:0"]
    assert not [left for left in model_dir.iterdir() if left.name.startswith(".")]
    assert path in models.model_files(model_dir, "eve", "AMP")  # renamed and deleted with the model


def test_options_and_flags(model_dir, converted, capsys):
    assert run(model_dir) == run(model_dir, "--quantized") == run(model_dir, "--option", "quantized=y") == 0
    assert converted == [("eve", "AMP", quantized, {}) for quantized in (False, True, True)]
    shown = capsys.readouterr().out
    assert "[n] Export quantized?" in shown and "replaces the one before" in shown


def test_persons_stand_in_the_name(model_dir, converted, monkeypatch, tmp_path):
    options = models.options_class("SAEHD")(archi="df-ud", persons="ann,bob,cleo")
    monkeypatch.setattr(models, "list_models", lambda folder, kind: ["eve"])
    monkeypatch.setattr(models, "saved_options", lambda *args: options)
    assert run(tmp_path, "--src-person", "cleo", kind="SAEHD") == 0
    assert converted == [("eve", "SAEHD", False, {"src_person": "cleo", "dst_person": "bob"})]
    assert (tmp_path / "eve_SAEHD_model_cleo_bob.dfm").read_bytes() == b"onnx"


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ((), "XSeg", "no model 'XSeg'"),
        ((), "SAEHD", "no SAEHD model is saved there"),
        (("--force-model-name", "adam"), "AMP", "no AMP model is named 'adam'"),
        (("--src-person", "ann"), "AMP", "has no use for it"),
        (("--option", "quantized=maybe"), "AMP", "give y/n"),
        (("--option", "opset=9"), "AMP", "there is no option 'opset'"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(model_dir, converted, capsys, more, kind, message):
    assert run(model_dir, *more, kind=kind) in (1, 2)
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1
    assert not converted


def test_a_missing_package_is_named_with_the_remedy(model_dir, converted, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    assert run(model_dir) == 1
    assert "needs the package onnx; install it with `python -m pip" in capsys.readouterr().err


def test_a_failing_conversion_leaves_the_old_file(model_dir, monkeypatch, converted):
    from core.errors import CheckpointError
    from mainscripts import exportdfm

    path = model_dir / "eve_AMP_model.dfm"
    path.write_bytes(b"old")

    def fail(*args):
        raise CheckpointError("too large")

    monkeypatch.setattr(exportdfm, "convert", fail)
    assert run(model_dir) == 1 and path.read_bytes() == b"old"

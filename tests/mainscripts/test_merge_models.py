"""`main.py merge` with models that leave something open (morph factor, persons), and with real models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import main
import models
from core.imageio import read_image
from tests.mainscripts.test_merge import TinyModel, Workspace

SMALL = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16, "batch_size": 1}
KINDS = {
    "AMP": {**SMALL, "inter_dims": 32, "face_type": "wf"},
    "SAEHD": {**SMALL, "archi": "df-ud", "face_type": "head", "eyes_mouth_prio": True},
}


class TellingModel(TinyModel):
    """Keeps what its predictors were told."""

    def __init__(self, kind: str) -> None:
        self.kind, self.told = kind, []

    def predictor(self, **how):
        self.told.append(how)
        return super().predictor()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    import core.system

    monkeypatch.setattr(core.system, "lower_priority", lambda: None)
    workspace = Workspace(tmp_path)
    for number in (1, 2):
        workspace.add(f"{number:05}.png", face=number == 1)
    return workspace


@pytest.fixture
def telling(workspace, monkeypatch):
    """Makes the workspace hold a model of a kind, of some persons, and returns it."""
    import mainscripts.merge

    def make(kind: str, persons: str = "") -> TellingModel:
        model = TellingModel(kind)
        options = models.options_class(kind)(**({"persons": persons, "archi": "df-ud"} if persons else {}))
        monkeypatch.setattr(models, "list_models", lambda folder, kind: ["tiny"])
        monkeypatch.setattr(models, "saved_options", lambda *args: options)
        monkeypatch.setattr(mainscripts.merge, "load", lambda *args: model)
        return model

    return make


def test_amps_morph_factor_is_1_or_what_is_asked_for(workspace, telling, capsys):
    model = telling("AMP")
    assert workspace.run("--model", "AMP") == 0
    assert "[1] Morph factor" in capsys.readouterr().out
    assert workspace.run("--model", "AMP", "--morph-factor", "0.25") == 0
    assert "morph_factor: 0.25" in capsys.readouterr().out
    assert model.told == [{"morph_factor": 1.0}, {"morph_factor": 0.25}]


def test_another_morph_factor_is_not_mixed_in_silently(workspace, telling, capsys):
    model = telling("AMP")
    argv = ("--model", "AMP", "--morph-factor")
    workspace.run(*argv, "0.5")
    before = workspace.times()
    assert workspace.run(*argv, "0.5") == 0 and workspace.times() == before
    assert "2 frames are merged already" in capsys.readouterr().out
    assert workspace.run(*argv, "0.6") == 0
    assert "merged with other options" in capsys.readouterr().out
    assert all(time != before[stem] for stem, time in workspace.times().items())
    assert [how["morph_factor"] for how in model.told] == [0.5, 0.6]


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("AMP", ("--morph-factor", "1.5"), "0..1"),
        ("Quick96", ("--morph-factor", "0.5"), "the Quick96 model tiny has no use for it"),
        ("SAEHD", ("--src-person", "ann"), "the SAEHD model tiny has no use for it"),
        ("AMP", ("--dst-person", "ann"), "--dst-person: the AMP model tiny has no use for it"),
    ],
)
def test_flags_that_do_not_fit_are_refused(workspace, telling, capsys, kind, flags, message):
    telling(kind)
    try:
        code = workspace.run("--model", kind, *flags)
    except SystemExit as err:  # argparse
        code = err.code
    assert code == 2 and message in capsys.readouterr().err
    assert not workspace.times()


def test_persons_are_asked_for_by_name(workspace, telling, capsys):
    model = telling("SAEHD", persons="ann,bob,cleo")
    assert workspace.run("--model", "SAEHD") == 0
    shown = capsys.readouterr().out
    assert "[ann] Source person" in shown and "ann/bob/cleo" in shown
    assert workspace.run("--model", "SAEHD", "--src-person", "cleo", "--dst-person", "ann") == 0
    assert model.told == [
        {"src_person": "ann", "dst_person": "bob"},
        {"src_person": "cleo", "dst_person": "ann"},
    ]
    assert workspace.run("--model", "SAEHD", "--src-person", "dave") == 2
    assert "option src_person: 'dave' is not allowed; give ann/bob/cleo" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["AMP", pytest.param("SAEHD", marks=pytest.mark.slow)])
def test_a_model_trained_by_the_api_merges_a_frame(workspace, kind, capsys):
    options = models.options_class(kind)(**KINDS[kind], precision="float32", xla="off")
    model = models.create_model(kind, options, name="small")
    rng = np.random.default_rng(0)
    batch = {
        spec.name: rng.random((1, 64, 64, 3 if spec.kind == "image" else 1), np.float32)
        for side in ("src", "dst")
        for spec in model.sample_request(side).specs
    }
    model.train_step(batch)
    models.CheckpointStore(workspace.model, "small", kind).save(model)
    flags = ("--morph-factor", "0.5") if kind == "AMP" else ()

    assert workspace.run("--model", kind, *flags, "--option", "mask_mode=full") == 0

    shown = capsys.readouterr().out
    assert "1 frames merged, 1 without a face" in shown
    assert f"face type: {'whole_face' if kind == 'AMP' else 'head'}" in shown
    for name, changed in (("00001.png", True), ("00002.png", False)):
        merged, frame = read_image(workspace.merged / name), read_image(workspace.dst / name)
        assert (merged != frame).any() == changed


def test_the_help_names_the_flags(capsys):
    with pytest.raises(SystemExit):
        main.main(["merge", "--help"])
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in ("--morph-factor", "--src-person", "--dst-person"))

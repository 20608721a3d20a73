"""Several persons from the facesets to the merged frame, as their user goes."""

from __future__ import annotations

import csv

import pytest

import main
import models
from core.imageio import read_image
from tests.mainscripts.conftest import write_faces
from tests.mainscripts.test_merge import Workspace

SMALL = ("resolution=64", "ae_dims=32", "e_dims=16", "d_dims=16", "d_mask_dims=16", "batch_size=1", "xla=off",
         "precision=float32", "ct_mode=rct")  # fmt: skip


@pytest.mark.slow
def test_persons_train_together_one_joins_and_a_pair_is_merged(tmp_path, capsys):
    folders = {name: write_faces(tmp_path / name, seed) for seed, name in enumerate(("ann", "bob", "cleo"))}
    workspace = Workspace(tmp_path / "work")

    def train(*names: str, target: int, more=()) -> int:
        persons = [f"--training-data-dir={name}={folders[name]}" for name in names]
        return main.main(
            ["train", *persons, "--model-dir", str(workspace.model), "--model", "SAEHD", "--cpu-only",
             "--no-prompt", "--no-preview", "--force-model-name", "trio", "--target-iter", str(target), *more]
        )  # fmt: skip

    assert train("ann", "bob", target=2, more=[f"--option={pair}" for pair in SMALL]) == 0
    shown = capsys.readouterr().out
    assert "taking archi df-ud" in shown
    assert train("ann", target=3) == 2
    assert "give at least two" in capsys.readouterr().err

    assert train("cleo", "bob", "ann", target=4) == 0
    assert "new in this model: cleo" in capsys.readouterr().out
    assert train("ann", "cleo", target=5) == 2
    assert "a model of ann, bob, cleo, not ann, cleo" in capsys.readouterr().err
    assert models.saved_options(workspace.model, "trio", "SAEHD").persons == "ann,bob,cleo"
    with (workspace.model / "trio_SAEHD_history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["3", "4"]
    assert all(float(row[f"{name}_loss"]) > 0 for row in rows for name in folders)
    assert (workspace.model / "trio_SAEHD_preview.jpg").is_file()

    workspace.add("00001.png")
    frames = {}
    for src in ("cleo", "bob"):
        flags = ("--src-person", src, "--dst-person", "ann", "--option", "mask_mode=full")
        assert workspace.run("--model", "SAEHD", "--cpu-only", *flags) == 0
        frames[src] = read_image(workspace.merged / "00001.png")
    assert (frames["cleo"] != frames["bob"]).any()
    assert workspace.run("--model", "SAEHD", "--src-person", "dora") == 2
    argv = ["exportdfl", "--model-dir", str(workspace.model), "--model", "SAEHD", "--no-prompt"]
    capsys.readouterr()
    assert main.main([*argv, "--output-dir", str(tmp_path / "dfl")]) == 1
    assert "a model of several persons" in capsys.readouterr().err

"""Models that DeepFaceLab saved are read exactly or refused, and never changed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import models
from core.errors import CheckpointError
from models.dfl_checkpoint import list_dfl_models, load_dfl_checkpoint

QUICK96 = ("fx", "Quick96")


def shapes_of(fixture) -> dict[str, tuple[int, ...]]:
    return {path: array.shape for path, array in fixture.weights.items()}


@pytest.fixture
def copied(quick96_fixture, tmp_path):
    """A folder whose files may be damaged: links, replaced by whoever writes."""
    for path in quick96_fixture.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_everything_comes_along(quick96_fixture):
    digests = {path: hashlib.sha256(path.read_bytes()).digest() for path in quick96_fixture.folder.iterdir()}
    loaded = load_dfl_checkpoint(quick96_fixture.folder, *QUICK96, shapes_of(quick96_fixture))
    assert loaded.iteration == 1
    np.testing.assert_array_equal(loaded.loss_history, [[1.0, 1.0]])
    assert loaded.options == {"batch_size": 4}
    for path, array in quick96_fixture.weights.items():
        np.testing.assert_array_equal(loaded.weights[path], array)
    assert set(loaded.optimizer) == {"steps", *(f"acc/{path}" for path in quick96_fixture.weights)}
    assert loaded.optimizer["steps"] == 7
    assert list_dfl_models(quick96_fixture.folder, "Quick96").keys() == {"fx"}
    assert models.list_models(quick96_fixture.folder, "Quick96") == ["fx"]
    assert digests == {
        path: hashlib.sha256(path.read_bytes()).digest() for path in quick96_fixture.folder.iterdir()
    }


def test_saehd_df_is_read_by_the_same_rules(dfl_fixture):
    fixture = dfl_fixture("saehd_df-ud_16", "fx_SAEHD_")
    loaded = load_dfl_checkpoint(fixture.folder, "fx", "SAEHD", shapes_of(fixture))
    assert loaded.options["archi"] == "df-ud"
    assert type(loaded.options["ae_dims"]) is int
    assert {path.partition("/")[0] for path in loaded.optimizer} == {"steps", "m", "v"}
    for path, array in fixture.weights.items():
        np.testing.assert_array_equal(loaded.weights[path], array)


def test_a_missing_part_is_named(copied, quick96_fixture):
    (copied / "fx_Quick96_inter.npy").unlink()
    with pytest.raises(CheckpointError, match=r"lacks fx_Quick96_inter\.npy"):
        load_dfl_checkpoint(copied, *QUICK96, shapes_of(quick96_fixture))


@pytest.mark.parametrize("fault", ["cut", "text", "hostile", "misshapen", "missing"])
def test_a_damaged_part_is_refused(copied, quick96_fixture, fault):
    import os
    import pickle

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(copied / "broken in"),)

    path = copied / "fx_Quick96_inter.npy"
    data = path.read_bytes()
    part = {
        f"{k.removeprefix('inter/')}:0": v
        for k, v in quick96_fixture.weights.items()
        if k.startswith("inter/")
    }
    changed = {
        "cut": data[:10_000],
        "text": b"not a pickle",
        "hostile": pickle.dumps({"dense1/weight:0": Hostile()}, 4),
        "misshapen": pickle.dumps({**part, "dense1/bias:0": np.zeros(64, np.float32)}, 4),
        "missing": pickle.dumps({k: v for k, v in part.items() if k != "dense1/bias:0"}, 4),
    }
    path.unlink()
    path.write_bytes(changed[fault])
    with pytest.raises(CheckpointError) as caught:
        load_dfl_checkpoint(copied, *QUICK96, shapes_of(quick96_fixture))
    assert "inter" in str(caught.value) and "\n" not in str(caught.value)
    assert not (copied / "broken in").exists()


def test_without_an_optimizer_the_weights_still_load(copied, quick96_fixture):
    (copied / "fx_Quick96_src_dst_opt.npy").unlink()
    loaded = load_dfl_checkpoint(copied, *QUICK96, shapes_of(quick96_fixture))
    assert loaded.optimizer == {}
    assert "src_dst_opt.npy is absent: the optimizer starts anew" in loaded.notes[1]


def test_its_models_are_found_by_name(copied):
    assert models.model_exists(copied, *QUICK96)
    assert models.saved_options(copied, *QUICK96).recipe == "dfl"
    assert not models.model_exists(copied, "other", "Quick96")
    with pytest.raises(CheckpointError, match="no Quick96 model named 'other'; saved there: fx"):
        models.load_model(copied, "other", "Quick96")

"""Checkpoints are whole or absent, and always the old or the new one; the models here are tiny stand-ins."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import models
from core.errors import CheckpointError
from models import checkpoint
from models.checkpoint import CheckpointStore
from models.model_files import delete_model, model_files, rename_model

WRITER = """
import sys, types, numpy as np
from models.checkpoint import CheckpointStore
options = types.SimpleNamespace(to_json=lambda: {})
store = CheckpointStore(sys.argv[1], "m", "Quick96")
start = store.load_latest().iteration if store.exists() else 0
for i in range(start + 1, 10**6):
    values = {f"w{n}": np.full((300, 300), i, np.float32) for n in range(4)}
    model = types.SimpleNamespace(kind="Quick96", iteration=i, options=options, unknown_options={},
        loss_history=np.full((i, 2), i), deferred_weights=lambda: values,
        deferred_optimizer_state=lambda: values)
    store.save(model)
    print(i, flush=True)
"""


def model(iteration: int, **changes):
    values = {"part/w": np.full((3, 2), iteration, np.float32)}
    state = {
        "kind": "Quick96",
        "iteration": iteration,
        "options": SimpleNamespace(to_json=lambda: {"batch_size": 4}),
        "unknown_options": {"old": 1},
        "loss_history": np.full((iteration, 2), 0.5, np.float32),
        "deferred_weights": lambda: values,
        "deferred_optimizer_state": lambda: {"acc/part/w": values["part/w"], "steps": np.int64(iteration)},
    }
    return SimpleNamespace(**{**state, **changes})


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path, "face", "Quick96")


def consistent(loaded) -> int:
    """The iteration of a checkpoint whose parts all are of that iteration."""
    assert {float(value) for array in loaded.weights.values() for value in array.flat} == {loaded.iteration}
    assert len(loaded.loss_history) == loaded.iteration
    return loaded.iteration


def test_round_trip(store):
    assert not store.exists()
    path = store.save(model(3), {"deck": [1, 2]})
    loaded = store.load_latest()
    assert path.name == "0000001-3"
    assert consistent(loaded) == 3
    assert loaded.options == {"old": 1, "batch_size": 4}
    assert loaded.extra == {"deck": [1, 2]}
    assert loaded.optimizer["steps"] == 3
    assert not loaded.notes
    assert store.load_latest(training=False).optimizer == {}


def test_the_newest_two_generations_are_kept(store):
    for iteration in range(1, 6):
        store.save(model(iteration))
    assert [path.name for path in store.generations()] == ["0000005-5", "0000004-4"]
    assert {path.name for path in store.folder.iterdir()} == {"0000005-5", "0000004-4"}


def test_saving_an_earlier_iteration_counts_as_the_newest(store):
    store.save(model(9))
    store.save(model(4))
    assert consistent(store.load_latest()) == 4


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("fault", ["flip", "cut", "gone"])
def test_a_damaged_generation_falls_back_to_the_one_before(store, name, fault):
    store.save(model(1))
    path = store.save(model(2)) / name
    data = bytearray(path.read_bytes())
    if fault == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data if fault == "flip" else data[: len(data) // 2])
    loaded = store.load_latest()
    if consistent(loaded) == 2:  # a flipped bit in the record's own text may still be a record
        assert (name, fault) == ("state.json", "flip")
        return
    assert loaded.iteration == 1
    assert "0000002-2" in loaded.notes[0] and "iteration 1" in loaded.notes[0]
    store.save(model(3))
    assert [path.name for path in store.generations()] == ["0000003-3", "0000001-1"]


HOSTILE = {
    "negative": lambda state: {**state, "iteration": -2},
    "another iteration": lambda state: {**state, "iteration": 10**30},
    "bool": lambda state: {**state, "iteration": True},
    "no table": lambda state: {**state, "options": []},
    "files": lambda state: {**state, "files": {}},
    "list": lambda state: [],
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_record_that_cannot_be_ours_is_damage(store, change):
    store.save(model(1))
    path = store.save(model(2)) / "state.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert consistent(store.load_latest()) == 1
    path.write_bytes(b"[" * 100_000)
    assert consistent(store.load_latest()) == 1
    assert store.read_options() == {"old": 1, "batch_size": 4}


def test_saved_options_out_of_range_name_their_folder(store):
    store.save(model(1, options=SimpleNamespace(to_json=lambda: {"batch_size": "4"})))
    with pytest.raises(CheckpointError, match=r"face_Quick96: saved option batch_size: '4'.*1\.\.1024"):
        models.saved_options(store.model_dir, "face", "Quick96")


def test_no_sound_generation_is_an_error_never_fresh_weights(store):
    (store.save(model(1)) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint is sound.*put back a copy"):
        store.load_latest()
    store.backup_folder.mkdir()
    with pytest.raises(CheckpointError, match=r"no checkpoint is sound.*face_Quick96_autobackups"):
        store.load_latest()
    with pytest.raises(CheckpointError, match="no saved model"):
        CheckpointStore(store.model_dir, "other", "Quick96").load_latest()


def test_a_full_disk_leaves_the_old_model(store, monkeypatch):
    store.save(model(1))
    real = checkpoint.write_tensors

    def fill(path, tensors, **how):
        if path.name == "optimizer.safetensors":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, tensors, **how)

    monkeypatch.setattr(checkpoint, "write_tensors", fill)
    with pytest.raises(CheckpointError, match=r"No space left on device; free some space"):
        store.save(model(2))
    assert [path.name for path in store.folder.iterdir()] == ["0000001-1"]
    assert consistent(store.load_latest()) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk_leaves_the_old_model(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        store = CheckpointStore(tmp_path, "face", "Quick96")
        store.save(model(1))
        large = {"part/w": np.full((400, 500), 2, np.float32)}
        with pytest.raises(CheckpointError, match="No space left"):
            store.save(model(2, deferred_weights=lambda: large, deferred_optimizer_state=lambda: large))
        assert [path.name for path in store.folder.iterdir()] == ["0000001-1"]
        assert consistent(store.load_latest()) == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "models").write_text("a file is in the way")
    store = CheckpointStore(tmp_path / "models", "face", "Quick96")
    for action in (store.check_writable, lambda: store.save(model(1))):
        with pytest.raises(CheckpointError, match="cannot be saved") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_check_writable_leaves_nothing_behind(store):
    store.check_writable()
    assert not store.exists()
    assert not store.folder.exists()
    store.folder.mkdir(parents=True)
    store.check_writable()
    assert list(store.folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_at_random_moments_while_saving(tmp_path, root):
    rng, reached = random.Random(5), 0
    for _ in range(50):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        saved = int(writer.stdout.readline())
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        saved = max([saved, *map(int, writer.stdout.read().split())])
        writer.wait()
        loaded = CheckpointStore(tmp_path, "m", "Quick96").load_latest()
        assert consistent(loaded) in (saved, saved + 1)
        assert not loaded.notes
        assert loaded.iteration > reached
        reached = loaded.iteration


def test_a_model_is_reserved_by_one_process_until_that_ends(tmp_path, root):
    code = (
        "import sys, time\n"
        "from models.checkpoint import CheckpointStore\n"
        "with CheckpointStore(sys.argv[1], 'm', 'Quick96').reserved():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    store, other = (CheckpointStore(tmp_path, name, "Quick96") for name in ("m", "n"))
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(CheckpointError, match="another program is training this model"), store.reserved():
            pass
        with other.reserved():
            pass
        holder.kill()
    with store.reserved(), pytest.raises(CheckpointError), store.reserved():
        pass
    with store.reserved():
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_keeps_nobody_out(store, monkeypatch, code):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no flock")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.reserved(), store.reserved():
        pass
    assert not list(store.model_dir.glob(".*.lock"))


def test_backups_rotate_and_can_be_put_back(store, tmp_path):
    picture = tmp_path / "preview.jpg"
    picture.write_bytes(b"jpg")
    with pytest.raises(CheckpointError, match="nothing to back up"):
        store.backup()
    for iteration in range(1, 6):
        store.save(model(iteration))
        store.backup((picture,), keep=3)
    names = sorted(path.name for path in store.backup_folder.iterdir())
    assert names == ["01", "02", "03"]
    assert (store.backup_folder / "01" / "preview.jpg").read_bytes() == b"jpg"
    shutil.rmtree(store.folder)
    shutil.copytree(store.backup_folder / "02", store.folder)
    assert consistent(store.load_latest()) == 4


def test_what_is_kept_apart_is_a_model_of_its_own(store):
    with pytest.raises(CheckpointError, match="nothing to back up"):
        store.keep_apart("pretrained")
    for iteration in range(1, 5):
        store.save(model(iteration))
        if iteration in (1, 2):
            killed = store.model_dir / f"{store.folder.name}_pretrained" / f"{checkpoint.TEMPORARY}1"
            killed.mkdir(parents=True)
            kept = store.keep_apart("pretrained")
    assert kept == store.model_dir / f"{store.folder.name}_pretrained" / store.folder.name
    assert consistent(CheckpointStore(kept.parent, store.name, store.kind).load_latest()) == 2
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert kept.parent in model_files(store.model_dir, store.name, store.kind)
    assert models.list_models(store.model_dir, store.kind) == [store.name]


def test_models_are_listed_renamed_and_deleted(tmp_path):
    for name in ("anna", "bert"):
        CheckpointStore(tmp_path, name, "Quick96").save(model(1))
        (tmp_path / f"{name}_Quick96_history.csv").write_text("x")
    CheckpointStore(tmp_path, "anna", "Quick96").backup()
    old = time.time() - 100
    os.utime(tmp_path / "anna_Quick96" / "0000001-1", (old, old))
    assert models.list_models(tmp_path, "Quick96") == ["bert", "anna"]
    with pytest.raises(CheckpointError, match=r"there are bert_Quick96, bert_Quick96_history\.csv;"):
        rename_model(tmp_path, "Quick96", "anna", "bert")
    rename_model(tmp_path, "Quick96", "anna", "cleo")
    assert [path.name for path in model_files(tmp_path, "cleo", "Quick96")] == [
        "cleo_Quick96",
        "cleo_Quick96_autobackups",
        "cleo_Quick96_history.csv",
    ]
    delete_model(tmp_path, "Quick96", "bert")
    assert models.list_models(tmp_path, "Quick96") == ["cleo"]
    assert not model_files(tmp_path, "bert", "Quick96")
    assert models.list_models(tmp_path / "absent", "Quick96") == []


@pytest.mark.parametrize("name", ["", " ", "a_b", "a/b", "..", "con*"])
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(CheckpointError, match=r"cannot be used: .* renames a saved one"):
        CheckpointStore(Path(), name, "Quick96")


def test_importing_models_does_not_load_tensorflow(root):
    code = "import sys, models; models.options_class('Quick96'); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)

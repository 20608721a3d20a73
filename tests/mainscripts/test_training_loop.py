"""The trainer's loop, with a model small enough to see everything it does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import CheckpointError
from core.imageio import read_image
from core.interact.screen import ClosedEvent, KeyEvent
from core.interact.screen_browser import BrowserScreen
from mainscripts import training_keys
from mainscripts.training_loop import CAUTION
from models import CheckpointStore
from models.base import ModelOptions
from tests.tiny_training import FakeScreen, TinyModel, csv_rows, saved_iteration

LINE = re.compile(r"\[\d\d:\d\d:\d\d\]\[#(\d{6,})\]\[(\d{4,}ms|[\d.]{5}s)\]\[\d+\.\d{4}\]\[\d+\.\d{4}\]$")


def test_it_trains_to_the_target_and_leaves_everything_behind(train, tmp_path, capsys):
    trainer = train(target=8)
    assert trainer.code == 0 and trainer.screen.closed
    checkpoint = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    assert checkpoint.iteration == 8 and len(checkpoint.loss_history) == 8
    rows = csv_rows(tmp_path)
    assert [int(row[0]) for row in rows] == list(range(1, 9))
    losses = np.array([[float(row[4]), float(row[5])] for row in rows])
    np.testing.assert_allclose(losses, checkpoint.loss_history, rtol=1e-5)
    preview = read_image(tmp_path / "tiny_Tiny_preview.jpg")
    assert preview.shape == (100 + 32, 64, 3)  # the graph above the faces
    assert (tmp_path / "tiny_Tiny_preview_masked.jpg").is_file()
    out = capsys.readouterr().out
    assert [int(LINE.search(line)[1]) for line in out.splitlines() if LINE.search(line)][-1] == 8
    assert "Reached the target iteration 8" in out


def test_ten_iterations_equal_five_and_five_more(train, tmp_path, facesets):
    train(target=5)
    resumed = train(target=10)
    for path in tmp_path.iterdir():
        if path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)
    whole = train(target=10)
    for side in ("src", "dst"):
        assert whole.model.values[side].tobytes() == resumed.model.values[side].tobytes()
    np.testing.assert_array_equal(whole.model.loss_history, resumed.model.loss_history)
    assert whole.model.seen[5:] == resumed.model.seen


def test_the_model_is_primed_with_its_batches_before_the_first_iteration(train):
    model = train(target=3).model
    assert [iteration for iteration, _ in model.primed] == [0]
    assert {"warped_src", "warped_dst", "target_src", "target_dst"} <= set(model.primed[0][1])


def test_resuming_cuts_the_history_back_to_the_checkpoint(train, tmp_path):
    train(target=5)
    path = tmp_path / "tiny_Tiny_history.csv"
    with path.open("a") as file:
        file.write("6,1.0,1.0,1.0,0.5,0.5\n7,1.0,1.0,1.0,0.5,0.5\n8,1.0,1.")  # a run that was killed
    train(target=7)
    assert [int(row[0]) for row in csv_rows(tmp_path)] == list(range(1, 8))


def nan_loss(model, losses):
    model.values["src"][:] = np.nan
    return {"src": float("nan"), "dst": losses["dst"]}


def test_nan_goes_back_to_the_last_save_and_on_with_other_samples(train, tmp_path, capsys):
    def once(model, losses):
        model.faults.clear()
        return nan_loss(model, losses)

    trainer = train(target=8, faults={6: once})
    assert trainer.code == 0
    assert saved_iteration(tmp_path) == 8 and np.isfinite(trainer.model.values["src"]).all()
    assert [int(row[0]) for row in csv_rows(tmp_path)] == list(range(1, 9))
    assert len(trainer.model.loss_history) == 8 and np.isfinite(trainer.model.loss_history).all()
    seen = [total for iteration, total in trainer.model.seen if iteration == 1]
    assert len(seen) == 2 and seen[0] != seen[1]
    out = capsys.readouterr().out
    assert "Iteration 6: the loss is not a number" in out and "save at iteration 1" in out
    extra = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest().extra
    assert extra["rollbacks"] == 1  # a resumed run draws the new samples, too


def test_nan_again_and_again_ends_with_the_good_save_kept(train, tmp_path):
    with pytest.raises(CheckpointError, match="4th time since the save at iteration 1"):
        train(target=50, faults=dict.fromkeys(range(4, 50), nan_loss))
    checkpoint = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    assert checkpoint.iteration == 1 and np.isfinite(checkpoint.weights["src"]).all()


def test_nan_at_the_very_first_iteration_saves_nothing(train, tmp_path):
    with pytest.raises(CheckpointError, match="nothing is saved yet"):
        train(target=5, faults={1: nan_loss})
    assert not CheckpointStore(tmp_path, "tiny", "Tiny").exists()


def test_an_exploding_loss_goes_back_and_one_outlier_does_not(train, tmp_path, capsys):
    def huge(model, losses):
        model.values["dst"][:] = 1e6
        return {"src": losses["src"], "dst": 1e6}

    def outlier(model, losses):
        model.faults.pop(60)
        return {"src": 1e6, "dst": losses["dst"]}

    def explode(model, losses):
        if model.iteration >= 74:
            model.faults.clear()
        return huge(model, losses)

    trainer = train(target=90, faults={60: outlier, **dict.fromkeys(range(71, 76), explode)})
    out = capsys.readouterr().out
    assert "the dst loss has exploded" in out and out.count("Went back") == 1
    assert trainer.model.rate_scale == CAUTION
    assert trainer.code == 0 and saved_iteration(tmp_path) == 90
    assert abs(trainer.model.values["dst"]).max() < 10


def test_weights_that_are_not_numbers_are_never_saved(train, tmp_path, capsys):
    def poison(model, losses):
        model.faults.clear()
        model.values["src"][:] = np.inf
        return losses

    trainer = train(
        faults={4: poison}, screen=FakeScreen([], [], [], [KeyEvent("s")], [], [KeyEvent("enter")])
    )
    assert trainer.code == 0
    assert "weights are not numbers" in capsys.readouterr().out
    assert np.isfinite(CheckpointStore(tmp_path, "tiny", "Tiny").load_latest().weights["src"]).all()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_finish_the_step_save_and_exit_130(train, tmp_path, capsys, name):
    if not hasattr(signal, name):
        pytest.skip(f"no {name} on this system")
    before = signal.getsignal(getattr(signal, name))

    def interrupt(model, losses):
        os.kill(os.getpid(), getattr(signal, name))
        return losses

    trainer = train(faults={5: interrupt})
    assert trainer.code == 130 and saved_iteration(tmp_path) == 5
    assert f"Stopped by {name}" in capsys.readouterr().out
    assert signal.getsignal(getattr(signal, name)) == before


def test_no_number_of_ctrl_c_breaks_a_save(train, tmp_path, monkeypatch):
    save = CheckpointStore.save

    def slow(self, model, extra_state=None):
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGINT)
        return save(self, model, extra_state)

    monkeypatch.setattr(CheckpointStore, "save", slow)
    assert train(target=9).code == 130
    assert saved_iteration(tmp_path) == 1


def test_a_third_ctrl_c_ends_a_run_that_hangs(train):
    def hang(model, losses):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        return losses

    with pytest.raises(KeyboardInterrupt):
        train(faults={3: hang})


def test_a_failed_save_is_told_retried_and_costs_nothing(train, tmp_path, monkeypatch, capsys):
    save, calls = CheckpointStore.save, []

    def full_at_first(self, model, extra_state=None):
        calls.append(model.iteration)
        if len(calls) in (2, 3):
            raise CheckpointError(
                "model: the model cannot be saved: No space left on device; free some space"
            )
        return save(self, model, extra_state)

    monkeypatch.setattr(CheckpointStore, "save", full_at_first)
    screen = FakeScreen(*[[]] * 3, [KeyEvent("s")], [], [KeyEvent("s")], [], [KeyEvent("s")])
    assert train(target=12, screen=screen).code == 0
    assert calls == [1, 4, 6, 8, 12] and saved_iteration(tmp_path) == 12
    assert capsys.readouterr().out.count("No space left on device; free some space") == 2


def test_an_interrupt_with_a_full_disk_exits_1_and_keeps_the_old_model(train, tmp_path, monkeypatch, capsys):
    save = CheckpointStore.save

    def full(self, model, extra_state=None):
        if model.iteration > 1:
            raise CheckpointError("No space left on device")
        return save(self, model, extra_state)

    monkeypatch.setattr(CheckpointStore, "save", full)

    def interrupt(model, losses):
        os.kill(os.getpid(), signal.SIGINT)
        return losses

    trainer = train(faults={4: interrupt})
    assert trainer.code == 1 and "No space left" in str(trainer.failure)  # which the command ends with
    out = capsys.readouterr().out
    assert "since iteration 1 is lost" in out and "No space left" not in out  # twice is once too often
    assert saved_iteration(tmp_path) == 1
    monkeypatch.setattr(CheckpointStore, "save", lambda *_: full(None, SimpleNamespace(iteration=2)))
    again = train(target=1, model=TinyModel(ModelOptions(batch_size=2)), options_changed=True)
    out = capsys.readouterr().out
    assert again.code == 1 and "The options are not saved." in out and "is lost" not in out


@pytest.mark.parametrize("gives_up", [False, True])
def test_at_a_terminal_the_last_save_waits_for_room(train, tmp_path, monkeypatch, capsys, gives_up):
    save, asked = CheckpointStore.save, []
    monkeypatch.setattr(training_keys, "POLL_SECONDS", 0.001)

    def full(self, model, extra_state=None):
        if model.iteration > 1 and (gives_up or len(asked) < 4):
            raise CheckpointError("No space left on device")
        return save(self, model, extra_state)

    def lines():
        """Enter, each second time it is asked; or the second Ctrl-C."""
        asked.append(1)
        if gives_up and len(asked) > 1:  # the first call drops what was typed before
            os.kill(os.getpid(), signal.SIGINT)
            return []
        return [""] * (1 - len(asked) % 2)

    def interrupt(model, losses):
        monkeypatch.setattr(CheckpointStore, "save", full)
        trainers[0].keys.lines = lines
        os.kill(os.getpid(), signal.SIGINT)
        return losses

    trainers = []
    trainer = train(faults={4: interrupt}, prepare=trainers.append, view_result=True)
    out = capsys.readouterr().out
    assert "Enter tries to save again; Ctrl-C gives it up" in out
    assert (trainer.code, saved_iteration(tmp_path)) == ((1, 1) if gives_up else (130, 4))
    assert ("since iteration 1 is lost" in out) == gives_up


def test_an_error_in_the_loop_costs_nothing_that_was_learnt(train, tmp_path):
    def crash(model, losses):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        train(faults={7: crash})
    assert saved_iteration(tmp_path) == 6


def test_the_windows_keys(train, tmp_path, capsys):
    keys = ("space", "l", "p", "s", "b", "x", "enter")
    screen = FakeScreen(*([KeyEvent(key)] for key in keys))
    trainer = train(screen=screen)
    assert trainer.code == 0 and trainer.model.iteration == 7 and saved_iteration(tmp_path) == 7
    assert screen.images[0].shape == (45 + 100 + 32, 64, 3)  # the keys, the graph, the faces
    backups = list((tmp_path / "tiny_Tiny_autobackups" / "01").rglob("*"))
    assert any(path.name == "weights.safetensors" for path in backups)
    assert any(path.name == "tiny_Tiny_preview.jpg" for path in backups)
    assert "Backed up to" in capsys.readouterr().out


def test_the_same_keys_from_a_browser(train, tmp_path):
    screen, versions = BrowserScreen("training"), {}
    keys = {3: "l", 5: " ", 7: "s", 9: "b", 11: "p", 13: "enter"}

    def press(model, losses):
        versions[model.iteration + 1] = screen._version
        key = keys.get(model.iteration + 1)
        if key:
            body = json.dumps([{"key": key}]).encode()
            urllib.request.urlopen(urllib.request.Request(f"{screen.url}events", body, method="POST")).close()
        return losses

    trainer = train(faults=dict.fromkeys(range(1, 20), press), screen=screen)
    assert trainer.code == 0 and trainer.model.iteration == 13 == saved_iteration(tmp_path)
    drawn = {pressed: versions[pressed + 1] - versions[pressed] for pressed in range(2, 13)}
    assert {pressed for pressed, times in drawn.items() if times} == {3, 5, 7, 11}
    assert (tmp_path / "tiny_Tiny_autobackups" / "01").is_dir()


def test_closing_the_window_saves_and_goes_on(train, tmp_path):
    trainer = train(target=6, screen=FakeScreen([], [], [ClosedEvent()]))
    assert trainer.code == 0 and trainer.model.iteration == 6
    assert [path.name for path in trainer.store.generations()] == ["0000003-6", "0000002-3"]


def test_at_the_target_the_preview_stays_until_enter(train):
    screen = FakeScreen(*[[]] * 4, [KeyEvent("p")], [KeyEvent("space")], [KeyEvent("enter")], [KeyEvent("p")])
    trainer = train(target=4, screen=screen, view_result=True)
    assert trainer.code == 0 and trainer.model.iteration == 4
    assert len(screen.prepared) == 1


def test_at_the_target_the_keys_still_save_and_back_up(train, tmp_path, capsys):
    keys = [[KeyEvent(key)] for key in ("s", "b", "enter")]
    trainer = train(target=2, screen=FakeScreen([], [], *keys), view_result=True)
    out = capsys.readouterr().out
    assert trainer.code == 0 and "The model is saved, at iteration 2." in out and "Backed up to" in out
    assert (tmp_path / "tiny_Tiny_autobackups" / "01").is_dir()


def test_a_target_already_reached_trains_no_further(train, tmp_path):
    train(target=5)
    assert train(target=3).code == 0
    assert saved_iteration(tmp_path) == 5


def test_a_changed_option_is_saved_though_nothing_is_trained(train, tmp_path):
    train(target=5)
    assert [path.name for path in train(target=5).store.generations()] == ["0000002-5", "0000001-1"]
    for size, more in ((2, {"target": 3}), (3, {"prepare": lambda trainer: trainer.request_quit()})):
        trainer = train(model=TinyModel(ModelOptions(batch_size=size)), options_changed=True, **more)
        assert trainer.code == 0 and saved_iteration(tmp_path) == 5
        assert trainer.store.read_options()["batch_size"] == size and trainer.store.read_iteration() == 5
    assert len(csv_rows(tmp_path)) == 5


def test_it_saves_by_the_clock(train, tmp_path):
    trainer = train(target=6, save_seconds=0.0)
    assert trainer.store.generations()[0].name.startswith("0000006-")


def test_backups_are_made_by_the_hour(train, tmp_path):
    def two_hours_ago(trainer):
        trainer.saver.backup_mark = time.monotonic() - 7300

    train(target=4, model=TinyModel(ModelOptions(autobackup_hour=2)), prepare=two_hours_ago)
    assert [path.name for path in (tmp_path / "tiny_Tiny_autobackups").iterdir()] == ["01"]


def test_the_preview_history_shows_the_same_faces(train, tmp_path):
    train(target=21, model=TinyModel(replace(ModelOptions(), write_preview_history=True)))
    folder = tmp_path / "tiny_Tiny_history" / "Tiny"
    names = ["0000000.jpg", "0000010.jpg", "0000020.jpg", "_last.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    faces = [read_image(folder / name)[112:].astype(int) for name in names]
    assert abs(faces[0] - faces[2]).max() < 8


def test_no_room_for_the_preview_does_not_stop_the_training(train, tmp_path, capsys):
    (tmp_path / "tiny_Tiny_preview.jpg").mkdir()
    assert train(target=3).code == 0
    assert capsys.readouterr().out.count("the preview cannot be written") >= 1

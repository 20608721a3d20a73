"""What a training survives: no memory, samples and weights that are no numbers, an exploding GAN."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import main
import models
import samplelib
from core.errors import CheckpointError, SampleError, SwapError
from core.interact.screen import KeyEvent
from mainscripts import train as command
from mainscripts.training_guard import FROM, CollapseGuard
from mainscripts.training_loop import CAUTION
from mainscripts.training_memory import fitting_batch, halved_batch, is_out_of_memory, memory_lines, no_room
from mainscripts.training_summary import summary_path
from models import CheckpointStore, options_class
from models.base import ModelOptions
from tests.tiny_training import FakeScreen, TinyModel, csv_rows, saved_iteration


def rebuilder(folder, faults=None, seen=None):
    """Makes the model anew, as `train` does: from its last save, or fresh."""

    def rebuild(options):
        model = TinyModel(options)
        model.faults = faults if faults is not None else {}
        store = CheckpointStore(folder, model.name, model.kind)
        if store.exists():
            saved = store.load_latest()
            model.load_weights(saved.weights)
            model.load_optimizer_state(saved.optimizer)
            model.restore(saved.iteration, saved.loss_history)
            model.extra_state = saved.extra
        if seen is not None:
            seen.append((options.batch_size, model.iteration))
        return model

    return rebuild


def no_memory(model, losses):
    model.values["src"] += 100.0  # a step that is half done
    raise MemoryError("cannot allocate")


def test_without_memory_the_batch_is_halved_until_it_fits(train, tmp_path, capsys):
    seen, faults = [], {}

    def too_large(model, losses):
        return no_memory(model, losses) if model.options.batch_size > 2 else losses

    faults[1] = too_large
    model = TinyModel(ModelOptions(batch_size=8))
    trainer = train(5, model, faults=faults, rebuild=rebuilder(tmp_path, faults, seen))
    assert trainer.code == 0 and seen == [(4, 0), (2, 0)]
    assert abs(trainer.model.values["src"]).max() < 1  # nothing of the half steps is left
    out = capsys.readouterr().out
    assert "Out of memory at iteration 0 with batch_size 8" in out and "--option batch_size=2" in out
    assert "nothing was saved yet" in out
    checkpoint = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    assert checkpoint.options["batch_size"] == 2 and checkpoint.iteration == 5
    assert [int(row[0]) for row in csv_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert len(trainer.model.primed) == 1  # the fresh model had its head start, too


def test_in_the_middle_of_a_run_it_goes_on_from_the_last_save(train, tmp_path, capsys):
    seen, whole = [], train(4).model
    for path in (tmp_path / "tiny_Tiny").iterdir():
        if not path.name.endswith("-1"):
            assert path.name.endswith("-4")
    screen = FakeScreen([], [], [], [KeyEvent("s")])
    trainer = train(12, TinyModel(), screen, faults={9: no_memory}, rebuild=rebuilder(tmp_path, seen=seen))
    assert trainer.code == 0 and seen == [(2, 8)]  # resumed at 4, saved at 8 by the key
    assert whole.iteration == 4 and "save at iteration 8" in capsys.readouterr().out
    assert [int(row[0]) for row in csv_rows(tmp_path)] == list(range(1, 13))
    assert len(trainer.model.loss_history) == 12 and np.isfinite(trainer.model.values["src"]).all()
    assert abs(trainer.model.values["src"]).max() < 1


def test_no_memory_for_a_preview_costs_nothing_that_was_learnt(train, tmp_path, capsys):
    class Hungry(TinyModel):
        def preview(self, batch):
            if self.iteration == 6:
                raise MemoryError
            return super().preview(batch)

    seen, screen = [], FakeScreen(*[[]] * 5, [KeyEvent("p")])
    trainer = train(9, Hungry(), screen, rebuild=rebuilder(tmp_path, seen=seen))
    assert trainer.code == 0 and seen == [(2, 6)] and saved_iteration(tmp_path) == 9
    assert len({iteration for iteration, _ in trainer.model.seen}) == 3  # 6, 7 and 8 only


def test_the_old_model_is_gone_before_the_new_one_is_made(train, tmp_path):
    """There may be no room for two."""
    make, references, alive = rebuilder(tmp_path), [], []

    def rebuild(options):
        alive.append(references[0]())
        return make(options)

    def prepare(trainer):  # else this test's own call would hold on to the first model
        trainer.model = trainer.preview.model = trainer.batches._model = TinyModel()
        trainer.model.faults = {3: no_memory}
        references.append(weakref.ref(trainer.model))

    assert train(5, prepare=prepare, rebuild=rebuild).code == 0
    assert alive == [None]


def test_without_memory_for_one_face_it_ends_with_what_else_to_lower(train, tmp_path):
    options = ModelOptions(batch_size=1, precision="float32")
    with pytest.raises(SwapError, match=r"even with batch_size 1; .*precision=auto") as caught:
        train(9, TinyModel(options), faults={4: no_memory}, rebuild=rebuilder(tmp_path))
    assert isinstance(caught.value.__cause__, MemoryError)
    checkpoint = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    assert checkpoint.iteration == 1 and abs(checkpoint.weights["src"]).max() < 1  # not the half step


def test_what_to_lower_is_named_as_the_options_are():
    options = options_class("SAEHD")(batch_size=1, gan_power=0.1)
    told = str(no_room(options, 0))
    for words in ("models_opt_on_gpu=n", "adabelief=n", "gan_dims", "resolution, ae_dims", "--cpu-only"):
        assert words in told
    assert "batch_size=4" in str(no_room(options_class("Quick96")(batch_size=8)))
    shared = SimpleNamespace(options=options, distribution=SimpleNamespace(halved=lambda size: 6 * size))
    assert halved_batch(shared) == 6


def test_out_of_memory_has_many_words():
    tf = pytest.importorskip("tensorflow")
    import cv2

    exhausted = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[1]")
    told = tf.errors.InternalError(None, None, "Failed to allocate scratch: CUDA_ERROR_OUT_OF_MEMORY")
    other = tf.errors.InternalError(None, None, "Blas GEMM launch failed")
    assert is_out_of_memory(exhausted) and is_out_of_memory(told) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(other) and not is_out_of_memory(ValueError("out of memory"))
    error = cv2.error("no room")
    error.code = -4
    assert is_out_of_memory(error)


def test_what_does_not_fit_is_told_before_the_first_iteration():
    estimate = SimpleNamespace(total=3e9, describe=lambda: "38 million", hints=lambda: list("abcdef"))
    model = SimpleNamespace(memory=lambda: estimate)
    assert memory_lines(model, 4 << 30) == ["38 million."] == memory_lines(model, 0)
    _, second = memory_lines(model, 2_000_000_000)
    assert "Only 2.0 GB are free. If it does not fit: a; b; c; d." in second


def test_a_spoiled_batch_is_replaced_and_told(train, tmp_path, monkeypatch, capsys):
    get = samplelib.BatchLoader.get

    def spoiled(self, index):
        batch = get(self, index)
        if index == 3 and self.side_id == 1:
            batch = {**batch, "warped_dst": np.full_like(batch["warped_dst"], np.nan)}
        return batch

    monkeypatch.setattr(samplelib.BatchLoader, "get", spoiled)
    trainer = train(8)
    assert trainer.code == 0 and trainer.attempt == 0
    assert np.isfinite(trainer.model.loss_history).all() and len(trainer.model.loss_history) == 8
    out = capsys.readouterr().out
    assert out.count("Batch 3: warped_dst hold values that are not numbers") == 1 and "Went back" not in out


def test_nothing_but_spoiled_batches_is_one_clear_error(train, tmp_path, monkeypatch):
    get = samplelib.BatchLoader.get

    def spoiled(self, index):
        return {name: np.full_like(array, np.inf) for name, array in get(self, index).items()}

    monkeypatch.setattr(samplelib.BatchLoader, "get", spoiled)
    with pytest.raises(SampleError, match="values that are not numbers"):
        train(8)
    assert not CheckpointStore(tmp_path, "tiny", "Tiny").exists()


def nan_once(model, losses):
    model.faults.clear()
    model.values["src"][:] = np.nan
    return {"src": float("nan"), "dst": losses["dst"]}


def test_nan_in_the_first_iteration_starts_anew_with_other_samples(train, tmp_path, capsys):
    seen = []
    trainer = train(1, rebuild=rebuilder(tmp_path, seen=seen), faults={1: nan_once})
    assert trainer.code == 0 and trainer.attempt == 1 and seen == [(4, 0)]
    assert trainer.model.rate_scale == CAUTION and len(trainer.model.primed) == 1
    assert "Went back to the start, as nothing was saved yet" in capsys.readouterr().out
    checkpoint = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    assert checkpoint.iteration == 1 and np.isfinite(checkpoint.weights["src"]).all()


def test_nan_after_a_save_that_failed_starts_anew_too(train, tmp_path, monkeypatch):
    save, calls = CheckpointStore.save, []

    def full_at_first(self, model, extra_state=None):
        calls.append(model.iteration)
        if len(calls) == 1:
            raise CheckpointError("No space left on device")
        return save(self, model, extra_state)

    monkeypatch.setattr(CheckpointStore, "save", full_at_first)
    trainer = train(4, rebuild=rebuilder(tmp_path), faults={3: nan_once})
    assert trainer.code == 0 and calls == [1, 1, 4] and saved_iteration(tmp_path) == 4
    assert [int(row[0]) for row in csv_rows(tmp_path)] == [1, 2, 3, 4]


def test_nan_from_every_start_ends_with_a_word(train, tmp_path):
    def poison(model, losses):
        return {"src": float("nan"), "dst": losses["dst"]}

    faults = {1: poison}
    with pytest.raises(CheckpointError, match="4th time since the start, and nothing is saved yet"):
        train(5, faults=faults, rebuild=rebuilder(tmp_path, faults))
    assert not CheckpointStore(tmp_path, "tiny", "Tiny").exists()


def test_a_discriminator_that_is_no_number_is_noticed_before_the_faces_are(train, tmp_path, capsys):
    def explode(model, losses):
        model.faults.clear()
        model.momentum["m/src"][:] = np.inf
        return {**losses, "objective/D_src": float("inf")}

    trainer = train(8, faults={6: explode})
    assert trainer.code == 0 and trainer.model.rate_scale == CAUTION
    assert "objective/D_src inf" in capsys.readouterr().out
    assert saved_iteration(tmp_path) == 8 and np.isfinite(trainer.model.values["src"]).all()


def test_an_optimizer_that_is_no_number_is_never_saved(train, tmp_path, capsys):
    def poison(model, losses):
        model.faults.clear()
        model.momentum["m/src"][:] = np.inf
        return losses

    screen = FakeScreen([], [], [], [KeyEvent("s")])
    assert train(9, faults={4: poison}, screen=screen).code == 0
    assert (
        "m/src holds values that are not numbers. Went back to the save at iteration 1"
        in capsys.readouterr().out
    )


def test_the_guard_lets_a_discriminator_vary_but_not_explode():
    guard = CollapseGuard()
    usual = {"src": 0.5, "dst": 0.5, "objective/main": 1.0, "objective/D_src": 0.05}
    for _ in range(FROM):
        assert not guard.observe(usual)
    for _ in range(100):  # it loses its advantage: no collapse
        assert not guard.observe({**usual, "objective/D_src": 2.0, "objective/main": 8.0})
    assert not guard.is_alarmed
    told = [guard.observe({**usual, "objective/D_src": 40.0}) for _ in range(20)]
    assert told[:19] == [""] * 19 and "objective/D_src loss has exploded" in told[19]
    guard.reset()
    assert not guard.is_alarmed


def test_the_guard_watches_any_number_of_sides():
    guard = CollapseGuard()
    for _ in range(FROM):
        assert not guard.observe({"ann": 1.0, "bob": 1.0, "eve": 1.0})
    told = [guard.observe({"ann": 1.0, "bob": 1.0, "eve": 12.0}) for _ in range(5)]
    assert "the eve loss has exploded" in told[4]


def test_a_collapse_before_this_run_s_first_save_takes_the_model_as_this_run_found_it(train, tmp_path):
    """What is on the disk may be of other options: of a pretraining that this run has ended, say."""
    train(4)
    seen = []
    trainer = train(8, rebuild=rebuilder(tmp_path, seen=seen), faults={6: nan_once})
    assert trainer.code == 0 and seen == [(4, 4)] and saved_iteration(tmp_path) == 8


@pytest.mark.parametrize(("room", "fits"), [(0, 64), (100, 64), (60, 64), (40, 32), (20, 16), (1, 1)])
def test_a_batch_that_is_far_too_large_for_a_processor_is_halved_beforehand(room, fits):
    estimate = SimpleNamespace(total=80, weights=10, activations=60)  # 10 are held beside the weights
    model = SimpleNamespace(
        memory=lambda: estimate,
        options=SimpleNamespace(batch_size=64),
        distribution=SimpleNamespace(halved=lambda size: size // 2),
    )
    assert fitting_batch(model, room) == fits


def test_limits_on_the_process_and_its_container_count_as_memory(tmp_path, monkeypatch):
    from core import system

    before = system.available_memory()
    for name, text in {
        "memory.max": "5000000",
        "memory.current": "4000000",
        "memory.stat": "anon 1\ninactive_file 1500000\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(system, "CGROUP", tmp_path)
    assert system.available_memory() == 2500000 < before
    (tmp_path / "memory.max").write_text("max")
    assert system.available_memory() > 2500000


def test_a_start_that_fails_leaves_nothing_behind_and_its_name_free(
    drawn_faces, tmp_path, monkeypatch, capsys
):
    """The whole command, with a preview history; what an earlier model of that name left stays."""
    model = TinyModel(ModelOptions(write_preview_history=True, batch_size=1))
    model.faults = {1: no_memory}
    model.distribution = SimpleNamespace(workers=1, halved=lambda size: 0)
    monkeypatch.setitem(models.MODEL_KINDS, "Tiny", ("models.base", "ModelOptions", "", ""))
    monkeypatch.setattr(command._Maker, "make", lambda maker, options: model)
    monkeypatch.setattr(command, "_smaller_batch", lambda model: 1)
    monkeypatch.setattr(command, "_summarise", lambda *args: summary_path(args[2]).touch())
    old = tmp_path / "tiny_Tiny_notes.txt"
    old.write_bytes(b"old")
    (tmp_path / "tiny_Tiny_history").mkdir()
    (tmp_path / "tiny_Tiny_history" / "1.jpg").write_bytes(b"old")
    words = ["train", "--training-data-src-dir", str(drawn_faces["src"]), "--training-data-dst-dir"]
    words += [str(drawn_faces["dst"]), "--model-dir", str(tmp_path), "--model", "Tiny", "--no-prompt"]
    assert main.main([*words, "--screen", "none", "--force-model-name", "tiny"]) == 1
    assert "even with batch_size 1" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {old.name, "tiny_Tiny_history_old"}

"""One training by several machines: what they agree on (in threads), and whole runs of two processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import main
from core.errors import SwapError
from core.nn.cluster import Cluster
from mainscripts import training_team as team
from mainscripts.training_saves import Plan
from models import CheckpointStore
from tests.tiny_training import FakeScreen, TinyModel, csv_rows, saved_iteration

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0  # no thread waits longer for another


class Board:
    """Where the threads of a team write what they say; exchanging waits for all, as the real one does."""

    def __init__(self, workers: int) -> None:
        self.rows = [None] * workers
        self.barrier = threading.Barrier(workers, timeout=SECONDS)


class ThreadDistribution:
    """Stands in for `core.nn.distribution.Distribution` of several machines."""

    replicas = workers = 2

    def __init__(self, board: Board, worker: int) -> None:
        self.board, self.worker, self.is_chief = board, worker, worker == 0

    def exchange(self, numbers) -> np.ndarray:
        rows = self.say(np.asarray(numbers, np.float32))
        assert len({row.shape for row in rows}) == 1, "the workers are not at the same place"
        return np.array(rows)

    def say(self, what):
        self.board.rows[self.worker] = what
        self.board.barrier.wait()
        rows = list(self.board.rows)
        self.board.barrier.wait()
        return rows


class TeamModel(TinyModel):
    shares = 0

    def share(self) -> None:
        state = self.distribution.say((self.weights(), self.optimizer_state()))[0]
        assert isinstance(state, tuple), "the workers are not at the same place"
        self.load_weights(state[0])
        self.load_optimizer_state(state[1])
        self.shares += 1


@pytest.fixture
def train_together(tmp_path, facesets):
    """A function that trains with two workers and returns the trainers, with their `code` or `error`."""

    def run(target: int = 0, faults=({}, {}), prepare=lambda trainers: None):
        board, trainers = Board(2), []
        for worker in range(2):
            model = TeamModel()
            model.distribution, model.faults = ThreadDistribution(board, worker), dict(faults[worker])
            plan = Plan(tmp_path / "tiny_Tiny", target)
            store = CheckpointStore(tmp_path, "tiny", "Tiny")
            maker = team.trainer_class(model)
            trainers.append(maker(model, store, facesets, plan, team.QuietConsole(), FakeScreen()))
        prepare(trainers)

        def work(trainer) -> None:
            trainer.code, trainer.error = None, None
            try:
                trainer.code = trainer.run()
            except Exception as err:
                trainer.error = err

        threads = [threading.Thread(target=work, args=(trainer,)) for trainer in trainers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * SECONDS)
            assert not thread.is_alive()
        return trainers

    return run


def same_weights(trainers) -> bool:
    first, second = (trainer.model.weights() for trainer in trainers)
    return all(np.array_equal(first[side], second[side]) for side in first)


def test_the_chief_alone_saves_and_all_end_at_the_target(train_together, tmp_path, capsys):
    leader, follower = train_together(target=6)
    assert (leader.code, follower.code) == (0, 0)
    assert isinstance(leader, team.Leader) and isinstance(follower, team.Follower)
    assert saved_iteration(tmp_path) == 6 and [int(row[0]) for row in csv_rows(tmp_path)] == list(range(1, 7))
    assert leader.model.iteration == follower.model.iteration == 6 and same_weights([leader, follower])
    assert np.array_equal(leader.model.loss_history, follower.model.loss_history)
    assert leader.screen.images and not follower.screen.images
    assert leader.model.shares == follower.model.shares == 2  # at the start, and after the first save
    assert capsys.readouterr().out.count("saved in") == 2


@pytest.mark.parametrize("worker", [0, 1])
def test_a_signal_to_one_ends_both_with_everything_saved(train_together, tmp_path, capsys, worker):
    def stop(model, losses):
        trainers[worker].signals.requested = "SIGINT"
        return losses

    trainers = []
    faults = ({}, {7: stop}) if worker else ({7: stop}, {})
    found = train_together(target=100, faults=faults, prepare=trainers.extend)
    assert [trainer.code for trainer in found] == [130, 130]
    assert {trainer.model.iteration for trainer in found} == {7} and saved_iteration(tmp_path) == 7
    out = capsys.readouterr().out
    assert "Stopped by SIGINT." in out and f"Stopped by worker {worker}." in out


def test_quitting_in_the_chiefs_window_ends_both(train_together, tmp_path):
    def quit_at_four(trainers):
        def ask(model, losses):
            trainers[0].quit = True
            return losses

        trainers[0].model.faults[4] = ask

    found = train_together(target=100, prepare=quit_at_four)
    assert [trainer.code for trainer in found] == [0, 0] and saved_iteration(tmp_path) == 4


def test_a_collapse_takes_both_back_to_the_chiefs_save(train_together, tmp_path, capsys):
    def collapse(model, losses):
        model.faults.pop(5)
        model.values["src"][:] = np.nan
        return {"src": float("nan"), "dst": losses["dst"]}

    found = train_together(target=8, faults=({5: collapse}, {5: collapse}))
    assert [trainer.code for trainer in found] == [0, 0] and same_weights(found)
    assert {trainer.attempt for trainer in found} == {1}
    assert found[0].model.seen == found[1].model.seen  # the same other samples
    assert len({trainer.model.rate_scale for trainer in found}) == 1
    assert saved_iteration(tmp_path) == 8 and len(found[1].model.loss_history) == 8
    assert "Going on from iteration 1, as worker 0 does." in capsys.readouterr().out


def test_weights_that_the_chief_cannot_save_take_both_back(train_together, tmp_path, capsys):
    def poison(model, losses):
        model.faults.clear()
        model.momentum["m/src"][:] = np.inf
        return losses

    def save_then(trainers):
        def poison_and_save(model, losses):
            trainers[0].saver._next = 0.0  # due after this iteration
            return poison(model, losses)

        trainers[0].model.faults[4] = poison_and_save

    found = train_together(target=6, faults=({}, {4: poison}), prepare=save_then)
    assert [trainer.code for trainer in found] == [0, 0] and {trainer.attempt for trainer in found} == {1}
    assert saved_iteration(tmp_path) == 6 and np.isfinite(found[1].model.momentum["m/src"]).all()
    assert "the weights are not numbers" in capsys.readouterr().out


def test_a_collapse_with_nothing_saved_ends_both_with_a_word(train_together):
    def collapse(model, losses):
        return {"src": float("nan"), "dst": losses["dst"]}

    leader, follower = train_together(target=8, faults=({1: collapse}, {1: collapse}))
    assert "nothing is saved yet" in str(leader.error) and "worker 0" in str(follower.error)


def test_a_failed_last_save_is_everybodys_exit_code(train_together, monkeypatch):
    from core.errors import CheckpointError

    def full(self, *args, **kwargs):
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(CheckpointStore, "save", full)
    assert [trainer.code for trainer in train_together(target=3)] == [1, 1]


def told(facts: list[dict[str, str]]) -> list[str]:
    """What each of two workers says about two sets of facts."""
    board, found = Board(2), ["", ""]

    def check(worker: int) -> None:
        try:
            team.check_agreement(ThreadDistribution(board, worker), facts[worker])
        except SwapError as err:
            found[worker] = str(err)

    threads = [threading.Thread(target=check, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_workers_that_differ_are_told_in_what():
    facts = {"batch_size": "4", "seed": "0", "the faces of src": "a\nb"}
    assert told([facts, dict(facts)]) == ["", ""]
    for text in told([facts, {**facts, "seed": "1", "the faces of src": "a"}]):
        assert text.startswith("worker 1 differs from worker 0 in seed, the faces of src;")
    for text in told([facts, {**facts, "archi": "df"}]):
        assert "the kind of model or the version" in text


def test_a_lost_worker_is_one_line_that_names_it():
    import tensorflow as tf

    cluster = Cluster(("a:1", "b:2"), 0)
    error = tf.errors.UnavailableError(None, None, "Error reported from /job:worker/task:1: heartbeats\nmore")
    wanted = r"worker 1 \(b:2\) does not answer"
    with pytest.raises(SwapError, match=wanted) as caught, team.lost_workers_told(cluster):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(tf.errors.UnavailableError), team.lost_workers_told(None):
        raise error
    with pytest.raises(KeyError), team.lost_workers_told(cluster):
        raise KeyError


def test_wrong_flags_are_refused_before_anything_is_asked(drawn_faces, tmp_path, capsys):
    for more, text in (
        (["--workers", "a:1,b:2"], "belong together"),
        (["--workers", "a:1,b:2", "--worker-index", "5"], "0 to 1, but not 5"),
        (["--workers", "a,b", "--worker-index", "0"], "no address"),
    ):
        assert main.main([*train_args(drawn_faces, tmp_path), *more]) == 2
        assert text in capsys.readouterr().err


# Whole runs

SMALL = ("archi=df-ud", "resolution=64", "ae_dims=32", "e_dims=16", "d_dims=16", "d_mask_dims=16")


def train_args(faces: dict[str, Path], model_dir: Path, *options: str) -> list[str]:
    given = [*SMALL, "batch_size=4", "precision=float32", "clipgrad=y", "lr_dropout=y", *options]
    return [
        "train", "--training-data-src-dir", str(faces["src"]), "--training-data-dst-dir", str(faces["dst"]),
        "--model-dir", str(model_dir), "--model", "SAEHD", "--cpu-only", "--no-prompt", "--no-preview",
        *(part for option in given for part in ("--option", option)),
    ]  # fmt: skip


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Run:
    """A process of `main.py`; its output is gathered while it runs."""

    def __init__(self, args: list[str], **environ: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DISPLAY": "", "WAYLAND_DISPLAY": "", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "main.py", *args], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = 420.0) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert self.process.poll() is None and time.monotonic() < end, self.text
            time.sleep(0.05)

    def end(self, seconds: float = 420.0) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self._reader.join(10)


@pytest.fixture
def pair(drawn_faces):
    """A function that starts two workers; what still runs at the end of the test is killed."""
    started = []

    def start(folders: list[Path], *more: str, own: tuple[list[str], list[str]] = ([], [])) -> list[Run]:
        workers = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
        for index, folder in enumerate(folders):
            flags = ["--workers", workers, "--worker-index", str(index), *more, *own[index]]
            started.append(Run([*train_args(drawn_faces, folder), *flags]))
        return started[-2:]

    yield start
    for run in started:
        run.process.kill()


def history(folder: Path) -> np.ndarray:
    rows = (folder / "new_SAEHD_history.csv").read_text().splitlines()[1:]
    return np.array([[float(field) for field in (row.split(",")[0], *row.split(",")[4:6])] for row in rows])


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on(pair, drawn_faces, tmp_path):
    """Against two devices in one process, of which other tests show that they are as one."""
    alone, both = tmp_path / "alone", tmp_path / "both"
    single = Run([*train_args(drawn_faces, alone), "--target-iter", "6"], FACELAB_VIRTUAL_CPUS="2")
    assert single.end() == 0, single.text
    for target in ("4", "6"):
        runs = pair([both, both], "--target-iter", target)
        assert [run.end() for run in runs] == [0, 0], "\n".join(run.text for run in runs)
    assert "2 shares" in single.text
    np.testing.assert_allclose(history(both), history(alone), rtol=2e-5)
    assert history(both)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    stores = [CheckpointStore(folder, "new", "SAEHD").load_latest() for folder in (alone, both)]
    difference = [
        np.max(np.abs(stores[0].weights[path] - value)) for path, value in stores[1].weights.items()
    ]
    assert stores[1].iteration == 6 and max(difference) < 1e-4
    assert runs[1].text.count("[#") == 0 and "worker 0 saves and shows" in runs[1].text
    assert sorted(path.name for path in both.iterdir() if path.is_dir()) == ["new_SAEHD"]


@pytest.mark.slow
def test_ctrl_c_on_one_machine_saves_and_ends_both(pair, tmp_path):
    leader, follower = pair([tmp_path, tmp_path])
    leader.wait_for(r"\[#0000\d[2-9]\]")
    follower.process.send_signal(signal.SIGINT)
    assert (leader.end(), follower.end()) == (130, 130), leader.text + follower.text
    assert "Stopped by worker 1." in leader.text and "Stopped by SIGINT." in follower.text
    checkpoint = CheckpointStore(tmp_path, "new", "SAEHD").load_latest()
    assert checkpoint.iteration == history(tmp_path)[-1, 0] > 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no such signals")
def test_ctrl_c_ends_the_wait_for_the_others(drawn_faces, tmp_path):
    port, other = free_ports(2)
    flags = ["--workers", f"127.0.0.1:{port},127.0.0.1:{other}", "--worker-index", "0"]
    run = Run([*train_args(drawn_faces, tmp_path), *flags])
    try:
        run.wait_for("Waiting for all of the workers")
        while not _listens(port):
            assert run.process.poll() is None, run.text
            time.sleep(0.1)
        time.sleep(1.0)
        run.process.send_signal(signal.SIGINT)
        assert run.end(30) == -signal.SIGINT
    finally:
        run.process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_machine_ends_the_other_with_a_clear_error(pair, tmp_path, victim):
    runs = pair([tmp_path, tmp_path])
    runs[0].wait_for(r"\[#0000\d[2-9]\]")
    runs[victim].process.kill()
    other = runs[1 - victim]
    assert other.end(90) == 1, other.text
    last = [line for line in other.lines if line.startswith("error: ")]
    assert len(last) == 1 and f"worker {victim} " in last[0] and "Traceback" not in other.text
    checkpoint = CheckpointStore(tmp_path, "new", "SAEHD").load_latest()
    if victim == 1:  # the chief saved what was learnt
        assert checkpoint.iteration == history(tmp_path)[-1, 0] > 1


@pytest.mark.slow
def test_machines_with_other_options_or_models_are_refused(pair, tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    runs = pair(folders, "--target-iter", "1", own=([], ["--option", "seed=5"]))
    assert [run.end() for run in runs] == [1, 1]
    assert all("error: worker 1 differs from worker 0 in seed;" in run.text for run in runs)
    assert not CheckpointStore(folders[0], "new", "SAEHD").exists()

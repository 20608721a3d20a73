"""The trainer's parts: history file, status line, collapse guard, console, summary box, questions."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SwapError, UsageError
from core.interact.prompts import Prompter
from core.storage import read_json
from mainscripts import training_choice as choice
from mainscripts import training_console
from mainscripts.training_console import Console
from mainscripts.training_guard import FROM, CollapseGuard
from mainscripts.training_history import Averages, HistoryFile, Row, header_for
from mainscripts.training_summary import summary_box, summary_path

HEADER = header_for(("src", "dst"))


def row(iteration: int, ms: float = 456.7, wait: float = 12.0) -> Row:
    return Row(iteration, 1700000000.0 + iteration, ms, wait, (0.12341, 0.56784))


@pytest.mark.parametrize(
    "ms, shown",
    [(456.7, "0456ms"), (9999.9, "9999ms"), (12345.6, "12.34s"), (123456.7, "123.4s")],
)
def test_the_brackets_are_dfls(ms, shown):
    text = row(123, ms).brackets()
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\]", text[:10])
    assert text[10:] == f"[#000123][{shown}][0.1234][0.5678]"
    assert row(1234567).brackets()[10:].startswith("[#1234567]")


def test_the_average_leaves_out_the_iterations_that_compile():
    averages = Averages()
    for iteration, ms in enumerate((30000, 9000, 400, 500, 600)):
        averages.add(row(iteration, ms, wait=ms / 10))
        if iteration < 2:
            assert averages.text() == ""
    assert averages.text() == "avg 500 ms/it, 10 % waiting "


def test_the_time_left_counts_what_lies_between_iterations_too():
    averages = Averages()
    for iteration in range(2, 7):  # a second apart by the clock, as if previews took the rest
        averages.add(row(iteration, 500.0, wait=0.0))
    text = averages.text(left=7200)
    until = time.strftime("%H:%M", time.localtime(1700000006.0 + 7200))
    assert text == f"avg 500 ms/it, 0 % waiting, 2:00:00 left (until {until}) "
    assert ", 1:00 left" in averages.text(left=60)
    assert re.search(r"until \d\d \w+ \d\d:\d\d\)", averages.text(left=100_000))
    averages.add(row(4, 500.0))  # it went back: what was measured before does not count
    assert "left" not in averages.text(left=60)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 30),
    iteration=st.integers(0, 40),
    tail=st.sampled_from([b"", b"9", b"31,1.0,1.0", b"junk\n", b"5,1\n", b"\xff\xfe\n\n"]),
)
def test_cutting_back_keeps_exactly_the_whole_rows_up_to_the_iteration(
    tmp_path_factory, count, iteration, tail
):
    path = tmp_path_factory.mktemp("history") / "m_history.csv"
    rows = [row(number).encode() for number in range(1, count + 1)]
    path.write_bytes(HEADER + b"".join(rows) + tail)
    history = HistoryFile(path, iteration)
    history.append(row(iteration + 1))
    history.close()
    kept = rows[: min(count, iteration)]
    assert path.read_bytes() == HEADER + b"".join(kept) + row(iteration + 1).encode()


def test_a_file_with_other_columns_is_put_aside(tmp_path):
    path = tmp_path / "m_history.csv"
    path.write_text("something,else\n1,2\n" * 10)
    history = HistoryFile(path, 0)
    history.append(row(1))
    history.close()
    assert path.read_bytes() == HEADER + row(1).encode()
    assert (tmp_path / "m_history.old.csv").read_text().startswith("something,else")


def test_a_full_disk_costs_no_row(tmp_path):
    path = tmp_path / "m_history.csv"
    history = HistoryFile(path, 0)
    history.append(row(1))

    class Full(io.BytesIO):
        raw = io.BytesIO()

        def write(self, data):
            with path.open("ab") as file:
                file.write(bytes(data)[:7])  # what still fitted
            raise OSError(errno.ENOSPC, "No space left on device")

    history._file.close()
    history._file = Full()
    history.append(row(2))
    assert path.read_bytes() == HEADER + row(1).encode()
    history.append(row(3))
    history.close()
    assert path.read_bytes() == HEADER + b"".join(row(number).encode() for number in (1, 2, 3))


def test_the_guard_wants_several_high_losses_in_a_row():
    guard = CollapseGuard()
    for _ in range(FROM):
        assert not guard.observe({"src": 1.0, "dst": 2.0})
    for _ in range(4):
        assert not guard.observe({"src": 11.0, "dst": 2.0})
    assert guard.is_alarmed
    assert not guard.observe({"src": 2.0, "dst": 2.0}) and not guard.is_alarmed
    assert [bool(guard.observe({"src": 1.0, "dst": 21.0})) for _ in range(5)] == [False] * 4 + [True]


def test_a_decoder_that_paints_one_colour_is_noticed():
    """As it happened: the loss rose from 0.55 to 4, less than that of a fresh model, and stayed there."""
    guard = CollapseGuard()
    for iteration in range(400):
        assert not guard.observe(
            {"src": 0.55 if iteration % 50 else 2.0, "dst": 0.6}
        )  # single hard batches are no collapse
    told = [bool(guard.observe({"src": 4.0, "dst": 0.6})) for _ in range(20)]
    assert told == [False] * 19 + [True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_guard_calls_what_is_no_number_at_once(value):
    assert "not a number" in CollapseGuard().observe({"src": 1.0, "dst": value})


def test_a_steep_start_is_no_collapse():
    guard = CollapseGuard()
    for value in [0.001] * (FROM - 1) + [5.0]:
        assert not guard.observe({"src": value, "dst": value})


def test_on_a_pipe_there_is_a_line_a_second_and_the_last(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(training_console.time, "monotonic", lambda: clock[0])
    console = Console()
    for number in range(23):
        console.status("avg ", f"[{number}]")
        clock[0] += 0.125
    console.finish()
    console.finish()
    assert capsys.readouterr().out.split("\n") == ["avg [0]", "avg [8]", "avg [16]", "avg [22]", ""]


def test_on_a_terminal_the_line_is_rewritten_in_place(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(training_console.sys, "stdout", out)
    monkeypatch.setattr(training_console.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    console = Console()
    console.status("avg 1 ", "[1]")
    console.status("avg 2 ", "[2]")
    console.say("saved")
    console.status(
        "a prefix for which this terminal is much too narrow, as everybody can see at once ", "[3]"
    )
    console.finish()
    lines = [line.split("\r")[-1] for line in out.getvalue().split("\n")]
    assert lines == ["saved", "[3]", ""]
    assert "avg 2 [2]" in out.getvalue()


def test_a_reader_that_goes_away_is_noticed(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        monkeypatch.setattr(training_console.sys, "stdout", out)
        console = Console()
        console.say("hello")
        console.say("again")
        assert console.lost


def test_the_summary_of_a_model_from_dfl_is_not_overwritten(tmp_path):
    assert summary_path(tmp_path / "n_SAEHD").name == "n_SAEHD_summary.txt"
    (tmp_path / "n_SAEHD_data.dat").touch()
    assert summary_path(tmp_path / "n_SAEHD").name == "n_SAEHD_summary_facelab.txt"


def test_the_box_has_straight_sides():
    box = summary_box([("Model Summary", [("model", "n (Quick96)")]), ("Options", [("b" * 30, "4")])])
    lines = box.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert all(line.startswith("==") and line.endswith("==") for line in lines)
    assert " Model Summary " in lines[0] and any(" Options " in line and "---" in line for line in lines)


class Answers(Prompter):
    """Types prepared answers; an answer may be a list of what follows `?` or nonsense."""

    def __init__(self, *answers: str) -> None:
        super().__init__(interactive=True)
        self.answers = list(answers)
        self.override = False

    def _answer(self, default, label, info, help):
        return self.answers.pop(0) or default

    def pressed_enter_within(self, seconds, label):
        return self.override


def save_model(folder: Path, name: str, kind: str = "Quick96", age: float = 0.0) -> None:
    """Just enough on disk for a model to be listed, with options that can be read."""
    from types import SimpleNamespace

    from models import CheckpointStore, options_class

    model = SimpleNamespace(
        kind=kind, iteration=7, options=options_class(kind)(batch_size=6), unknown_options={},
        loss_history=np.zeros((7, 2), np.float32), deferred_weights=lambda: {"w": np.zeros(1, np.float32)},
        deferred_optimizer_state=lambda: {"s": np.zeros(1, np.float32)},
    )  # fmt: skip
    saved = CheckpointStore(folder, name, kind).save(model)
    os.utime(saved, (1e9 - age, 1e9 - age))
    (folder / f"{name}_{kind}_history.csv").write_text("x")


def test_models_are_listed_newest_first_and_enter_takes_the_newest(tmp_path, capsys):
    for age, name in enumerate(("young", "middle", "old")):
        save_model(tmp_path, name, age=age)
    assert choice.choose_model(Answers(""), tmp_path, "Quick96") == "young"
    out = capsys.readouterr().out
    assert out.index("[0] : young - latest") < out.index("[1] : middle") < out.index("[2] : old")
    assert choice.choose_model(Answers("2"), tmp_path, "Quick96") == "old"
    assert choice.choose_model(Answers("9", "1"), tmp_path, "Quick96") == "middle"
    assert choice.choose_model(Answers("old"), tmp_path, "Quick96") == "old"
    assert choice.choose_model(Answers("fresh one"), tmp_path, "Quick96") == "fresh one"
    assert choice.choose_model(Prompter(interactive=False), tmp_path, "Quick96") == "young"


def test_new_names_are_cleaned_or_asked_again(tmp_path, capsys):
    assert choice.choose_model(Answers(""), tmp_path, "Quick96") == "new"
    assert choice.choose_model(Answers("my_own model"), tmp_path, "Quick96") == "my own model"
    assert choice.choose_model(Answers("../up", "a\\b", ".", "good"), tmp_path, "Quick96") == "good"
    assert "contains /" in capsys.readouterr().out
    with pytest.raises(SwapError, match="cannot be used"):
        choice.choose_model(Answers(), tmp_path, "Quick96", forced="a/b")


def test_rename_takes_all_files_and_only_of_this_kind(tmp_path, capsys):
    save_model(tmp_path, "one")
    save_model(tmp_path, "two")
    (tmp_path / "one_SAEHD_data.dat").write_text("another kind")
    (tmp_path / "one more_Quick96_data.dat").write_text("another name")
    answers = Answers("r", "one", "two", "r", "one", "three", "three")
    assert choice.choose_model(answers, tmp_path, "Quick96") == "three"
    assert "taken" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {"three_Quick96", "three_Quick96_history.csv", "one_SAEHD_data.dat", "two_Quick96"} <= names
    assert "one more_Quick96_data.dat" in names and "one_Quick96" not in names


def test_delete_asks_before_and_leaves_other_kinds(tmp_path, capsys):
    save_model(tmp_path, "one")
    save_model(tmp_path, "two", age=9)
    (tmp_path / "one_SAEHD_data.dat").write_text("another kind")
    answers = Answers("d", "nothing", "d", "0", "n", "d", "0", "y", "")
    assert choice.choose_model(answers, tmp_path, "Quick96") == "two"
    out = capsys.readouterr().out
    assert "There is no model 'nothing'" in out and "one_Quick96_history.csv" in out
    assert {path.name for path in tmp_path.iterdir()} == {
        "two_Quick96",
        "two_Quick96_history.csv",
        "one_SAEHD_data.dat",
    }


def test_a_model_that_is_being_trained_is_neither_renamed_nor_deleted(tmp_path, capsys):
    save_model(tmp_path, "one")
    before = sorted(tmp_path.iterdir())
    from models import CheckpointStore

    with CheckpointStore(tmp_path, "one", "Quick96").reserved():
        answers = Answers("r", "one", "two", "d", "one", "y", "")
        assert choice.choose_model(answers, tmp_path, "Quick96") == "one"
    assert capsys.readouterr().out.count("another program is training this model") == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_first_run_asks_and_its_answers_are_the_next_defaults(tmp_path):
    chosen = choice.choose_options(Answers(*[""] * 20), tmp_path, "Quick96", "new", ["batch_size=9"])
    assert chosen.is_new and chosen.options.batch_size == 9
    assert read_json(tmp_path / "Quick96_default_options.json")["batch_size"] == 9
    silent = Prompter(interactive=False)
    assert choice.choose_options(silent, tmp_path, "Quick96", "next", []).options.batch_size == 9
    (tmp_path / "Quick96_default_options.json").write_text("{ damaged")
    again = choice.choose_options(silent, tmp_path, "Quick96", "next", [])
    assert again.options.batch_size == 4 and "not used as defaults" in again.notes[0]


def test_later_runs_keep_the_options_unless_enter_is_pressed(tmp_path):
    save_model(tmp_path, "new")
    answers = Answers(*["7"] * 20)
    kept = choice.choose_options(answers, tmp_path, "Quick96", "new", ["target_iter=100"])
    assert not kept.is_new and kept.options.batch_size == 6 and kept.options.target_iter == 100
    answers.override = True
    changed = choice.choose_options(answers, tmp_path, "Quick96", "new", ["recipe=dfl"])
    assert changed.options.batch_size == 7 and changed.options.recipe == "dfl"


def test_unknown_options_and_values_are_refused(tmp_path):
    silent = Prompter(interactive=False)
    with pytest.raises(UsageError, match="did you mean batch_size"):
        choice.choose_options(silent, tmp_path, "Quick96", "new", ["batch_sise=4"])
    with pytest.raises(UsageError, match=r"1\.\.1024"):
        choice.choose_options(silent, tmp_path, "Quick96", "new", ["batch_size=0"])


@pytest.mark.parametrize("text, numbers", [("0", [0]), ("1, 0,1", [1, 0])])
def test_gpu_lists(text, numbers):
    assert choice.choose_devices(Prompter(False), False, text) == (False, numbers)
    assert choice.choose_devices(Prompter(False), True, text) == (True, None)


@pytest.mark.parametrize("text", ["", "a", "0,,1", "-1"])
def test_wrong_gpu_lists_are_refused(text):
    with pytest.raises(UsageError, match="force-gpu-idxs"):
        choice.choose_devices(Prompter(False), False, text)


def test_a_new_saehd_proposes_as_many_faces_as_dfl_for_the_smallest_gpu(tmp_path, monkeypatch):
    gpus = ["RTX one, 24564 MiB", "GTX two, 4096 MiB", "GT three, 2048 MiB", "four, [N/A]"]
    monkeypatch.setattr(choice, "list_gpus", lambda: gpus)
    sizes = [choice.gpu_memory(False, text) >> 20 for text in (None, "0", "0,1", "1,2", "3", "9")]
    assert sizes == [24564, 24564, 4096, 2048, 0, 0] and choice.gpu_memory(True, "0") == 0
    with pytest.raises(UsageError, match="force-gpu-idxs"):
        choice.gpu_memory(False, "one")

    def proposed(kind, megabytes):
        return choice.choose_options(Prompter(False), tmp_path, kind, "new", [], megabytes << 20).options

    assert [proposed("SAEHD", size).batch_size for size in (0, 2048, 4096, 24564)] == [4, 4, 8, 8]
    assert proposed("Quick96", 24564).batch_size == 4
    (tmp_path / "SAEHD_default_options.json").write_text('{"batch_size": 5}')
    assert proposed("SAEHD", 24564).batch_size == 5  # the last answer


def test_gpus_are_offered_where_there_are_any(monkeypatch):
    monkeypatch.setattr(choice, "list_gpus", lambda: ["RTX one", "RTX two"])
    assert choice.choose_devices(Answers("7", "x", "0,1"), False, None) == (False, [0, 1])
    assert choice.choose_devices(Answers("cpu"), False, None) == (True, None)
    assert choice.choose_devices(Prompter(False), False, None) == (False, None)


def test_pretrained_weights_that_do_not_fit_are_told_with_their_folder(tmp_path, monkeypatch):
    from core.errors import CheckpointError
    from mainscripts.training_start import load_pretrained
    from models import CheckpointStore
    from tests.tiny_training import TinyModel

    CheckpointStore(tmp_path, "wide", "Tiny").save(TinyModel())
    other = TinyModel()

    def refuse(values):
        raise CheckpointError("misshapen")

    monkeypatch.setattr(other, "load_weights", refuse)
    with pytest.raises(CheckpointError, match=r"wide_Tiny.*: misshapen"):
        load_pretrained(other, tmp_path / "wide_Tiny")

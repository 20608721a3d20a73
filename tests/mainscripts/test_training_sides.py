"""A training of any sides and any faces: several persons, one set for all, masks for heads, growing faces."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import facelib
import main
from core.errors import SampleError, SwapError, UsageError
from core.imageio import read_image
from core.interact.prompts import Prompter
from core.interact.screen import KeyEvent
from mainscripts import train as train_command
from mainscripts.training_batches import Batches
from mainscripts.training_faces import folders_to_read, open_facesets
from mainscripts.training_history import header_for
from mainscripts.training_loop import CHOOSE
from models import CheckpointStore, options_class
from models.base import ModelOptions
from samplelib import BatchLoader
from tests.tiny_training import FakeScreen, TinyModel, csv_rows


class Trio(TinyModel):
    sides = ("ann", "bob", "eve")


class Growing(TinyModel):
    @property
    def resolution(self):
        return 32 if self.iteration < 4 else 64


@pytest.fixture
def trio(facesets):
    return {"ann": facesets["src"], "bob": facesets["dst"], "eve": facesets["src"]}


def test_three_persons_have_a_loss_each(train, tmp_path, trio, capsys):
    trainer = train(6, Trio(), sets=trio)
    assert trainer.code == 0
    line = re.compile(r"\[#000006\]\[\d{4}ms\](\[\d+\.\d{4}\]){3}$", re.M)
    assert line.search(capsys.readouterr().out)
    path = tmp_path / "tiny_Tiny_history.csv"
    assert path.read_text().splitlines()[0].endswith("wait_ms,ann_loss,bob_loss,eve_loss")
    saved = CheckpointStore(tmp_path, "tiny", "Tiny").load_latest()
    losses = [[float(field) for field in row.split(",")[4:]] for row in path.read_text().splitlines()[1:]]
    np.testing.assert_allclose(losses, saved.loss_history, rtol=1e-5)
    assert saved.loss_history.shape == (6, 3)
    assert read_image(tmp_path / "tiny_Tiny_preview.jpg").shape == (132, 96, 3)


def test_ten_iterations_of_three_equal_five_and_five(train, tmp_path_factory, trio, monkeypatch):
    train(5, Trio(), sets=trio)
    resumed = train(10, Trio(), sets=trio)
    whole = Trio()
    batches = Batches(whole, trio)
    for _ in range(10):
        whole.train_step(batches.take(whole.iteration))
    batches.close()
    for side in Trio.sides:
        assert whole.values[side].tobytes() == resumed.model.values[side].tobytes()


def test_colours_come_from_the_next_side_but_not_from_a_shared_set(trio, facesets, monkeypatch):
    lenders, init = {}, BatchLoader.__init__

    def note(self, faceset, request, seed, side_id, *args, reference=None, **kwargs):
        lenders[side_id] = reference
        init(self, faceset, request, seed, side_id, *args, reference=reference, **kwargs)

    monkeypatch.setattr(BatchLoader, "__init__", note)
    Batches(Trio(), trio).close()
    assert lenders == {0: facesets["dst"], 1: facesets["src"], 2: None}
    Batches(TinyModel(), facesets).close()
    assert [lenders[0], lenders[1]] == [facesets["dst"], facesets["src"]]
    Batches(TinyModel(), dict.fromkeys(("src", "dst"), facesets["src"])).close()
    assert [lenders[0], lenders[1]] == [None, None]


def test_taken_batches_are_those_of_the_iteration_whatever_was_taken_before(facesets):
    ahead, alone = Batches(TinyModel(), facesets), Batches(TinyModel(), facesets)
    for iteration in (0, 1, 2, 3, 4, 9, 2):  # every third repeats a batch, by DFL's recipe
        taken, made = ahead.take(iteration), alone.get(iteration)
        for name, array in made.items():
            np.testing.assert_array_equal(taken[name], array)
    ahead.close()
    alone.close()
    ahead.close()


def test_faces_grow_with_the_model(train, tmp_path, capsys):
    trainer = train(8, Growing(ModelOptions(write_preview_history=True)))
    assert trainer.code == 0 and trainer.batches.resolution == 64
    assert "The faces have 64 pixels now" in capsys.readouterr().out
    assert read_image(tmp_path / "tiny_Tiny_preview.jpg").shape == (164, 128, 3)
    assert len(trainer.model.loss_history) == 8


def test_the_file_of_another_training_is_put_aside(train, tmp_path, trio):
    train(3)
    (tmp_path / "tiny_Tiny_history.old.csv").write_text("kept")
    for path in (tmp_path / "tiny_Tiny").iterdir():
        path.rename(tmp_path / path.name)  # the user moved the model away
    train(4, Trio(), sets=trio)
    lines = (tmp_path / "tiny_Tiny_history.csv").read_text().splitlines()
    assert lines[0].encode() + b"\n" == header_for(Trio.sides) and len(lines) == 5
    assert (tmp_path / "tiny_Tiny_history.old.csv").read_text() == "kept"
    assert len((tmp_path / "tiny_Tiny_history.old2.csv").read_text().splitlines()) == 4


def test_a_new_training_does_not_cut_the_rows_of_an_old_one(train, tmp_path):
    train(5)
    for path in (tmp_path / "tiny_Tiny").iterdir():
        path.rename(tmp_path / path.name)
    train(2)
    assert [row[0] for row in csv_rows(tmp_path)] == ["1", "2"]
    assert len((tmp_path / "tiny_Tiny_history.old.csv").read_text().splitlines()) == 6


def test_pictures_of_an_earlier_history_are_put_aside_not_deleted(train, tmp_path, capsys):
    old = tmp_path / "tiny_Tiny_history" / "Tiny"
    old.mkdir(parents=True)
    (old / "0000000.jpg").write_text("old")
    (old.parent / "loose.jpg").write_text("loose")
    options = ModelOptions(write_preview_history=True)
    train(2, TinyModel(options))
    aside = tmp_path / "tiny_Tiny_history_old"
    assert (aside / "Tiny" / "0000000.jpg").read_text() == "old"
    assert (aside / "loose.jpg").read_text() == "loose"
    assert "is now in tiny_Tiny_history_old" in capsys.readouterr().out
    assert sorted(path.name for path in old.iterdir()) == ["0000000.jpg", "_last.jpg"]
    train(12, TinyModel(options))  # one that goes on leaves its own where they are
    assert {path.name for path in tmp_path.glob("*_history*")} == {
        "tiny_Tiny_history", "tiny_Tiny_history.csv", "tiny_Tiny_history_old",
    }  # fmt: skip


@pytest.mark.parametrize("target", [2, 12])
def test_dfls_own_history_stays_as_it_is(train, tmp_path, target):
    own = tmp_path / "tiny_Tiny_history" / "Tiny" / "_last.jpg"
    own.parent.mkdir(parents=True)
    own.write_text("DFL's")
    (tmp_path / "tiny_Tiny_data.dat").touch()
    train(target, TinyModel(ModelOptions(write_preview_history=True)))
    assert [path.read_text() for path in own.parent.iterdir()] == ["DFL's"]
    pictures = {path.name for path in (tmp_path / "tiny_Tiny_history_facelab" / "Tiny").iterdir()}
    assert pictures == {"0000000.jpg", "_last.jpg"} | ({"0000010.jpg"} if target > 10 else set())


def test_the_faces_of_the_history_are_chosen_by_hand_and_stay(train, tmp_path):
    options = ModelOptions(write_preview_history=True)
    keys = (KeyEvent("p"), KeyEvent("space"), KeyEvent("p"))
    screen = FakeScreen(list(keys), [], [KeyEvent("enter")])
    trainer = train(1, TinyModel(options), screen, choose_history=True)
    assert trainer.history_batch == 2 and trainer.model.iteration == 1  # Enter chose, and did not quit
    assert screen.images[0].shape == (30 + 100 + 32, 64, 3)
    first = read_image(tmp_path / "tiny_Tiny_history" / "Tiny" / "0000000.jpg")
    resumed = train(11, TinyModel(options))
    assert resumed.history_batch == 2
    later = read_image(tmp_path / "tiny_Tiny_history" / "Tiny" / "0000010.jpg")
    assert abs(first[112:].astype(int) - later[112:]).max() < 8


def test_who_asks_to_choose_again_later_may(train, capsys):
    options = ModelOptions(write_preview_history=True)
    for start, presses in enumerate((1, 3), start=1):
        screen = FakeScreen([KeyEvent("p")] * presses, [KeyEvent("enter")])
        assert train(start, TinyModel(options), screen, choose_history=True).history_batch == presses
        assert CHOOSE in capsys.readouterr().out


def test_a_closed_window_chooses_nothing(train):
    class Closing(FakeScreen):
        def events(self, timeout=0.0):
            self.closed = True
            return []

    trainer = train(1, TinyModel(ModelOptions(write_preview_history=True)), Closing(), choose_history=True)
    assert trainer.code == 0 and trainer.history_batch == 0


def test_whether_to_choose_is_asked_only_where_it_can_be_done():
    answers = []

    class Yes(Prompter):
        def ask_bool(self, label, default, help=""):
            answers.append(label)
            return True

    def asked(**changes):
        told = {"screen": "browser", "no_preview": False, "asked": True, "write": True, **changes}
        options = ModelOptions(write_preview_history=told["write"])
        args = SimpleNamespace(screen=told["screen"], no_preview=told["no_preview"])
        return train_command._ask_for_history(
            Yes(changes.get("interactive", True)), args, SimpleNamespace(asked=told["asked"], options=options)
        )

    assert asked() and answers == ["Choose image for the preview history"]
    for change in (
        {"screen": "none"},
        {"no_preview": True},
        {"asked": False},
        {"write": False},
        {"interactive": False},
    ):
        assert not asked(**change)


def test_pretraining_needs_its_folder_and_reads_it_for_all_sides(drawn_faces, tmp_path, capsys):
    options = options_class("SAEHD")(pretrain=True)
    nowhere = {"src": tmp_path / "a", "dst": tmp_path / "b"}
    with pytest.raises(UsageError, match="--pretraining-data-dir"):
        folders_to_read(options, nowhere, None)
    with pytest.raises(SwapError, match="faces for pretraining"):
        folders_to_read(options, nowhere, tmp_path / "nowhere")
    folders = folders_to_read(options, nowhere, drawn_faces["src"])
    assert folders == dict.fromkeys(("src", "dst"), drawn_faces["src"])
    sets = open_facesets(folders, options, SimpleNamespace(say=print))
    assert sets["src"] is sets["dst"] and "6 faces of" in capsys.readouterr().out
    with pytest.raises(SwapError, match="does not exist"):
        folders_to_read(options_class("SAEHD")(), nowhere, drawn_faces["src"])
    folders, options = dict.fromkeys(("src", "dst"), drawn_faces["src"]), options_class("AMP")(face_type="f")
    same = open_facesets(folders, options, SimpleNamespace(say=print))
    assert same["src"] is not same["dst"]  # AMP's SRC-SRC, which may transfer colours within the set


def test_heads_without_masks_are_refused_before_tensorflow_loads(drawn_faces, tmp_path, capsys):
    args = [
        "--training-data-src-dir",
        str(drawn_faces["src"]),
        "--training-data-dst-dir",
        str(drawn_faces["dst"]),
    ]
    more = ["--model", "SAEHD", "--model-dir", str(tmp_path), "--no-prompt", "--option", "face_type=head"]
    assert main.main(["train", *args, *more]) == 1
    assert "needs faces with applied XSeg masks, and none of 6 has one; apply" in capsys.readouterr().err


def test_faces_that_show_too_little_are_refused_before_tensorflow_loads(drawn_faces):
    with pytest.raises(SampleError, match="are full_face, the model needs whole_face or wider"):
        open_facesets(drawn_faces, options_class("AMP")(), SimpleNamespace(say=print))
    assert len(open_facesets(drawn_faces, options_class("Quick96")(), SimpleNamespace(say=print))) == 2


def test_heads_without_masks_among_others_are_left_out(tmp_path, drawn_faces, capsys):
    folder = tmp_path / "heads"
    folder.mkdir()
    for number, path in enumerate(sorted(drawn_faces["src"].iterdir())):
        image, metadata = facelib.read_face(path)
        if number < 2:
            metadata = metadata.with_xseg_mask(np.ones((64, 64, 1), np.float32))
        metadata = replace(metadata, face_type="head")
        facelib.write_face(folder / path.name, image, metadata)
    options, console = options_class("SAEHD")(face_type="head"), SimpleNamespace(say=print)
    assert len(open_facesets({"src": folder}, options, console)["src"]) == 2
    assert "4 of 6 faces have no applied XSeg mask" in capsys.readouterr().out
    with pytest.raises(SampleError):
        open_facesets({"src": drawn_faces["src"]}, options, console)

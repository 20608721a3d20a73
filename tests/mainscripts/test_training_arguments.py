"""The command line of `train`, the file of --config, several persons, and the defaults of new models."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import main
import models
from core.errors import UsageError
from core.interact.prompts import Prompter
from mainscripts import training_choice as choice
from mainscripts.training_arguments import (
    NOT_IN_FILES,
    TEAM,
    in_models_order,
    people,
    persons_option,
    with_joining,
)
from mainscripts.training_choice import Choice
from mainscripts.training_defaults import load_default_options, save_default_options
from models.amp_options import AmpOptions
from models.saehd_options import SaehdOptions

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {"model": "SAEHD", "model-dir": "m", "training-data-src-dir": "a", "training-data-dst-dir": "b"}
# A value of every key that a file may have besides the required ones, and what the flag gives.
VALUES = {
    "training-data-dir": ({"ann": "x", "bob": "y=z"}, ["ann=x", "bob=y=z"]),
    "pretraining-data-dir": ("p", Path("p")),
    "pretrained-model-dir": ("q", Path("q")),
    "no-preview": (True, True),
    "force-model-name": ("first try", "first try"),
    "cpu-only": (True, True),
    "force-gpu-idxs": (0, "0"),
    "silent-start": (False, False),
    "target-iter": (500, 500),
    "workers": ("10.0.0.5:4000,10.0.0.6:4000", "10.0.0.5:4000,10.0.0.6:4000"),
    "worker-index": (1, 1),
    "execute-program": ([[-60, "print(1)"], [5.5, "pass"]], [["-60", "print(1)"], ["5.5", "pass"]]),
    "no-prompt": (True, True),
    "debug": (True, True),
    "screen": ("none", "none"),
}


@pytest.fixture(autouse=True)
def saehd(monkeypatch):
    entry = ("models.saehd_options", "SaehdOptions", "models.saehd", "Saehd")
    monkeypatch.setitem(models.MODEL_KINDS, "SAEHD", entry)


def parse(tmp_path: Path, record: object, *words: str):
    path = tmp_path / "run.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return main.parse(["train", "--config", str(path), *words])


def test_every_flag_may_stand_in_the_file(tmp_path):
    flags = {
        name[2:]
        for name in vars(parse(tmp_path, REQUIRED))
        for name in [f"--{name.replace('_', '-')}"]
        if name[2:] not in ("command", "script")
    }
    assert flags == {*REQUIRED, *VALUES, *NOT_IN_FILES} - {"help"}


@pytest.mark.parametrize("key", VALUES)
def test_a_key_of_the_file_says_what_its_flag_says(tmp_path, key):
    args = parse(
        tmp_path, {**REQUIRED, **{name: VALUES[name][0] for name in (TEAM if key in TEAM else [key])}}
    )
    assert getattr(args, key.replace("-", "_")) == VALUES[key][1]
    assert (args.model, args.model_dir) == ("SAEHD", Path("m"))


def test_options_come_along_and_the_command_line_wins(tmp_path):
    record = {
        **REQUIRED,
        "target-iter": 5,
        "options": {"batch_size": 8, "random_warp": False, "archi": "df-u", "gan_power": 0.1},
        "execute-program": [[1, "pass"]],
        "force-gpu-idxs": "0",
    }
    words = "--option batch_size=2 --target-iter 7 --execute-program 2 1 --cpu-only --model-dir other"
    args = parse(tmp_path, record, *words.split())
    given = SaehdOptions.parse_pairs(args.option)
    assert given == {"batch_size": 2, "random_warp": False, "archi": "df-u", "gan_power": 0.1}
    assert (args.target_iter, args.execute_program, args.model_dir) == (7, [["2", "1"]], Path("other"))
    assert args.force_gpu_idxs is None


def test_the_command_lines_persons_replace_those_of_the_file(tmp_path):
    args = parse(tmp_path, REQUIRED, "--training-data-dir", "ann=x", "--training-data-dir", "bob=y")
    assert people(args) == {"ann": Path("x"), "bob": Path("y")}
    record = {"model": "SAEHD", "model-dir": "m", "training-data-dir": {"ann": "x", "bob": "y"}}
    args = parse(tmp_path, record, "--training-data-src-dir", "a", "--training-data-dst-dir", "b")
    assert people(args) == {"src": Path("a"), "dst": Path("b")}


@pytest.mark.parametrize(
    "record, text",
    [
        ("{", "no JSON"),
        ("[1]", "no table"),
        ('{"model": "SAEHD", "model": "AMP"}', "'model' stands there twice"),
        ({"modle": "SAEHD"}, "did you mean 'model'"),
        ({"model_dir": "m"}, "did you mean 'model-dir'"),
        ({"option": ["a=1"]}, "did you mean 'options'"),
        ({"config": "other.json"}, "no 'config'"),
        ({"model": "Nope"}, "'Nope' is not allowed"),
        ({"model": 3.5}, "is not allowed"),
        ({"model-dir": ["m"]}, "must be a text"),
        ({"model-dir": None}, "must be a text"),
        ({"model-dir": True}, "must be a text or a number"),
        ({"target-iter": -5}, "from 1"),
        ({"cpu-only": "yes"}, "true or false"),
        ({"options": ["batch_size=4"]}, "batch_size"),
        ({"options": {"batch_size": [4]}}, "options: batch_size"),
        ({"model": "SAEHD", "options": {"batch_size": 0}}, "option batch_size: '0'"),
        ({"model": "SAEHD", "options": {"batch_sise": 4}}, "there is no option 'batch_sise'"),
        ({"training-data-dir": ["ann=x"]}, "must be a table"),
        ({"execute-program": [3600, "pass"]}, "must be a list"),
        ({"execute-program": [["soon", "pass"]]}, "--execute-program soon"),
        ({"force-gpu-idxs": "all"}, "--force-gpu-idxs 'all'"),
        ({"worker-index": 1.5}, "worker-index '1.5' is not allowed"),
        ({"worker-index": 0}, "belong together"),
        ({"workers": "a:1,b:2"}, "belong together"),
        ({"workers": "a:1,b", "worker-index": 0}, "'b' is no address"),
        ({"workers": "a:1,a:1", "worker-index": 0}, "given twice"),
        ({"workers": "a:1,b:2", "worker-index": 2}, "lists 2 workers, so 0 to 1"),
    ],
)
def test_what_the_file_cannot_say_is_told_with_its_name(tmp_path, record, text):
    with pytest.raises(UsageError, match=text) as err:
        parse(tmp_path, record)
    assert "run.json" in str(err.value)


def test_a_team_may_be_given_by_file_and_command_line_together(tmp_path):
    record = {**REQUIRED, "model": "SAEHD", "workers": "a:1,b:2"}
    assert parse(tmp_path, record, "--worker-index", "1").worker_index == 1
    with pytest.raises(UsageError, match=r"run\.json: --workers lists 2 workers, so 0 to 1, but not 2"):
        parse(tmp_path, record, "--worker-index", "2")
    assert parse(tmp_path, {**record, "worker-index": 5}, "--worker-index", "0").worker_index == 0
    args = parse(tmp_path, record, "--workers", "c:3,d", "--worker-index", "0")
    assert args.workers == "c:3,d"  # of the command line alone, so its error does not name the file


def test_files_that_cannot_be_read_are_wrong_usage(tmp_path, capsys):
    assert main.main(["train", "--config", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
    (tmp_path / "utf16.json").write_text("{}", encoding="utf-16")
    assert main.main(["train", "--config", str(tmp_path / "utf16.json")]) == 2
    with pytest.raises(SystemExit) as stop:
        parse(tmp_path, {"model": "SAEHD"})  # what is required is missed as ever
    assert stop.value.code == 2
    assert parse(tmp_path, "\ufeff" + json.dumps(REQUIRED)).model == "SAEHD"  # as Notepad saves it


@pytest.mark.parametrize(
    "words, text",
    [
        ([], "src-dir is missing"),
        (["--training-data-src-dir", "a"], "dst-dir is missing"),
        (["--training-data-src-dir", "a", "--training-data-dir", "x=b"], "replaces"),
        (["--training-data-dir", "ann=a"], "at least two"),
        (["--training-data-dir", "ann=a", "--training-data-dir", "Ann=b"], "twice"),
        (["--training-data-dir", "ann=a", "--training-data-dir", "b,c=b"], "NAME=FOLDER"),
        (["--training-data-dir", "ann=a", "--training-data-dir", "b/c=b"], "no name"),
        (["--training-data-dir", "ann=a", "--training-data-dir", "folder"], "NAME=FOLDER"),
        (["--training-data-dir", "ann=a", "--training-data-dir", "bob="], "NAME=FOLDER"),
    ],
)
def test_persons_are_given_in_exactly_one_way(words, text):
    args = main.parse(["train", "--model", "SAEHD", "--model-dir", "m", *words])
    with pytest.raises(UsageError, match=text):
        people(args)


def test_only_models_that_can_learn_several_persons():
    words = ["--training-data-dir", "ann=a", "--training-data-dir", "bob=b"]
    with pytest.raises(UsageError, match="learns two persons"):
        people(main.parse(["train", "--model", "Quick96", "--model-dir", "m", *words]))
    folders = people(main.parse(["train", "--model", "SAEHD", "--model-dir", "m", *words]))
    assert persons_option(folders) == ["persons=ann,bob"]
    both = {"dst": Path("b"), "src": Path("a")}  # in either order the ordinary model of two
    assert persons_option(both) == persons_option(dict(reversed(both.items()))) == []


def test_the_folders_are_matched_with_the_models_persons():
    two = {"src": Path("a"), "dst": Path("b")}
    comb = SimpleNamespace(name="new", options=SaehdOptions(archi="df-ud", persons="ann,bob"))
    assert list(in_models_order({"bob": Path("b"), "ann": Path("a")}, comb)) == ["ann", "bob"]
    with pytest.raises(UsageError, match="--training-data-dir ann=FOLDER"):
        in_models_order(two, comb)
    for options in (SaehdOptions(), models.options_class("Quick96")()):
        plain = SimpleNamespace(name="new", options=options)
        assert in_models_order(two, plain) == two
        with pytest.raises(UsageError, match="--training-data-src-dir"):
            in_models_order({"ann": Path("a"), "bob": Path("b")}, plain)


def test_persons_join_a_model_of_several_but_nobody_leaves_it():
    comb = Choice("new", False, SaehdOptions(archi="df-ud", persons="ann,bob"))
    folders = {name: Path(name) for name in ("cleo", "bob", "ann")}
    joined = with_joining(folders, comb)
    assert joined.options.persons == "ann,bob,cleo"
    assert list(in_models_order(folders, joined)) == ["ann", "bob", "cleo"]
    fewer = {name: folders[name] for name in ("ann", "cleo")}
    assert with_joining(fewer, comb) is comb
    with pytest.raises(UsageError, match="a model of ann, bob, not ann, cleo"):
        in_models_order(fewer, comb)
    plain = Choice("new", False, SaehdOptions())
    assert with_joining(folders, plain) is plain


def test_a_new_model_of_several_persons_takes_an_archi_that_can(capsys):
    options = SaehdOptions().ask(Prompter(interactive=False), given={"persons": "ann,bob"})
    assert options.archi == "df-ud"
    assert "taking archi df-ud" in capsys.readouterr().out


def test_answers_are_the_next_defaults_but_for_what_belongs_to_one_model(tmp_path):
    answers = AmpOptions(resolution=256, d_dims=96, morph_factor=0.2, seed=5, gan_dims=32)
    save_default_options(tmp_path, "AMP", answers)
    options, notes = load_default_options(tmp_path, "AMP")
    assert not notes and options == AmpOptions(resolution=256, d_dims=96, gan_dims=32)
    # what followed from other answers follows from the next ones
    assert options.changed(resolution=128, d_dims=64) == AmpOptions(resolution=128, gan_dims=32)


def test_dfls_defaults_are_taken_where_there_are_none_of_ours(tmp_path):
    path = tmp_path / "SAEHD_default_options.dat"
    saved = {
        "resolution": np.int64(192), "archi": "df-ud", "lr_dropout": True, "gan_power": np.float64(9.0),
        "eyes_prio": True, "gan_patch_size": None,
    }  # fmt: skip
    path.write_bytes(pickle.dumps(saved))
    options, notes = load_default_options(tmp_path, "SAEHD")
    assert options == SaehdOptions(resolution=192, archi="df-ud", lr_dropout="y") and not notes
    save_default_options(tmp_path, "SAEHD", SaehdOptions(batch_size=2))
    assert load_default_options(tmp_path, "SAEHD")[0] == SaehdOptions(batch_size=2)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    "content", [b"", b"junk", pickle.dumps([1]), pickle.dumps(Evil()), pickle.dumps({"archi": 7})]
)
def test_dfls_defaults_that_cannot_be_read_are_ignored(tmp_path, content, capsys):
    (tmp_path / "SAEHD_default_options.dat").write_bytes(content)
    assert load_default_options(tmp_path, "SAEHD") == (SaehdOptions(), ())
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_among_the_defaults_is_told_or_ignored(tmp_path):
    (tmp_path / "SAEHD_default_options.dat").write_bytes(pickle.dumps({"resolution": 144, "archi": "df-d"}))
    assert load_default_options(tmp_path, "SAEHD") == (SaehdOptions(), ())
    (tmp_path / "SAEHD_default_options.json").write_text('{"resolution": 144}')
    options, notes = load_default_options(tmp_path, "SAEHD")
    assert options == SaehdOptions() and "resolution 128 or 160" in notes[0]


def test_an_unattended_new_model_says_that_it_takes_defaults(tmp_path, capsys):
    chosen = choice.choose_options(Prompter(interactive=False), tmp_path, "SAEHD", "new", ["resolution=64"])
    assert chosen.options == SaehdOptions(resolution=64)
    assert "new is a new model; every option that is not given takes its default" in capsys.readouterr().out


def test_an_unattended_new_model_says_what_the_last_one_hands_on(tmp_path, capsys):
    path = tmp_path / "SAEHD_default_options.dat"
    path.write_bytes(pickle.dumps({"resolution": 192, "batch_size": 6, "random_warp": False}))
    quiet = Prompter(interactive=False)
    choice.choose_options(quiet, tmp_path, "SAEHD", "new", ["resolution=64"])
    told = "takes its default, but for what {} hands on: {}."
    assert told.format(path.name, "batch_size=6, random_warp=n") in capsys.readouterr().out
    save_default_options(tmp_path, "SAEHD", SaehdOptions(d_dims=96, gan_power=0.1))
    chosen = choice.choose_options(quiet, tmp_path, "SAEHD", "new", [])
    assert told.format("SAEHD_default_options.json", "d_dims=96, gan_power=0.1") in capsys.readouterr().out
    assert chosen.options == SaehdOptions(d_dims=96, gan_power=0.1)
    save_default_options(tmp_path, "SAEHD", SaehdOptions())
    choice.choose_options(quiet, tmp_path, "SAEHD", "new", [])
    assert "takes its default.\n" in capsys.readouterr().out


def test_help_and_config_load_no_tensorflow(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({**REQUIRED, "model": "Quick96"}))
    code = (
        f"import sys, main\nassert main.main(['train', '--config', {str(tmp_path / 'run.json')!r}]) == 1\n"
        "assert not {'tensorflow', 'cv2'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "a: the folder of source faces does not exist" in done.stderr


def test_a_silent_start_asks_nothing_but_may_be_overridden(drawn_faces, tmp_path, monkeypatch):
    from mainscripts import train

    reached, waited = [], []
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(choice, "list_gpus", lambda: ["RTX one"])
    monkeypatch.setattr(train, "_train", lambda *given: reached.append(given[2]) or 0)
    monkeypatch.setattr(Prompter, "pressed_enter_within", lambda self, *_: waited.append(self.interactive))
    words = ["train", "--model", "Quick96", "--model-dir", str(tmp_path), "--silent-start"]
    for side in ("src", "dst"):
        words += [f"--training-data-{side}-dir", str(drawn_faces[side])]
    assert main.main(words) == 0 and reached[0].is_new and not waited
    monkeypatch.setattr(models, "model_exists", lambda *_: True)
    monkeypatch.setattr(models, "saved_options", lambda *_: models.options_class("Quick96")(batch_size=7))
    assert main.main(words) == 0 and reached[1].options.batch_size == 7 and waited == [True]

"""The command `train` as its users meet it: files, questions, signals, resuming."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import main
from core import safe_pickle
from core.errors import CheckpointError
from mainscripts import train as command
from models import CheckpointStore, create_model, options_class
from tests.tiny_training import TinyModel

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"\[\d\d:\d\d:\d\d\]\[#(\d{6,})\]\[(?:\d{4,}ms|[\d.]{5}s)\]\[\d+\.\d{4}\]\[\d+\.\d{4}\]$")


def train_args(faces: dict[str, Path], model_dir: Path, *more: str) -> list[str]:
    folders = ["--training-data-src-dir", str(faces["src"]), "--training-data-dst-dir", str(faces["dst"])]
    return ["train", *folders, "--model-dir", str(model_dir), "--model", "Quick96", "--cpu-only", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": "", "PYTHONUNBUFFERED": "1"}


def run(args: list[str], **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "main.py", *args]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240,
        stdin=subprocess.DEVNULL, check=False, **kwargs,
    )  # fmt: skip


def one_error_line(capsys) -> str:
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1 and err[0].startswith("error: ")
    return err[0]


@pytest.mark.parametrize("side", ["src", "dst"])
def test_missing_and_empty_folders_are_one_clear_line(drawn_faces, tmp_path, capsys, side):
    for folder, text in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "holds no faces")):
        faces = {**drawn_faces, side: folder}
        assert main.main(train_args(faces, tmp_path / "model", "--no-prompt")) == 1
        line = one_error_line(capsys)
        assert str(folder) in line and text in line


def test_faces_in_subfolders_are_pointed_at(drawn_faces, tmp_path, capsys):
    shutil.copytree(drawn_faces["src"], tmp_path / "aligned" / "ann")
    faces = {**drawn_faces, "dst": tmp_path / "aligned"}
    assert main.main(train_args(faces, tmp_path / "model", "--no-prompt")) == 1
    assert "subfolders only (ann); give one of them, or pack" in one_error_line(capsys)


def test_a_model_that_is_being_trained_is_not_trained_twice(drawn_faces, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    with CheckpointStore(folder, "new", "Quick96").reserved():
        assert main.main(train_args(drawn_faces, folder, "--no-prompt")) == 1
        assert "another program is training this model" in capsys.readouterr().err
        assert [path.name for path in folder.iterdir()] == [".new_Quick96.lock"]


def test_images_without_faces_are_one_clear_line(drawn_faces, tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "1.jpg").write_bytes(b"this is text")
    faces = {**drawn_faces, "src": tmp_path / "faces"}
    assert main.main(train_args(faces, tmp_path / "model", "--no-prompt")) == 1
    assert "none of 1 images is a usable face" in one_error_line(capsys)


def test_a_model_folder_that_cannot_be_written_is_one_clear_line(drawn_faces, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main.main(train_args(drawn_faces, folder, "--no-prompt")) == 1
        assert str(folder) in one_error_line(capsys)


@pytest.mark.parametrize(
    "more, code, text",
    [
        (["--option", "batch_size=0"], 2, "1..1024"),
        (["--option", "nothing=1"], 2, "nothing"),
        (["--force-gpu-idxs", "x"], 2, "--force-gpu-idxs"),
        (["--force-model-name", "a/b"], 1, "a/b"),
        (["--pretrained-model-dir", "/nowhere at all"], 1, "/nowhere at all"),
        (["--execute-program", "0", "pass"], 2, "--execute-program"),
        (["--training-data-dir", "ann=a"], 2, "replaces"),
    ],
)
def test_wrong_values_are_one_clear_line(drawn_faces, tmp_path, capsys, more, code, text):
    args = [arg for arg in train_args(drawn_faces, tmp_path / "model", "--no-prompt") if arg != "--cpu-only"]
    assert main.main([*args, *more]) == code
    assert text in one_error_line(capsys)


@pytest.mark.parametrize("more", [["--target-iter", "0"], ["--model", "Nope"], ["--execute-program", "1"]])
def test_wrong_usage_is_refused(drawn_faces, tmp_path, more):
    with pytest.raises(SystemExit) as err:
        main.parse([*train_args(drawn_faces, tmp_path), *more])
    assert err.value.code == 2


def test_mistakes_are_told_before_tensorflow_is_loaded(drawn_faces, tmp_path):
    args = train_args({**drawn_faces, "src": tmp_path / "nowhere"}, tmp_path / "model")
    code = f"import sys, main\nassert main.main({args!r}) == 1 and 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30, capture_output=True)


def test_an_unattended_run_at_its_target_ends_before_tensorflow_is_loaded(
    drawn_faces, tmp_path, monkeypatch, capsys
):
    model = TinyModel(options_class("Quick96")(target_iter=9))
    model.kind, model.iteration = "Quick96", 7
    CheckpointStore(tmp_path, "new", "Quick96").save(model)
    args = train_args(drawn_faces, tmp_path, "--no-prompt", "--target-iter", "7")
    code = f"import sys, main\nassert main.main({args!r}) == 0 and 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30, capture_output=True)
    assert b"Reached the target iteration 7: new is at iteration 7 already." in done.stdout
    reached = []
    monkeypatch.setattr(command, "_train", lambda *given: reached.append(given[2]) or 0)
    unseen = [word for word in args if word != "--no-prompt"]
    assert main.main([*unseen, "--force-model-name", "new", "--screen", "none"]) == 0 and not reached
    assert main.main([*args, "--option", "batch_size=2"]) == 0 and reached.pop().is_changed
    assert main.main([*args, "--option", "batch_size=4"]) == 0 and not reached  # as it was saved
    assert main.main(train_args(drawn_faces, tmp_path, "--no-prompt")) == 0 and len(reached) == 1  # to 9


def test_questions_rename_and_delete_at_a_terminal(drawn_faces, tmp_path):
    pexpect = pytest.importorskip("pexpect")
    if os.name != "posix":
        pytest.skip("no pseudo terminals here")
    model_dir = tmp_path / "model"
    for name, age in (("one", 100), ("two", 0)):
        folder = model_dir / f"{name}_Quick96" / "0000001-7"
        folder.mkdir(parents=True)  # listed by its name alone; never loaded here
        os.utime(folder, (1e9 - age, 1e9 - age))
    child = pexpect.spawn(
        sys.executable, ["main.py", *train_args(drawn_faces, model_dir)], cwd=str(ROOT), timeout=30,
        env=environment(), encoding="utf-8", dimensions=(40, 200),
    )  # fmt: skip
    try:
        child.expect_exact("[0] : two - latest")
        child.expect_exact("[1] : one")
        child.expect_exact("[0] Model ( ?:help ) : ")
        child.sendline("?")
        child.expect_exact("r renames a model")
        child.expect_exact("[0] Model ( ?:help ) : ")
        child.sendline("r")
        child.expect("Which model to rename")
        child.sendline("one")
        child.expect_exact("[one] New name of one ( ?:help ) : ")
        child.sendline("three")
        child.expect_exact("one is now three.")
        child.expect_exact("[0] Model ( ?:help ) : ")
        child.sendline("d")
        child.expect("Which model to delete")
        child.sendline("two")
        child.expect_exact("[n] Delete two")
        child.sendline("y")
        child.expect_exact("two is deleted.")
        child.expect_exact("[0] : three - latest")
        child.sendline("fresh_one")
        child.expect_exact("The model is called 'fresh one'")
        child.expect_exact("[0] Autobackup hour ( 0..24 ?:help ) : ")
        child.sendline("99")
        child.expect_exact("99 is outside 0..24, taking 24")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 130
    finally:
        child.close(force=True)
    assert [path.name for path in model_dir.iterdir()] == ["three_Quick96"]


@pytest.mark.slow
def test_what_training_needs_beside_the_faces_is_missed_before_anything_is_said_to_begin(
    drawn_faces, tmp_path
):
    gone = tmp_path / "gone.h5"
    sizes = ("resolution=64", "ae_dims=32", "e_dims=16", "d_dims=16", "d_mask_dims=16", "batch_size=1")
    words = train_args(drawn_faces, tmp_path / "model", "--no-prompt")
    words[words.index("Quick96")] = "SAEHD"
    for text in (*sizes, "perceptual_power=0.5", f"perceptual_weights={gone}"):
        words += ["--option", text]
    done = run(words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {gone}: the file of VGG16's weights")
    assert not re.search("First iteration|Fitting", done.stdout)
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.slow
def test_the_end_of_pretraining_keeps_the_pretrained_model(drawn_faces, tmp_path):
    sizes = ("resolution=64", "ae_dims=32", "e_dims=16", "d_dims=16", "d_mask_dims=16", "batch_size=1")
    common = [word for text in sizes for word in ("--option", text)]

    def train(target: int, *options: str, more: tuple[str, ...] = ()) -> str:
        words = train_args(drawn_faces, tmp_path, "--no-prompt", "--target-iter", str(target), *more)
        words[words.index("Quick96")] = "SAEHD"
        done = run([*words, "--force-model-name", "ann", *options])
        assert done.returncode == 0, done.stderr
        return done.stdout

    many = ("--pretraining-data-dir", str(drawn_faces["src"]))
    assert "is kept in" not in train(3, *common, "--option", "pretrain=y", more=many)
    pretrained = CheckpointStore(tmp_path, "ann", "SAEHD").load_latest()
    kept = tmp_path / "ann_SAEHD_pretrained" / "ann_SAEHD"
    assert f"The pretrained model is kept in {kept};" in train(2, "--option", "pretrain=n")
    assert "is kept in" not in train(3)
    found = CheckpointStore(kept.parent, "ann", "SAEHD").load_latest()
    assert found.iteration == pretrained.iteration == 3 and found.options["pretrain"]
    assert all(np.array_equal(array, found.weights[path]) for path, array in pretrained.weights.items())


@pytest.mark.slow
def test_ten_iterations_equal_five_and_five_more_bit_for_bit(drawn_faces, tmp_path):
    """Also: the pipe's lines, the history, the preview, and that a pretrained model starts where it ended."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # the precision is given: on a busy machine the probe of a first run may come out either way
    fixed = ("--option", "precision=float32", "--option", "batch_size=2")
    first = run(train_args(drawn_faces, whole, "--no-prompt", "--target-iter", "10", *fixed))
    assert first.returncode == 0, first.stderr
    shown = [LINE.search(line) for line in first.stdout.splitlines()]
    assert [int(found[1]) for found in shown if found][-1] == 10
    assert (whole / "new_Quick96_preview.jpg").is_file()
    history = (whole / "new_Quick96_history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["iteration", *map(str, range(1, 11))]
    for target, more in (("5", fixed), ("10", ())):
        done = run(train_args(drawn_faces, parts, "--silent-start", "--target-iter", target, *more))
        assert done.returncode == 0, done.stderr
    generations = [CheckpointStore(folder, "new", "Quick96").generations()[0] for folder in (whole, parts)]
    for name in ("weights", "optimizer", "history"):
        a, b = ((folder / f"{name}.safetensors").read_bytes() for folder in generations)
        assert a == b, f"{name} differ"

    from mainscripts.training_start import load_pretrained

    saved = CheckpointStore(whole, "new", "Quick96").load_latest().weights
    for folder in (whole / "new_Quick96", write_dfl_parts(tmp_path / "pretrained", saved)):
        model = create_model("Quick96", name="other")
        load_pretrained(model, folder)
        assert all(np.array_equal(saved[path], value) for path, value in model.weights().items())
        assert model.iteration == 0
    (tmp_path / "pretrained" / "inter.npy").unlink()
    with pytest.raises(CheckpointError, match=r"lacks inter\.npy"):
        load_pretrained(model, tmp_path / "pretrained")
    with pytest.raises(CheckpointError, match="no pretrained weights"):
        load_pretrained(model, drawn_faces["src"])


def write_dfl_parts(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    """The weights in files as DFL's pretrained Quick96 has them."""
    folder.mkdir()
    parts: dict[str, dict[str, np.ndarray]] = {}
    for path, value in weights.items():
        part, _, rest = path.partition("/")
        parts.setdefault(part, {})[f"{rest}:0"] = value
    for part, values in parts.items():
        (folder / f"{part}.npy").write_bytes(safe_pickle.dumps(values))
    return folder


@pytest.mark.slow
def test_enter_saves_and_a_signal_saves_and_ends(drawn_faces, tmp_path):
    pexpect = pytest.importorskip("pexpect")
    if os.name != "posix":
        pytest.skip("no pseudo terminals here")
    args = train_args(drawn_faces, tmp_path, "--force-model-name", "new", "--option", "batch_size=1")
    child = pexpect.spawn(
        sys.executable, ["main.py", *args], cwd=str(ROOT), timeout=200, env=environment(), encoding="utf-8",
        dimensions=(60, 200),
    )  # fmt: skip
    try:
        child.expect_exact("[0] Autobackup hour")
        child.sendline("")
        for _ in range(20):  # all other questions of the first run, by their defaults
            if child.expect([r" \) : $", "Model Summary"]) == 1:
                break
            child.sendline("")
        child.expect("saved in [^\r\n]*#000001")
        child.expect("avg [^\r\n]*#0000")
        child.sendline("")
        child.expect(r"saved in [^\r\n]*\[#(\d+)\]")
        second = int(child.match[1])
        assert second > 1
        child.kill(signal.SIGTERM)
        child.expect_exact("Stopped by SIGTERM.")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 130
    finally:
        child.close(force=True)
    checkpoint = CheckpointStore(tmp_path, "new", "Quick96").load_latest()
    rows = (tmp_path / "new_Quick96_history.csv").read_text().splitlines()
    assert checkpoint.iteration >= second and rows[-1].startswith(f"{checkpoint.iteration},")


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_model_and_ends_with_a_word(drawn_faces, tmp_path):
    """A file system of 1 GB holds two generations of Quick96, not three."""
    if shutil.which("mount") is None or os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file systems can be mounted here")
    try:
        with (disk / "ballast").open("wb") as file:
            file.truncate(0)
            file.write(bytes(180 << 20))
        process = subprocess.Popen(
            [sys.executable, "main.py", *train_args(drawn_faces, disk, "--no-prompt")],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        seen = []
        for line in process.stdout:
            seen.append(line)
            found = LINE.search(line.rstrip())
            if found and int(found[1]) >= 3:
                process.send_signal(signal.SIGINT)
                break
        seen += process.stdout.readlines()
        assert process.wait(timeout=60) == 1, "".join(seen)
        assert seen[-1].startswith("error: ") and "free some space" in seen[-1]
        assert CheckpointStore(disk, "new", "Quick96").load_latest().iteration == 1
    finally:
        time.sleep(0.2)
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.slow
def test_an_unattended_run_does_what_its_file_says(drawn_faces, tmp_path):
    config = tmp_path / "night.json"
    config.write_text(json.dumps({
        "model": "Quick96",
        "model-dir": str(tmp_path / "model"),
        "training-data-src-dir": str(drawn_faces["src"]),
        "training-data-dst-dir": str(drawn_faces["dst"]),
        "cpu-only": True, "no-prompt": True, "screen": "none", "target-iter": 3,
        "options": {"batch_size": 1, "recipe": "dfl"},
        "execute-program": [[0.001, "print('beside'); raise SystemExit(3)"]],
    }))  # fmt: skip
    done = run(["train", "--config", str(config), "--option", "batch_size=2"])
    assert done.returncode == 0, done.stderr
    assert "failed with exit code 3; the training goes on" in done.stdout and ": beside" in done.stdout
    options = CheckpointStore(tmp_path / "model", "new", "Quick96").read_options()
    assert (options["batch_size"], options["recipe"]) == (2, "dfl")
    assert not (tmp_path / "model" / "Quick96_default_options.json").exists()  # nobody answered anything

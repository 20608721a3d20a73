"""The numbered scripts: in step with their table, understood by main.py, working wherever they are put."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import main

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_internal_batch"
ECHO = """\
import json, os, sys
print(json.dumps(sys.argv[1:], ensure_ascii=False))
sys.exit(int(os.environ.get("EXIT_CODE", "0")))
"""
posix = pytest.mark.skipif(os.name == "nt", reason="bash scripts")


def load(path: Path) -> ModuleType:
    """A script of the folder as a module (the folder is no package)."""
    spec = importlib.util.spec_from_file_location(f"_batch_{path.stem}_{abs(hash(path))}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


GENERATE = load(FOLDER / "generate.py")
SCRIPTS = GENERATE.read_table()


def sh_commands(path: Path) -> list[list[str]]:
    """The main.py lines of a bash script, its variables filled in."""
    lines = [ln for ln in path.read_text(encoding="ascii").splitlines() if ln.startswith('"$PYTHON"')]
    replaced = [
        ln.replace('"$@"', "").replace('"${@:2}"', "").replace("$WORKSPACE", "/w").replace('"$1"', "clip.mp4")
        for ln in lines
    ]
    return [shlex.split(ln)[2:] for ln in replaced]


def bat_commands(path: Path) -> list[list[str]]:
    """The main.py lines of a cmd script, its variables filled in."""
    lines = [ln for ln in path.read_text(encoding="ascii").splitlines() if ln.startswith('"%PYTHON%"')]
    replaced = [ln.replace("%*", "").replace("%WORKSPACE%", "W").replace('"%~1"', "clip.mp4") for ln in lines]
    return [
        [w.strip('"') for w in ln.split() if w not in {f"%{i}" for i in range(10)}][2:] for ln in replaced
    ]


def test_scripts_are_in_step_with_the_table():
    assert GENERATE.out_of_step() == [], "run: python _internal_batch/generate.py"


def test_a_changed_missing_or_surplus_script_is_noticed(tmp_path):
    folder = tmp_path / "batch"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = folder / "7_merge_Quick96.sh"
    changed.write_text(changed.read_text().replace("merge", "merge --debug", 1))
    (folder / "6) train Quick96.bat").unlink()
    (folder / "9_new.sh").write_text("")

    lines = GENERATE.out_of_step(folder)

    assert lines == [
        "differs: 7_merge_Quick96.sh",
        "missing: 6) train Quick96.bat",
        "not in the table: 9_new.sh",
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.sh)
def test_every_line_is_accepted_by_the_parser(script):
    in_bash = sh_commands(FOLDER / f"{script.sh}.sh")
    in_cmd = bat_commands(FOLDER / f"{script.bat}.bat")

    assert len(in_bash) == len(in_cmd) == len(script.run)
    for words in (*in_bash, *in_cmd):
        assert main.parse(words).command == words[0]
    assert [[w.replace("/w", "W").replace("/", "\\") for w in words] for words in in_bash] == in_cmd


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bat")), ids=lambda p: p.stem)
def test_cmd_scripts_are_ascii_with_its_line_ends(path):
    content = path.read_bytes()
    content.decode("ascii")
    assert content.count(b"\n") == content.count(b"\r\n")
    if path.name != "setenv.bat":
        assert b'call "%~dp0setenv.bat"' in content and b"pause" in content


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bat")), ids=lambda p: p.stem)
def test_cmd_scripts_jump_only_to_labels_they_have(path):
    lines = path.read_text(encoding="ascii").lower().splitlines()
    labels = {ln.strip()[1:] for ln in lines if ln.strip().startswith(":")}
    for ln in lines:
        words = ln.split()
        for i, word in enumerate(words):
            if word == "goto" or (word == "call" and words[i + 1].startswith(":")):
                assert words[i + 1].lstrip(":") in labels, ln


@posix
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sh")), ids=lambda p: p.stem)
def test_bash_scripts_are_well_formed(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert b"\r" not in path.read_bytes()
    if path.name != "setenv.sh":
        assert os.access(path, os.X_OK)


@pytest.fixture
def clone(tmp_path) -> Path:
    """A repository in an awkward folder whose main.py prints what it is given, its environment ready."""
    repo = tmp_path / "Käse & Brot (日本) 'x'" / "repo"
    shutil.copytree(FOLDER, repo / "_internal_batch", ignore=shutil.ignore_patterns("__pycache__"))
    (repo / "main.py").write_text(ECHO)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (repo / name).write_text("")
    venv = repo / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    setup = load(repo / "_internal_batch" / "setup_env.py")
    setup.write_stamp(venv, venv / "bin" / "python", dev=True, gpu=True)
    return repo


def start(script: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FACELAB_")}
    return subprocess.run(
        ["bash", script, *words],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        cwd="/",
        check=False,
    )


@posix
def test_script_runs_from_anywhere_and_passes_words_on(clone):
    done = start(clone / "_internal_batch" / "7_merge_Quick96.sh", "--option", "mode=seamless blend", "ä*")

    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout)
    assert words[:3] == ["merge", "--input-dir", f"{clone}/workspace/data_dst"]
    assert words[-3:] == ["--option", "mode=seamless blend", "ä*"]
    assert (clone / "workspace" / "data_src").is_dir()


@posix
def test_script_works_through_a_link(clone, tmp_path):
    link = tmp_path / "on the desktop"
    link.symlink_to(clone / "_internal_batch" / "6_train_Quick96.sh")
    assert json.loads(start(link).stdout)[0] == "train"


@posix
def test_workspace_can_be_elsewhere(clone, tmp_path):
    other = tmp_path / "große Platte"
    done = start(
        clone / "_internal_batch" / "8_merged_to_mp4.sh", "--no-prompt", FACELAB_WORKSPACE=str(other)
    )

    result, mask = map(json.loads, done.stdout.splitlines())
    assert result[result.index("--output-file") + 1] == f"{other}/result.mp4"
    assert mask[mask.index("--output-file") + 1] == f"{other}/result_mask.mp4"
    assert result[result.index("--reference-file") + 1] == f"{other}/data_dst.*"
    assert result[-1] == mask[-1] == "--no-prompt"
    assert not (clone / "workspace").exists()


@posix
def test_a_failed_line_ends_the_script_with_its_code(clone):
    done = start(clone / "_internal_batch" / "8_merged_to_avi.sh", EXIT_CODE="130")
    assert done.returncode == 130
    assert len(done.stdout.splitlines()) == 1


@posix
def test_script_that_wants_a_file_says_so(clone):
    script = clone / "_internal_batch" / "3_cut_video.sh"
    without = start(script)
    assert without.returncode == 2 and "usage: 3_cut_video.sh VIDEO" in without.stderr
    words = json.loads(start(script, "/a b/c.mp4", "--bitrate", "9").stdout)
    assert words == ["videoed", "cut-video", "--input-file", "/a b/c.mp4", "--bitrate", "9"]


@posix
def test_without_a_python_the_line_says_what_to_install(clone, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "basename", "date", "grep", "readlink", "mkdir", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    (clone / ".venv" / "bin" / "python").unlink()

    done = start(clone / "_internal_batch" / "7_merge_Quick96.sh", PATH=str(tools))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "no Python 3.10 to 3.13" in done.stderr

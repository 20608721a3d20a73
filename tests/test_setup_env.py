"""The set-up: what counts as ready, what is made again, two at once. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOW = sys.version_info[:2]


@pytest.fixture
def repo(tmp_path) -> Path:
    """A repository that asks for no packages."""
    folder = tmp_path / "repo ä"
    (folder / "_internal_batch").mkdir(parents=True)
    shutil.copy(ROOT / "_internal_batch" / "setup_env.py", folder / "_internal_batch")
    (folder / "requirements.txt").write_text("# none\nopencv-python>=4.10,<6\n")
    (folder / "requirements-dev.txt").write_text("# none\n")
    return folder


@pytest.fixture
def setup(repo, monkeypatch) -> ModuleType:
    """Its set-up module, with pip and the import of the packages replaced, on a machine without a GPU."""
    monkeypatch.syspath_prepend(str(repo / "_internal_batch"))
    monkeypatch.delitem(sys.modules, "setup_env", raising=False)
    import setup_env

    assert repo == setup_env.REPO
    monkeypatch.setattr(setup_env, "NVIDIA_FILES", ())
    monkeypatch.setattr(setup_env, "calls", [], raising=False)
    monkeypatch.setattr(setup_env, "pip_install", lambda *a: setup_env.calls.append(a[1:]))
    monkeypatch.setattr(setup_env, "repair_opencv", lambda python: None)
    monkeypatch.setattr(setup_env, "verify", lambda python, gpu: None)
    monkeypatch.setattr(setup_env, "make_environment", fake_environment(setup_env))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    yield setup_env
    sys.modules.pop("setup_env", None)


def fake_environment(module: ModuleType):
    """Makes an environment around this Python in no time; pip is there because it is here."""

    def make(venv: Path) -> None:
        venv.mkdir(parents=True, exist_ok=True)
        (venv / module.MARK).touch()
        (venv / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
        module.venv_python(venv).parent.mkdir()
        module.venv_python(venv).symlink_to(Path(sys.executable).resolve())
        module.calls.append("made")

    return make


def test_ready_after_an_installation_and_not_before(setup, repo):
    venv = repo / ".venv"
    assert not setup.is_ready(venv, False, NOW)
    setup.install(venv, dev=False)
    assert setup.is_ready(venv, False, NOW)
    assert not setup.is_ready(venv, True, NOW)
    assert setup.calls == ["made", (False, False)]
    setup.install(venv, dev=False)
    assert len(setup.calls) == 2, "a second installation has nothing to do"


def test_tools_of_the_tests_are_added_and_stay(setup, repo):
    venv = repo / ".venv"
    setup.install(venv, dev=False)
    setup.install(venv, dev=True)
    assert setup.is_ready(venv, True, NOW) and setup.is_ready(venv, False, NOW)
    (repo / "requirements.txt").write_text("# changed\n")
    setup.install(venv, dev=False)
    assert setup.is_ready(venv, True, NOW), "a later installation forgot the tests' tools"


def test_changed_requirements_are_installed_into_the_same_environment(setup, repo):
    venv = repo / ".venv"
    setup.install(venv, dev=False)
    (repo / "requirements.txt").write_bytes((repo / "requirements.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert setup.is_ready(venv, False, NOW), "line ends are no change"
    (repo / "requirements.txt").write_text("something>=1\n")
    assert not setup.is_ready(venv, False, NOW)
    setup.install(venv, dev=False)
    assert setup.calls.count("made") == 1 and setup.is_ready(venv, False, NOW)


def test_an_interrupted_installation_is_made_again_from_scratch(setup, repo, monkeypatch):
    venv = repo / ".venv"
    working = setup.pip_install

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "pip_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup.install(venv, dev=False)
    assert not setup.is_ready(venv, False, NOW)
    (venv / "half a package").touch()
    monkeypatch.setattr(setup, "pip_install", working)
    setup.install(venv, dev=False)
    assert setup.is_ready(venv, False, NOW) and not (venv / "half a package").exists()


def test_an_interrupted_update_does_not_leave_the_old_stamp(setup, repo, monkeypatch):
    venv = repo / ".venv"
    before = (repo / "requirements.txt").read_text()
    setup.install(venv, dev=False)
    (repo / "requirements.txt").write_text("other\n")
    monkeypatch.setattr(setup, "verify", lambda *a: (_ for _ in ()).throw(setup.SetupError("no")))
    with pytest.raises(setup.SetupError):
        setup.install(venv, dev=False)
    (repo / "requirements.txt").write_text(before)
    assert not setup.is_ready(venv, False, NOW), "half of the update may be in there"


def test_a_dead_or_foreign_python_is_replaced(setup, repo):
    venv = repo / ".venv"
    setup.install(venv, dev=False)
    setup.venv_python(venv).unlink()
    setup.venv_python(venv).symlink_to(repo / "gone")
    setup.install(venv, dev=False)
    assert setup.calls.count("made") == 2 and setup.is_ready(venv, False, NOW)
    stamp = json.loads((venv / setup.STAMP).read_text())
    (venv / setup.STAMP).write_text(json.dumps({**stamp, "python": [3, 9]}))
    assert not setup.is_ready(venv, False, NOW)
    setup.install(venv, dev=False)
    assert setup.calls.count("made") == 3


@pytest.mark.parametrize("stamp", ["", "{", "[]", "null", '{"files": 3}', '{"python": [3, 11]}'])
def test_a_damaged_stamp_is_no_stamp(setup, repo, stamp):
    venv = repo / ".venv"
    setup.install(venv, dev=False)
    (venv / setup.STAMP).write_text(stamp)
    assert not setup.is_ready(venv, False, NOW)


def test_a_folder_that_is_no_environment_is_never_deleted(setup, repo):
    venv = repo / ".venv"
    venv.mkdir()
    (venv / "thesis.doc").touch()
    with pytest.raises(setup.SetupError, match="move it away"):
        setup.install(venv, dev=False)
    assert (venv / "thesis.doc").exists()


def test_a_driver_that_appears_brings_the_gpu_packages(setup, repo, monkeypatch):
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        pytest.skip("TensorFlow's GPU wheels are for Linux on x86_64")
    venv = repo / ".venv"
    setup.install(venv, dev=False)
    driver = repo / "driver"
    monkeypatch.setattr(setup, "NVIDIA_FILES", (str(driver),))
    assert setup.is_ready(venv, False, NOW)
    driver.touch()
    assert not setup.is_ready(venv, False, NOW)
    monkeypatch.setattr(setup, "DISK_NEEDED", {False: 0, True: 0})
    setup.install(venv, dev=False)
    assert setup.calls[-1] == (False, True) and setup.is_ready(venv, False, NOW)
    driver.unlink()
    assert setup.is_ready(venv, False, NOW), "the CUDA packages do no harm without a driver"
    driver.touch()
    monkeypatch.setenv("FACELAB_CPU_ONLY", "1")
    assert not setup.wants_gpu()


def test_pip_is_asked_for_the_right_files(setup, repo):
    plain = [str(word) for word in setup.pip_command(Path("py"), dev=False, gpu=False)]
    full = [str(word) for word in setup.pip_command(Path("py"), dev=True, gpu=True)]
    assert plain[-2:] == ["-r", str(repo / "requirements.txt")]
    assert full[-3:] == ["-r", str(repo / "requirements-dev.txt"), "tensorflow[and-cuda]"]


def test_too_small_a_disk_is_refused_before_anything_is_made(setup, repo, monkeypatch):
    monkeypatch.setattr(setup, "DISK_NEEDED", {False: 1e18, True: 1e18})
    with pytest.raises(setup.SetupError, match="GB are free"):
        setup.install(repo / ".venv", dev=False)
    assert setup.calls == []


def test_missing_desktop_libraries_bring_the_build_without_windows(repo, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux lacks them")
    monkeypatch.syspath_prepend(str(repo / "_internal_batch"))
    monkeypatch.delitem(sys.modules, "setup_env", raising=False)
    import setup_env

    commands: list[list[str]] = []

    def record(command: list, quiet: bool = False) -> bool:
        commands.append([str(word) for word in command])
        return "-c" not in command

    monkeypatch.setattr(setup_env, "_run", record)
    setup_env.repair_opencv(Path("py"))
    assert commands[0] == ["py", "-c", "import cv2"]
    assert commands[1][-1] == "opencv-python"
    assert commands[2][-1] == "opencv-python-headless>=4.10,<6"
    sys.modules.pop("setup_env", None)


def test_two_at_once_install_once(setup, repo, tmp_path):
    log = tmp_path / "log"
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys, time\n"
        f"sys.path[:0] = [{str(repo / '_internal_batch')!r}, {str(ROOT / 'tests')!r}]\n"
        "import setup_env, test_setup_env\n"
        "from pathlib import Path\n"
        "setup_env.calls = []\n"
        "setup_env.wants_gpu = lambda ask_smi=True: False\n"
        "def pip(*a):\n"
        "    time.sleep(0.6)\n"
        f"    Path({str(log)!r}).open('a').write('pip ')\n"
        "setup_env.pip_install, setup_env.repair_opencv = pip, lambda python: None\n"
        "setup_env.verify = lambda python, gpu: None\n"
        "setup_env.make_environment = test_setup_env.fake_environment(setup_env)\n"
        f"sys.exit(setup_env.main(['install', '--venv', {str(repo / '.venv')!r}]))\n"
    )
    running = [
        subprocess.Popen([sys.executable, driver], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert log.read_text() == "pip "
    assert sum("waiting for it" in text for text in outputs) >= 1


def test_an_environment_is_really_made(repo, tmp_path):
    """The whole way with pip, on an empty list of packages."""
    (repo / "requirements.txt").write_text("# none\n")
    code = (
        f"import sys; sys.path.insert(0, {str(repo / '_internal_batch')!r}); import setup_env as s; "
        "s.verify = lambda *a: None; s.repair_opencv = lambda *a: None; s.wants_gpu = lambda **k: False; "
        f"sys.exit(s.main(['install', '--venv', {str(repo / '.venv')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    python = repo / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    script = repo / "_internal_batch" / "setup_env.py"
    check = [python, "-I", "-S", script, "check", "--venv", repo / ".venv"]
    assert subprocess.run(check, check=False).returncode == 0
    (repo / "requirements.txt").write_text("numpy\n")
    assert subprocess.run(check, check=False).returncode == 1

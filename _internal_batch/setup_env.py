"""Make the Python environment that every script runs in, or say in a moment that it is ready.

Called by setenv.sh and setenv.bat: `check` with the environment's own Python, `install` with the system's.
Standard library only. The environment counts as ready when its stamp, which is written last, names the
requirement files as they are now; one whose making was interrupted carries a mark, and is made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
STAMP = "facelab-ready.json"  # in the environment's folder
MARK = "facelab-unfinished"
OLDEST, NEWEST = (3, 10), (3, 13)  # what TensorFlow 2.21 has wheels for
GPU_TENSORFLOW = "tensorflow[and-cuda]"
DISK_NEEDED = {False: 3.5e9, True: 10e9}  # bytes while installing, without and with the CUDA packages
NVIDIA_FILES = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/nvidia-smi")  # Linux, WSL2


class SetupError(Exception):
    """What stops the set-up, in one line with the remedy."""


# --- what "ready" means


def requirement_files(dev: bool) -> list[Path]:
    """The files that pip installs from."""
    return [REPO / "requirements.txt", *([REPO / "requirements-dev.txt"] if dev else [])]


def fingerprints(dev: bool) -> dict[str, str]:
    """Name and SHA-256 of each requirement file; line ends do not count."""
    return {
        path.name: hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for path in requirement_files(dev)
    }


def read_stamp(venv: Path) -> dict | None:
    """The stamp of a finished environment, or nothing."""
    if (venv / MARK).exists():
        return None
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and isinstance(stamp.get("files"), dict) else None


def is_ready(venv: Path, dev: bool, version: tuple[int, int]) -> bool:
    """Whether `venv`, whose Python is `version`, holds what the requirement files ask for now."""
    stamp = read_stamp(venv)
    if stamp is None or stamp.get("python") != list(version):
        return False
    if any(stamp["files"].get(name) != value for name, value in fingerprints(dev).items()):
        return False
    return stamp.get("gpu") is True or not wants_gpu(ask_smi=False)


def wants_gpu(ask_smi: bool = True) -> bool:
    """Whether this machine has an NVIDIA driver that TensorFlow's Linux wheels can use.

    `ask_smi=False` looks at files only (microseconds), for the check at every start.
    """
    if os.environ.get("FACELAB_CPU_ONLY") == "1" or not sys.platform.startswith("linux"):
        return False
    if os.uname().machine != "x86_64":
        return False
    if any(Path(name).exists() for name in NVIDIA_FILES):
        return True
    smi = shutil.which("nvidia-smi") if ask_smi else None
    return smi is not None and subprocess.run([smi], capture_output=True, check=False).returncode == 0


# --- one set-up at a time


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; says so once if somebody else has it. The system frees it if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _try_lock(file.fileno()):
            say("another script is setting up; waiting for it")
            while not _try_lock(file.fileno()):
                time.sleep(0.2)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# --- making it


def install(venv: Path, dev: bool) -> None:
    """Make or complete the environment; quick if another script has just done so.

    Raises:
        SetupError: It cannot be made; the message says what to do.
    """
    with locked(venv.with_name(f"{venv.name}.lock")):
        python = venv_python(venv)
        version = python_version(python)
        if version is not None and is_ready(venv, dev, version):
            return
        stamp = read_stamp(venv) or {}
        gpu = wants_gpu()
        with_dev = dev or "requirements-dev.txt" in stamp.get("files", {})
        check_disk(venv, gpu)
        if not reusable(venv, version):
            remove_environment(venv)
            say(f"making the Python environment {venv} with Python {sys.version.split()[0]}")
            make_environment(venv)
        (venv / MARK).touch()
        (venv / STAMP).unlink(missing_ok=True)
        say(
            "installing the packages"
            + (" for an NVIDIA GPU" if gpu else "")
            + "; a few minutes, only this time"
        )
        pip_install(python, with_dev, gpu)
        repair_opencv(python)
        verify(python, gpu)
        write_stamp(venv, python, with_dev, gpu)
        say("the set-up is done")


def venv_python(venv: Path) -> Path:
    """The interpreter inside an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def python_version(python: Path) -> tuple[int, int] | None:
    """(major, minor) as the interpreter says it itself, or nothing if it does not run."""
    try:
        code = "import sys; print(*sys.version_info[:2])"
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
        return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None
    except (OSError, ValueError):
        return None


def reusable(venv: Path, version: tuple[int, int] | None) -> bool:
    """Whether packages can simply be added: finished once, alive, right version, and pip answers."""
    if version is None or (venv / MARK).exists() or not OLDEST <= version <= NEWEST:
        return False
    stamp = read_stamp(venv)
    if stamp is not None and stamp.get("python") != list(version):
        return False  # the system's Python was exchanged under it, its packages are of the old one
    command = [venv_python(venv), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def remove_environment(venv: Path) -> None:
    """Delete a broken environment, and nothing that is none."""
    if not os.path.lexists(venv):
        return
    if venv.is_symlink() or not venv.is_dir():
        raise SetupError(f"{venv} is no folder of ours; move it away and start again")
    if any(venv.iterdir()) and not ((venv / "pyvenv.cfg").exists() or (venv / MARK).exists()):
        raise SetupError(
            f"{venv} holds something that is no Python environment; move it away and start again"
        )
    say(f"{venv.name} is unfinished, broken or of another Python; making it again")
    shutil.rmtree(venv)


def make_environment(venv: Path) -> None:
    """Create the environment, by whatever means this Python has (Debian splits off `venv`)."""
    venv.mkdir(parents=True, exist_ok=True)
    (venv / MARK).touch()
    for command in environment_makers(venv):
        if _run(command, quiet=True):
            return
    if install_debian_venv() and _run([sys.executable, "-m", "venv", venv]):
        return
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    raise SetupError(f"{sys.executable} cannot make environments; run: sudo apt install python3-venv {name}")


def environment_makers(venv: Path) -> list[list[str | Path]]:
    """Commands that make an environment with pip, the next one where this Python lacks the one before."""
    makers: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", venv],
        [sys.executable, "-m", "virtualenv", venv],
    ]
    if uv := shutil.which("uv"):
        makers.append([uv, "venv", "--seed", "--allow-existing", "--python", sys.executable, venv])
    return makers


def install_debian_venv() -> bool:
    """Have apt bring Debian's missing half of `venv`: as root, or where somebody can type sudo's password."""
    if not shutil.which("apt-get"):
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    if sudo and not (shutil.which("sudo") and sys.stdin.isatty()):
        return False
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    say(f"Python's venv is missing; installing it: {' '.join([*sudo, 'apt-get', 'install', '-y', name])}")
    _run([*sudo, "apt-get", "update", "-q"])
    return _run([*sudo, "apt-get", "install", "-q", "-y", name])


def check_disk(venv: Path, gpu: bool) -> None:
    """Refuse to begin what will not fit; updates of a finished environment need little and pass."""
    folder = next(parent for parent in venv.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED[gpu] and read_stamp(venv) is None:
        needed = f"{DISK_NEEDED[gpu] / 1e9:.1f} GB"
        raise SetupError(f"{folder}: the set-up needs {needed} on this disk, {free / 1e9:.1f} GB are free")


def pip_command(python: Path, dev: bool, gpu: bool) -> list[str | Path]:
    """The pip call that installs everything."""
    command: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    for path in requirement_files(dev):
        command += ["-r", path]
    return command + ([GPU_TENSORFLOW] if gpu else [])  # the range comes from requirements.txt


def pip_install(python: Path, dev: bool, gpu: bool) -> None:
    """Install the requirement files."""
    if not _run(pip_command(python, dev, gpu)):
        raise SetupError("pip could not install the packages, see above; check the network and start again")


def repair_opencv(python: Path) -> None:
    """Take OpenCV's build without windows where a desktop's libraries are missing (servers, WSL)."""
    if not sys.platform.startswith("linux") or _run([python, "-c", "import cv2"], quiet=True):
        return
    say("a library of the desktop (libGL) is missing: taking OpenCV without windows")
    requirement = next(
        line.replace("opencv-python", "opencv-python-headless")
        for line in requirement_files(dev=False)[0].read_text(encoding="utf-8").splitlines()
        if line.startswith("opencv-python")
    )
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "uninstall", "-q", "-y", "opencv-python"])
    _run([*pip, "install", "-q", "--no-input", "--no-deps", "--force-reinstall", requirement])


def verify(python: Path, gpu: bool) -> None:
    """Import what everything stands on, so that a machine that cannot run it is told so here."""
    code = (
        "import cv2, numpy, scipy, av, tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.returncode < 0 and -done.returncode == 4:  # SIGILL
        raise SetupError("this processor is too old for TensorFlow 2.21, which needs AVX")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        remedy = "; install the Microsoft Visual C++ Redistributable" if os.name == "nt" else ""
        raise SetupError(f"the installed packages do not load: {last}{remedy}")
    found = int(done.stdout.split()[-1])
    if gpu:
        say(
            f"TensorFlow sees {found} GPU(s)" + ("" if found else "; update the NVIDIA driver to train on it")
        )


def write_stamp(venv: Path, python: Path, dev: bool, gpu: bool) -> None:
    """Declare the environment finished: stamp whole in place first, then the mark goes."""
    stamp = {"files": fingerprints(dev), "python": list(python_version(python) or ()), "gpu": gpu}
    temporary = venv / f".{STAMP}.{os.getpid()}"
    temporary.write_text(json.dumps(stamp), encoding="utf-8")
    temporary.replace(venv / STAMP)
    (venv / MARK).unlink(missing_ok=True)


def _run(command: list, quiet: bool = False) -> bool:
    """Whether a command could be run and succeeded; its output goes to ours unless `quiet`."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        return (
            subprocess.run([str(c) for c in command], stdout=sink, stderr=sink, check=False).returncode == 0
        )
    except OSError:
        return False


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("check", "install"))
    parser.add_argument("--venv", type=Path, required=True, help="the environment's folder")
    parser.add_argument("--dev", action="store_true", help="with the tools of the tests")
    args = parser.parse_args(argv)
    if args.action == "check":
        return 0 if is_ready(args.venv, args.dev, sys.version_info[:2]) else 1
    try:
        install(args.venv, args.dev)
    except SetupError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted; the next start goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

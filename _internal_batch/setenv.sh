# Sourced by every script: says where things are and has the Python environment made or checked.
# FACELAB_WORKSPACE, FACELAB_VENV and FACELAB_PYTHON override the workspace, the environment's folder and the Python
# that it is made from; FACELAB_CPU_ONLY=1 leaves the CUDA packages out.
set -e
FACELAB_STARTED="${FACELAB_STARTED:-$(date +%s)}"
export FACELAB_STARTED PYTHONUTF8=1
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}" # what matters of it, TensorFlow also raises
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
REPO="$(dirname "$HERE")"
WORKSPACE="${FACELAB_WORKSPACE:-$REPO/workspace}"

in_wsl() { grep -qi microsoft /proc/version 2>/dev/null; }

if [ -n "${FACELAB_VENV:-}" ]; then
    VENV="$FACELAB_VENV"
elif in_wsl && [ "${REPO#/mnt/}" != "$REPO" ]; then
    VENV="${XDG_DATA_HOME:-$HOME/.local/share}/facelab/venv" # a Windows disk is too slow, and has a .venv of Windows
else
    VENV="$REPO/.venv"
fi
PYTHON="$VENV/bin/python"

find_python() { # prints a Python that TensorFlow runs on; one that can make environments by itself before one that can't
    local candidate probe
    for probe in "import ensurepip, venv; ensurepip.version()" "pass"; do
        for candidate in "${FACELAB_PYTHON:-}" python3 python3.12 python3.11 python3.13 python3.10 python; do
            [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
            if "$candidate" -c "import sys; $probe; sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 13) and sys.maxsize > 2**32))" >/dev/null 2>&1; then
                echo "$candidate"
                return 0
            fi
        done
    done
    return 1
}

if ! "$PYTHON" -I -S "$HERE/setup_env.py" check --venv "$VENV" ${SETUP_FLAGS:-} 2>/dev/null; then
    if ! BASE_PYTHON="$(find_python)"; then
        echo "error: no Python 3.10 to 3.13 (64 bit) was found; install one, for example: sudo apt install python3 python3-venv (Debian, Ubuntu), sudo dnf install python3.12 (Fedora), brew install python@3.12 (macOS)" >&2
        exit 1
    fi
    "$BASE_PYTHON" "$HERE/setup_env.py" install --venv "$VENV" ${SETUP_FLAGS:-}
fi

mkdir -p "$WORKSPACE/data_src" "$WORKSPACE/data_dst" "$WORKSPACE/model"

if in_wsl && [ $# -gt 0 ]; then # handed over by a .bat: C:\clip.mp4 -> /mnt/c/clip.mp4
    for word in "$@"; do
        shift
        case "$word" in [A-Za-z]:[\\/]*) word="$(wslpath -a "$word")" ;; esac
        set -- "$@" "$word"
    done
fi

#!/usr/bin/env bash
# Keep a part of a video: give its path, or drop it on this script.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
[ $# -gt 0 ] || { echo "usage: $(basename "$0") VIDEO" >&2; exit 2; }
"$PYTHON" "$REPO/main.py" videoed cut-video --input-file "$1" "${@:2}"

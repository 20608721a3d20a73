#!/usr/bin/env bash
# Write a trained SAEHD model as a file for live swapping.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" exportdfm --model-dir "$WORKSPACE/model" --model SAEHD "$@"

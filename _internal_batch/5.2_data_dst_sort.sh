#!/usr/bin/env bash
# Sort the destination's faces by a measure of your choice.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" sort --input-dir "$WORKSPACE/data_dst/aligned" "$@"

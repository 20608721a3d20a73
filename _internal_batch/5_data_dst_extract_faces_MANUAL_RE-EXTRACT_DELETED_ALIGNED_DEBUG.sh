#!/usr/bin/env bash
# Mark by hand the frames whose pictures you deleted from data_dst/aligned_debug.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" extract --input-dir "$WORKSPACE/data_dst" --output-dir "$WORKSPACE/data_dst/aligned" --detector manual --max-faces-from-image 0 --output-debug --manual-output-debug-fix "$@"

#!/usr/bin/env bash
# Cut the destination video (workspace/data_dst.*) into frames, all of them.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" videoed extract-video --input-file "$WORKSPACE/data_dst.*" --output-dir "$WORKSPACE/data_dst" --fps 0 "$@"

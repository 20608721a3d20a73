#!/usr/bin/env bash
# Cut the source video (workspace/data_src.*) into frames.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" videoed extract-video --input-file "$WORKSPACE/data_src.*" --output-dir "$WORKSPACE/data_src" "$@"

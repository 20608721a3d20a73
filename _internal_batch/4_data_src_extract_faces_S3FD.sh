#!/usr/bin/env bash
# Find the faces of the source's frames and save them aligned.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" extract --input-dir "$WORKSPACE/data_src" --output-dir "$WORKSPACE/data_src/aligned" --detector s3fd "$@"

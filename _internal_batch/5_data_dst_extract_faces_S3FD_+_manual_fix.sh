#!/usr/bin/env bash
# The same, and then mark by hand the frames in which nothing was found.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" extract --input-dir "$WORKSPACE/data_dst" --output-dir "$WORKSPACE/data_dst/aligned" --detector s3fd --max-faces-from-image 0 --output-debug --manual-fix "$@"

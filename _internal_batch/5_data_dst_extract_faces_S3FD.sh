#!/usr/bin/env bash
# Find the faces of the destination's frames, all of each frame, with debug pictures.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" extract --input-dir "$WORKSPACE/data_dst" --output-dir "$WORKSPACE/data_dst/aligned" --detector s3fd --max-faces-from-image 0 --output-debug "$@"

#!/usr/bin/env bash
# Mark the face of each of the destination's frames by hand.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" extract --input-dir "$WORKSPACE/data_dst" --output-dir "$WORKSPACE/data_dst/aligned" --detector manual --max-faces-from-image 0 --output-debug "$@"

#!/usr/bin/env bash
# Remove noise from the destination's frames, in place.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" videoed denoise-image-sequence --input-dir "$WORKSPACE/data_dst" "$@"

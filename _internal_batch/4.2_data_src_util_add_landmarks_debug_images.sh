#!/usr/bin/env bash
# Write pictures of the source's faces with their landmarks drawn in, beside the faces.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_src/aligned" --add-landmarks-debug-images "$@"

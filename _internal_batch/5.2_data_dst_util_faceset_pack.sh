#!/usr/bin/env bash
# Put the destination's faces into one file, faceset.pak.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_dst/aligned" --pack-faceset "$@"

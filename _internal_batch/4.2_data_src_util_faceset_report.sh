#!/usr/bin/env bash
# Write a page about the source's faces, and whether they cover the destination's.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_src/aligned" --report --compare "$WORKSPACE/data_dst/aligned" "$@"

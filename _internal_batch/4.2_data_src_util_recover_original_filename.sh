#!/usr/bin/env bash
# Name the source's faces after their frames again.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_src/aligned" --recover-original-aligned-filename "$@"

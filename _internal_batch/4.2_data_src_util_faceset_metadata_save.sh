#!/usr/bin/env bash
# Save the source's metadata to meta.dat, before another program edits the pictures.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_src/aligned" --save-faceset-metadata "$@"

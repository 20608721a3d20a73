#!/usr/bin/env bash
# Put the metadata of meta.dat back into the source's edited pictures.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" util --input-dir "$WORKSPACE/data_src/aligned" --restore-faceset-metadata "$@"

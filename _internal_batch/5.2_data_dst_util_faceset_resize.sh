#!/usr/bin/env bash
# Make the destination's faces of another size or face type.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" facesettool resize --input-dir "$WORKSPACE/data_dst/aligned" "$@"

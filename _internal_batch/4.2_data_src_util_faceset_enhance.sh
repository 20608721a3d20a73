#!/usr/bin/env bash
# Draw finer detail into the source's faces with DFL's FaceEnhancer.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" facesettool enhance --input-dir "$WORKSPACE/data_src/aligned" "$@"

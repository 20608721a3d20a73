#!/usr/bin/env bash
# Cut the destination's faces again from the frames, at another size or face type, without detecting again.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" facesettool realign --input-dir "$WORKSPACE/data_dst/aligned" "$@"

#!/usr/bin/env bash
# The whole job without a question in under ten minutes: demo [SRC.mp4 DST.mp4], or two synthetic people.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" demo "$@"

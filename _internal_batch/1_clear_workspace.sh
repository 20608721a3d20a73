#!/usr/bin/env bash
# Make room for the next job: videos stay, and models and faces only go if you say so.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" clear-workspace --workspace-dir "$WORKSPACE" "$@"

#!/usr/bin/env bash
# Train AMP on the source's faces on both sides, before or between trainings on both persons.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" train --training-data-src-dir "$WORKSPACE/data_src/aligned" --training-data-dst-dir "$WORKSPACE/data_src/aligned" --model-dir "$WORKSPACE/model" --model AMP "$@"

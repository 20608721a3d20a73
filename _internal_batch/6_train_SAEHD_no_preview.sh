#!/usr/bin/env bash
# Train SAEHD without a window; the preview is a picture in workspace/model.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" train --training-data-src-dir "$WORKSPACE/data_src/aligned" --training-data-dst-dir "$WORKSPACE/data_dst/aligned" --model-dir "$WORKSPACE/model" --model SAEHD --pretraining-data-dir "$WORKSPACE/pretrain_faces" --no-preview "$@"

#!/usr/bin/env bash
# Put the face that SAEHD predicts into every frame of the destination.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" merge --input-dir "$WORKSPACE/data_dst" --output-dir "$WORKSPACE/data_dst/merged" --output-mask-dir "$WORKSPACE/data_dst/merged_mask" --aligned-dir "$WORKSPACE/data_dst/aligned" --model-dir "$WORKSPACE/model" --model SAEHD "$@"

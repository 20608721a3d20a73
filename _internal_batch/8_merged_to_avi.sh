#!/usr/bin/env bash
# Make workspace/result.avi with the destination's sound, and result_mask.avi.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" videoed video-from-sequence --input-dir "$WORKSPACE/data_dst/merged" --output-file "$WORKSPACE/result.avi" --reference-file "$WORKSPACE/data_dst.*" --include-audio "$@"
"$PYTHON" "$REPO/main.py" videoed video-from-sequence --input-dir "$WORKSPACE/data_dst/merged_mask" --output-file "$WORKSPACE/result_mask.avi" --reference-file "$WORKSPACE/data_dst.*" --lossless "$@"

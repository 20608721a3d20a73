#!/usr/bin/env bash
# Make workspace/result.mp4 with the destination's sound, and result_mask.mp4.
# Written by generate.py from scripts.toml: change it there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
"$PYTHON" "$REPO/main.py" videoed video-from-sequence --input-dir "$WORKSPACE/data_dst/merged" --output-file "$WORKSPACE/result.mp4" --reference-file "$WORKSPACE/data_dst.*" --include-audio "$@"
"$PYTHON" "$REPO/main.py" videoed video-from-sequence --input-dir "$WORKSPACE/data_dst/merged_mask" --output-file "$WORKSPACE/result_mask.mp4" --reference-file "$WORKSPACE/data_dst.*" --lossless "$@"

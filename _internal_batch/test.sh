#!/usr/bin/env bash
# Set-up with the tools of the tests, then the tests; words after it go to pytest.
SETUP_FLAGS=--dev
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
cd "$REPO"
if [ $# -gt 0 ]; then
    exec "$PYTHON" -m pytest "$@"
fi
# A process for each room: TensorFlow keeps the memory that it once took, and all in one need over 20 GB.
status=0
for part in tests/core tests/facelib tests/mainscripts tests/merger tests/models tests/samplelib; do
    "$PYTHON" -m pytest "$part" || status=1
done
"$PYTHON" -m pytest tests/test_*.py || status=1
exit $status

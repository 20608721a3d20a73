#!/usr/bin/env bash
# Set-up with the tools of the tests, then the tests; words after it go to pytest.
SETUP_FLAGS=--dev
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")")/setenv.sh"
cd "$REPO"
exec "$PYTHON" -m pytest "$@"

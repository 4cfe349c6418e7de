#!/usr/bin/env bash
# Writes the codecs' golden files again with the reference implementations, in
# a Python environment of their own that is thrown away. The inputs stay as they
# are; each script's own words say how to make those again.
set -euo pipefail
cd "$(dirname "$0")/../.."

env=$(mktemp -d)
trap 'rm -rf "$env"' EXIT
python3 -m venv "$env"
"$env/bin/pip" install --quiet --no-deps -r test/golden/requirements.txt

"$env/bin/python" test/golden/text.py --answers
"$env/bin/python" test/golden/speech.py --answers
"$env/bin/python" test/golden/content.py
git status --short -- functions

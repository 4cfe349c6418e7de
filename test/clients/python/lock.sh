#!/usr/bin/env bash
# Writes the requirements.txt of each environment again, with the hashes of all
# that it needs, from the requirements.in beside it. pip takes nothing else.
set -euo pipefail
cd "$(dirname "$0")"

env=$(mktemp -d)
trap 'rm -rf "$env"' EXIT
python3 -m venv "$env"
"$env/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
for wanted in */requirements.in ../../e2e/requirements.in; do
  echo "lock: $wanted"
  (cd "$(dirname "$wanted")" && "$env/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --output-file requirements.txt requirements.in)
done

#!/usr/bin/env bash
# Brings the servers that `make bench-peers` measures against, each into a
# Python environment of its own under .deps/peers. Does nothing for those that
# are there.
set -euo pipefail
cd "$(dirname "$0")/../../.."

if ! python3 -c 'import ensurepip' 2>/dev/null; then
  echo "peers: install python3-venv first: sudo apt-get install python3-venv" >&2
  exit 1
fi
for wanted in test/bench/peers/*/requirements.txt; do
  name=$(basename "$(dirname "$wanted")")
  env=.deps/peers/$name
  cmp -s "$wanted" "$env/.requirements" && continue
  echo "peers: fetch $name into $env"
  rm -rf "$env"
  python3 -m venv "$env"
  "$env/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r "$wanted"
  cp "$wanted" "$env/.requirements"
done

#!/usr/bin/env bash
# Brings what the tests use and the platform does not: a client nobody here
# wrote, in Python, beside the other things that are fetched. Does nothing when
# it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.deps/python/.requirements
wanted=test/e2e/requirements.txt
cmp -s "$wanted" "$stamp" && exit 0

if ! python3 -m pip --version >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip
  else
    echo "The tests use a client in Python. Install pip first: sudo apt-get install python3-pip" >&2
    exit 1
  fi
fi
echo "test: fetch the Python client into .deps/python"
rm -rf .deps/python
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .deps/python -r "$wanted"
cp "$wanted" "$stamp"

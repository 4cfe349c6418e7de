#!/usr/bin/env bash
# Brings what the tests use and the platform does not: a client nobody here
# wrote, in Python, beside the other things that are fetched, and the ONNX
# project's node tests, PostgreSQL, Redis and Prometheus' promtool from Debian. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

. test/debian.sh
command -v curl >/dev/null || debian curl "The tests paste the curl lines that the platform prints."
[ -d /usr/share/libonnx-testdata/data/node ] || debian libonnx-testdata "The tests take the ONNX project's node tests from Debian."
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || debian postgresql "The tests start PostgreSQL servers of their own."
# redis-tools has the program too, and starts no server of its own.
command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null || debian redis-tools "The tests start Redis servers of their own."
# Of Prometheus the one program alone: its package would start a server.
if ! command -v promtool >/dev/null && [ ! -x .deps/promtool ]; then
  command -v apt-get >/dev/null || { echo "The tests check alerts by promtool, of Prometheus. Install it first." >&2; exit 1; }
  echo "test: fetch promtool into .deps"
  mkdir -p .deps
  [ "$(id -u)" != 0 ] || apt-get update -qq
  (
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    deps=$PWD/.deps
    cd "$folder"
    apt-get download -qq -o APT::Sandbox::User=root prometheus
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    mv usr/bin/promtool "$deps/promtool"
  )
fi

test/clients/setup.sh

stamp=.deps/python/.requirements
wanted=test/e2e/requirements.txt
cmp -s "$wanted" "$stamp" && exit 0

python3 -m pip --version >/dev/null 2>&1 || debian python3-pip "The tests use a client in Python, which pip brings."
echo "test: fetch the Python client into .deps/python"
rm -rf .deps/python
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .deps/python --require-hashes --only-binary=:all: -r "$wanted"
cp "$wanted" "$stamp"

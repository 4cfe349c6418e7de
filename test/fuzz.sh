#!/usr/bin/env bash
# Fuzzes every parser for a while, one after the other: test/fuzz.sh [TIME EACH]
set -euo pipefail
cd "$(dirname "$0")/.."
each=${1:-30s}
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
  for target in $(grep -hoE '^func Fuzz\w+' "$package"/*_test.go | cut -d' ' -f2 | sort -u); do
    echo "fuzz $package $target for $each"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" "$package" </dev/null
  done
done

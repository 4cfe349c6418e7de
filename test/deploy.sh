#!/usr/bin/env bash
# Deploys an overlay of config/ to the current cluster, builds its images on the
# way, and waits until every service is ready, or says why one is not.
set -euo pipefail
cd "$(dirname "$0")/.."
overlay=config/overlays/$1
[ -d "$overlay" ] || { echo "deploy: no $overlay; there are: $(ls config/overlays | tr '\n' ' ')" >&2; exit 2; }
for tool in ko kubectl; do
  command -v "$tool" >/dev/null || { echo "deploy: $tool is not in PATH: . .cluster/env, or install it" >&2; exit 1; }
done
[ -n "${KO_DOCKER_REPO:-}" ] || { echo "deploy: KO_DOCKER_REPO is not set: where shall the images go?" >&2; exit 1; }

echo "deploy: build the images and apply $overlay"
go tool -modfile=tools/go.mod kustomize build "$overlay" | ko resolve --sbom=spdx -f - | kubectl apply --server-side --force-conflicts -f -
services=$(go tool -modfile=tools/go.mod kustomize build "$overlay" | awk '/^kind: Service$/ {s=1} /^---/ {s=0} s && /^  name: / {print "ksvc/" $2; s=0}')
echo "deploy: wait for $(echo $services | wc -w) services"
if ! kubectl wait --for=condition=Ready --timeout=300s $services; then
  kubectl get ksvc
  for s in $services; do
    kubectl get "$s" -o jsonpath='{.metadata.name}: {.status.conditions[?(@.status=="False")].message}{"\n"}' >&2
  done
  exit 1
fi

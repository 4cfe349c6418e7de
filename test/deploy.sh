#!/usr/bin/env bash
# Deploys an overlay of config/ to the current cluster: builds its images, holds
# them to their limits, applies it when the cluster would take all of it, and waits
# until every service is ready, or prints why one is not.
#
#   test/deploy.sh [OVERLAY]
#
# Without one it is dev, and on no cluster but that of `make cluster`. ARCH names
# other architectures than this machine's, as in amd64,arm64.
set -euo pipefail
cd "$(dirname "$0")/.."
refuse() { echo "deploy: $*" >&2; exit 1; }

overlay=config/overlays/${1:-dev}
[ -d "$overlay" ] || { echo "deploy: no $overlay; there are: $(ls config/overlays | tr '\n' ' ')" >&2; exit 2; }
for tool in ko kubectl; do
  command -v "$tool" >/dev/null || refuse "$tool is not in PATH: . .cluster/env, or install it"
done
[ -n "${KO_DOCKER_REPO:-}" ] || refuse "KO_DOCKER_REPO is not set: where shall the images go?"
context=$(kubectl config current-context) || refuse "which cluster? . .cluster/env, or KUBECONFIG=…"
[ "$context" = modelserve ] || [ -n "${1:-}" ] || refuse "the current cluster is $context: name what it gets, as in OVERLAY=staging"
echo "deploy: $overlay to the cluster $context"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/knative.yaml" >"$work/around.yaml" >"$work/services.yaml"
go tool -modfile=tools/go.mod kustomize build "$overlay" | awk -v work="$work" '
  function keep() {
    to = text ~ /\n  namespace: knative-serving\n/ ? "knative" : text ~ /image: ko:/ ? "services" : "around"
    if (text != "") printf "---\n%s", text >(work "/" to ".yaml")
    text = ""
  }
  /^---$/ { keep(); next } { text = text $0 "\n" } END { keep() }'
services=$(awk '/^kind: / {kind = $2} /^  name: / {if (kind == "Service") print "ksvc/" $2}' "$work/services.yaml")
deployments=$(awk '/^kind: / {kind = $2} /^  name: / {if (kind == "Deployment") print "deployment/" $2}' "$work/services.yaml")

# What can be known before minutes of building.
refusal=$(kubectl -n default get ksvc 2>&1 >/dev/null) || refuse "no Knative Serving to be seen on $context: $refusal"
secret=$(kubectl -n default get secret modelserve-gateway --ignore-not-found -o name 2>/dev/null) || secret="not ours to see"
[ -n "$secret" ] || refuse "the gateway's Secret is not there: its first key, what it hashes keys with, and the URLs of its PostgreSQL and its Redis. Make them, and keep the files:
  (umask 077; printf ms_admin_%s \"\$(openssl rand -hex 32)\" >admin.key; bin/modelserve gateway hash-key | tr -d '\\n' >hash.key)
  (umask 077; printf %s 'postgres://USER:PASSWORD@HOST/DB?sslmode=verify-full' >database.url)
  (umask 077; printf %s 'rediss://USER:PASSWORD@HOST:6379' >redis.url)
  kubectl -n default create secret generic modelserve-gateway --from-file=MODELSERVE_ADMIN_KEY=admin.key --from-file=MODELSERVE_HASH_KEYS=hash.key --from-file=MODELSERVE_GATEWAY_DB=database.url --from-file=MODELSERVE_REDIS=redis.url"
keys=$(kubectl -n default get secret modelserve-pipelines --ignore-not-found -o name 2>/dev/null) || keys="not ours to see"
[ -n "$keys" ] || refuse "the Secret of the pipelines service is not there: the key that it signs with, the URLs of its PostgreSQL database (another than the gateway's) and of its Redis, and credentials of S3 that write below payloads/. Make them, and keep the files:
  (umask 077; openssl genpkey -algorithm ed25519 -out pipelines.key; openssl pkey -in pipelines.key -pubout -out pipelines.pub)
  (umask 077; printf %s 'postgres://USER:PASSWORD@HOST/PIPELINES?sslmode=verify-full' >pipelines.url)
  kubectl -n default create secret generic modelserve-pipelines --from-file=MODELSERVE_PIPELINES_KEY=pipelines.key --from-file=MODELSERVE_PIPELINES_DB=pipelines.url --from-file=MODELSERVE_REDIS=redis.url
  kubectl -n default create configmap modelserve-pipelines --from-file=MODELSERVE_PIPELINES_PUBLIC_KEY=pipelines.pub"
proof=$(kubectl -n default get secret modelserve-functions --ignore-not-found -o name 2>/dev/null) || proof="not ours to see"
[ -n "$proof" ] || refuse "the Secret is not there by which functions and the pipelines service know the gateway. Make it:
  openssl rand -hex 32 | tr -d '\\n' | kubectl -n default create secret generic modelserve-functions --from-file=MODELSERVE_GATEWAY_SECRET=/dev/stdin"
asked=$(kubectl -n default get secret modelserve-pipelines-api --ignore-not-found -o name 2>/dev/null) || asked="not ours to see"
[ -n "$asked" ] || refuse "the Secret is not there by which the pipelines service alone knows the gateway, and no function: whoever has a function's environment could start and read every tenant's executions. Make it:
  openssl rand -hex 32 | tr -d '\\n' | kubectl -n default create secret generic modelserve-pipelines-api --from-file=MODELSERVE_PIPELINES_SECRET=/dev/stdin"
# Who else set one of Knative's settings meant it: they are not taken over.
settings() { [ ! -s "$work/knative.yaml" ] || kubectl apply --server-side "$@" -f "$work/knative.yaml"; }
settings --dry-run=server >/dev/null || refuse "Knative's settings on $context are not ours to change: leave them out of the overlay, or make them agree. Nothing is changed"

arch=${ARCH:-$(go env GOARCH)}
if [ "$KO_DOCKER_REPO" != localhost:5000 ] && [ -z "${KO_CONFIG_PATH:-}" ]; then
  echo "deploy: make the images that ko builds on, for $KO_DOCKER_REPO"
  gpu=$([ "$overlay" != config/overlays/gpu ] || echo -gpu)
  go run ./cmd/images -push "$KO_DOCKER_REPO" -arch "$arch" $gpu
  # .ko.yaml names those of `make cluster`.
  awk -v registry="$KO_DOCKER_REPO" -v gpu="$gpu" '
    { sub(": localhost:5000/base-", ": " registry "/base-"); print }
    /^baseImageOverrides:/ && gpu { print "  github.com/modelserveai/modelserve/functions/onnx: " registry "/base-ort-cuda" }' .ko.yaml >"$work/.ko.yaml"
  export KO_CONFIG_PATH=$work
fi
label=org.opencontainers.image
labels=$label.title=ModelServe
if revision=$(git rev-parse HEAD 2>/dev/null); then
  labels+=,$label.revision=$revision,$label.version=$(git describe --always --dirty)
fi
echo "deploy: build the images"
ko resolve --sbom=spdx --platform="linux/${arch//,/,linux/}" --image-label="$labels" -f - <"$work/services.yaml" >"$work/resolved.yaml"
images=$(grep -oE "$KO_DOCKER_REPO/[^ \"]+@sha256:[0-9a-f]+" "$work/resolved.yaml" | sort -u | paste -sd, -) || refuse "ko named no image in $KO_DOCKER_REPO"
go run ./cmd/images -check "$images"

# Knative's settings come first, for they set what a Service may have, then what
# stands around the Services: Knative tries a pod of each, with its account. Of the
# Services all are applied or none; what kn changed becomes what it was.
settings
ours() { kubectl apply --server-side --force-conflicts "$@"; }
ours --dry-run=server -f "$work/around.yaml" >/dev/null || refuse "$context does not take what stands around the Services: Knative's settings are applied, and nothing else"
ours -f "$work/around.yaml"
ours --dry-run=server -f "$work/resolved.yaml" >/dev/null || refuse "$context does not take these Services: what stands around them is applied, and none of them is changed"
ours -f "$work/resolved.yaml"

echo "deploy: wait for $(echo $services $deployments | wc -w) services"
ready() {
  kubectl -n default wait --for=condition=Ready --timeout=300s $services || return
  for d in $deployments; do kubectl -n default rollout status --timeout=300s "$d" || return; done
}
if ! ready; then
  kubectl -n default get ksvc,deployments --selector='!serving.knative.dev/service' >&2
  for s in $services; do
    why=$(kubectl -n default get "$s" -o jsonpath='{range .status.conditions[?(@.status!="True")]}  {.type}: {.reason} {.message}{"\n"}{end}')
    [ -z "$why" ] || printf '%s\n%s\n' "${s#ksvc/}" "$why" >&2
  done
  exit 1
fi

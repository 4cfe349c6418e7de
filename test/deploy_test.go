package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// fakeTool stands in for everything that deploy.sh calls: it logs the call, fails
// where REFUSE is a part of it, and answers from files.
const fakeTool = `#!/bin/sh
call="${0##*/} $*"
echo "$call" >>"$FAKE/log"
[ -z "$REFUSE" ] || case $call in *"$REFUSE"*) echo "Error: not that" >&2; exit 1 ;; esac
case $call in
"kubectl config current-context") cat "$FAKE/context" ;;
*"get secret modelserve-$WITHOUT "*) ;;
*"get secret"*) echo secret/there ;;
*"get ksvc/pool"*) echo "  Ready: Unknown RevisionMissing" ;;
"go env GOARCH") echo arm64 ;;
"go tool"*) cat "$FAKE/kustomized" ;;
"git rev-parse"*) echo 0123abc ;;
"git describe"*) echo v1-dirty ;;
"ko resolve"*) cat "${KO_CONFIG_PATH:-.}/.ko.yaml" >"$FAKE/koconfig"; tee "$FAKE/built" | sed "s#ko://.*/#$KO_DOCKER_REPO/#; s#image:.*#&-0a@sha256:0123#" ;;
esac
`

const kustomized = `apiVersion: v1
kind: ConfigMap
metadata:
  name: config-domain
  namespace: knative-serving
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: function
  namespace: default
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: pool
  namespace: default
spec:
  template:
    spec:
      containers:
      - image: ko://example.com/functions/pool
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: gateway
  namespace: default
spec:
  template:
    spec:
      containers:
      - image: ko://example.com/cmd/gateway
---
apiVersion: v1
kind: Service
metadata:
  name: pipelines
  namespace: default
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: pipelines
  namespace: default
spec:
  template:
    spec:
      containers:
      - image: ko://example.com/cmd/pipelines
`

// deployment is one run of deploy.sh among fakes.
type deployment struct {
	args    []string
	env     []string
	context string // modelserve without it
	without string // the Secret that is not there, without modelserve-
	refuse  string // a part of the calls that fail
}

func (d *deployment) run(t *testing.T) (dir, out, calls string, err error) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{"context": "modelserve", "kustomized": kustomized, "log": ""}
	if d.context != "" {
		files["context"] = d.context
	}
	for _, name := range []string{"kubectl", "ko", "go", "git"} {
		files[name] = fakeTool
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "./deploy.sh", d.args...)
	cmd.Env = append(os.Environ(), "FAKE="+dir, "REFUSE="+d.refuse, "WITHOUT="+d.without, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KO_DOCKER_REPO=localhost:5000", "KO_CONFIG_PATH=", "ARCH=", "OVERLAY=")
	cmd.Env = append(cmd.Env, d.env...)
	output, err := cmd.CombinedOutput()
	log, readErr := os.ReadFile(filepath.Join(dir, "log"))
	if readErr != nil {
		t.Fatal(readErr)
	}
	return dir, string(output), regexp.MustCompile(`/\S*/tmp\.\w+/`).ReplaceAllString(string(log), ""), err
}

// What is built is what is held to its limits and applied, Knative's settings are
// taken from nobody, and the cluster is asked before anything is changed.
func TestDeploy(t *testing.T) {
	t.Parallel()
	dir, out, calls, err := (&deployment{}).run(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "config/overlays/dev to the cluster modelserve\n") {
		t.Errorf("it does not say what goes where:\n%s", out)
	}
	want := `kubectl config current-context
go tool -modfile=tools/go.mod kustomize build config/overlays/dev
kubectl -n default get ksvc
kubectl -n default get secret modelserve-gateway --ignore-not-found -o name
kubectl -n default get secret modelserve-pipelines --ignore-not-found -o name
kubectl -n default get secret modelserve-functions --ignore-not-found -o name
kubectl -n default get secret modelserve-pipelines-api --ignore-not-found -o name
kubectl apply --server-side --dry-run=server -f knative.yaml
go env GOARCH
git rev-parse HEAD
git describe --always --dirty
ko resolve --sbom=spdx --platform=linux/arm64 --image-label=org.opencontainers.image.title=ModelServe,org.opencontainers.image.revision=0123abc,org.opencontainers.image.version=v1-dirty -f -
go run ./cmd/images -check localhost:5000/gateway-0a@sha256:0123,localhost:5000/pipelines-0a@sha256:0123,localhost:5000/pool-0a@sha256:0123
kubectl apply --server-side -f knative.yaml
kubectl apply --server-side --force-conflicts --dry-run=server -f around.yaml
kubectl apply --server-side --force-conflicts -f around.yaml
kubectl apply --server-side --force-conflicts --dry-run=server -f resolved.yaml
kubectl apply --server-side --force-conflicts -f resolved.yaml
kubectl -n default wait --for=condition=Ready --timeout=300s ksvc/pool ksvc/gateway
kubectl -n default rollout status --timeout=300s deployment/pipelines
`
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	built, err := os.ReadFile(filepath.Join(dir, "built"))
	if err != nil || strings.Contains(string(built), "knative-serving") || strings.Contains(string(built), "ServiceAccount") || strings.Count(string(built), "\nkind: Service\n") != 2 || strings.Count(string(built), "\nkind: Deployment\n") != 1 {
		t.Errorf("%v: what is ours is\n%s", err, built)
	}
	if used := koConfig(t, filepath.Join(dir, "koconfig")); used.DefaultBaseImage != "localhost:5000/base-ort" {
		t.Errorf("ko is configured by %+v", used)
	}
}

func TestDeployRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		deployment
		want string
	}{
		"an overlay that is not there": {deployment{args: []string{"production"}}, "no config/overlays/production; there are: dev gpu "},
		"a cluster that nobody named":  {deployment{context: "eks"}, "the current cluster is eks: name what it gets, as in OVERLAY=staging"},
		"no cluster":                   {deployment{refuse: "current-context"}, "which cluster?"},
		"no Knative":                   {deployment{refuse: "get ksvc"}, "no Knative Serving to be seen on modelserve: Error: not that"},
		"no key of the pipelines":      {deployment{without: "pipelines"}, "create secret generic modelserve-pipelines --from-file=MODELSERVE_PIPELINES_KEY=pipelines.key"},
		"functions show the gateway":   {deployment{without: "pipelines-api"}, "create secret generic modelserve-pipelines-api --from-file=MODELSERVE_PIPELINES_SECRET"},
		"nothing shows the gateway":    {deployment{without: "functions"}, "create secret generic modelserve-functions --from-file=MODELSERVE_GATEWAY_SECRET"},
		"no first key":                 {deployment{without: "gateway"}, "create secret generic modelserve-gateway --from-file=MODELSERVE_ADMIN_KEY=admin.key --from-file=MODELSERVE_HASH_KEYS=hash.key"},
		"settings of somebody else's":  {deployment{refuse: "--dry-run=server -f"}, "Knative's settings on modelserve are not ours to change"},
		"an image that is too large":   {deployment{refuse: "./cmd/images -check"}, "not that"},
		"an image that is not built":   {deployment{refuse: "ko resolve"}, "not that"},
		"what stands around them":      {deployment{refuse: "--force-conflicts --dry-run=server -f"}, "modelserve does not take what stands around the Services"},
		"a Service it does not take":   {deployment{refuse: "resolved.yaml"}, "modelserve does not take these Services: what stands around them is applied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, out, calls, err := tc.run(t)
			if err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v, want it to say %q:\n%s", err, tc.want, out)
			}
			if regexp.MustCompile(`apply --server-side --force-conflicts -f \S*resolved`).MatchString(calls) && tc.refuse != "resolved.yaml" || strings.Contains(calls, "kubectl -n default wait") {
				t.Errorf("it is applied all the same:\n%s", calls)
			}
		})
	}
}

// ko is what the test reads of ko's configuration.
type ko struct {
	DefaultBaseImage   string
	BaseImageOverrides map[string]string
	Builds             []any
}

func koConfig(t *testing.T, path string) (k ko) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Elsewhere than on `make cluster`, ko's bases are not there yet.
func TestDeployElsewhere(t *testing.T) {
	t.Parallel()
	const (
		registry = "registry.example.com/somebody"
		module   = "github.com/modelserveai/modelserve/"
	)
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, ".ko.yaml"), []byte("defaultBaseImage: own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := ko{DefaultBaseImage: registry + "/base-ort", BaseImageOverrides: map[string]string{module + "cmd/gateway": registry + "/base-static", module + "cmd/pipelines": registry + "/base-static"}, Builds: koConfig(t, "../.ko.yaml").Builds}
	gpu := ours
	gpu.BaseImageOverrides = map[string]string{module + "cmd/gateway": registry + "/base-static", module + "cmd/pipelines": registry + "/base-static", module + "functions/onnx": registry + "/base-ort-cuda"}
	for name, tc := range map[string]struct {
		deployment
		pushes string
		config ko
	}{
		"bases":                {deployment{args: []string{"staging"}, env: []string{"KO_DOCKER_REPO=" + registry, "ARCH=amd64,arm64"}}, "-push registry.example.com/somebody -arch amd64,arm64\n", ours},
		"bases with a GPU's":   {deployment{args: []string{"gpu"}, env: []string{"KO_DOCKER_REPO=" + registry, "ARCH=amd64"}}, "-arch amd64 -gpu\n", gpu},
		"somebody's own bases": {deployment{args: []string{"staging"}, env: []string{"KO_DOCKER_REPO=" + registry, "KO_CONFIG_PATH=" + own}}, "", ko{DefaultBaseImage: "own"}},
		"the secret is hidden": {deployment{args: []string{"dev"}, refuse: "get secret"}, "", koConfig(t, "../.ko.yaml")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.context = "eks"
			dir, out, calls, err := tc.run(t)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if tc.pushes == "" && strings.Contains(calls, "-push") || !strings.Contains(calls, tc.pushes) {
				t.Errorf("want %q pushed:\n%s", tc.pushes, calls)
			}
			if diff := cmp.Diff(tc.config, koConfig(t, filepath.Join(dir, "koconfig"))); diff != "" {
				t.Errorf("ko's configuration: %s", diff)
			}
			if strings.Contains(tc.pushes, "amd64,arm64") && !strings.Contains(calls, "--platform=linux/amd64,linux/arm64 ") {
				t.Errorf("not built for both:\n%s", calls)
			}
		})
	}
}

// Of what is not ready, what Knative does not know yet is printed too.
func TestDeployPrintsWhyAServiceIsNotReady(t *testing.T) {
	t.Parallel()
	_, out, _, err := (&deployment{refuse: "kubectl -n default wait"}).run(t)
	if err == nil || !strings.Contains(out, "pool\n  Ready: Unknown RevisionMissing\n") || strings.Contains(out, "gateway\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

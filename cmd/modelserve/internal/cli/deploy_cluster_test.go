package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// State of a Knative Service as kubectl prints it.
const (
	unseen   = `{"metadata":{"generation":2},"status":{"observedGeneration":1,"url":"http://old","conditions":[{"type":"Ready","status":"True"}]}}`
	starting = `{"metadata":{"generation":2},"status":{"observedGeneration":2,"conditions":[{"type":"ConfigurationsReady","status":"True"},{"type":"Ready","status":"Unknown","reason":"Deploying"}]}}`
	failed   = `{"metadata":{"generation":2},"status":{"observedGeneration":2,"latestReadyRevisionName":"churn-00001","conditions":[{"type":"Ready","status":"False","reason":"RevisionFailed","message":"Revision \"churn-00002\" failed with message: Container failed with: load model churn@2: no such file."}]}}`
	served   = `{"metadata":{"generation":2,"labels":{"app.kubernetes.io/managed-by":"modelserve-deploy"}},"status":{"observedGeneration":2,"url":"http://churn.default.svc.cluster.local","conditions":[{"type":"Ready","status":"True"}]}}`
	theirs   = `{"metadata":{"generation":1,"labels":{"app.kubernetes.io/name":"churn"}},"status":{}}`
	none     = "none"
	door     = `{"metadata":{"generation":1},"status":{"observedGeneration":1,"url":"http://gateway.default.models.test","conditions":[{"type":"Ready","status":"True"}]}}`
)

// fakeKubectl makes a folder with a kubectl and a ko. What is asked of the Service
// churn is answered by states in turn, the last again and again; "" is a failure.
// Each command line goes into its file log, and what is applied into applied.
func fakeKubectl(t *testing.T, gateway string, states ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i, s := range states {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("state.%d", i+1)), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "gateway"), []byte(gateway), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
cd %q
PATH=/usr/bin:/bin:$PATH
echo "${0##*/} $*" >>log
case "$1 $3" in
"apply "*) cat >applied; echo "service applied" ;;
"delete churn") echo "service deleted" ;;
"get gateway") cat gateway ;;
"get churn")
	n=$(($(cat count 2>/dev/null || echo 0) + 1)); [ -e state.$n ] || n=%d
	echo $n >count
	[ -s state.$n ] || { echo "the server is away" >&2; exit 1; }
	[ "$(cat state.$n)" = none ] || cat state.$n ;;
*) echo "what?" >&2; exit 1 ;;
esac
`, dir, len(states))
	for _, name := range []string{"kubectl", "ko"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// onPath makes commands of a folder the first that are found.
func onPath(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestDeployToACluster(t *testing.T) {
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")
	s.vars = map[string]string{keyVariable: "ms_test_key"}
	model := []string{"deploy", "churn", "--output-dir", "out", "--apply"}

	dir := fakeKubectl(t, door, none, served)
	onPath(t, dir)
	out := s.must(append(model, "ko")...)
	for _, want := range []string{
		"churn@1\n  manifest  " + filepath.Join(s.dir, "out", "churn.yaml") + "\n", "URL       http://churn.default.svc.cluster.local\n",
		`printf 'X-API-Key: %s\n' "$MODELSERVE_KEY" | curl -fsS -H @- `, " http://gateway.default.models.test/v2/models/churn/versions/1/infer\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	const get = "kubectl get ksvc churn -n default -o json --ignore-not-found\n"
	want := get + "ko apply -f -\n" + get + "kubectl get ksvc gateway -n default -o json --ignore-not-found\n"
	if diff := cmp.Diff(want, string(calls)); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	written, err := os.ReadFile(filepath.Join(s.dir, "out", "churn.yaml"))
	applied, errApplied := os.ReadFile(filepath.Join(dir, "applied"))
	if diff := cmp.Diff(string(written), string(applied)); err != nil || errApplied != nil || len(applied) == 0 || diff != "" {
		t.Errorf("%v, %v, applied (-written +applied):\n%s", err, errApplied, diff)
	}

	// A named gateway is not looked up.
	s.vars["GATEWAY_URL"] = "http://198.18.0.2:30080"
	onPath(t, fakeKubectl(t, "", served))
	if out := s.must(append(model, "kubectl", "--image", "localhost:5000/onnx")...); !strings.Contains(out, " http://198.18.0.2:30080/v2/models/churn/versions/1/infer\n") {
		t.Errorf("with %s: %s", "GATEWAY_URL", out)
	}
	delete(s.vars, "GATEWAY_URL")
	if out := s.must(append(model, "ko")...); !strings.Contains(out, "call it through the gateway") || strings.Contains(out, "curl") {
		t.Errorf("without a gateway: %s", out)
	}
	onPath(t, fakeKubectl(t, door, none, starting))
	s.fails(exitFailed, "churn is applied, but not ready: Knative has not reported a condition yet after 1ns; `kubectl describe ksvc churn -n default`", append(model, "ko", "--timeout", "1ns")...)
	dir = fakeKubectl(t, door, none)
	if err := os.Remove(filepath.Join(dir, "ko")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	s.fails(exitFailed, "ko is not in PATH", append(model, "ko")...)
	t.Setenv("PATH", t.TempDir())
	s.fails(exitFailed, "kubectl is not in PATH", append(model, "ko")...)
}

// What somebody else made stays, and a folder that nobody named has no manifest.
func TestDeployReplacesItsOwn(t *testing.T) {
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	for _, name := range []string{"churn", "gateway", "pool"} {
		s.must("models", "push", name, "a.onnx")
	}
	s.vars = map[string]string{keyVariable: "ms_test_key"}
	for name, state := range map[string]string{"is a service already, which deploy did not make": theirs, "the server is away": ""} {
		dir := fakeKubectl(t, door, state, served)
		onPath(t, dir)
		s.fails(exitFailed, name, "deploy", "churn", "--apply", "ko", "--output-dir", "out")
		if _, err := os.Stat(filepath.Join(dir, "applied")); err == nil {
			t.Errorf("%s, and it was applied", name)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "out")); err == nil {
			t.Errorf("%s, and it was written", name)
		}
	}
	for _, name := range []string{"gateway", "pool"} {
		s.fails(exitFailed, name+" is a service of the platform's own", "deploy", name, "--apply", "ko")
		s.fails(exitFailed, name+" is a service of the platform's own", "deploy", name)
	}

	mine := filepath.Join(s.dir, "churn.yaml")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := fakeKubectl(t, door, served)
	onPath(t, dir)
	if out := s.must("deploy", "churn", "--apply", "ko", "--namespace", "team-a"); strings.Contains(out, "manifest") {
		t.Errorf("a manifest that nobody asked for: %s", out)
	}
	if text, _ := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("my file reads %s", text)
	}
	var object servingv1.Service
	text, err := os.ReadFile(filepath.Join(dir, "applied"))
	if err := errors.Join(err, yaml.UnmarshalStrict(text, &object)); err != nil || object.Namespace != "team-a" || object.Labels[madeBy] != madeByDeploy {
		t.Errorf("%v: applied in namespace %q, labels %v", err, object.Namespace, object.Labels)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || strings.Count(string(log), " -n team-a ") != 3 {
		t.Errorf("%v: asked elsewhere:\n%s", err, log)
	}
	s.fails(exitUsage, "--namespace: expected a namespace's name", "deploy", "churn", "--apply", "ko", "--namespace", "Team A")
	s.fails(exitUsage, "the platform here has only \"default\"", "deploy", "churn", "--namespace", "team-a")
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	const short = 2 * time.Second // enough to ask once, on a busy machine
	for name, tc := range map[string]struct {
		states  []string
		lasting time.Duration
		wait    time.Duration
		url     string
		want    string // of the error
	}{
		"at once":             {states: []string{served}, url: "http://churn.default.svc.cluster.local"},
		"the old one first":   {states: []string{unseen, starting, served}, url: "http://churn.default.svc.cluster.local"},
		"the server was away": {states: []string{"", served}, url: "http://churn.default.svc.cluster.local"},
		"failed for a moment": {states: []string{failed, starting, failed, served}, lasting: time.Minute, url: "http://churn.default.svc.cluster.local"},
		"failed":              {states: []string{starting, failed}, want: "failed with message: Container failed with: load model churn@2: no such file.\nchurn-00001 answers as before"},
		"never ready":         {states: []string{starting}, wait: short, want: "Deploying after 2s; `kubectl describe ksvc churn -n default` shows more"},
		"never looked at":     {states: []string{unseen}, wait: short, want: "Knative has not observed it yet after 2s"},
		"always away":         {states: []string{""}, wait: short, want: "kubectl get ksvc churn: the server is away after 2s"},
		"gone":                {states: []string{none}, wait: short, want: "kubectl get ksvc churn: there is none after 2s"},
		"no answer":           {states: []string{"<html>"}, wait: short, want: "kubectl get ksvc churn: invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster{kubectl: filepath.Join(fakeKubectl(t, "", tc.states...), "kubectl"), namespace: defaultNamespace, dir: t.TempDir(), every: 100 * time.Millisecond, lasting: tc.lasting}
			if tc.wait == 0 {
				tc.wait = time.Minute
			}
			url, err := c.waitReady(t.Context(), "churn", tc.wait, (&app{}).progress(""))
			if url != tc.url || (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q, %v, want %q and %q", url, err, tc.url, tc.want)
			}
		})
	}
	c := cluster{kubectl: "no-such-kubectl", dir: t.TempDir(), every: time.Second}
	if _, err := c.waitReady(t.Context(), "churn", time.Minute, (&app{}).progress("")); err == nil || !strings.Contains(err.Error(), "kubectl is not in PATH") {
		t.Error(err)
	}
}

// Where nothing was ever ready only another condition has the reason.
func TestReadyHasTheCause(t *testing.T) {
	t.Parallel()
	ready := condition{Type: "Ready", Status: "False", Message: `Configuration "churn" does not have any ready Revision.`}
	for name, tc := range map[string]struct {
		conditions []condition
		want       string
	}{
		"the cause":  {[]condition{{Type: "ConfigurationsReady", Status: "False", Message: "unsigned"}, ready}, "unsigned"},
		"none given": {[]condition{{Type: "ConfigurationsReady", Status: "False"}, ready}, ready.Message},
		"another":    {[]condition{ready, {Type: "ConfigurationsReady", Status: "True", Message: "unsigned"}}, ready.Message},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &knativeService{}
			k.Status.Conditions = tc.conditions
			if status, why := k.ready(); status != "False" || why != tc.want {
				t.Errorf("%s %q, want %q", status, why, tc.want)
			}
		})
	}
}

// What deploy writes is confined as what ships is: by the same account, context,
// volumes and port.
func TestDeployConfinesAsWeDo(t *testing.T) {
	t.Parallel()
	whole := model.File{Path: model.ModelFile, Size: heldInMemory}
	for name, tc := range map[string]struct {
		files []model.File
		ships string
	}{
		"held in memory":     {[]model.File{whole, {Path: "model.ort", Size: 1, Optimized: &model.Target{}}}, "text-detect"},
		"too large for that": {[]model.File{{Path: model.ModelFile, Size: heldInMemory + 1}}, "pool"},
		"with external data": {[]model.File{whole, {Path: "weights.bin", Size: 1}}, "pool"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model.Manifest{Name: "churn", Version: 1, Signature: infer.Signature{}, Files: tc.files, Cost: &model.Cost{Memory: 100 << 20}}
			s := service{Name: "churn", Namespace: defaultNamespace, Version: 1, Image: onnxImage}
			s.fit(m)
			text, err := s.manifest()
			if err != nil {
				t.Fatal(err)
			}
			ships, err := os.ReadFile("../../../../config/base/" + tc.ships + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := confinement(t, ships), confinement(t, []byte(text))
			if diff := cmp.Diff(ours, theirs); diff != "" {
				t.Errorf("confinement (-ships +deploy writes):\n%s", diff)
			}
		})
	}
}

// confinement is the security context of a manifest, as JSON.
func confinement(t *testing.T, text []byte) string {
	t.Helper()
	var object servingv1.Service
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatal(err)
	}
	spec := object.Spec.Template.Spec
	c := spec.Containers[0]
	text, err := json.MarshalIndent(map[string]any{
		"account": spec.ServiceAccountName, "context": c.SecurityContext, "volumes": spec.Volumes, "mounts": c.VolumeMounts,
		"ports": c.Ports, "cache": c.Env[1:], "from": c.EnvFrom, "probe": c.ReadinessProbe, "message": c.TerminationMessagePolicy,
		"visibility": object.Labels["networking.knative.dev/visibility"],
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

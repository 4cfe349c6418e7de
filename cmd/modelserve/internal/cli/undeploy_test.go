package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestUndeploy(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 { // it has not looked yet
				_, _ = fmt.Fprint(w, `{"functions":[{"name":"churn","state":"idle","models":["churn@1"]}]}`)
				return
			}
			_, _ = fmt.Fprint(w, `{"functions":[]}`)
		},
	})
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")
	s.must("deploy", "churn")
	s.vars[keyVariable] = "ms_test_key"
	s.write(stateDir+"/"+platformFile, fmt.Sprintf(`{"server": %q, "pid": %d}`, server.URL, os.Getpid()))
	path := filepath.Join(s.dir, stateDir, servicesDir, "churn.yaml")
	s.wants("churn has no service of its own any more; the model stays published\n  removed  DIR/.modelserve/services/churn.yaml\n", "undeploy", "churn")
	if _, err := os.Stat(path); err == nil || asked.Load() < 2 {
		t.Errorf("%v, after %d questions", err, asked.Load())
	}
	s.fails(exitFailed, "deploy made no service churn here", "undeploy", "churn")
	s.fails(exitUsage, "expected 1 to 63", "undeploy", "../churn")
	s.fails(exitUsage, "--apply: expected ko or kubectl", "undeploy", "churn", "--apply", "helm")
}

// TestUndeployLeavesWhatDeployDidNotMake holds that nobody loses a manifest that
// they wrote.
func TestUndeployLeavesWhatDeployDidNotMake(t *testing.T) {
	t.Parallel()
	service := func(name, label string) string {
		return "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: " + name + ", labels: {" + label + "}}\n"
	}
	ours := madeBy + ": " + madeByDeploy
	for name, tc := range map[string]struct{ text, want string }{
		"by hand":            {service("mine", ""), "it has no label " + ours},
		"of another tool":    {service("mine", madeBy+": helm"), "it has no label " + ours},
		"of another service": {service("other", ours), `it holds the service "other"`},
		"with another":       {service("mine", ours) + "---\n" + service("mine", ours), "expected one object, got 2"},
		"with settings":      {service("mine", ours) + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n", "it holds a ConfigMap of v1"},
		"no object":          {"# nothing\n", "expected one object, got 0"},
		"not YAML":           {"kind: [", "it is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withPlatform()
			s.write(stateDir+"/services/mine.yaml", tc.text)
			s.fails(exitFailed, tc.want, "undeploy", "mine")
			if text, err := os.ReadFile(filepath.Join(s.dir, stateDir, servicesDir, "mine.yaml")); err != nil || string(text) != tc.text {
				t.Errorf("afterwards: %q, %v", text, err)
			}
		})
	}
}

func TestUndeployFromACluster(t *testing.T) {
	s := newShell(t)
	dir := fakeKubectl(t, door, served)
	onPath(t, dir)
	s.wants("churn has no service of its own any more; the model stays published\n", "undeploy", "churn", "--apply", "kubectl", "--namespace", "team-a")
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || !strings.Contains(string(log), "kubectl delete ksvc churn -n team-a\n") {
		t.Errorf("%v: asked\n%s", err, log)
	}
	dir = fakeKubectl(t, door, theirs)
	onPath(t, dir)
	s.fails(exitFailed, "deploy did not make the service churn", "undeploy", "churn", "--apply", "kubectl")
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || strings.Contains(string(log), "delete") {
		t.Errorf("%v: asked\n%s", err, log)
	}
	onPath(t, fakeKubectl(t, door, none))
	s.fails(exitFailed, "there is no service churn in namespace default", "undeploy", "churn", "--apply", "kubectl")
}

func TestFunctionsList(t *testing.T) {
	t.Parallel()
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, `{"functions":[{"name":"churn","namespace":"default","state":"failed","reason":"out of memory","url":"http://churn.default.localhost/","models":["churn@1"]},`+
				`{"name":"pool","namespace":"default","pool":true,"state":"idle","models":[]},`+
				`{"name":"two","namespace":"default","state":"ready","models":["other@1"],"mixed":["churn@1","churn@2"]}]}`)
		},
	})
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	s.wants(`NAME   STATE   MODELS                            URL
churn  failed  churn@1                           http://churn.default.localhost/  out of memory
pool   idle    every published one               -
two    ready   other@1, in part churn@1,churn@2  -
`, "functions", "list")
	if out := s.must("functions", "list", "-o", "json"); !strings.Contains(out, `"reason": "out of memory"`) || !strings.Contains(out, `"pool": true`) {
		t.Errorf("as JSON:\n%s", out)
	}
}

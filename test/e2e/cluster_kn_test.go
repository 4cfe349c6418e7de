//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// imageOf is what a service runs now: a revision of another model needs no build.
func imageOf(t *testing.T, service string) string {
	t.Helper()
	return strings.TrimSpace(mustTool(t, "kubectl", "get", "ksvc", service, "-o", "jsonpath={.spec.template.spec.containers[0].image}"))
}

// TestClusterKn makes a service of two versions of a model with kn alone, splits its
// traffic, calls a tag, and rolls back.
func TestClusterKn(t *testing.T) {
	p := cluster(t)
	const service = "e2e-kn"
	for version := 1; version <= 2; version++ {
		pushScale(t, p, service, version)
	}
	_, _ = tool(t, "", "kn", "service", "delete", service) // of a run before
	t.Cleanup(func() { _, _ = tool(t, "", "kn", "service", "delete", service) })
	mustTool(t, "kn", "service", "create", service, "--image", imageOf(t, "pool"), "--revision-name", service+"-one",
		"--port", "h2c:8080", "--env", "MODELSERVE_MODELS="+service+"@1", "--env-from", "config-map:modelserve", "--env-from", "secret:modelserve-s3",
		"--env", "MODELSERVE_CACHE_DIR=/tmp/models", "--request", "cpu=10m", "--label", "networking.knative.dev/visibility=cluster-local")
	// Traefik says a route is there a moment before it is.
	p.eventually(t, "version 1 answers", func() error {
		if got := p.scaleOf(t, p.host(service), service); got != 1 {
			return fmt.Errorf("answered as version %d", got)
		}
		return nil
	})
	// Another version is one variable, and a revision of its own.
	mustTool(t, "kn", "service", "update", service, "--env", "MODELSERVE_MODELS="+service+"@2", "--revision-name", service+"-two",
		"--tag", service+"-one=stable,"+service+"-two=candidate", "--traffic", "stable=90,candidate=10")
	if list := mustTool(t, "kn", "revision", "list", "-s", service, "-o", "name"); strings.Count(list, service) != 2 {
		t.Errorf("revisions: %s", list)
	}
	p.eventually(t, "the split is in force", func() error {
		if got := p.scaleOf(t, "candidate-"+p.host(service), service); got != 2 {
			return fmt.Errorf("the tag candidate answers as version %d", got)
		}
		return nil
	})
	const calls = 500
	second := 0
	for range calls {
		if p.scaleOf(t, p.host(service), service) == 2 {
			second++
		}
	}
	// Four standard deviations: a right split fails once in sixteen thousand.
	if off := math.Abs(float64(second) - 0.1*calls); off > 4*math.Sqrt(calls*0.1*0.9) {
		t.Errorf("%d of %d went to the second revision, of which 10%% should", second, calls)
	}
	mustTool(t, "kn", "service", "update", service, "--traffic", "stable=100")
	p.eventually(t, "all is rolled back", func() error {
		for range 20 {
			if got := p.scaleOf(t, p.host(service), service); got != 1 {
				return fmt.Errorf("answered as version %d", got)
			}
		}
		return nil
	})
	if out, err := tool(t, "", "kn", "service", "update", service, "--traffic", "stable=60,candidate=60"); err == nil || !strings.Contains(out, "100") {
		t.Errorf("a split of 120%%: %v\n%s", err, out)
	}
	mustTool(t, "kn", "service", "describe", service)
	mustTool(t, "kn", "service", "update", service, "--untag", "candidate")
	mustTool(t, "kn", "revision", "delete", service+"-two")
}

// pushScale publishes version v of a model that multiplies by v.
func pushScale(t *testing.T, p *platform, name string, v int) {
	t.Helper()
	path := save(t, fmt.Sprintf("scale-%d.onnx", v), onnxtest.Scale(1, float32(v)).Marshal())
	if out, err := p.run(t, "models", "push", name, path, "--version", fmt.Sprint(v)); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
}

var factor = regexp.MustCompile(`"data":\[(\d+)\]`)

// scaleOf calls a model of pushScale and says which version answered; 0 for none.
func (p *platform) scaleOf(t *testing.T, host, model string) int {
	t.Helper()
	res, err := p.do(t, request{host: host, path: "/v2/models/" + model + "/infer", body: []byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}`)})
	if err != nil || res.status != http.StatusOK {
		t.Logf("%v %+v", err, res)
		return 0
	}
	found := factor.FindSubmatch(res.body)
	if found == nil {
		t.Fatalf("%s", res.body)
	}
	var n int
	_, _ = fmt.Sscan(string(found[1]), &n)
	return n
}

//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// imageOf is what a service runs now: a revision of another model needs no build.
func imageOf(t *testing.T, service string) string {
	t.Helper()
	return strings.TrimSpace(mustTool(t, "kubectl", "get", "ksvc", service, "-o", "jsonpath={.spec.template.spec.containers[0].image}"))
}

// knService creates or applies a service of one model with kn, as small as it can
// be and with what functions are given in config/, until the test ends. Of flags
// that are given twice the last one counts.
func knService(t *testing.T, verb, service, image, model string, flags ...string) error {
	t.Helper()
	t.Cleanup(func() { _, _ = kubectl(t, "delete", "ksvc", service, "--ignore-not-found") })
	_, err := tool(t, "", "kn", append([]string{
		"service", verb, service, "--image", image, "--port", "h2c:8080",
		"--env", "MODELSERVE_MODELS=" + model, "--env", "MODELSERVE_CACHE_DIR=/tmp/models",
		"--env-from", "config-map:modelserve", "--env-from", "secret:modelserve-s3",
		"--request", "cpu=10m", "--label", "networking.knative.dev/visibility=cluster-local",
	}, flags...)...)
	return err
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
	if err := knService(t, "create", service, imageOf(t, "pool"), service+"@1", "--revision-name", service+"-one"); err != nil {
		t.Fatal(err)
	}
	// Traefik reports a route a moment before it is.
	p.eventually(t, "version 1 answers", func() error { return p.wantScale(t, p.Host(service), service, 1) })
	// Another version is one variable, and a revision of its own.
	mustTool(t, "kn", "service", "update", service, "--env", "MODELSERVE_MODELS="+service+"@2", "--revision-name", service+"-two",
		"--tag", service+"-one=stable,@latest=candidate", "--traffic", "@latest=10,stable=90")
	if list := mustTool(t, "kn", "service", "list"); !strings.Contains(list, service) {
		t.Errorf("services:\n%s", list)
	}
	if list := mustTool(t, "kn", "revision", "list", "-s", service, "-o", "name"); strings.Count(list, service) != 2 {
		t.Errorf("revisions: %s", list)
	}
	p.eventually(t, "the split is in force", func() error { return p.wantScale(t, "candidate-"+p.Host(service), service, 2) })
	const calls = 500
	second := 0
	for range calls {
		version, err := p.scaleOf(t, p.Host(service), service)
		if err != nil {
			t.Fatalf("while two revisions answer: %v", err)
		}
		if version == 2 {
			second++
		}
	}
	// Four standard deviations: a right split fails once in sixteen thousand.
	if off := math.Abs(float64(second) - 0.1*calls); off > 4*math.Sqrt(calls*0.1*0.9) {
		t.Errorf("%d of %d went to the second revision, of which 10%% should", second, calls)
	}
	mustTool(t, "kn", "service", "update", service, "--traffic", "stable=100")
	allFirst := func() error {
		for range 20 {
			if err := p.wantScale(t, p.Host(service), service, 1); err != nil {
				return err
			}
		}
		return nil
	}
	p.eventually(t, "all is rolled back", allFirst)
	split := func() string { return mustTool(t, "kubectl", "get", "ksvc", service, "-o", "jsonpath={.spec.traffic}") }
	before := split()
	if out, err := tool(t, "", "kn", "service", "update", service, "--traffic", "stable=60,candidate=60"); err == nil || !strings.Contains(out, "100") {
		t.Errorf("a split of 120%%: %v\n%s", err, out)
	}
	if after := split(); after != before {
		t.Errorf("a split of 120%% changed %s to %s", before, after)
	}
	if err := allFirst(); err != nil {
		t.Errorf("after a split of 120%%: %v", err)
	}
	mustTool(t, "kn", "service", "describe", service)
	mustTool(t, "kn", "service", "update", service, "--untag", "candidate")
	mustTool(t, "kn", "revision", "delete", service+"-two")
}

// pushScale publishes version v of a model that multiplies by v.
func pushScale(t *testing.T, p *platform, name string, v int) {
	t.Helper()
	if v == 1 {
		p.forget(t, name)
	}
	path := save(t, fmt.Sprintf("scale-%d.onnx", v), onnxtest.Scale(1, float32(v)).Marshal())
	if out, err := p.Run(t, "models", "push", name, path, "--version", fmt.Sprint(v)); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
}

var factor = regexp.MustCompile(`"data":\[(\d+)\]`)

// scaled is a call of a model of pushScale.
func scaled(host, model string) request {
	return request{host: host, path: "/v2/models/" + model + "/infer", body: []byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}`)}
}

// scaleOf calls a model of pushScale and returns which version answered.
func (p *platform) scaleOf(t *testing.T, host, model string) (int, error) {
	t.Helper()
	res, err := p.do(t, scaled(host, model))
	if err != nil {
		return 0, err
	}
	found := factor.FindSubmatch(res.body)
	if res.status != http.StatusOK || found == nil {
		return 0, fmt.Errorf("%d %s", res.status, res.body)
	}
	return strconv.Atoi(string(found[1]))
}

func (p *platform) wantScale(t *testing.T, host, model string, version int) error {
	t.Helper()
	got, err := p.scaleOf(t, host, model)
	if err == nil && got != version {
		err = fmt.Errorf("version %d answered, expected %d", got, version)
	}
	return err
}

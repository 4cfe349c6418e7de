//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/test/issuer"
	"github.com/modelserveai/modelserve/test/platformtest"
)

// replicas is how many gateways these have: what one of them decides the others have to
// learn from the database.
const replicas = 3

// TestClusterGateways runs several gateways, and holds that callers find one in them.
func TestClusterGateways(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test kills processes of the cluster that `make cluster` made")
	}
	p := cluster(t)
	pods := gateways(t, p)
	t.Run("they agree on keys", func(t *testing.T) { agreeOnKeys(t, p, pods) })
	t.Run("tokens of an issuer", func(t *testing.T) { tokensOfAnIssuer(t, p, pods) })
	t.Run("one ends and nobody notices", func(t *testing.T) { oneEnds(t, p, &pods[0]) })
	t.Run("one is killed", func(t *testing.T) { oneIsKilled(t, p) })
}

// gateways has the cluster run so many gateways until the test ends, and returns them.
func gateways(t *testing.T, p *platform) []corev1.Pod {
	t.Helper()
	scale := func(n string) error {
		_, err := tool(t, "", "kn", "service", "update", "gateway", "--scale-min", n)
		return err
	}
	if err := scale(fmt.Sprint(replicas)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := scale("1"); err != nil {
			t.Error(err)
		}
	})
	var ready []corev1.Pod
	p.eventually(t, fmt.Sprintf("%d gateways are ready", replicas), func() (err error) {
		ready, err = readyGateways(t)
		return err
	})
	return ready
}

// readyGateways wants so many gateways, all of the newest revision, and no others.
func readyGateways(t *testing.T) ([]corev1.Pod, error) {
	t.Helper()
	pods, err := podsOf(t, "gateway")
	if err != nil {
		return nil, err
	}
	revision := latest(t, "gateway")
	pods = slices.DeleteFunc(staying(pods), func(pod corev1.Pod) bool {
		return pod.Labels["serving.knative.dev/revision"] != revision ||
			!slices.ContainsFunc(pod.Status.Conditions, func(is corev1.PodCondition) bool {
				return is.Type == corev1.PodReady && is.Status == corev1.ConditionTrue
			})
	})
	if len(pods) != replicas {
		return nil, fmt.Errorf("%d are ready", len(pods))
	}
	return pods, nil
}

// at is the platform by one gateway alone.
func (p *platform) at(pod *corev1.Pod) *platform {
	alone := *p.Platform
	alone.Address = pod.Status.PodIP + ":8080"
	return &platform{Platform: &alone, records: p.records}
}

const gatewayHost = "gateway.default.models.test"

// asked is a request for a model's metadata with a credential.
func asked(credential string) request {
	return request{
		host: gatewayHost, path: "/v2/models/text-orient", noKey: true,
		header: map[string]string{"Authorization": "Bearer " + credential},
	}
}

// refused wants a credential to be one no more.
func refused(t *testing.T, p *platform, r request) error {
	t.Helper()
	res, err := p.do(t, r)
	if err == nil && (res.status != http.StatusUnauthorized || res.code() != "unauthenticated") {
		err = fmt.Errorf("%d %s", res.status, res.body)
	}
	return err
}

// agreeOnKeys makes keys at one of several gateways and revokes them at another: each
// answers a key as soon as there is one, and none a revoked one, from the moment it
// first refused it.
func agreeOnKeys(t *testing.T, p *platform, pods []corev1.Pod) {
	for i := range pods {
		made, other := p.at(&pods[i]), p.at(&pods[(i+1)%replicas])
		res := made.must(t, request{host: gatewayHost, path: "/v1/keys", body: []byte(`{"name":"e2e-agree","scopes":["infer:text-orient"]}`), header: map[string]string{"Content-Type": "application/json"}})
		var key struct{ ID, Key string }
		if err := json.Unmarshal(res.body, &key); err != nil || res.status != http.StatusCreated {
			t.Fatalf("%d %s", res.status, res.body)
		}
		for j := range pods {
			if err := answers(t, p.at(&pods[j]), asked(key.Key)); err != nil {
				t.Errorf("a key of gateway %d at gateway %d: %v", i, j, err)
			}
		}
		if res := other.must(t, request{method: http.MethodDelete, host: gatewayHost, path: "/v1/keys/" + key.ID}); res.status != http.StatusNoContent {
			t.Fatalf("%d %s", res.status, res.body)
		}
		revoked := time.Now()
		for j := range pods {
			p.eventually(t, "a revoked key is refused", func() error { return refused(t, p.at(&pods[j]), asked(key.Key)) })
		}
		t.Logf("revoked: refused by all %d after %v", replicas, time.Since(revoked))
		for j := range pods {
			if err := refused(t, p.at(&pods[j]), asked(key.Key)); err != nil {
				t.Errorf("a revoked key is answered again by gateway %d: %v", j, err)
			}
		}
	}
}

// tokensOfAnIssuer has the gateways take the tokens of an issuer that nobody here
// wrote, by the operator's file, while they run.
func tokensOfAnIssuer(t *testing.T, p *platform, pods []corev1.Pod) {
	real := issuer.Start(t, platformtest.Root(t))
	token := real.Machine(t)
	for i := range pods {
		if err := refused(t, p.at(&pods[i]), asked(token)); err != nil {
			t.Fatalf("before the file names its issuer: %v", err)
		}
	}
	file := fmt.Sprintf(`apiVersion: modelserve.dev/v1
kind: Gateway
issuers:
  - issuer: %s
    audiences: [modelserve]
    jwks_file: /etc/modelserve/jwks.json
    algorithms: [ES256]
    tenant: claims.org
    roles: claims.groups
`, real.URL)
	mustTool(t, "kubectl", "create", "configmap", "modelserve-gateway", "--from-literal=gateway.yaml="+file, "--from-literal=jwks.json="+real.JWKS(t))
	t.Cleanup(func() { _, _ = kubectl(t, "delete", "configmap", "modelserve-gateway", "--ignore-not-found") })
	lookAgain(t, pods)
	for i := range pods {
		p.eventually(t, "its tokens are taken", func() error { return answers(t, p.at(&pods[i]), asked(token)) })
	}
	if err := answers(t, p, asked(token)); err != nil {
		t.Errorf("through the ingress: %v", err)
	}
	head, rest, _ := strings.Cut(token, ".")
	body, _, _ := strings.Cut(rest, ".")
	for name, forged := range map[string]string{"unsigned": head + "." + body + ".", "damaged": token[:len(token)-8] + "AAAAAAAA"} {
		if err := refused(t, p, asked(forged)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustTool(t, "kubectl", "delete", "configmap", "modelserve-gateway")
	lookAgain(t, pods)
	for i := range pods {
		p.eventually(t, "its tokens are refused", func() error { return refused(t, p.at(&pods[i]), asked(token)) })
	}
}

// lookAgain has the node look at what is mounted into pods now, and not within a minute
// or two: it does when anything of a pod changes.
func lookAgain(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	for i := range pods {
		mustTool(t, "kubectl", "annotate", "pod", pods[i].Name, "--overwrite", "e2e/looked="+time.Now().Format("150405.000"))
	}
}

const clients = 4

// oneEnds ends one of several gateways under load, as a node that is drained does.
func oneEnds(t *testing.T, p *platform, pod *corev1.Pod) {
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	stop := p.steady(t, classify(p), clients)
	mustTool(t, "kubectl", "delete", "pod", pod.Name, "--wait=false")
	p.eventually(t, "there is another in its place", func() error {
		_, err := readyGateways(t)
		return err
	})
	noneFailed(t, stop)
}

// oneIsKilled kills one of several gateways under load: what is on it then is lost, with
// an answer that says to come again, and the others go on.
func oneIsKilled(t *testing.T, p *platform) {
	pods, err := readyGateways(t)
	if err != nil {
		t.Fatal(err)
	}
	stop := p.steady(t, classify(p), clients)
	killProcesses(t, "/ko-app/gateway", string(pods[0].UID))
	p.eventually(t, "it has been started again", func() error { return restarted(t, "gateway", 1) })
	p.eventually(t, "all are ready", func() error {
		_, err := readyGateways(t)
		return err
	})
	good, failed := stop()
	t.Logf("a gateway was killed: %d answered, %d not", good, len(failed))
	if good < len(failed) {
		t.Errorf("%d answered, and %d not", good, len(failed))
	}
	for _, err := range failed {
		if !away.MatchString(err.Error()) {
			t.Error(err)
			return
		}
	}
}

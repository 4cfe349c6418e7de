//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// These break parts of the cluster, one at a time: they are not parallel.

// classify is a call that any text of Go answers.
func classify(p *platform) request {
	return request{
		host: p.host("content-detect"), path: "/", body: []byte("package main\n\nfunc main() {}\n"),
		header: map[string]string{"Content-Type": "application/octet-stream"},
	}
}

// unavailable is what a call may get while something is down: an answer that says
// to come back, or none at all; never one that blames the caller.
func unavailable(err error) bool {
	text := err.Error()
	for _, known := range []string{"502", "503", "504", "429", "EOF", "connection reset", "connection refused"} {
		if strings.Contains(text, known) {
			return true
		}
	}
	return false
}

// through breaks something while a function is called all the time, and wants the
// calls to be answered again by themselves, and nothing but unavailable between.
func through(t *testing.T, what string, breakIt func()) {
	t.Helper()
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	stop := p.steady(t, classify(p), 2)
	breakIt()
	p.eventually(t, "the function answers again after "+what, func() error { return answers(t, p, classify(p)) })
	good, failed := stop()
	t.Logf("%s: %d answered, %d not", what, good, len(failed))
	for _, err := range failed {
		if !unavailable(err) {
			t.Errorf("after %s: %v", what, err)
			return
		}
	}
	if good == 0 {
		t.Errorf("nothing was answered")
	}
}

func answers(t *testing.T, p *platform, r request) error {
	t.Helper()
	res, err := p.do(t, r)
	if err == nil && res.status != http.StatusOK {
		err = fmt.Errorf("%d %s", res.status, res.body)
	}
	return err
}

func TestClusterAKilledPodIsReplaced(t *testing.T) {
	through(t, "its pod was killed", func() {
		mustTool(t, "kubectl", "delete", "pods", "-l", "serving.knative.dev/service=content-detect", "--grace-period=0", "--force")
	})
}

func TestClusterAKilledGatewayIsReplaced(t *testing.T) {
	through(t, "the gateway was killed", func() {
		mustTool(t, "kubectl", "delete", "pods", "-l", "serving.knative.dev/service=gateway", "--grace-period=0", "--force")
	})
}

// PostgreSQL and Redis hold nothing that a call to a function needs: they may go
// and come without one that fails.
func TestClusterStoresAreRestarted(t *testing.T) {
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	stop := p.steady(t, classify(p), 2)
	mustTool(t, "kubectl", "-n", "modelserve", "rollout", "restart", "statefulset/postgres", "statefulset/redis")
	for _, name := range []string{"postgres", "redis"} {
		mustTool(t, "kubectl", "-n", "modelserve", "rollout", "status", "statefulset/"+name, "--timeout=120s")
	}
	if good, failed := stop(); len(failed) > 0 || good == 0 {
		t.Errorf("%d answered, %d failed: %v", good, len(failed), errors.Join(failed[:min(len(failed), 5)]...))
	}
}

// A pod that starts while S3 is away waits for it, and says so; what runs goes on.
func TestClusterS3AwayWhileAPodStarts(t *testing.T) {
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	mustTool(t, "kubectl", "-n", "modelserve", "scale", "statefulset/s3", "--replicas=0")
	back := func() { mustTool(t, "kubectl", "-n", "modelserve", "scale", "statefulset/s3", "--replicas=1") }
	t.Cleanup(back)
	mustTool(t, "kubectl", "-n", "modelserve", "wait", "--for=delete", "pod/s3-0", "--timeout=60s")
	if err := answers(t, p, classify(p)); err != nil {
		t.Errorf("a function that runs, without S3: %v", err)
	}
	mustTool(t, "kubectl", "delete", "pods", "-l", "serving.knative.dev/service=content-detect", "--grace-period=0", "--force")
	done := make(chan error, 1)
	go func() { done <- answers(t, p, classify(p)) }()
	p.eventually(t, "the new pod says what it waits for", func() error {
		out, err := kubectl(t, "logs", "-l", "serving.knative.dev/service=content-detect", "-c", "function", "--tail=50")
		if err == nil && !strings.Contains(out, "s3") && !strings.Contains(out, "S3") {
			err = fmt.Errorf("its log:\n%s", out)
		}
		return err
	})
	back()
	if err := <-done; err != nil && !unavailable(err) {
		t.Errorf("a call while S3 was away: %v", err)
	}
	p.eventually(t, "it answers when S3 is back", func() error { return answers(t, p, classify(p)) })
}

// TestClusterTheContainerRuntimeIsRestarted kills containerd; make cluster starts it.
func TestClusterTheContainerRuntimeIsRestarted(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test restarts the container runtime of the cluster that `make cluster` made")
	}
	through(t, "the container runtime was restarted", func() {
		mustTool(t, os.Getenv("MODELSERVE_CLUSTER"), "restart", "containerd")
	})
}

// TestClusterAModelThatCannotLoad makes a revision of a model that is not published: it
// never takes traffic, its reason can be read, and the old one goes on.
func TestClusterAModelThatCannotLoad(t *testing.T) {
	p := cluster(t)
	const service = "e2e-bad"
	pushScale(t, p, service, 1)
	t.Cleanup(func() { _, _ = tool(t, "", "kubectl", "delete", "ksvc", service, "--ignore-not-found") })
	apply := func(args ...string) (string, error) {
		return tool(t, "", "kn", append([]string{
			"service", "apply", service, "--image", imageOf(t, "pool"), "--port", "h2c:8080",
			"--env", "MODELSERVE_CACHE_DIR=/tmp/models", "--env-from", "config-map:modelserve", "--env-from", "secret:modelserve-s3",
			"--request", "cpu=10m", "--label", "networking.knative.dev/visibility=cluster-local", "--annotation", "serving.knative.dev/progress-deadline=60s",
		}, args...)...)
	}
	if out, err := apply("--env", "MODELSERVE_MODELS="+service+"@1"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.eventually(t, "version 1 answers", func() error {
		if got := p.scaleOf(t, p.host(service), service); got != 1 {
			return fmt.Errorf("version %d", got)
		}
		return nil
	})
	if out, err := apply("--env", "MODELSERVE_MODELS="+service+"@99", "--wait-timeout", "90"); err == nil {
		t.Errorf("a revision of a model that does not exist became ready:\n%s", out)
	}
	described := mustTool(t, "kubectl", "describe", "ksvc", service)
	if !strings.Contains(described, "has no published version 99") {
		t.Errorf("no reason in:\n%s", described)
	}
	if got := p.scaleOf(t, p.host(service), service); got != 1 {
		t.Errorf("version %d answers, expected the last good one", got)
	}
}

// TestClusterBadManifests applies what cannot be: the error names what is wrong, and what
// ran before still runs.
func TestClusterBadManifests(t *testing.T) {
	p := cluster(t)
	const head = "apiVersion: serving.knative.dev/v1\nkind: Service\n"
	const local = `labels: {networking.knative.dev/visibility: cluster-local}`
	for name, tc := range map[string]struct {
		manifest string
		refused  string // by Kubernetes, at once
		told     string // by the Service's status
	}{
		"a misspelt field": {
			manifest: head + "metadata: {name: content-detect}\n" +
				`spec: {template: {spec: {containerConcurency: 3, containers: [{image: "localhost:5000/none"}]}}}`,
			refused: "containerConcurency",
		},
		"an image that cannot be pulled": {
			manifest: head + "metadata: {name: e2e-never, " + local + "}\n" +
				`spec: {template: {spec: {containers: [{image: "localhost:5000/none:1"}]}}}`,
			told: `Unable to fetch image "localhost:5000/none:1"`,
		},
		"more than the quota": {
			manifest: head + "metadata: {name: e2e-never, " + local + "}\n" +
				`spec: {template: {spec: {containers: [{image: "` + imageOf(t, "pool") + `", resources: {requests: {memory: 100Gi}}}]}}}`,
			told: "exceeded quota: modelserve",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { _, _ = tool(t, "", "kubectl", "delete", "ksvc", "e2e-never", "--ignore-not-found") })
			out, err := tool(t, tc.manifest, "kubectl", "apply", "-f", "-")
			if tc.refused != "" {
				if err == nil || !strings.Contains(out, tc.refused) {
					t.Errorf("%v, want %s in:\n%s", err, tc.refused, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			p.eventually(t, "the service says why", func() error {
				out, err := kubectl(t, "describe", "ksvc", "e2e-never")
				if err == nil && !strings.Contains(out, tc.told) {
					err = errors.New(out)
				}
				return err
			})
		})
	}
	p.eventually(t, "what ran before still runs", func() error { return answers(t, p, classify(p)) })
}

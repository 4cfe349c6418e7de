//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// steady calls a model all the time until stop is called, which tells how many
// calls were answered and the errors of those that were not.
func (p *platform) steady(t *testing.T, r request, clients int) (stop func() (int, []error)) {
	t.Helper()
	var (
		calls   sync.WaitGroup
		done    = make(chan struct{})
		good    atomic.Int64
		mu      sync.Mutex
		failed  []error
		failure = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		}
	)
	for range clients {
		calls.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				res, err := p.do(t, r)
				if err == nil && res.status != http.StatusOK {
					err = fmt.Errorf("%d %s", res.status, res.body)
				}
				if err != nil {
					failure(err)
				} else {
					good.Add(1)
				}
			}
		})
	}
	return sync.OnceValues(func() (int, []error) {
		close(done)
		calls.Wait()
		return int(good.Load()), failed
	})
}

// TestClusterRollingARevisionFailsNothing changes a function's template under load.
func TestClusterRollingARevisionFailsNothing(t *testing.T) {
	p := cluster(t)
	const function = "content-detect"
	mustTool(t, "kubectl", "wait", "--for=condition=Ready", "ksvc/"+function, "--timeout=120s")
	stop := p.steady(t, request{
		host: p.host(function), path: "/", body: []byte("package main\n\nfunc main() {}\n"),
		header: map[string]string{"Content-Type": "application/octet-stream"},
	}, 4)
	before := latest(t, function)
	mustTool(t, "kn", "service", "update", function, "--env", "E2E_ROLLED="+time.Now().Format("150405"))
	if after := latest(t, function); after == before {
		t.Errorf("no new revision: still %s", after)
	}
	p.eventually(t, "the old revision has no pod", func() error {
		out, err := kubectl(t, "get", "pods", "-l", "serving.knative.dev/revision="+before, "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("pods: %s", out)
		}
		return err
	})
	good, failed := stop()
	t.Cleanup(func() { _, _ = tool(t, "", "kn", "service", "update", function, "--env", "E2E_ROLLED-") })
	if len(failed) > 0 || good == 0 {
		t.Errorf("%d answered, %d failed: %v", good, len(failed), errors.Join(failed[:min(len(failed), 5)]...))
	}
}

func latest(t *testing.T, service string) string {
	t.Helper()
	return strings.TrimSpace(mustTool(t, "kubectl", "get", "ksvc", service, "-o", "jsonpath={.status.latestReadyRevisionName}"))
}

// TestClusterHotSwapInThePoolFailsNothing pushes versions of a model that is called all
// the time.
func TestClusterHotSwapInThePoolFailsNothing(t *testing.T) {
	p := cluster(t)
	const model = "e2e-swap"
	pushScale(t, p, model, 1)
	p.eventually(t, "version 1 answers", func() error { return p.wantScale(t, model, 1) })
	stop := p.steady(t, request{path: "/v2/models/" + model + "/infer", body: []byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}`)}, 4)
	for v := 2; v <= 4; v++ {
		pushScale(t, p, model, v)
		p.eventually(t, fmt.Sprintf("version %d answers", v), func() error { return p.wantScale(t, model, v) })
	}
	if good, failed := stop(); len(failed) > 0 || good == 0 {
		t.Errorf("%d answered, %d failed: %v", good, len(failed), errors.Join(failed[:min(len(failed), 5)]...))
	}
}

func (p *platform) wantScale(t *testing.T, model string, version int) error {
	t.Helper()
	if got := p.scaleOf(t, "", model); got != version {
		return fmt.Errorf("version %d answered", got)
	}
	return nil
}

// TestClusterBurstFromZero sends a hundred calls at once to a function at zero: each is
// answered once, and neither the container's concurrency nor the service's scale
// is exceeded.
func TestClusterBurstFromZero(t *testing.T) {
	p := cluster(t)
	const service, limit, scale = "e2e-burst", 5, 2
	applyBurst(t, service, limit, scale)
	p.atZero(t, service)
	var calls sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for i := range 100 {
		calls.Go(func() {
			id := fmt.Sprintf("burst-%d", i)
			body := fmt.Sprintf(`{"id":%q,"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[%d]}]}`, id, i)
			res, err := p.do(t, request{host: p.host(service), path: "/v2/models/" + service + "/infer", body: []byte(body)})
			if err != nil {
				t.Error(err)
				return
			}
			var answer struct {
				ID      string
				Outputs []struct{ Data []float64 }
			}
			if err := json.Unmarshal(res.body, &answer); err != nil || res.status != http.StatusOK || answer.ID != id ||
				len(answer.Outputs) != 1 || answer.Outputs[0].Data[0] != float64(3*i) {
				t.Errorf("%d %s %v", res.status, res.body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[answer.ID]++
		})
	}
	most := watchPods(t, service)
	calls.Wait()
	if n := most(); n > scale {
		t.Errorf("%d pods at once, expected at most %d", n, scale)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was answered %d times", id, n)
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d answers to 100 calls", len(seen))
	}
}

// applyBurst makes a service with bounds of its own, at zero.
func applyBurst(t *testing.T, service string, limit, scale int) {
	t.Helper()
	p := cluster(t)
	pushScale(t, p, service, 3)
	t.Cleanup(func() { _, _ = tool(t, "", "kubectl", "delete", "ksvc", service, "--ignore-not-found") })
	mustTool(t, "kn", "service", "apply", service, "--image", imageOf(t, "pool"), "--port", "h2c:8080",
		"--env", "MODELSERVE_MODELS="+service+"@3", "--env", "MODELSERVE_CACHE_DIR=/tmp/models",
		"--env-from", "config-map:modelserve", "--env-from", "secret:modelserve-s3", "--request", "cpu=10m",
		"--concurrency-limit", fmt.Sprint(limit), "--scale-max", fmt.Sprint(scale), "--label", "networking.knative.dev/visibility=cluster-local")
}

// watchPods looks for the most pods that a service has at once, until asked.
func watchPods(t *testing.T, service string) (most func() int) {
	t.Helper()
	done, found := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				found <- n
				return
			case <-tick.C:
				if now, err := podsOf(t, service); err == nil {
					n = max(n, now)
				}
			}
		}
	}()
	return func() int { close(done); return <-found }
}

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answers wants a call to be answered.
func answers(t *testing.T, p *platform, r request) error {
	t.Helper()
	res, err := p.do(t, r)
	if err == nil && res.status != http.StatusOK {
		err = fmt.Errorf("%d %s", res.status, res.body)
	}
	return err
}

// steady calls a model all the time until stop is called, or the test ends. stop
// returns how many calls were answered and the errors of those that were not: ten a
// second of each client at most, so that what is down is left time to come back.
func (p *platform) steady(t *testing.T, r request, clients int) (stop func() (int, []error)) {
	t.Helper()
	var (
		calls  sync.WaitGroup
		good   atomic.Int64
		mu     sync.Mutex
		failed []error
	)
	ctx, cancel := context.WithCancel(t.Context())
	for range clients {
		calls.Go(func() {
			for ctx.Err() == nil {
				err := answers(t, p, r)
				if err == nil {
					good.Add(1)
					continue
				}
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	stop = sync.OnceValues(func() (int, []error) {
		cancel()
		calls.Wait()
		return int(good.Load()), failed
	})
	t.Cleanup(func() { _, _ = stop() })
	return stop
}

// noneFailed ends steady calls, all of which had to be answered.
func noneFailed(t *testing.T, stop func() (int, []error)) {
	t.Helper()
	if good, failed := stop(); len(failed) > 0 || good == 0 {
		t.Errorf("%d answered, %d failed: %v", good, len(failed), errors.Join(failed[:min(len(failed), 5)]...))
	}
}

// TestClusterRollingARevisionFailsNothing changes a function's template under load.
func TestClusterRollingARevisionFailsNothing(t *testing.T) {
	p := cluster(t)
	const function = "content-detect"
	mustTool(t, "kubectl", "wait", "--for=condition=Ready", "ksvc/"+function, "--timeout=120s")
	stop := p.steady(t, classify(p), 4)
	before := latest(t, function)
	t.Cleanup(func() { _, _ = tool(t, "", "kn", "service", "update", function, "--env", "E2E_ROLLED-") })
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
	noneFailed(t, stop)
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
	p.eventually(t, "version 1 answers", func() error { return p.wantScale(t, "", model, 1) })
	stop := p.steady(t, scaled("", model), 4)
	for v := 2; v <= 4; v++ {
		pushScale(t, p, model, v)
		p.eventually(t, fmt.Sprintf("version %d answers", v), func() error { return p.wantScale(t, "", model, v) })
	}
	noneFailed(t, stop)
}

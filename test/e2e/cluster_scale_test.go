//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// atZero waits until services have no pod, not even one that is ending: that
// would still answer.
func (p *platform) atZero(t *testing.T, services ...string) {
	t.Helper()
	p.eventually(t, strings.Join(services, ", ")+" at zero", func() error {
		pods, err := podsOf(t, services...)
		if err != nil || len(pods) == 0 {
			return err
		}
		names := make([]string, len(pods))
		for i, pod := range pods {
			names[i] = pod.Name
		}
		return fmt.Errorf("there are %s", strings.Join(names, ", "))
	})
}

// TestClusterFromZero wakes each function, one after the other for the sake of two
// processors, sends a burst to another, and waits until all sleep again. To zero
// they go together: each takes the better part of a minute.
func TestClusterFromZero(t *testing.T) {
	p := cluster(t)
	calls := nativeCalls(t)
	ready := []string{"wait", "--for=condition=Ready", "--timeout=120s"}
	var functions []string
	for _, call := range calls {
		functions, ready = append(functions, call.function), append(ready, "ksvc/"+call.function)
	}
	mustTool(t, "kubectl", ready...)
	applyBurst(t, p)
	p.atZero(t, append([]string{burstService}, functions...)...)
	for _, tc := range calls {
		t.Run(tc.function, func(t *testing.T) {
			p.atZero(t, tc.function) // it still is, unless something else has woken it
			res := p.must(t, request{host: p.Host(tc.function), path: "/", body: testdata(t, tc.file), header: map[string]string{"Content-Type": tc.contentType}})
			if res.status != http.StatusOK || !regexp.MustCompile(tc.want).Match(res.body) {
				t.Fatalf("from zero: %d %s, want it to match %s", res.status, res.body, tc.want)
			}
			if pods, err := podsOf(t, tc.function); err != nil || len(staying(pods)) == 0 {
				t.Errorf("no pod after an answer (%v)", err)
			}
		})
	}
	t.Run("a hundred calls at once", func(t *testing.T) { burst(t, p) })
	p.atZero(t, functions...)
}

const (
	burstService = "e2e-burst"
	burstLimit   = 5 // calls at once in a container
	burstScale   = 2 // pods
)

// applyBurst makes the service of burst, with bounds of its own.
func applyBurst(t *testing.T, p *platform) {
	t.Helper()
	pushScale(t, p, burstService, 3)
	err := knService(t, "apply", burstService, imageOf(t, "pool"), burstService+"@3",
		"--concurrency-limit", fmt.Sprint(burstLimit), "--scale-max", fmt.Sprint(burstScale))
	if err != nil {
		t.Fatal(err)
	}
}

// burst sends a hundred calls at once to a service at zero: each is answered, and
// was run once, and no more pods start than may.
func burst(t *testing.T, p *platform) {
	p.atZero(t, burstService)
	const n = 100
	most := watchPods(t, burstService)
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			id := fmt.Sprintf("burst-%d", i)
			body := fmt.Sprintf(`{"id":%q,"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[%d]}]}`, id, i)
			res, err := p.do(t, request{host: p.Host(burstService), path: "/v2/models/" + burstService + "/infer", body: []byte(body)})
			if err != nil {
				t.Error(err)
				return
			}
			var answer struct {
				ID      string
				Outputs []struct{ Data []float64 }
			}
			if err := json.Unmarshal(res.body, &answer); err != nil || res.status != http.StatusOK || answer.ID != id ||
				len(answer.Outputs) != 1 || len(answer.Outputs[0].Data) != 1 || answer.Outputs[0].Data[0] != float64(3*i) {
				t.Errorf("%s: %d %s %v", id, res.status, res.body, err)
			}
		})
	}
	calls.Wait()
	if pods := most(); pods > burstScale {
		t.Errorf("%d pods at once, expected at most %d", pods, burstScale)
	}
	// One answer to a call may have been run twice: the pods know. They are all there
	// still, for the autoscaler has seen more calls than they take, and waits a window.
	ran := 0
	p.eventually(t, "each pod reports what it ran", func() (err error) {
		ran, err = executions(t, burstService)
		return err
	})
	if ran != n {
		t.Errorf("%d calls were run as %d", n, ran)
	}
}

// executions are the calls that a service's pods have run of the model that has
// its name, by their own statistics.
func executions(t *testing.T, service string) (int, error) {
	t.Helper()
	pods, err := podsOf(t, service)
	if err != nil {
		return 0, err
	}
	total := 0
	for i := range pods {
		text, err := fetch(t, &pods[i], "8080", "/v2/models/"+service+"/stats")
		if err != nil {
			return 0, err
		}
		var answer struct {
			Stats []struct {
				Count int `json:"inference_count"`
			} `json:"model_stats"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return 0, err
		}
		if len(answer.Stats) == 0 {
			return 0, fmt.Errorf("%s reports nothing of %s: %s", pods[i].Name, service, text)
		}
		for _, version := range answer.Stats {
			total += version.Count
		}
	}
	return total, nil
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
				if pods, err := podsOf(t, service); err == nil {
					n = max(n, len(staying(pods)))
				}
			}
		}
	}()
	return func() int { close(done); return <-found }
}

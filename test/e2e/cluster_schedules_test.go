//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

// TestClusterSchedules has a schedule of each minute fire while every process that serves
// schedules is killed at the turn of one: each minute starts one execution, not zero and
// not two.
func TestClusterSchedules(t *testing.T) {
	const name, minutes = "e2e-minutely", 3
	p := cluster(t)
	p.register(t, pipelineLine) // which waits until the service answers
	t.Cleanup(func() { _, _ = p.Run(t, "pipelines", "delete", "e2e-line", "--yes") })
	_, _ = p.Run(t, "schedules", "delete", name)
	t.Cleanup(func() { _, _ = p.Run(t, "schedules", "delete", name) })
	const input = `{"content": "aGVsbG8="}` // text
	if out, err := p.Run(t, "schedules", "create", name, "--pipeline", "triage", "--cron", "* * * * *", "--time-zone", "Asia/Kolkata", "--missed", "all", "--input", input); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made := p.schedule(t, name)
	if made.NextAt == nil || made.NextAt.Second() != 0 {
		t.Fatalf("%+v", made)
	}
	first := *made.NextAt
	time.Sleep(time.Until(first)) // by this machine's clock, which the cluster has too
	mustTool(t, "kubectl", "-n", "default", "delete", "pods", "-l", "app.kubernetes.io/name=modelserve-pipelines", "--force", "--grace-period=0")
	last := first.Add((minutes - 1) * time.Minute)
	p.Eventually(t, "it fires each minute", 10*time.Minute, func() error {
		res, err := p.do(t, request{method: http.MethodGet, path: contract.PathOf(contract.SchedulePath, name)})
		if err != nil {
			return err
		}
		var s contract.Schedule
		if err := json.Unmarshal(res.body, &s); err != nil || res.status != http.StatusOK {
			return fmt.Errorf("%d %s", res.status, res.body)
		}
		if s.LastAt == nil || s.LastAt.Before(last) {
			return fmt.Errorf("it fired last at %v: %s", s.LastAt, s.LastError)
		}
		return nil
	})
	if out, err := p.Run(t, "schedules", "pause", name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	paused := p.schedule(t, name)
	want := int(paused.LastAt.Sub(first)/time.Minute) + 1
	res := p.must(t, request{method: http.MethodGet, path: contract.ExecutionsPath + "?label=schedule=" + name})
	all := decoded[contract.Executions](t, res).Executions
	began := 0
	for i := range all {
		if !all[i].CreatedAt.Before(first) { // those before are of another run of this test
			began++
		}
	}
	if began != want {
		t.Errorf("%d executions from %v to %v, want %d: %s", began, first, paused.LastAt, want, res.body)
	}
	if x := p.succeeded(t, paused.LastExecution); x.Labels["schedule"] != name {
		t.Errorf("%+v", x)
	}
}

func (p *platform) schedule(t *testing.T, name string) contract.Schedule {
	t.Helper()
	res := p.must(t, request{method: http.MethodGet, path: contract.PathOf(contract.SchedulePath, name)})
	if res.status != http.StatusOK {
		t.Fatalf("%d %s", res.status, res.body)
	}
	return decoded[contract.Schedule](t, res)
}

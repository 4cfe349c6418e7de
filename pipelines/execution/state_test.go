package execution_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

func TestStateIsReadAsWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, step("a", each(definition.BestEffort)), step("b after a"))
	r.e.items = 3
	r.begin().send().failed(0, 0, 1, "", refused).answered(0, 1, 1, "a").send().answered(0, 2, 1, "a").send().failed(1, 0, 1, "", of(refused, "b")).answered(1, 0, 1, "b")
	x := &r.s.rows["x"].x
	text, err := execution.EncodeState(x)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"segments":[{"status":"succeeded","next":3,"done":2,"failed":1},{"status":"failed"}],` +
		`"steps":[{"name":"a","status":"succeeded","join":"best-effort","items":3,"attempts":1,"started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:00Z","model":"a@1","compute_ms":1,"rows":4},` +
		`{"name":"b","status":"failed","attempts":1,"started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:00Z","error":{"status":422,"detail":"no","code":"invalid_argument"}}],` +
		`"events":7,"lates":1}`
	if diff := gocmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	var again execution.Execution
	if err := execution.DecodeState(text, &again); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]any{x.Segments, x.Steps, x.Events, x.Lates}, []any{again.Segments, again.Steps, again.Events, again.Lates}); diff != "" {
		t.Error(diff)
	}
}

// The state of the largest pipeline stays small.
func TestStateIsCompact(t *testing.T) {
	t.Parallel()
	x := &execution.Execution{}
	for i := range definition.MaxSteps {
		x.Segments = append(x.Segments, execution.Segment{Status: execution.Succeeded, Next: 1000, Done: 999, Failed: 1})
		now := time.Now()
		x.Steps = append(x.Steps, execution.Step{
			Name: fmt.Sprintf("%063d", i), Status: execution.Succeeded, Items: 1000, Attempts: 10, Breaks: 5, StartedAt: now, FinishedAt: now,
			Model: strings.Repeat("m", 140), Device: "cuda:0", ComputeMS: 1234.5678, Rows: 1e9,
		})
	}
	text, err := execution.EncodeState(x)
	if err != nil || len(text) > 64<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for range 30 {
		x.Steps = append(x.Steps, x.Steps...)
		if len(x.Steps) > 4000 {
			break
		}
	}
	if _, err := execution.EncodeState(x); err == nil {
		t.Error("a state over the bound is written")
	}
}

func TestStatesThatNoMachineWrites(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":             ``,
		"half":              `{"v":1,"segments":[`,
		"more":              `{"v":1,"segments":[],"steps":[],"events":0} {}`,
		"another version":   `{"v":2,"segments":[],"steps":[],"events":0}`,
		"unknown field":     `{"v":1,"segments":[],"steps":[],"events":0,"signals":[]}`,
		"unknown status":    `{"v":1,"segments":[{"status":"paused"}],"steps":[],"events":0}`,
		"negative":          `{"v":1,"segments":[{"status":"running","next":-1}],"steps":[],"events":0}`,
		"more than begun":   `{"v":1,"segments":[{"status":"running","next":1,"done":2}],"steps":[],"events":0}`,
		"negative events":   `{"v":1,"segments":[],"steps":[],"events":-1}`,
		"too many late":     `{"v":1,"segments":[],"steps":[],"events":1,"lates":33}`,
		"a step of no name": `{"v":1,"segments":[],"steps":[{"name":"","status":"queued"}],"events":1}`,
		"a step twice":      `{"v":1,"segments":[],"steps":[{"name":"a","status":"queued"},{"name":"a","status":"queued"}],"events":1}`,
		"negative attempts": `{"v":1,"segments":[],"steps":[{"name":"a","status":"queued","attempts":-1}],"events":1}`,
		"too large":         `{"v":1,"segments":[],"steps":[],"events":1}` + strings.Repeat(" ", execution.MaxState),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := execution.Execution{ID: "x", Events: 7}
			if err := execution.DecodeState([]byte(text), &x); err == nil {
				t.Errorf("it is read: %+v", x)
			}
			if x.Events != 7 {
				t.Error("and it has changed the execution")
			}
		})
	}
}

// FuzzDecodeState: whatever is read is written and read the same, and machines take it.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"v":1,"segments":[{"status":"running","next":3,"done":2,"failed":1}],"steps":[{"name":"a","status":"failed","attempts":1,"error":{"detail":"x"}}],"events":7,"lates":1}`))
	f.Add([]byte(`{"v":1,"segments":null,"steps":[],"events":0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var x, again execution.Execution
		if execution.DecodeState(text, &x) != nil {
			return
		}
		written, err := execution.EncodeState(&x)
		if err != nil {
			return // what escapes make longer than the bound
		}
		if !json.Valid(written) {
			t.Fatalf("%q", written)
		}
		if err := execution.DecodeState(written, &again); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(x, again); diff != "" {
			t.Fatal(diff)
		}
		r := newRig(t, step("a"))
		x.ID, x.Status, x.Deadline = "x", execution.Running, epoch.Add(time.Hour)
		b := execution.Branch{BranchID: execution.BranchID{Execution: "x"}, Epoch: 1, What: execution.Lease}
		_, _ = r.m.Answered(&x, []execution.Branch{b}, answer(0, 0, 1, "a"), &r.e, epoch)
		execution.Cancel(&x, nil, epoch)
	})
}

// TestWhatCannotBeReadOnlyEnds holds that nothing goes on with an execution whose row could
// not be read whole, that it ends, and that its column stays as it was.
func TestWhatCannotBeReadOnlyEnds(t *testing.T) {
	t.Parallel()
	d := &definition.Definition{Name: "p", Timeout: time.Hour, Steps: []definition.Step{step("a"), step("b after a")}}
	m := execution.New(plan.Of(d), execution.Options{})
	damaged := func() *execution.Execution {
		return &execution.Execution{ID: "x", Status: execution.Running, Deadline: epoch.Add(time.Hour), Events: 7, Damage: &execution.Damage{Why: "a reason", State: `{"v":2}`}}
	}
	b := execution.Branch{BranchID: execution.BranchID{Execution: "x"}, Epoch: 1, What: execution.Lease, Due: epoch}
	branches, e := []execution.Branch{b}, &said{}
	for name, do := range map[string]func(x *execution.Execution) (execution.Change, error){
		"begin": func(x *execution.Execution) (execution.Change, error) {
			x.Status = execution.Queued
			return m.Begin(x, branches, e, epoch)
		},
		"answered": func(x *execution.Execution) (execution.Change, error) {
			return m.Answered(x, branches, answer(0, 0, 1, "a"), e, epoch)
		},
		"failed": func(x *execution.Execution) (execution.Change, error) {
			return m.Failed(x, branches, execution.Failure{Answer: answer(0, 0, 1, "a"), Status: 500}, e, epoch)
		},
		"expired": func(x *execution.Execution) (execution.Change, error) { return m.Expired(x, branches, b, e, epoch) },
		"replay": func(x *execution.Execution) (execution.Change, error) {
			return m.Replay(&execution.Execution{}, x, nil, "", epoch)
		},
	} {
		if change, err := do(damaged()); err == nil || change.Changed {
			t.Errorf("%s: %+v, %v", name, change, err)
		}
	}
	if change := m.Refused(damaged(), branches, answer(0, 0, 1, "a"), epoch); change.Changed {
		t.Errorf("refused: %+v", change)
	}
	if _, _, ok := m.Send(damaged(), execution.Branch{What: execution.Send}, epoch); ok {
		t.Error("it is sent")
	}
	for name, change := range map[string]func(x *execution.Execution) execution.Change{
		"cancel": func(x *execution.Execution) execution.Change { return execution.Cancel(x, branches, epoch) },
		"time out": func(x *execution.Execution) execution.Change {
			return execution.TimeOut(x, branches, epoch.Add(time.Hour))
		},
	} {
		x := damaged()
		c := change(x)
		state, err := execution.EncodeState(x)
		if !x.Status.Ended() || !c.Changed || len(c.Events) != 1 || c.Events[0].Number != 8 || string(state) != `{"v":2}` || err != nil {
			t.Errorf("%s: %+v, %+v, %s, %v", name, x, c, state, err)
		}
	}
}

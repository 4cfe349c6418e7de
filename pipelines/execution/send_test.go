package execution_test

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

func TestSend(t *testing.T) {
	t.Parallel()
	slow := step("a")
	slow.Timeout = 2 * time.Minute
	for _, test := range []struct {
		name     string
		steps    []definition.Step
		change   func(x *execution.Execution, b *execution.Branch)
		deadline time.Duration // 0 is that nothing is sent
	}{
		{"one step", []definition.Step{step("a")}, nil, 30 * time.Second},
		{"a chain", []definition.Step{step("a"), step("b after a"), step("c after b")}, nil, 90 * time.Second},
		{"the rest of a chain", []definition.Step{step("a"), step("b after a"), step("c after b")}, func(_ *execution.Execution, b *execution.Branch) { b.Step = 2 }, 30 * time.Second},
		{"outside", []definition.Step{step("a", outside)}, nil, 10 * time.Second},
		{"no later than the execution's", []definition.Step{slow}, func(x *execution.Execution, _ *execution.Branch) { x.Deadline = epoch.Add(time.Minute) }, time.Minute},
		{"after the execution's", []definition.Step{slow}, func(x *execution.Execution, _ *execution.Branch) { x.Deadline = epoch }, 0},
		{"not due", []definition.Step{step("a")}, func(_ *execution.Execution, b *execution.Branch) { b.Due = epoch.Add(1) }, 0},
		{"sent already", []definition.Step{step("a")}, func(_ *execution.Execution, b *execution.Branch) { b.What = execution.Lease }, 0},
		{"the execution itself", []definition.Step{step("a")}, func(_ *execution.Execution, b *execution.Branch) { b.Segment = -1 }, 0},
		{"a step that there is not", []definition.Step{step("a")}, func(_ *execution.Execution, b *execution.Branch) { b.Step = 1 }, 0},
		{"cancelled", []definition.Step{step("a")}, func(x *execution.Execution, _ *execution.Branch) { x.Status = execution.Cancelled }, 0},
		{"of another plan", []definition.Step{step("a")}, func(x *execution.Execution, _ *execution.Branch) { x.Segments = nil }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, test.steps...)
			x, branches := r.begin().s.load("x")
			b := branches[1]
			b.Attempts, b.Breaks, b.Epoch = 1, 2, 4
			if test.change != nil {
				test.change(x, &b)
			}
			sent, deadline, ok := r.m.Send(x, b, epoch)
			if ok != (test.deadline > 0) {
				t.Fatalf("%v", ok)
			}
			want := b
			if ok {
				want.Epoch, want.What, want.Due = 5, execution.Lease, epoch.Add(test.deadline+5*time.Second)
				if got := deadline.Sub(epoch); got != test.deadline {
					t.Errorf("deadline after %s, want %s", got, test.deadline)
				}
			}
			if diff := gocmp.Diff(want, sent); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The cold starts of a long chain are bounded, as what a channel waits for is.
func TestColdStartsOfAChainAreBounded(t *testing.T) {
	t.Parallel()
	steps := []definition.Step{step("s0")}
	for _, text := range []string{"s1 after s0", "s2 after s1", "s3 after s2", "s4 after s3", "s5 after s4", "s6 after s5", "s7 after s6", "s8 after s7", "s9 after s8"} {
		steps = append(steps, step(text))
	}
	steps = append(steps, step("s10 after s9"), step("s11 after s10"), step("s12 after s11"), step("s13 after s12"), step("s14 after s13"), step("s15 after s14"))
	r := newRig(t, steps...)
	r.d.Timeout = time.Hour
	x, branches := r.begin().s.load("x")
	if _, deadline, _ := r.m.Send(x, branches[1], epoch); deadline.Sub(epoch) != 160*time.Second+5*time.Minute {
		t.Errorf("%s", deadline.Sub(epoch))
	}
}

func TestAcceptAndBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t, step("a"))
	x := &execution.Execution{ID: "y", Pipeline: "p", Version: 3, Priority: -2, RunAt: epoch.Add(time.Hour)}
	accepted := r.m.Accept(x, epoch)
	want := execution.Change{
		Changed: true,
		Put:     []execution.Branch{{BranchID: execution.Whole("y"), What: execution.Start, Due: x.RunAt, Priority: -2}},
		Events:  []execution.Event{{Number: 1, Type: execution.ExecutionAccepted, Status: execution.Queued, At: epoch}},
	}
	if diff := gocmp.Diff(want, accepted); diff != "" {
		t.Error(diff)
	}
	if early, err := r.m.Begin(x, nil, &said{}, x.RunAt.Add(-1)); err != nil || early.Changed {
		t.Errorf("before its time: %+v, %v", early, err)
	}
	begun, err := r.m.Begin(x, nil, &said{}, x.RunAt)
	if err != nil {
		t.Fatal(err)
	}
	want = execution.Change{
		Changed: true,
		Put: []execution.Branch{
			{BranchID: execution.Whole("y"), What: execution.End, Due: x.RunAt.Add(5 * time.Minute), Priority: -2},
			{BranchID: execution.BranchID{Execution: "y"}, What: execution.Send, Due: x.RunAt, Priority: -2},
		},
		Events: []execution.Event{
			{Number: 2, Type: execution.ExecutionStarted, Status: execution.Running, At: x.RunAt},
			{Number: 3, Type: execution.StepStarted, Step: "a", Status: execution.Running, At: x.RunAt},
		},
	}
	if diff := gocmp.Diff(want, begun); diff != "" {
		t.Error(diff)
	}
	data, err := begun.Events[1].Data(x)
	if want := `{"execution":"y","pipeline":"p","version":3,"step":"a","status":"running"}`; err != nil || string(data) != want {
		t.Errorf("%s, %v", data, err)
	}
}

// What functions stamp is the step's: the last model, and of a forEach the sums.
func TestRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, step("a"), step("b after a", each(definition.All)))
	r.e.items = 2
	r.begin().send().answered(0, 0, 1, "a").send().answered(1, 0, 1, "b").answered(1, 1, 1, "b")
	want := []execution.Step{
		{Name: "a", Status: execution.Succeeded, Attempts: 1, StartedAt: epoch, FinishedAt: epoch, Model: "a@1", ComputeMS: 0.5, Rows: 2},
		{Name: "b", Status: execution.Succeeded, Join: definition.All, Items: 2, Attempts: 1, StartedAt: epoch, FinishedAt: epoch, Model: "b@1", ComputeMS: 1, Rows: 4},
	}
	if diff := gocmp.Diff(want, r.s.rows["x"].x.Steps); diff != "" {
		t.Error(diff)
	}
}

// An execution that another program planned otherwise is not guessed at, and ends.
func TestAnExecutionOfAnotherPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, step("a"), step("b after a"))
	r.begin().send()
	other := newRig(t, step("a"))
	r.m = other.m
	before := r.String()
	for name, do := range map[string]func(){
		"answered": func() { r.answered(0, 0, 1, "a b") },
		"failed":   func() { r.failed(0, 0, 1, "", broken) },
		"expired":  func() { r.wait(time.Minute).expired(0, 0, 1) },
	} {
		if do(); r.err == nil || r.String() != before {
			t.Errorf("%s: %v, %s", name, r.err, r)
		}
	}
	if r.seen(1, "a"); r.String() != before {
		t.Error(r)
	}
	if r.wait(time.Hour).timeOut(); r.s.rows["x"].x.Status != execution.Failed {
		t.Error(r)
	}
}

package execution_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// said is an Evaluator that says what a test wants.
type said struct {
	when   map[string]error // nil is true; errSkip is false
	items  int
	err    error // of Items
	output error
}

var errSkip = errors.New("false")

func (s *said) When(step string) (bool, error) {
	if err := s.when[step]; !errors.Is(err, errSkip) {
		return err == nil, err
	}
	return false, nil
}
func (s *said) Items(string) (int, error) { return s.items, s.err }
func (s *said) Output() (envelope.Value, error) {
	return envelope.Value{JSON: []byte(`"done"`)}, s.output
}

// rig is one execution in a store, and what a test does to it.
type rig struct {
	t   *testing.T
	m   *execution.Machine
	s   *store
	e   said
	now time.Duration
	d   *definition.Definition
	err error // of the last transition
}

// step makes a step: "b after a", with changes.
func step(text string, changes ...func(*definition.Step)) definition.Step {
	name, needs, _ := strings.Cut(text, " after ")
	s := definition.Step{
		Name: name, Function: "f", Input: "input", Needs: strings.Fields(needs),
		Retry: definition.Retry{Attempts: 3, Backoff: time.Second}, Timeout: 10 * time.Second,
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func when(s *definition.Step)    { s.When = "…" }
func outside(s *definition.Step) { s.Function, s.URI = "", "https://example.com/" }
func each(join definition.Join) func(*definition.Step) {
	return func(s *definition.Step) {
		s.ForEach = &definition.ForEach{Items: "…", Max: 4, AtOnce: 2, Join: join}
	}
}

func newRig(t *testing.T, steps ...definition.Step) *rig {
	t.Helper()
	r := &rig{t: t, d: &definition.Definition{Name: "p", Steps: steps, Timeout: 5 * time.Minute, Concurrency: 1}}
	p := plan.Of(r.d)
	r.m = execution.New(p, execution.Options{ColdStart: 20 * time.Second, Random: func() float64 { return 0.5 }})
	r.s = newStore(p, r.clock)
	x := &execution.Execution{ID: "x", Pipeline: "p", Version: 1, Priority: 7}
	r.s.accept(x, 1, r.m.Accept(x, r.clock()))
	return r
}

func (r *rig) clock() time.Time { return epoch.Add(r.now) }

func (r *rig) wait(d time.Duration) *rig { r.now += d; return r }

// do is one transition, saved.
func (r *rig) do(f func(x *execution.Execution, branches []execution.Branch) (execution.Change, error)) *rig {
	r.t.Helper()
	x, branches := r.s.load("x")
	change, err := f(x, branches)
	r.err = err
	if err == nil && change.Changed {
		if err := r.s.save(x, change); err != nil {
			r.t.Fatal(err)
		}
	}
	if err != nil && change.Changed {
		r.t.Errorf("an error and a change: %v, %+v", err, change)
	}
	if r.s.broken != nil {
		r.t.Error(r.s.broken)
	}
	return r
}

func (r *rig) begin() *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Begin(x, b, &r.e, r.clock())
	})
}

// send sends everything that is due.
func (r *rig) send() *rig {
	r.t.Helper()
	x, branches := r.s.load("x")
	for _, b := range branches {
		if sent, _, ok := r.m.Send(x, b, r.clock()); ok && !r.s.mark(sent) {
			r.t.Errorf("%+v cannot be sent", sent)
		}
	}
	return r
}

// outputs are those of steps that answer their own names.
func outputs(steps string) map[string]envelope.Value {
	values := map[string]envelope.Value{}
	for _, s := range strings.Fields(steps) {
		values[s] = envelope.Value{JSON: []byte(`"` + s + `"`)}
	}
	return values
}

func answer(segment, item, epoch int, steps string) execution.Answer {
	a := execution.Answer{Segment: segment, Item: item, Epoch: epoch, Values: outputs(steps)}
	for _, s := range strings.Fields(steps) {
		a.Records = append(a.Records, envelope.Record{Step: s, Epoch: epoch, Model: s + "@1", Rows: 2, ComputeMS: 0.5})
	}
	return a
}

func (r *rig) answered(segment, item, epoch int, steps string) *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Answered(x, b, answer(segment, item, epoch, steps), &r.e, r.clock())
	})
}

func (r *rig) failed(segment, item, epoch int, steps string, f execution.Failure) *rig {
	r.t.Helper()
	f.Answer = answer(segment, item, epoch, steps)
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Failed(x, b, f, &r.e, r.clock())
	})
}

func (r *rig) expired(segment, item, epoch int) *rig {
	r.t.Helper()
	lease := execution.Branch{BranchID: execution.BranchID{Execution: "x", Segment: segment, Item: item}, Epoch: epoch}
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Expired(x, b, lease, &r.e, r.clock())
	})
}

func (r *rig) refused(segment, item, epoch int) *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Refused(x, b, execution.Answer{Segment: segment, Item: item, Epoch: epoch}, r.clock()), nil
	})
}

func (r *rig) seen(epoch int, step string) *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return r.m.Seen(x, b, execution.Seen{Epoch: epoch, Step: step, Record: envelope.Record{Step: step, Device: "cpu"}}, r.clock()), nil
	})
}

func (r *rig) cancel() *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return execution.Cancel(x, b, r.clock()), nil
	})
}

func (r *rig) timeOut() *rig {
	r.t.Helper()
	return r.do(func(x *execution.Execution, b []execution.Branch) (execution.Change, error) {
		return execution.TimeOut(x, b, r.clock()), nil
	})
}

// String is where the execution is: its status, steps, outputs, what is due, dead
// letters and late answers.
func (r *rig) String() string {
	row := r.s.rows["x"]
	var parts []string
	for i := range row.x.Steps {
		s := &row.x.Steps[i]
		text := s.Name + " " + string(s.Status)
		if s.Attempts > 0 || s.Breaks > 0 {
			text += fmt.Sprintf(" %d+%d", s.Attempts, s.Breaks)
		}
		parts = append(parts, text)
	}
	lines := []string{string(row.x.Status) + ": " + strings.Join(parts, ", ")}
	_, branches := r.s.load("x")
	for _, b := range branches {
		if b.Segment >= 0 {
			lines = append(lines, fmt.Sprintf("%d.%d step %d epoch %d, %d+%d: %s at %s", b.Segment, b.Item, b.Step, b.Epoch, b.Attempts, b.Breaks, b.What, b.Due.Sub(epoch)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(row.values)) {
		for _, item := range slices.Sorted(maps.Keys(row.values[name])) {
			lines = append(lines, fmt.Sprintf("value %s.%d epoch %d", name, item, row.values[name][item].Epoch))
		}
	}
	for _, d := range row.dead {
		lines = append(lines, fmt.Sprintf("dead %s.%d epoch %d, %d+%d: %d %s", d.Step, d.Item, d.Epoch, d.Attempts, d.Breaks, d.Error.Status, d.Error.Code))
	}
	for _, l := range row.late {
		lines = append(lines, fmt.Sprintf("late %d.%d epoch %d %s", l.Segment, l.Item, l.Epoch, l.Step))
	}
	if row.x.Error != nil {
		lines = append(lines, fmt.Sprintf("error %d %s", row.x.Error.Status, row.x.Error.Code))
	}
	return strings.Join(lines, "\n")
}

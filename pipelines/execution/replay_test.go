package execution_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/problem"
)

// recorded is an execution that has ended, of "NAME STATUS ITEMS", and its values, of
// "NAME.ITEM".
func recorded(d *definition.Definition, steps, values string) (*execution.Execution, []execution.StepValue) {
	m := execution.New(plan.Of(d), execution.Options{})
	x := &execution.Execution{ID: "old"}
	m.Accept(x, epoch)
	x.Status = execution.Failed
	for text := range strings.SplitSeq(steps, ", ") {
		var name, status string
		var items int
		_, _ = fmt.Sscan(text, &name, &status, &items)
		s := x.Step(name)
		s.Status, s.Items, s.Attempts, s.Model = execution.Status(status), items, 2, "m@1"
	}
	var all []execution.StepValue
	for text := range strings.FieldsSeq(values) {
		v := execution.StepValue{Epoch: 3, Value: envelope.Value{JSON: []byte("1")}}
		name, item, _ := strings.Cut(text, ".")
		v.Step = name
		_, _ = fmt.Sscan(item, &v.Item)
		all = append(all, v)
	}
	return x, all
}

func TestReplay(t *testing.T) {
	t.Parallel()
	// a → b → c is one segment; d joins c and the items of e.
	d := &definition.Definition{Name: "p", Timeout: time.Minute, Steps: []definition.Step{
		step("a"), step("b after a"), step("c after b"), step("e after a", each(definition.All)), step("d after c e"),
	}}
	d.Steps[0].Needs = []string{}
	for _, test := range []struct {
		name, steps, values, from string
		want                      string // steps that are taken, and how many values; or the error's code
		begins                    string // what is sent first
	}{
		{"from the beginning", "a succeeded", "a.0", "", "0 values", "0.0 from a"},
		{"from the first step", "a succeeded", "a.0", "a", "0 values", "0.0 from a"},
		{"from a step", "a succeeded, b failed", "a.0", "b", "a; 1 values", "1.0 from b, 2.0 from e, 2.1 from e"},
		{"from the middle of a chain", "a succeeded, b succeeded, c failed, e cancelled", "a.0 b.0", "c", "a b; 2 values", "1.0 from c, 2.0 from e, 2.1 from e"},
		{"what ran beside it is taken", "a succeeded, b failed, e succeeded 2", "a.0 e.1 e.0", "b", "a e; 3 values", "1.0 from b"},
		{"where it is whole", "a succeeded, b failed, e succeeded 2", "a.0 e.1", "b", "a; 1 values", "1.0 from b, 2.0 from e, 2.1 from e"},
		{"from the end", "a succeeded, b succeeded, c succeeded, e skipped, d failed", "a.0 b.0 c.0", "d", "a b c e; 3 values", "3.0 from d"},
		{"from a forEach", "a succeeded, b succeeded, c succeeded, e failed 2", "a.0 b.0 c.0 e.1", "e", "a b c; 3 values", "2.0 from e, 2.1 from e"},
		{"what comes after it runs again", "a succeeded, b succeeded, c succeeded, e succeeded 0, d succeeded", "a.0 b.0 c.0 d.0", "b", "a e; 1 values", "1.0 from b"},
		{"a step before it has no output", "a succeeded, b failed", "a.0", "c", "conflict", ""},
		{"its output is gone", "a succeeded, b failed", "", "b", "conflict", ""},
		{"a forEach before it is not whole", "a succeeded, b succeeded, c succeeded, e succeeded 2, d failed", "a.0 b.0 c.0 e.0", "d", "conflict", ""},
		{"no such step", "a succeeded", "a.0", "z", "invalid_argument", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := plan.Of(d)
			m := execution.New(p, execution.Options{Random: func() float64 { return 0 }})
			old, values := recorded(d, test.steps, test.values)
			x := &execution.Execution{ID: "new"}
			change, err := m.Replay(x, old, values, test.from, epoch)
			var got []string
			for i := range x.Steps {
				if s := &x.Steps[i]; s.Status != execution.Queued {
					got = append(got, s.Name)
				}
			}
			text := strings.TrimPrefix(fmt.Sprintf("%s; %d values", strings.Join(got, " "), len(change.Values)), "; ")
			if err != nil {
				text = string(problem.CodeOf(err))
			}
			if diff := gocmp.Diff(test.want, text); diff != "" {
				t.Fatal(diff)
			}
			if err != nil {
				return
			}
			if x.ReplayOf != "old" || x.From != test.from || x.Status != execution.Queued || len(change.Events) != 1 {
				t.Errorf("%+v, %+v", x, change.Events)
			}
			begun, err := m.Begin(x, change.Put, &said{items: 2}, epoch)
			if err != nil {
				t.Fatal(err)
			}
			var sent []string
			for _, b := range begun.Put {
				if b.What == execution.Send {
					sent = append(sent, fmt.Sprintf("%d.%d from %s", b.Segment, b.Item, p.Step(b.Segment, b.Step).Name))
				}
			}
			if diff := gocmp.Diff(test.begins, strings.Join(sent, ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A step of another version that joins otherwise cannot be taken as recorded.
func TestReplayOfAnotherVersion(t *testing.T) {
	t.Parallel()
	before := &definition.Definition{Name: "p", Steps: []definition.Step{step("a", each(definition.Any)), step("b after a")}}
	after := &definition.Definition{Name: "p", Steps: []definition.Step{step("a"), step("b after a")}}
	old, values := recorded(before, "a succeeded 2, b failed", "a.1")
	_, err := execution.New(plan.Of(after), execution.Options{}).Replay(&execution.Execution{}, old, values, "b", epoch)
	if problem.CodeOf(err) != problem.Conflict {
		t.Errorf("%v", err)
	}
	if _, err := execution.New(plan.Of(before), execution.Options{}).Replay(&execution.Execution{}, old, values, "b", epoch); err != nil {
		t.Error(err)
	}
}

// TestReplayCountsItemsThatFailed holds that a best-effort step that is taken over says how
// many of its items failed, as it did where it ran.
func TestReplayCountsItemsThatFailed(t *testing.T) {
	t.Parallel()
	d := &definition.Definition{Name: "p", Steps: []definition.Step{step("a", each(definition.BestEffort)), step("b after a")}}
	old, values := recorded(d, "a succeeded 3, b failed", "a.0 a.2")
	x := &execution.Execution{}
	if _, err := execution.New(plan.Of(d), execution.Options{}).Replay(x, old, values, "b", epoch); err != nil {
		t.Fatal(err)
	}
	if s := x.Segments[0]; s.Done != 2 || s.Failed != 1 {
		t.Errorf("%d items succeeded and %d failed, want 2 and 1", s.Done, s.Failed)
	}
}

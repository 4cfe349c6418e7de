package decide_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
	"github.com/modelserveai/modelserve/problem"
)

// store has one execution.
type store struct {
	mu        sync.Mutex
	loaded    *record.Loaded
	version   *record.Version
	values    []execution.StepValue
	conflicts int   // of the saves to come
	fault     error // of the saves to come
	saves     []execution.Change
}

func (s *store) Load(context.Context, string) (*record.Loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := *s.loaded.Execution
	x.Steps, x.Segments = slices.Clone(x.Steps), slices.Clone(x.Segments)
	return &record.Loaded{Execution: &x, Branches: slices.Clone(s.loaded.Branches), Owner: "acme", Now: s.loaded.Now}, nil
}

func (s *store) Values(_ context.Context, _ string, steps []string) ([]execution.StepValue, error) {
	var found []execution.StepValue
	for _, v := range s.values {
		if slices.Contains(steps, v.Step) {
			found = append(found, v)
		}
	}
	return found, nil
}

func (s *store) Save(_ context.Context, _ *execution.Execution, change *execution.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conflicts > 0 {
		s.conflicts--
		return fmt.Errorf("save: %w", record.ErrConflict)
	}
	if s.fault == nil {
		s.saves = append(s.saves, *change)
	}
	return s.fault
}

func (s *store) Version(context.Context, record.VersionID) (*record.Version, error) {
	return s.version, nil
}

// newState is an execution of a pipeline of these steps, which runs.
func newState(t *testing.T, spec string, change func(*execution.Execution)) (*decide.Decider, *store, *valuestest.Objects) {
	t.Helper()
	d, err := definition.Parse([]byte("apiVersion: modelserve.dev/v1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n" + spec))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	x := &execution.Execution{ID: "x1", Tenant: "acme", Pipeline: "p", Version: 1, Digest: d.Digest(), Input: envelope.Value{JSON: json.RawMessage(`{"a":[1,2]}`)}}
	execution.New(plan.Of(d), execution.Options{}).Accept(x, now)
	x.Status, x.Deadline = execution.Running, now.Add(time.Hour)
	if change != nil {
		change(x)
	}
	s := &store{
		version: &record.Version{VersionID: record.VersionID{Owner: "acme", Name: "p", Number: 1}, Canonical: d.Canonical(), Digest: d.Digest()},
		loaded:  &record.Loaded{Execution: x, Owner: "acme", Now: now},
	}
	objects := valuestest.New()
	decider, err := decide.New(decide.Config{ColdStart: time.Second, MaxValues: 1 << 20}, s, values.New(objects, "b", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return decider, s, objects
}

const steps = `
  steps:
    - {name: one, function: f, input: 'input.a'}
    - {name: two, function: f, input: 'steps.one'}
    - {name: when, function: f, when: 'size(steps.two) > 1', input: '[steps.two, event]'}
    - {name: each, function: f, forEach: {items: 'steps.two'}, input: '{"item": item, "n": index, "one": steps.one}'}
    - {name: last, function: f, input: '{"each": steps.each, "when": steps.when}'}
    - {name: end, function: f, input: '{"last": steps.last, "two": steps.two}'}
  output: 'steps.end'
`

func value(text string) envelope.Value { return envelope.Value{JSON: json.RawMessage(text)} }

// TestAnEnvelopeHasWhatItsStepsRead holds that an event has the plans of its chain, and
// no value that none of them reads.
func TestAnEnvelopeHasWhatItsStepsRead(t *testing.T) {
	t.Parallel()
	decider, s, _ := newState(t, steps, func(x *execution.Execution) {
		x.Event = json.RawMessage(`{"type":"t"}`)
		x.Step("when").Status = execution.Skipped
		x.Step("each").Items, x.Step("each").Join = 3, definition.BestEffort
	})
	s.values = []execution.StepValue{
		{Step: "one", Value: value(`"one"`)},
		{Step: "two", Value: value(`["A","B","C"]`)},
		{Step: "each", Item: 2, Value: value(`"c"`)},
		{Step: "each", Item: 0, Value: value(`"a"`)},
	}
	for name, c := range map[string]struct {
		branch execution.Branch
		want   string
		plans  []string
	}{
		"the first":       {execution.Branch{BranchID: execution.BranchID{Execution: "x1"}}, `{"input":{"a":[1,2]}}`, []string{"one", "two"}},
		"a retry":         {execution.Branch{BranchID: execution.BranchID{Execution: "x1"}, Step: 1}, `{"input":null,"steps":{"one":"one"}}`, []string{"two"}},
		"a condition":     {execution.Branch{BranchID: execution.BranchID{Execution: "x1", Segment: 1}}, `{"input":null,"event":{"type":"t"},"steps":{"two":["A","B","C"]}}`, []string{"when"}},
		"an item":         {execution.Branch{BranchID: execution.BranchID{Execution: "x1", Segment: 2, Item: 1}}, `{"input":null,"steps":{"one":"one"},"item":"B","index":1}`, []string{"each"}},
		"after a forEach": {execution.Branch{BranchID: execution.BranchID{Execution: "x1", Segment: 3}}, `{"input":null,"steps":{"each":["a",null,"c"],"two":["A","B","C"],"when":null}}`, []string{"last", "end"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, err := decider.Load(t.Context(), "x1")
			if err != nil {
				t.Fatal(err)
			}
			data, err := state.Envelope(t.Context(), c.branch)
			if err != nil {
				t.Fatal(err)
			}
			e, err := envelope.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Plans) != 2*len(c.plans) {
				t.Errorf("%d plans", len(e.Plans))
			}
			for _, step := range c.plans {
				hash, err := plan.Ticket(state.Version.Definition.Step(step), true).Hash()
				if err != nil || e.Plans[hash] == nil {
					t.Errorf("no plan of %s: %v", step, err)
				}
			}
			e.Plans = nil
			if rest, err := e.Encode(); err != nil || string(rest) != c.want {
				t.Errorf("%s, %v", rest, err)
			}
		})
	}
}

// TestAnEnvelopeHasRoom holds that what is large is stored, so that outputs fit in.
func TestAnEnvelopeHasRoom(t *testing.T) {
	t.Parallel()
	text := func(n int) envelope.Value { return value(`"` + strings.Repeat("x", n-2) + `"`) }
	decider, s, objects := newState(t, `
  steps:
    - {name: one, function: f, input: 'input'}
    - {name: two, function: f, needs: [one], when: 'true', input: '1'}
    - {name: three, function: f, needs: [two], input: '[input, steps.one, steps.two]'}
  output: 'steps.three'
`, func(x *execution.Execution) { x.Input = text(60_000) })
	s.values = []execution.StepValue{{Step: "one", Value: text(61_000)}, {Step: "two", Value: text(1000)}}
	state, err := decider.Load(t.Context(), "x1")
	if err != nil {
		t.Fatal(err)
	}
	data, err := state.Envelope(t.Context(), execution.Branch{BranchID: execution.BranchID{Execution: "x1", Segment: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := envelope.Parse(data); err != nil || e.Input.Claim != nil || e.Steps["one"].Claim != nil {
		t.Errorf("%d bytes with claim checks, %v", len(data), err)
	}
	s.values[1].Value = text(62_000)
	if data, err = state.Envelope(t.Context(), execution.Branch{BranchID: execution.BranchID{Execution: "x1", Segment: 2}}); err != nil {
		t.Fatal(err)
	}
	e, err := envelope.Parse(data)
	if err != nil || len(data) > envelope.MaxEnvelope/2 || e.Steps["two"].Claim == nil || e.Steps["one"].JSON == nil {
		t.Errorf("%d bytes, %v: %+v", len(data), err, e)
	}
	if keys := objects.Keys(); len(keys) != 1 || !strings.HasPrefix(keys[0], "payloads/acme/x1/two-") {
		t.Errorf("stored %v", keys)
	}
}

// TestExpressionsReadTheAnswerInHand holds that a decision sees what came with the answer
// it is about, and that faults of expressions are the pipeline's.
func TestExpressionsReadTheAnswerInHand(t *testing.T) {
	t.Parallel()
	decider, s, _ := newState(t, steps, nil)
	s.values = []execution.StepValue{{Step: "one", Value: value(`"one"`)}}
	state, err := decider.Load(t.Context(), "x1")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`["A"]`: false, `["A","B"]`: true} {
		e := state.Evaluator(t.Context(), &execution.Answer{Values: map[string]envelope.Value{"two": value(text)}})
		if holds, err := e.When("when"); err != nil || holds != want {
			t.Errorf("%s: %v, %v", text, holds, err)
		}
	}
	e := state.Evaluator(t.Context(), &execution.Answer{Values: map[string]envelope.Value{"two": value(`7`)}})
	if _, err := e.When("when"); problem.CodeOf(err) != problem.InvalidArgument {
		t.Errorf("what has no size: %v", err)
	}
	if _, err := e.Items("each"); problem.CodeOf(err) != problem.InvalidArgument {
		t.Errorf("what is no list: %v", err)
	}
	if _, err := state.Evaluator(t.Context(), nil).Output(); err == nil || problem.CodeOf(err) == problem.InvalidArgument {
		t.Errorf("an output that is not there: %v", err)
	}
	claim := &envelope.Claim{Ref: "s3://b/payloads/acme/x1/a", SHA256: envelope.Sum(nil), Size: 2 << 20}
	e = state.Evaluator(t.Context(), &execution.Answer{Values: map[string]envelope.Value{"two": {Claim: claim}}})
	if _, err := e.When("when"); problem.CodeOf(err) != problem.PayloadTooLarge {
		t.Errorf("more than is read: %v", err)
	}
}

func TestWhatMovedIsDecidedOnAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		decider, s, _ := newState(t, steps, nil)
		var saved []*decide.Saved
		decider.OnSaved(func(_ context.Context, s *decide.Saved) { saved = append(saved, s) })
		calls := 0
		decided := func() error {
			return decider.Decide(t.Context(), execution.BranchID{Execution: "x1"}, func(*decide.State) (execution.Change, error) {
				calls++
				return execution.Change{Changed: true}, nil
			})
		}
		s.conflicts = 3
		if err := decided(); err != nil || calls != 4 || len(s.saves) != 1 || len(saved) != 1 {
			t.Errorf("%v after %d calls, %d saves, %d notices", err, calls, len(s.saves), len(saved))
		}
		s.conflicts = 1000
		if err := decided(); !errors.Is(err, record.ErrConflict) || len(saved) != 1 {
			t.Errorf("for ever: %v", err)
		}
		s.conflicts, s.fault = 0, record.ErrUnavailable
		if err := decided(); !errors.Is(err, record.ErrUnavailable) || len(saved) != 1 {
			t.Errorf("away: %v", err)
		}
		s.fault = nil
		s.loaded.Execution.Status = execution.Failed
		before := len(s.saves)
		if err := decided(); err != nil || len(s.saves) != before || len(saved) != 2 {
			t.Errorf("one that has ended was saved: %v", err)
		}
	})
}

func TestOneDecisionAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		decider, _, _ := newState(t, steps, nil)
		var work sync.WaitGroup
		now, most := 0, 0
		for range 10 {
			work.Go(func() {
				err := decider.Decide(t.Context(), execution.BranchID{Execution: "x1"}, func(*decide.State) (execution.Change, error) {
					now++
					most = max(most, now)
					time.Sleep(time.Second)
					now--
					return execution.Change{}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		synctest.Wait()
		err := decider.Decide(ctx, execution.BranchID{Execution: "x1"}, func(*decide.State) (execution.Change, error) {
			return execution.Change{}, errors.New("its time is over")
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whoever waits too long: %v", err)
		}
		work.Wait()
		if most != 1 {
			t.Errorf("%d at once", most)
		}
	})
}

func TestTheStepThatFailedIsTheFirstWithoutAnOutput(t *testing.T) {
	t.Parallel()
	decider, s, _ := newState(t, steps, nil)
	id := execution.BranchID{Execution: "x1"}
	for name, c := range map[string]struct {
		step    int
		outputs []string
		want    string
	}{
		"none":    {0, nil, "one"},
		"one":     {0, []string{"one"}, "two"},
		"all":     {0, []string{"one", "two"}, ""},
		"a retry": {1, []string{"one"}, "two"},
	} {
		s.loaded.Branches = []execution.Branch{{BranchID: id, Step: c.step}}
		state, err := decider.Load(t.Context(), "x1")
		if err != nil {
			t.Fatal(err)
		}
		e := &envelope.Envelope{Steps: map[string]envelope.Value{}}
		for _, step := range c.outputs {
			e.Steps[step] = value(`1`)
		}
		if diff := cmp.Diff(c.want, state.First(id, e)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got := state.First(execution.BranchID{Execution: "x1", Segment: 7}, e); got != "" {
			t.Errorf("%s: of no branch %q", name, got)
		}
	}
}

package execution_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// What simulated steps compute: a hash of their name, item and inputs. So what an
// execution should answer can be worked out without any machine.

func hashOf(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, parts...)
	return h.Sum64()
}

// output is one step's output: a hash for each item, 0 for null. One that repeats
// nothing has one.
type output []uint64

// inputs is the hash of what a step reads: the outputs of what it needs.
func inputs(input uint64, step *definition.Step, of func(step string) output) uint64 {
	parts := []any{input}
	for _, need := range step.Needs {
		parts = append(parts, need, of(need))
	}
	return hashOf(parts...)
}

func holds(step *definition.Step, in uint64) bool {
	return step.When == "" || hashOf("when", step.Name, in)%4 != 0
}

// items is how many items there are: of one in twenty, more than there may be.
func items(step *definition.Step, in uint64) int {
	h := hashOf("items", step.Name, in)
	if h%20 == 0 {
		return step.ForEach.Max + 1
	}
	return int(h/20) % (step.ForEach.Max + 1)
}

func answerOf(step *definition.Step, item int, in uint64) uint64 {
	return hashOf("answer", step.Name, item, in) | 1
}

// poisonous reports whether a step refuses its input for good.
func poisonous(step *definition.Step, item int, in uint64, rate float64) bool {
	return float64(hashOf("poison", step.Name, item, in)%1000) < rate*1000
}

// whole is the hash of all outputs: the pipeline's output.
func whole(d *definition.Definition, of func(step string) output) uint64 {
	parts := []any{"output"}
	for i := range d.Steps {
		parts = append(parts, d.Steps[i].Name, of(d.Steps[i].Name))
	}
	return hashOf(parts...)
}

// undisturbed is what an execution answers when nothing goes wrong, but for what may
// differ: which item is first where any will do, and which have failed where that is
// allowed. Those are as got has them; the rest of got is not looked at.
func undisturbed(d *definition.Definition, input uint64, got func(step string) output) (uint64, error) {
	known := map[string]output{}
	of := func(step string) output { return known[step] }
	for len(known) < len(d.Steps) {
		for i := range d.Steps {
			step := &d.Steps[i]
			if known[step.Name] != nil || slices.ContainsFunc(step.Needs, func(n string) bool { return known[n] == nil }) {
				continue
			}
			out, err := one(step, inputs(input, step, of), got(step.Name))
			if err != nil {
				return 0, err
			}
			known[step.Name] = out
		}
	}
	return whole(d, of), nil
}

func one(step *definition.Step, in uint64, got output) (output, error) {
	if !holds(step, in) {
		return output{0}, nil
	}
	if step.ForEach == nil {
		return output{answerOf(step, 0, in)}, nil
	}
	n := items(step, in)
	if n > step.ForEach.Max {
		return nil, fmt.Errorf("step %s has too many items and did not fail", step.Name)
	}
	all := make(output, n)
	for i := range all {
		all[i] = answerOf(step, i, in)
	}
	switch step.ForEach.Join {
	case definition.Any:
		if n == 0 {
			return output{0}, nil
		}
		if len(got) != 1 || !slices.Contains(all, got[0]) {
			return nil, fmt.Errorf("step %s: %v is none of its items' outputs", step.Name, got)
		}
		return got, nil
	case definition.BestEffort:
		if len(got) != n {
			return nil, fmt.Errorf("step %s: %d outputs of %d items", step.Name, len(got), n)
		}
		for i := range all {
			if got[i] == 0 {
				all[i] = 0
			}
		}
	}
	return append(output{}, all...), nil
}

// ran is one run of a step's function.
type ran struct {
	step string
	item int
	hash uint64
	on   map[string][]int // the runs whose outputs it read, by step; 0 is null
}

// runs are all runs of a world. A value on the wire is the number of its run, from 1.
type runs []ran

func (r *runs) add(one ran) envelope.Value {
	*r = append(*r, one)
	return envelope.Value{JSON: strconv.AppendInt(nil, int64(len(*r)), 10)}
}

func number(v envelope.Value) int {
	n, err := strconv.Atoi(string(v.JSON))
	if err != nil {
		panic(err)
	}
	return n
}

// numbers are a step's runs that an execution has recorded, as readers put a step's
// output together; nil while it has not ended.
func numbers(x *execution.Execution, step string, values map[string]map[int]execution.StepValue) []int {
	s := x.Step(step)
	switch {
	case s.Status == execution.Skipped:
		return []int{0}
	case s.Join == definition.All || s.Join == definition.BestEffort:
		all := make([]int, s.Items)
		for item, v := range values[step] {
			all[item] = number(v.Value)
		}
		return all
	}
	for _, v := range values[step] {
		return []int{number(v.Value)}
	}
	return nil
}

func (r runs) output(numbers []int) output {
	out := make(output, len(numbers))
	for i, n := range numbers {
		if n > 0 {
			out[i] = r[n-1].hash
		}
	}
	return out
}

// evaluator reads what an execution has recorded and what is in hand.
type evaluator struct {
	d     *definition.Definition
	x     *execution.Execution
	input uint64
	runs  runs
	have  map[string]map[int]execution.StepValue
	fails func() bool // whether a value cannot be fetched now
}

var errFetch = errors.New("the value cannot be fetched now")

func (e *evaluator) of(step string) output { return e.runs.output(numbers(e.x, step, e.have)) }

func (e *evaluator) in(step string) uint64 { return inputs(e.input, e.d.Step(step), e.of) }

func (e *evaluator) When(step string) (bool, error) {
	if e.fails() {
		return false, errFetch
	}
	return holds(e.d.Step(step), e.in(step)), nil
}

func (e *evaluator) Items(step string) (int, error) {
	if e.fails() {
		return 0, errFetch
	}
	return items(e.d.Step(step), e.in(step)), nil
}

func (e *evaluator) Output() (envelope.Value, error) {
	if e.fails() {
		return envelope.Value{}, errFetch
	}
	if e.input%50 == 0 {
		return envelope.Value{}, problem.New(problem.InvalidArgument, "output: no such key")
	}
	return envelope.Value{JSON: strconv.AppendUint(nil, whole(e.d, e.of), 10)}, nil
}

// randomDefinition is a graph of at most n steps.
func randomDefinition(r *rand.Rand, n int) *definition.Definition {
	d := &definition.Definition{
		Name: "simulated", Timeout: time.Duration(2+r.IntN(20)) * time.Minute, Concurrency: 1 + r.IntN(4),
	}
	for i := range 1 + r.IntN(n) {
		step := definition.Step{
			Name: fmt.Sprintf("s%d", i), Function: "f", Input: "input", Needs: []string{},
			Retry:   definition.Retry{Attempts: 1 + r.IntN(4), Backoff: time.Duration(r.IntN(5000)) * time.Millisecond},
			Timeout: time.Duration(1+r.IntN(20)) * time.Second,
		}
		switch {
		case i == 0:
		case r.IntN(2) == 0:
			step.Needs = append(step.Needs, fmt.Sprintf("s%d", i-1))
		default:
			for j := range i {
				if r.IntN(i) < 2 && j != i {
					step.Needs = append(step.Needs, fmt.Sprintf("s%d", j))
				}
			}
		}
		if r.IntN(5) == 0 {
			step.When = "when"
		}
		if r.IntN(4) == 0 {
			joins := []definition.Join{definition.All, definition.Any, definition.BestEffort}
			step.ForEach = &definition.ForEach{Items: "items", Max: 1 + r.IntN(8), AtOnce: 1 + r.IntN(3), Join: joins[r.IntN(3)]}
		}
		if r.IntN(8) == 0 {
			step.Function, step.URI = "", "https://example.com/"
		}
		d.Steps = append(d.Steps, step)
	}
	return d
}

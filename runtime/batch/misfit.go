package batch

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The rules that requests are joined by.
const (
	// RuleRows is that a run's outputs have a row for each row of its inputs, of
	// the shape that the row has alone. Without it nothing is joined, split or
	// padded.
	RuleRows = "rows"

	// RuleRagged is that rows of other lengths, padded to the longest, have
	// outputs as long as the rule of their ragged axis requires. Without it only
	// requests of one length are joined.
	RuleRagged = "ragged"
)

// Rules are those that a version was seen to break. A broken rule stays broken
// while the process lives. The zero value is none.
type Rules struct {
	whole atomic.Bool // no RuleRows
	exact atomic.Bool // no RuleRagged
}

// Broken reports whether the version was seen to break a rule.
func (r *Rules) Broken(rule string) bool { return r.of(rule).Load() }

func (r *Rules) of(rule string) *atomic.Bool {
	if rule == RuleRagged {
		return &r.exact
	}
	return &r.whole
}

// padder is a Runner that relies on RuleRows, too, for it pads what it runs.
type padder interface {
	Misfits(report func(why error)) // calls report when a run of its own broke the rule
	Exact()                         // ends its padding
}

// misfit is a joined run whose outputs break a rule. Its members run
// again, each alone, and nothing is joined by the rule any more.
type misfit struct {
	rule string
	err  error
}

func (m *misfit) Error() string { return m.err.Error() }
func (m *misfit) Unwrap() error { return m.err }

// misfit counts one, and drops its rule. It is called without mu.
func (q *Queue) misfit(m *misfit) {
	q.metrics.misfit(m.rule)
	if !q.rules.of(m.rule).CompareAndSwap(false, true) {
		return
	}
	q.s.mu.Lock()
	for _, c := range q.classes {
		if c.ragged { // they are joined with others than they would be by a new key
			c.joins = false
		}
	}
	q.s.mu.Unlock()
	if p, ok := q.m.Runner.(padder); ok && m.rule == RuleRows {
		p.Exact()
	}
	if q.m.Misfit != nil {
		q.m.Misfit(m.rule, m.err)
	}
}

// fits checks what a run made of so many rows against the rules; nil when it keeps
// them. inputs are as the model had them.
func (r *run) fits(inputs, outputs []infer.Tensor, rows int) *misfit {
	q := r.class.q
	rule := RuleRows
	if r.padded { // what padding did is not the rows' fault
		rule = RuleRagged
	}
	if q.rules.whole.Load() || r.padded && q.rules.exact.Load() {
		return &misfit{rule, errors.New("another run broke the rule meanwhile")}
	}
	if err := q.check(outputs); err != nil {
		return &misfit{rule, err}
	}
	for i := range outputs {
		o := &outputs[i]
		spec := infer.SpecOf(q.m.Signature.Outputs, o.Name)
		switch {
		case spec == nil:
			return &misfit{RuleRows, fmt.Errorf("output %q is not in the signature", o.Name)}
		case !spec.Unbatched && (len(o.Shape) <= batchAxis || o.Shape[batchAxis] != int64(rows)):
			return &misfit{RuleRows, fmt.Errorf("output %q of %d rows together has the shape %v", o.Name, rows, o.Shape)}
		}
		if err := q.followed(spec, inputs, o); err != nil && r.class.ragged {
			return &misfit{RuleRagged, err}
		}
		if i < len(r.known) && !slices.Equal(r.class.beyondRows(spec, o), r.known[i]) {
			return &misfit{rule, fmt.Errorf("output %q of %d rows together has the shape %v, and of a row alone %v (-1 is any size)", o.Name, rows, o.Shape, r.known[i])}
		}
	}
	return nil
}

// followed holds an output to the rule of its ragged axis.
func (q *Queue) followed(spec *infer.TensorSpec, inputs []infer.Tensor, o *infer.Tensor) error {
	of, length := q.raggedOf(spec, inputs)
	if of == nil {
		return nil
	}
	want := divided(length, spec.Ragged.Divide)
	if spec.Ragged.Axis >= len(o.Shape) || o.Shape[spec.Ragged.Axis] != want {
		return fmt.Errorf("output %q has the shape %v where input %q is %d long; its axis %d was proven to be %d then",
			o.Name, o.Shape, of.Name, length, spec.Ragged.Axis, want)
	}
	return nil
}

// raggedOf is the input whose length an output follows, and that length; nil for
// an output that follows none.
func (q *Queue) raggedOf(spec *infer.TensorSpec, inputs []infer.Tensor) (of *infer.TensorSpec, length int64) {
	if spec == nil || spec.Ragged == nil {
		return nil, 0
	}
	of = infer.SpecOf(q.m.Signature.Inputs, spec.Ragged.Of)
	if of == nil || of.Ragged == nil {
		return nil, 0
	}
	in := find(inputs, of.Name)
	if in == nil || of.Ragged.Axis >= len(in.Shape) {
		return nil, 0
	}
	return of, in.Shape[of.Ragged.Axis]
}

// divided is a length by a divisor, rounded up; 0 divides as 1.
func divided(n, by int64) int64 {
	by = max(by, 1)
	return (n + by - 1) / by
}

// beyondRows is what an output's shape is for each row alone: its axes but for
// the rows, and one that follows a length that may differ, which are -1.
func (c *class) beyondRows(spec *infer.TensorSpec, o *infer.Tensor) []int64 {
	shape := slices.Clone(o.Shape)
	if spec == nil {
		return shape
	}
	if !spec.Unbatched && len(shape) > batchAxis {
		shape[batchAxis] = infer.Dynamic
	}
	if c.ragged && spec.Ragged != nil && spec.Ragged.Axis < len(shape) {
		shape[spec.Ragged.Axis] = infer.Dynamic
	}
	return shape
}

// heldAlone checks what a request had alone against the rule of its ragged axis:
// there a wrong one shows first. The rule does not apply to longer requests than it
// was proven for.
func (q *Queue) heldAlone(inputs, outputs []infer.Tensor) {
	if !provenFor(q.m.Signature, inputs) {
		return
	}
	for i := range outputs {
		err := q.followed(infer.SpecOf(q.m.Signature.Outputs, outputs[i].Name), inputs, &outputs[i])
		if err != nil && !q.rules.exact.Load() {
			q.misfit(&misfit{RuleRagged, err})
		}
	}
}

// learnShapes keeps how a request's outputs look alone; those of the same class
// are held to it in company. It is called under mu.
func (c *class) learnShapes(outputs []infer.Tensor) {
	if !c.joins || c.outputs != nil {
		return
	}
	c.outputs = make([][]int64, len(outputs))
	for i := range outputs {
		c.outputs[i] = c.beyondRows(infer.SpecOf(c.q.m.Signature.Outputs, outputs[i].Name), &outputs[i])
	}
}

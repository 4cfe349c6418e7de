package decide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/expr"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// outputs is what the names of outputs begin with, in expressions.
const outputs = "steps."

// evaluator implements execution.Evaluator for one transition.
type evaluator struct {
	ctx    context.Context //nolint:containedctx // the machine's interface has none, and it lives for one call
	reader *reader
}

// Evaluator says what the pipeline's expressions are, with what is recorded of the
// execution and with an answer in hand, which may be nil. It is for one transition.
func (s *State) Evaluator(ctx context.Context, answer *execution.Answer) execution.Evaluator {
	return &evaluator{ctx, s.reader(answer)}
}

// When implements execution.Evaluator.
func (e *evaluator) When(step string) (bool, error) {
	r := e.reader
	x, v, err := r.prepare(e.ctx, r.version.Definition.Step(step).When)
	if err != nil {
		return false, err
	}
	holds, err := x.Bool(e.ctx, v)
	return holds, fault(e.ctx, step+".when", err)
}

// Items implements execution.Evaluator.
func (e *evaluator) Items(step string) (int, error) {
	list, err := e.reader.items(e.ctx, step)
	return len(list), err
}

// Output implements execution.Evaluator.
func (e *evaluator) Output() (envelope.Value, error) {
	r := e.reader
	output, err := r.evaluate(e.ctx, "output", r.version.Definition.Output, nil, 0)
	if err != nil {
		return envelope.Value{}, err
	}
	return r.keep(e.ctx, "output", output)
}

// fault is an expression's error as a problem of its pipeline; the end of ctx is none.
func fault(ctx context.Context, field string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, expr.ErrLimit):
		return problem.New(problem.PayloadTooLarge, "%s: %v", field, err)
	default:
		return problem.Invalid(field, "%v", err)
	}
}

// reader finds what expressions of one execution read.
type reader struct {
	decider *Decider
	version *Version
	x       *execution.Execution
	answer  *execution.Answer

	branches []execution.Branch // as they were loaded

	rows map[string][]execution.StepValue // of steps that were asked for
	left int                              // bytes that may still be fetched
}

func (s *State) reader(answer *execution.Answer) *reader {
	return &reader{
		decider: s.decider, version: s.Version, x: s.Execution, answer: answer, branches: s.Branches,
		rows: map[string][]execution.StepValue{}, left: s.decider.cfg.MaxValues,
	}
}

// prepare is an expression, and what it reads, outside of items.
func (r *reader) prepare(ctx context.Context, text string) (*expr.Expression, expr.Values, error) {
	e, err := r.version.expression(text)
	if err != nil {
		return nil, expr.Values{}, err
	}
	v, err := r.all(ctx, e.Reads())
	return e, v, err
}

// evaluate is an expression's value.
func (r *reader) evaluate(ctx context.Context, field, text string, item json.RawMessage, index int) (json.RawMessage, error) {
	e, v, err := r.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	v.Item, v.Index = item, index
	value, err := e.Evaluate(ctx, v)
	return value, fault(ctx, field, err)
}

// all is what an expression reads.
func (r *reader) all(ctx context.Context, reads []string) (expr.Values, error) {
	v := expr.Values{Event: r.x.Event, Steps: map[string]json.RawMessage{}}
	if err := r.load(ctx, reads); err != nil {
		return v, err
	}
	for _, name := range reads {
		var err error
		if step, ok := strings.CutPrefix(name, outputs); ok {
			v.Steps[step], err = r.output(ctx, step)
		} else if name == "input" {
			v.Input, err = r.fetch(ctx, r.x.Input)
		}
		if err != nil {
			return v, err
		}
	}
	return v, nil
}

// load has the rows of outputs at hand.
func (r *reader) load(ctx context.Context, reads []string) error {
	var missing []string
	for _, name := range reads {
		step, ok := strings.CutPrefix(name, outputs)
		switch {
		case !ok || r.rows[step] != nil:
		case r.only(step):
			r.rows[step] = []execution.StepValue{}
			r.lay(step)
		default:
			missing = append(missing, step)
			r.rows[step] = []execution.StepValue{}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	stored, err := r.decider.store.Values(ctx, r.x.ID, missing)
	if err != nil {
		return fmt.Errorf("load outputs: %w", err)
	}
	for i := range stored {
		r.rows[stored[i].Step] = append(r.rows[stored[i].Step], stored[i])
	}
	for _, step := range missing {
		r.lay(step)
	}
	return nil
}

// only reports whether the answer in hand has the one output that there is of a step:
// of a step that its branch was sent for, nothing is recorded yet.
func (r *reader) only(step string) bool {
	if r.answer == nil || r.x.Step(step) == nil || r.x.Step(step).Join != "" {
		return false
	}
	at, known := r.version.Plan.Find(step)
	if _, ok := r.answer.Values[step]; !ok || !known || at.Segment != r.answer.Segment {
		return false
	}
	for _, b := range r.branches {
		if b.Segment == at.Segment {
			return b.What == execution.Lease && b.Epoch == r.answer.Epoch && b.Step <= at.Step
		}
	}
	return false
}

// lay puts what the answer in hand has of a step over what is stored.
func (r *reader) lay(step string) {
	if r.answer == nil {
		return
	}
	value, ok := r.answer.Values[step]
	at, known := r.version.Plan.Find(step)
	if !ok || !known || at.Segment != r.answer.Segment {
		return
	}
	rows := r.rows[step]
	for i := range rows {
		if rows[i].Item == r.answer.Item {
			return // it is recorded, and what is recorded stays
		}
	}
	r.rows[step] = append(rows, execution.StepValue{Step: step, Item: r.answer.Item, Value: value})
}

var null = json.RawMessage("null") //nolint:gochecknoglobals // constant, but Go has no constant slices

// output is a step's output as JSON: null of one that was skipped, of a forEach the list
// of its items' outputs, null for those that failed, or, where any was enough, the one.
func (r *reader) output(ctx context.Context, name string) (json.RawMessage, error) {
	value, list, err := r.kept(name)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return r.fetch(ctx, value)
	}
	texts := make([]json.RawMessage, len(list))
	for i, v := range list {
		if v == nil {
			texts[i] = null
		} else if texts[i], err = r.fetch(ctx, *v); err != nil {
			return nil, err
		}
	}
	var all bytes.Buffer
	all.WriteByte('[')
	for i, text := range texts {
		if i > 0 {
			all.WriteByte(',')
		}
		all.Write(text)
	}
	all.WriteByte(']')
	return all.Bytes(), nil
}

// kept is a step's output as it is recorded: one value, or of a forEach that joins all
// of its items a list, nil where an item has none.
func (r *reader) kept(name string) (envelope.Value, []*envelope.Value, error) {
	step := r.x.Step(name)
	rows := r.rows[name]
	switch {
	case step == nil:
		return envelope.Value{}, nil, fmt.Errorf("execution %s has no step %q", r.x.ID, name)
	case step.Status == execution.Skipped:
		return envelope.Value{JSON: null}, nil, nil
	case step.Join == "" || step.Join == definition.Any:
		if len(rows) == 0 {
			return envelope.Value{}, nil, fmt.Errorf("execution %s has no output of step %q", r.x.ID, name)
		}
		return rows[0].Value, nil, nil
	}
	list := make([]*envelope.Value, step.Items)
	for i := range rows {
		if rows[i].Item < len(list) {
			list[rows[i].Item] = &rows[i].Value
		}
	}
	return envelope.Value{}, list, nil
}

// fetch is a value's JSON.
func (r *reader) fetch(ctx context.Context, v envelope.Value) (json.RawMessage, error) {
	size := len(v.JSON)
	if v.Claim != nil {
		size = int(min(v.Claim.Size, int64(r.left)+1))
	}
	if r.left -= size; r.left < 0 {
		return nil, problem.New(problem.PayloadTooLarge, "an expression reads values of more than %d bytes", r.decider.cfg.MaxValues)
	}
	return r.decider.values.Fetch(ctx, r.x.Tenant, r.x.ID, v)
}

// keep is a value as rows and envelopes have it.
func (r *reader) keep(ctx context.Context, name string, value json.RawMessage) (envelope.Value, error) {
	return r.decider.values.Keep(ctx, r.x.Tenant, r.x.ID, name, value)
}

// itemsKey names the items of a forEach of an execution. They never change: what they
// are made of is recorded.
type itemsKey struct{ execution, step string }

type items struct {
	list []json.RawMessage
	size int
}

// What is kept of items in memory, so that a forEach's expression is not evaluated for
// each of them.
const (
	maxItems     = 64       // forEachs
	maxItemsSize = 64 << 20 // bytes, of all
)

// items are the items of a forEach.
func (r *reader) items(ctx context.Context, step string) ([]json.RawMessage, error) {
	d, key := r.decider, itemsKey{r.x.ID, step}
	d.mu.Lock()
	known := d.items[key]
	d.mu.Unlock()
	if known != nil {
		return known.list, nil
	}
	x, v, err := r.prepare(ctx, r.version.Definition.Step(step).ForEach.Items)
	if err != nil {
		return nil, err
	}
	list, err := x.List(ctx, v, definition.MaxItems)
	if err != nil {
		return nil, fault(ctx, step+".forEach.items", err)
	}
	made := &items{list: list}
	for _, text := range list {
		made.size += len(text)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	total := made.size
	for _, other := range d.items {
		total += other.size
	}
	if len(d.items) >= maxItems || total > maxItemsSize {
		clear(d.items)
	}
	if made.size <= maxItemsSize {
		d.items[key] = made
	}
	return list, nil
}

package decide

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
)

// roomy is how large an envelope is that sets out: the outputs on its way have the rest
// of envelope.MaxEnvelope.
const roomy = envelope.MaxEnvelope / 2

// smallest is the size of an inline value that a claim check makes no smaller, in bytes.
const smallest = 512

// Envelope is the data of the event of a branch, from the step that it is at: the plans
// of the steps from there on, and of all values only what these read.
func (s *State) Envelope(ctx context.Context, b execution.Branch) ([]byte, error) {
	plans, err := s.Version.Plans(b.Segment, b.Step)
	if err != nil {
		return nil, err
	}
	reads, err := s.Version.reads(b.Segment, b.Step)
	if err != nil {
		return nil, err
	}
	r := s.reader(nil)
	if err := r.load(ctx, reads); err != nil {
		return nil, err
	}
	e := &envelope.Envelope{Input: envelope.Value{JSON: null}, Plans: plans, Steps: map[string]envelope.Value{}}
	for _, name := range reads {
		step, ok := strings.CutPrefix(name, outputs)
		switch {
		case ok:
			e.Steps[step], err = r.value(ctx, step)
		case name == "input":
			e.Input = s.Execution.Input
		case name == "event":
			e.Event = s.Execution.Event
		}
		if err != nil {
			return nil, err
		}
	}
	if s.Version.Plan.Step(b.Segment, b.Step).ForEach != nil {
		item, err := s.item(ctx, r, b)
		if err != nil {
			return nil, err
		}
		kept, err := r.keep(ctx, "item-"+strconv.Itoa(b.Item), item)
		if err != nil {
			return nil, err
		}
		e.Item, e.Index = &kept, b.Item
	}
	return r.encode(ctx, e)
}

// value is a step's output as an envelope has it.
func (r *reader) value(ctx context.Context, step string) (envelope.Value, error) {
	value, list, err := r.kept(step)
	if err != nil || list == nil {
		return value, err
	}
	text, err := r.output(ctx, step)
	if err != nil {
		return envelope.Value{}, err
	}
	return r.keep(ctx, step, text)
}

// encode writes an envelope; what it has no room for is stored, the largest first.
func (r *reader) encode(ctx context.Context, e *envelope.Envelope) ([]byte, error) {
	for {
		data, err := e.Encode()
		if err != nil && problem.CodeOf(err) != problem.PayloadTooLarge {
			return nil, fmt.Errorf("write an envelope: %w", err)
		}
		name, largest := largest(e)
		if err == nil && len(data) <= roomy || len(largest.JSON) <= smallest {
			return data, err
		}
		step, ok := strings.CutPrefix(name, outputs)
		claim, err := r.decider.values.Store(ctx, r.x.Tenant, r.x.ID, step, values.JSON, largest.JSON)
		if err != nil {
			return nil, err
		}
		stored := envelope.Value{Claim: claim}
		switch {
		case ok:
			e.Steps[step] = stored
		case name == "input":
			e.Input = stored
		default:
			e.Item = &stored
		}
	}
}

// largest is the inline value that takes most of an envelope.
func largest(e *envelope.Envelope) (string, envelope.Value) {
	name, most := "input", e.Input
	if e.Item != nil && len(e.Item.JSON) > len(most.JSON) {
		name, most = "item", *e.Item
	}
	for step, v := range e.Steps {
		if len(v.JSON) > len(most.JSON) {
			name, most = outputs+step, v
		}
	}
	return name, most
}

// item is the item of a forEach that a branch is of.
func (s *State) item(ctx context.Context, r *reader, b execution.Branch) (json.RawMessage, error) {
	step := s.Version.Plan.Step(b.Segment, b.Step)
	list, err := r.items(ctx, step.Name)
	if err != nil {
		return nil, err
	}
	if b.Item >= len(list) {
		return nil, fmt.Errorf("step %s has %d items, and item %d is due", step.Name, len(list), b.Item)
	}
	return list[b.Item], nil
}

// Input is the input of the step that a branch is at, evaluated here: of one that is not
// a function of ours.
func (s *State) Input(ctx context.Context, b execution.Branch) (json.RawMessage, error) {
	step, r := s.Version.Plan.Step(b.Segment, b.Step), s.reader(nil)
	var item json.RawMessage
	if step.ForEach != nil {
		var err error
		if item, err = s.item(ctx, r, b); err != nil {
			return nil, err
		}
	}
	return r.evaluate(ctx, step.Name+".input", step.Input, item, b.Item)
}

// Recorded reports of which steps an output is recorded that came in a chain's epoch, of
// one item.
func (s *State) Recorded(ctx context.Context, item, epoch int, steps []string) (map[string]bool, error) {
	values, err := s.decider.store.Values(ctx, s.Execution.ID, steps)
	if err != nil {
		return nil, err
	}
	of := make(map[string]bool, len(steps))
	for i := range values {
		of[values[i].Step] = of[values[i].Step] || values[i].Item == item && values[i].Epoch == epoch
	}
	return of, nil
}

// First is the first step of a branch's chain that data has no output of, from the one
// that was sent: the one that failed, where something did. "" is none.
func (s *State) First(id execution.BranchID, e *envelope.Envelope) string {
	b, ok := s.Branch(id)
	if !ok || b.Segment < 0 || b.Segment >= len(s.Version.Plan.Segments) {
		return ""
	}
	steps := s.Version.Plan.Segments[b.Segment].Steps
	left := slices.Clone(steps[min(b.Step, len(steps)):])
	for _, i := range left {
		name := s.Version.Definition.Steps[i].Name
		if _, done := e.Steps[name]; !done {
			return name
		}
	}
	return ""
}

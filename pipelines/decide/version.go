package decide

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/modelserveai/modelserve/eventing/expr"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// maxVersions bounds the versions that are kept ready in memory.
const maxVersions = 512

// Version is a version of a pipeline, ready to decide with.
type Version struct {
	ID         record.VersionID
	Digest     string
	Definition *definition.Definition
	Plan       *plan.Plan
	Machine    *execution.Machine

	compiler *expr.Compiler
	mu       sync.Mutex
	compiled map[string]*expr.Expression // by text
}

// Version is a version, from memory where it was used lately: it never changes.
func (d *Decider) Version(ctx context.Context, id record.VersionID) (*Version, error) {
	d.mu.Lock()
	v := d.versions[id]
	d.mu.Unlock()
	if v != nil {
		return v, nil
	}
	stored, err := d.stored(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load version %d of pipeline %s: %w", id.Number, id.Name, err)
	}
	if v, err = d.make(stored); err != nil {
		return nil, fmt.Errorf("version %d of pipeline %s: %w", id.Number, id.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.versions) >= maxVersions {
		clear(d.versions) // those in use come back at once
	}
	d.versions[id] = v
	return v, nil
}

// stored is a version as it is stored, or that of calls, which no tenant registers.
func (d *Decider) stored(ctx context.Context, id record.VersionID) (*record.Version, error) {
	if id == (record.VersionID{}) {
		return calls.Version() //nolint:wrapcheck // it says what
	}
	return d.store.Version(ctx, id)
}

func (d *Decider) make(stored *record.Version) (*Version, error) {
	def, err := definition.Parse(stored.Canonical)
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	p := plan.Of(def)
	return &Version{
		ID: stored.VersionID, Digest: stored.Digest, Definition: def, Plan: p,
		Machine:  execution.New(p, execution.Options{ColdStart: d.cfg.ColdStart, Random: rand.Float64}),
		compiler: d.compiler, compiled: map[string]*expr.Expression{},
	}, nil
}

// expression compiles one of the definition's, once.
func (v *Version) expression(text string) (*expr.Expression, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.compiled[text]; e != nil {
		return e, nil
	}
	e, err := v.compiler.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("compile an expression of the definition: %w", err)
	}
	v.compiled[text] = e
	return e, nil
}

// Plans are what the steps of a segment do from one of them on, by hash, as an envelope
// has them. Whether a step's function is a published model is known where its address is
// made, and may change after that: the event has the plan of either, and the address
// says which one it is.
func (v *Version) Plans(segment, from int) (map[string]json.RawMessage, error) {
	plans := map[string]json.RawMessage{}
	for i := from; i < len(v.Plan.Segments[segment].Steps); i++ {
		step := v.Plan.Step(segment, i)
		for _, model := range []bool{false, true} {
			p := plan.Ticket(step, model)
			text, err := p.Canonical()
			if err != nil {
				return nil, fmt.Errorf("the plan of step %s: %w", step.Name, err)
			}
			hash, err := p.Hash()
			if err != nil {
				return nil, fmt.Errorf("the plan of step %s: %w", step.Name, err)
			}
			plans[hash] = text
		}
	}
	return plans, nil
}

// reads are what the inputs of a segment's steps read from one of them on, sorted,
// without the outputs of these steps themselves.
func (v *Version) reads(segment, from int) ([]string, error) {
	all, own := map[string]bool{}, map[string]bool{}
	for i := from; i < len(v.Plan.Segments[segment].Steps); i++ {
		step := v.Plan.Step(segment, i)
		e, err := v.expression(step.Input)
		if err != nil {
			return nil, err
		}
		for _, name := range e.Reads() {
			all[name] = true
		}
		own[outputs+step.Name] = true
	}
	maps.DeleteFunc(all, func(name string, _ bool) bool { return own[name] })
	return slices.Sorted(maps.Keys(all)), nil
}

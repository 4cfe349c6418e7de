// Package decide takes an execution through one transition: it loads the row, has the
// state machine (pipelines/execution) decide with the values that the pipeline's
// expressions read, and saves the change; where the row moved meanwhile, it decides
// again. Afterwards it notifies whoever asked to be.
//
// It sends and receives nothing (pipelines/dispatch, pipelines/receive).
package decide

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/eventing/expr"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
)

// Store is what is needed of the record.
type Store interface {
	Load(ctx context.Context, id string) (*record.Loaded, error)
	Values(ctx context.Context, id string, steps []string) ([]execution.StepValue, error)
	Save(ctx context.Context, x *execution.Execution, change *execution.Change) error
	Version(ctx context.Context, id record.VersionID) (*record.Version, error)
}

// Config is what decisions depend on.
type Config struct {
	ColdStart time.Duration // how long a function may take from nothing to ready
	MaxValues int           // bytes of the values that one expression reads, and of what it makes
}

// Saved is a change that was committed.
type Saved struct {
	Execution *execution.Execution
	Change    *execution.Change
	Cause     execution.BranchID // what came of this branch was decided on; zero where it was nothing of one
	Now       time.Time          // of the decision, by the database's clock
}

// Decider decides. It is safe for concurrent use.
type Decider struct {
	cfg      Config
	store    Store
	values   *values.Values
	compiler *expr.Compiler
	saved    []func(context.Context, *Saved)
	locks    locks

	mu       sync.Mutex
	versions map[record.VersionID]*Version
	items    map[itemsKey]*items
}

// New makes a Decider.
func New(cfg Config, store Store, v *values.Values) (*Decider, error) {
	compiler, err := expr.NewCompiler(expr.Limits{Size: cfg.MaxValues})
	if err != nil {
		return nil, fmt.Errorf("make a compiler of expressions: %w", err)
	}
	return &Decider{
		cfg: cfg, store: store, values: v, compiler: compiler, locks: locks{held: map[string]*lock{}},
		versions: map[record.VersionID]*Version{}, items: map[itemsKey]*items{},
	}, nil
}

// OnSaved has do called after each commit, in the goroutine that decided: it must not
// wait. It is for before the first decision.
func (d *Decider) OnSaved(do func(context.Context, *Saved)) { d.saved = append(d.saved, do) }

// State is an execution that is decided on, and its pipeline's version.
type State struct {
	*record.Loaded

	Version *Version

	decider *Decider
}

// Branch is the branch of an id, where something is due of it.
func (s *State) Branch(id execution.BranchID) (execution.Branch, bool) {
	for _, b := range s.Branches {
		if b.BranchID == id {
			return b, true
		}
	}
	return execution.Branch{}, false
}

// maxConflicts bounds how often one change is decided on again.
const maxConflicts = 20

// Decide loads an execution, has do decide, and saves what it returns; do is called again
// where the row moved. It must have no effect but its Change. A Change without Changed is
// not saved, nor is what is noted of an execution that had ended: nothing of it changes
// any more. One execution is decided on by one goroutine of this process at a time.
//
// Errors are do's and the store's: record.ErrNotFound, record.ErrUnavailable, and
// record.ErrConflict where others changed the row too often.
func (d *Decider) Decide(ctx context.Context, cause execution.BranchID, do func(*State) (execution.Change, error)) error {
	return d.decide(ctx, cause, func(loaded *record.Loaded) (execution.Change, error) {
		state, err := d.state(ctx, loaded)
		if err != nil {
			return execution.Change{}, err
		}
		return do(state)
	})
}

// End decides, likewise, whether an execution ends. It needs no version of a pipeline: one
// that cannot be read any more keeps nothing from being cancelled.
func (d *Decider) End(ctx context.Context, id string, do func(*record.Loaded) (execution.Change, error)) error {
	return d.decide(ctx, execution.Whole(id), do)
}

func (d *Decider) decide(ctx context.Context, cause execution.BranchID, do func(*record.Loaded) (execution.Change, error)) error {
	release, err := d.locks.take(ctx, cause.Execution)
	if err != nil {
		return err
	}
	defer release()
	for tries := 0; ; tries++ {
		loaded, err := d.store.Load(ctx, cause.Execution)
		if err != nil {
			return err
		}
		ended := loaded.Execution.Status.Ended()
		change, err := do(loaded)
		if err != nil {
			return fmt.Errorf("decide on execution %s: %w", cause.Execution, err)
		}
		if !change.Changed {
			return nil
		}
		if !ended {
			err = d.store.Save(ctx, loaded.Execution, &change)
		}
		switch {
		case err == nil:
			s := &Saved{Execution: loaded.Execution, Change: &change, Cause: cause, Now: loaded.Now}
			for _, do := range d.saved {
				do(ctx, s)
			}
			return nil
		case !errors.Is(err, record.ErrConflict) || tries >= maxConflicts:
			return err
		}
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
}

// pause lets others finish what they decide: up to 2 ms at first, then longer.
func pause(ctx context.Context, tries int) error {
	most := 2 * time.Millisecond << min(tries, 5)
	timer := time.NewTimer(rand.N(most)) //nolint:gosec // no secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Load is an execution as it is, and its version.
func (d *Decider) Load(ctx context.Context, id string) (*State, error) {
	loaded, err := d.store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.state(ctx, loaded)
}

func (d *Decider) state(ctx context.Context, loaded *record.Loaded) (*State, error) {
	x := loaded.Execution
	version, err := d.Version(ctx, record.VersionID{Owner: loaded.Owner, Name: x.Pipeline, Number: x.Version})
	switch {
	case errors.Is(err, record.ErrNotFound): // which would be of the execution
		return nil, fmt.Errorf("its version: %v", err) //nolint:errorlint // above
	case err != nil:
		return nil, err
	}
	return &State{Loaded: loaded, Version: version, decider: d}, nil
}

// Cancel ends an execution of a tenant that has not ended. It returns
// problem.Conflict for one that has, and record.ErrNotFound for another tenant's.
func (d *Decider) Cancel(ctx context.Context, tenant, id string) error {
	return d.End(ctx, id, func(l *record.Loaded) (execution.Change, error) {
		x := l.Execution
		switch {
		case x.Tenant != tenant:
			return execution.Change{}, record.ErrNotFound
		case x.Status.Ended():
			return execution.Change{}, problem.New(problem.Conflict, "execution %s has %s", id, x.Status)
		}
		return execution.Cancel(x, l.Branches, l.Now), nil
	})
}

// locks has one goroutine decide on an execution at a time: others of this process would
// only find that the row moved.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn chan struct{} // holds a token while it is free
	n    int           // that hold it or wait
}

func (l *locks) take(ctx context.Context, id string) (release func(), err error) {
	l.mu.Lock()
	one := l.held[id]
	if one == nil {
		one = &lock{turn: make(chan struct{}, 1)}
		one.turn <- struct{}{}
		l.held[id] = one
	}
	one.n++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.n--; one.n == 0 {
			delete(l.held, id)
		}
	}
	select {
	case <-one.turn:
		return func() { one.turn <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

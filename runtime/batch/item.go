package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// item is one request, or one part of a large one, from its arrival to its
// answer.
type item struct {
	ctx      context.Context //nolint:containedctx // the request's own, for as long as it is here
	class    *class
	held     *memory.Call // the request's
	ahead    *advance     // for its outputs
	inputs   []infer.Tensor
	rows     int
	rest     uint64  // of its kind
	lengths  []int64 // of the inputs' ragged axes, in the signature's order; of a shared run
	admitted bool    // a part of a request that is under way
	priority uint64
	seq      uint64
	arrived  time.Time
	deadline time.Time // zero is none

	// Under Scheduler.mu.
	waits bool // in its class
	run   *run // that it is part of; nil while it waits
	gone  bool // its caller went away

	// done has room for the one outcome. It is made when the caller begins to
	// wait; an outcome from before that is in early.
	done  chan outcome
	early *outcome

	solo run // the memory of a run that it leads
}

// outcome is what an item's caller gets: a result, an error, or a run to run in
// its own goroutine.
type outcome struct {
	run    *run
	result *Result
	err    error
}

func (it *item) kind() kind { return kind{it.rows, it.rest} }

func (it *item) before(other *item) bool {
	if it.priority != other.priority {
		return it.priority < other.priority
	}
	return it.seq < other.seq
}

// finish gives the caller the outcome. It is called once, under Scheduler.mu.
func (it *item) finish(o outcome) {
	if it.done == nil {
		early := o // which the compiler would else have on the heap in any case
		it.early = &early
		return
	}
	it.done <- o
}

// await waits for the item's turn and answer.
func (it *item) await() (*Result, error) {
	select {
	case o := <-it.done:
		return it.take(o)
	case <-it.ctx.Done():
	}
	s := it.class.q.s
	s.mu.Lock()
	r := it.run
	switch {
	case r == nil && it.waits:
		it.class.leave(it)
		it.class.q.metrics.refused(endReason(it.ctx))
		s.dispatch(nil) // what waited for it may go now
		s.mu.Unlock()
		return nil, fmt.Errorf("wait for a run: %w", it.ctx.Err())
	case r != nil && r.shared && !it.gone:
		it.gone = true
		r.abandon()
		s.mu.Unlock()
		<-r.joined // its inputs are read until then
		return nil, fmt.Errorf("run: %w", it.ctx.Err())
	}
	s.mu.Unlock()
	// Its outcome is there already: a run of its own, or how it ended.
	return it.take(<-it.done)
}

// endReason is why a caller did not wait any longer.
func endReason(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "deadline"
	}
	return "cancelled"
}

func (it *item) take(o outcome) (*Result, error) {
	if o.run != nil {
		return o.run.alone()
	}
	return o.result, o.err
}

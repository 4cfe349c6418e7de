package batch

import (
	"context"
	"errors"
	"sync"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// room is what a run's outputs are charged to: the call of the one request that it is
// of, or its own where it is of several. It waits for nobody.
type room struct {
	call  *memory.Call // nil counts nothing
	ahead *advance     // that the call has for them
	own   bool         // the call ends with the outputs
	taken int64        // bytes of them
	short int64        // that there would have to be, where there were too few
}

// Take implements memory.Holder.
func (o *room) Take(_ context.Context, n int64) error {
	if o.call == nil {
		return nil
	}
	err := o.ahead.take(o.call, n)
	if problem.CodeOf(err) == problem.Overloaded {
		o.short = o.taken + n
	}
	if err == nil {
		o.taken += n
	}
	return err
}

// Give implements memory.Holder.
func (o *room) Give(n int64) {
	if o.call != nil {
		o.ahead.give(o.call, n)
		o.taken -= n
	}
}

// made ends what is charged for outputs that are there, and is what gives their memory
// back.
func (o *room) made(release func()) func() {
	if o.call == nil {
		return release
	}
	if o.own {
		o.ahead.end(o.call)
	}
	return func() {
		release()
		o.end()
	}
}

// end gives back what is charged.
func (o *room) end() {
	switch {
	case o.call == nil:
	case o.own:
		o.call.End()
	default:
		o.ahead.give(o.call, o.taken)
	}
}

// advance is bytes that a call holds for outputs that are to be made: of a request in
// parts for all of them, so that none of several such requests holds a part of what
// another waits for.
type advance struct {
	mu    sync.Mutex
	bytes int64
	row   int64 // of a row in parts; 0 where they are all of one run
	ended bool
}

// take charges n bytes, of those ahead as far as there are any, without waiting.
func (a *advance) take(call *memory.Call, n int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ahead := min(n, a.bytes)
	if err := call.TryTake(n - ahead); err != nil {
		return err //nolint:wrapcheck // the account's, as the caller sees it
	}
	a.bytes -= ahead
	return nil
}

// give gives n bytes to what is made next, or back.
func (a *advance) give(call *memory.Call, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		call.Give(n)
		return
	}
	a.bytes += n
}

// end gives back what nothing was made of. What was comes back by give.
func (a *advance) end(call *memory.Call) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if call != nil {
		call.Give(a.bytes)
	}
	a.bytes = 0
}

// moveTo hands what is ahead for so many rows to another call.
func (a *advance) moveTo(from, to *memory.Call, rows int) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.bytes
	if a.row > 0 {
		n = min(n, a.row*int64(rows))
	}
	a.bytes -= n
	return from.Move(to, n)
}

// shortage is that a run found no memory for its outputs, which others hold.
type shortage struct {
	need int64 // bytes that there would have to be
	row  int64 // of them for each row, of a request in parts
	err  error
}

func (s *shortage) Error() string { return s.err.Error() }
func (s *shortage) Unwrap() error { return s.err }

// failed is err, or the shortage that it comes of.
func (o *room) failed(err error) error {
	if o.short > 0 {
		return &shortage{need: o.short, err: err}
	}
	return err
}

// withRoom runs, and where there is no memory for the outputs, waits for it and runs
// again: what they take is known then. It holds nothing while it waits but what the
// request is made of.
func (q *Queue) withRoom(ctx context.Context, req *infer.Request, run func(ahead *advance) (*Result, error)) (*Result, error) {
	ahead, had := &advance{}, int64(0)
	for {
		result, err := run(ahead)
		ahead.end(req.Held)
		var short *shortage
		if !errors.As(err, &short) {
			return result, err
		}
		if short.need <= had {
			return nil, short.err
		}
		if err := req.Held.Take(ctx, short.need); err != nil {
			return nil, err //nolint:wrapcheck // the account's, as the caller sees it
		}
		had = short.need
		ahead = &advance{bytes: had, row: short.row}
	}
}

// makeRoom gives a shared run what its members have for outputs. It is called under mu,
// while they wait.
func (r *run) makeRoom() {
	r.room = &room{}
	for _, it := range r.members {
		if it.held == nil {
			continue
		}
		if r.kin = it.held; r.room.call == nil {
			r.room = &room{call: it.held.Sibling(), ahead: &advance{}, own: true}
		}
		r.room.ahead.bytes += it.ahead.moveTo(it.held, r.room.call, it.rows)
	}
}

// takeRoom is what the run's next try is charged to.
func (r *run) takeRoom() *room {
	o := r.room
	if r.room = (&room{}); o.call == nil && r.kin != nil {
		o = &room{call: r.kin.Sibling(), ahead: &advance{}, own: true}
	}
	return o
}

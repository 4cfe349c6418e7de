package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// run is one turn in a slot: a batch, or one request alone.
type run struct {
	class   *class
	members []*item
	only    [1]*item // the memory of members, of a run alone
	shared  bool     // in a goroutine of its own; else in its one caller's
	rows    int
	started time.Time
	from    reading
	cost    float64 // that the members' tenants were charged
	cold    bool    // it is among the first of its size

	// Of shared runs.
	ctx    context.Context //nolint:containedctx // the run's own: it ends when its last caller goes
	cancel context.CancelFunc
	joined chan struct{} // closed when the callers' inputs are not read any more
	hold   func()        // lets the model go

	live int // members whose callers wait; under Scheduler.mu
}

// prepare readies a shared run. Each member still holds its model: the run
// holds it, too, from here on.
func (r *run) prepare() {
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(r.members[0].ctx))
	r.joined = make(chan struct{})
	r.hold = func() {}
	if r.class.q.m.Hold != nil {
		r.hold = r.class.q.m.Hold()
	}
}

// abandon counts a caller who went away; with the last of them the run is
// stopped.
func (r *run) abandon() {
	if r.live--; r.live == 0 {
		r.cancel()
	}
}

// charge adds to what the members' tenants have had, each by its rows.
func (r *run) charge(cost float64) {
	for _, it := range r.members {
		it.tenant.tag += cost * float64(it.rows) / float64(max(r.rows, 1))
	}
}

// alone runs a run of one in its caller's goroutine.
func (r *run) alone() (*Result, error) {
	it := r.members[0]
	q := r.class.q
	var report ended
	defer func() { r.end(report, nil) }() // a panic goes on to the caller's own recovery
	began := time.Now()
	outputs, release, err := q.m.Runner.Run(it.ctx, it.inputs, r.class.wanted)
	if err != nil {
		report.refused = isRefusal(err)
		return nil, err
	}
	took := time.Since(began)
	if err := q.check(outputs); err != nil {
		release()
		return nil, err
	}
	report = ended{ok: true, bytes: size(outputs)}
	timing := infer.Timing{Queue: began.Sub(it.arrived), Infer: took, BatchSize: it.rows}
	q.executed(timing)
	return &Result{Outputs: outputs, Release: release, Timing: timing}, nil
}

func (q *Queue) check(outputs []infer.Tensor) error {
	if q.m.Check == nil {
		return nil
	}
	return q.m.Check(outputs)
}

func (q *Queue) executed(t infer.Timing) {
	q.metrics.ran(t.BatchSize, t.Infer)
	if q.m.Executed != nil {
		q.m.Executed(t)
	}
}

// together runs a batch and gives its members their rows.
func (r *run) together() {
	outcomes := make([]outcome, len(r.members))
	var report ended
	defer func() {
		if p := recover(); p != nil {
			report = ended{}
			for i := range outcomes {
				outcomes[i] = outcome{err: fmt.Errorf("%w: %v", errPanic, p)}
			}
		}
		r.cancel()
		r.end(report, outcomes)
		r.hold()
	}()
	began := time.Now()
	inputs := r.join()
	report = r.try(r.members, inputs, time.Since(began), outcomes)
}

// join makes one set of inputs of the members'. After it their memory is not
// read any more.
func (r *run) join() []infer.Tensor {
	defer close(r.joined)
	q := r.class.q
	parts := make([][]infer.Tensor, len(r.members))
	for i, it := range r.members {
		parts[i] = it.inputs
	}
	inputs, padded, all := joinInputs(q.m.Signature, parts, r.rows)
	q.metrics.padded(padded, all)
	return inputs
}

// try runs members whose inputs are joined, and fills in their outcomes. When
// the model refuses them it is tried with each half, until those who are at
// fault are alone with their error.
func (r *run) try(members []*item, inputs []infer.Tensor, input time.Duration, outcomes []outcome) ended {
	q := r.class.q
	began := time.Now()
	outputs, release, err := q.m.Runner.Run(r.ctx, inputs, r.class.wanted)
	took := time.Since(began)
	if err == nil {
		timing := &infer.Timing{Input: input, Infer: took, BatchSize: rowsOf(members)}
		if err = r.deal(members, outputs, release, timing, outcomes); err == nil {
			q.executed(*timing)
			return ended{ok: true, bytes: size(outputs), answers: len(members)}
		}
		release()
	}
	var wrong *misfit
	switch {
	case len(members) == 1:
		outcomes[0] = outcome{err: err}
		return ended{}
	case !isRefusal(err) && !errors.As(err, &wrong):
		// The model, the machine or the callers gave up: halves would, too.
		for i := range outcomes {
			outcomes[i] = outcome{err: err}
		}
		return ended{}
	}
	answers := r.halves(members, inputs, outcomes)
	if wrong != nil && answers == len(members) {
		// Each alone is right and all together are not: no batch will be.
		q.unbatch(wrong)
	}
	return ended{answers: answers}
}

// halves tries each half of the members.
func (r *run) halves(members []*item, inputs []infer.Tensor, outcomes []outcome) (answers int) {
	half := len(members) / 2
	rows := rowsOf(members[:half])
	sig := r.class.q.m.Signature
	for _, part := range []struct {
		members  []*item
		outcomes []outcome
		row      int
	}{{members[:half], outcomes[:half], 0}, {members[half:], outcomes[half:], rows}} {
		if err := r.ctx.Err(); err != nil {
			for i := range part.outcomes {
				part.outcomes[i] = outcome{err: err}
			}
			continue
		}
		cut := cutInputs(sig, inputs, part.row, rowsOf(part.members))
		answers += r.try(part.members, cut, 0, part.outcomes).answers
	}
	return answers
}

// deal gives each member its rows of the outputs. An error means that they are
// not what the members' rows make; the outputs are still the caller's then.
func (r *run) deal(members []*item, outputs []infer.Tensor, release func(), timing *infer.Timing, outcomes []outcome) error {
	q := r.class.q
	if err := q.check(outputs); err != nil {
		return &misfit{err}
	}
	began := time.Now()
	parts, release, err := cutOutputs(q.m.Signature, members, outputs, release)
	if err != nil {
		return err
	}
	timing.Output = time.Since(began)
	for i, it := range members {
		own := *timing
		own.Queue = r.started.Sub(it.arrived)
		outcomes[i] = outcome{result: &Result{Outputs: parts[i], Timing: own, Release: sync.OnceFunc(release)}}
	}
	return nil
}

// suspects run alone for so many requests after one that made a batch fail, so
// that a caller cannot make the others' batches run again and again.
const suspects = 16

func (c *class) suspect(it *item) {
	if len(c.lines) >= maxClasses {
		c.forgetSuspect()
	}
	c.lineOf(it.tenant).alone = suspects
}

// forgetSuspect makes room for another: of those with nothing waiting, any.
func (c *class) forgetSuspect() {
	for name, l := range c.lines {
		if len(l.items) == 0 {
			delete(c.lines, name)
			return
		}
	}
}

// isRefusal reports whether the model refused the inputs, which may be one
// request's fault, or had no memory for so many.
func isRefusal(err error) bool {
	code := problem.CodeOf(err)
	return code == problem.InvalidArgument || code == problem.PayloadTooLarge
}

// unbatch ends batches for a model that gives other outputs to rows together.
func (q *Queue) unbatch(why error) {
	q.s.mu.Lock()
	first := !q.whole
	q.whole = true
	q.s.mu.Unlock()
	if first && q.m.Unbatched != nil {
		q.m.Unbatched(why)
	}
}

// ended is how a run went.
type ended struct {
	ok      bool  // as a whole
	refused bool  // by the model, alone
	bytes   int64 // of the outputs
	answers int
}

// end gives the slot back, learns, gives the members their outcomes (a run alone
// has none: its caller is here), and lets others start.
func (r *run) end(e ended, outcomes []outcome) {
	c := r.class
	s := c.q.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	took := now.Sub(r.started)
	to := s.busy.change(now, -1)
	s.free++
	s.fair.running--
	c.runs--
	c.inRuns -= r.rows
	if e.ok {
		c.costs.observe(r.rows, took, s.busy.others(r.from, to), e.bytes, r.cold)
	}
	r.charge(float64(took) - r.cost)
	answers := r.tell(e, outcomes)
	c.linger.ended(now, answers, took)
	s.dispatch(nil)
	for _, it := range r.members {
		s.fair.forget(it.tenant)
	}
}

// tell gives the members their outcomes and counts those who were answered and
// may call again.
func (r *run) tell(e ended, outcomes []outcome) (answers int) {
	c := r.class
	for i, it := range r.members {
		it.tenant.running--
		if !r.shared {
			c.trust(it, e.refused)
			answers++
			continue
		}
		o := outcomes[i]
		if isRefusal(o.err) {
			c.suspect(it)
		}
		switch {
		case it.gone && o.result != nil:
			o.result.Release()
		case !it.gone:
			it.gone = true
			it.finish(o)
			answers++
		}
	}
	return answers
}

// trust counts a run alone of a tenant who is suspected.
func (c *class) trust(it *item, refused bool) {
	l := c.lines[it.tenant.name]
	if l == nil || l.alone == 0 {
		return
	}
	if l.alone--; refused {
		l.alone = suspects
	}
	c.forgetLine(l)
}

func rowsOf(members []*item) int {
	rows := 0
	for _, it := range members {
		rows += it.rows
	}
	return rows
}

// size is the bytes of tensors.
func size(tensors []infer.Tensor) int64 {
	var n int64
	for i := range tensors {
		n += int64(len(tensors[i].Data))
	}
	return n
}

package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
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
	cost    float64   // that it was expected to take, in nanoseconds
	brief   bool      // it is expected to take no longer than Config.Brief
	cold    bool      // it is among the first of its size
	known   [][]int64 // the class's outputs as it began

	// Of shared runs.
	ctx    context.Context //nolint:containedctx // the run's own: it ends when its last caller goes
	cancel context.CancelFunc
	joined chan struct{} // closed when the callers' inputs are not read any more
	hold   func()        // lets the model go
	kin    *memory.Call  // of a member; nil where nobody is charged
	room   *room         // for the first try
	padded bool          // its members' lengths differ

	live int // members whose callers wait; under Scheduler.mu
}

// prepare readies a shared run. Each member still holds its model: the run
// holds it, too, from here on.
func (r *run) prepare() {
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(r.members[0].ctx))
	r.joined = make(chan struct{})
	r.hold = func() {}
	r.makeRoom()
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

// alone runs a run of one in its caller's goroutine.
func (r *run) alone() (*Result, error) {
	it := r.members[0]
	q := r.class.q
	var report ended
	defer func() { r.end(report, nil) }() // a panic goes on to the caller's own recovery
	began := time.Now()
	charged := &room{call: it.held, ahead: it.ahead}
	outputs, release, err := r.model(it.ctx, charged, it.inputs)
	if err != nil {
		report.refused = isRefusal(err)
		return nil, charged.failed(err)
	}
	took := time.Since(began)
	if err := q.check(outputs); err != nil {
		release()
		charged.Give(charged.taken)
		return nil, err
	}
	release = charged.made(release)
	q.heldAlone(it.inputs, outputs)
	report = ended{ok: true, bytes: size(outputs), outputs: outputs}
	timing := infer.Timing{Queue: began.Sub(it.arrived), Infer: took, BatchSize: it.rows, Rows: it.rows}
	q.executed(timing)
	return &Result{Outputs: outputs, Release: release, Timing: timing}, nil
}

// model runs the model, on a thread for long runs unless this is known to be a brief one.
func (r *run) model(ctx context.Context, held memory.Holder, inputs []infer.Tensor) (outputs []infer.Tensor, release func(), err error) {
	q := r.class.q
	long := q.s.cfg.Long
	if r.brief {
		long = nil
	}
	failed := long.Do(ctx, "", func() { outputs, release, err = q.m.Runner.Run(ctx, held, inputs, r.class.wanted) })
	if failed != nil {
		return nil, nil, failed
	}
	return outputs, release, err
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
		r.room.end()
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
	for _, it := range r.members {
		it.lengths = lengthsOf(q.m.Signature, it.inputs)
		r.padded = r.padded || !slices.Equal(it.lengths, r.members[0].lengths)
	}
	inputs, padded, all := joinInputs(q.m.Signature, parts, r.rows)
	q.metrics.padded(padded, all)
	return inputs
}

// try runs members whose inputs are joined, and fills in their outcomes. When
// the model refuses them it is tried with each half, until those who are at
// fault are alone with their error. What broke a rule is run one by one.
func (r *run) try(members []*item, inputs []infer.Tensor, input time.Duration, outcomes []outcome) ended {
	q := r.class.q
	if len(members) == 1 { // as if nobody else had come
		inputs = ownInputs(q.m.Signature, members[0], inputs)
	}
	began := time.Now()
	charged := r.takeRoom()
	kept := false
	defer func() {
		if !kept {
			charged.end()
		}
	}()
	outputs, release, err := r.model(r.ctx, charged, inputs)
	took := time.Since(began)
	if err == nil {
		timing := &infer.Timing{Input: input, Infer: took, BatchSize: rowsOf(members)}
		bytes := size(outputs)
		if err = r.deal(members, inputs, outputs, charged, release, timing, outcomes); err == nil {
			kept = true
			q.executed(*timing)
			return ended{ok: true, bytes: bytes, answers: len(members)}
		}
		release()
	}
	var wrong *misfit
	switch {
	case charged.short > 0:
		for i, it := range members {
			outcomes[i] = outcome{err: &shortage{need: charged.short*int64(it.rows)/int64(rowsOf(members)) + 1, err: err}}
		}
		return ended{}
	case len(members) == 1:
		outcomes[0] = outcome{err: err}
		return ended{}
	case errors.As(err, &wrong):
		q.misfit(wrong)
		return ended{answers: r.split(members, inputs, outcomes, 1)}
	case isRefusal(err):
		return ended{answers: r.split(members, inputs, outcomes, ceilDiv(len(members), 2))}
	}
	// The model, the machine or the callers gave up: fewer at once would, too.
	for i := range outcomes {
		outcomes[i] = outcome{err: err}
	}
	return ended{}
}

// split tries so many members at a time.
func (r *run) split(members []*item, inputs []infer.Tensor, outcomes []outcome, size int) (answers int) {
	row := 0
	for from := 0; from < len(members); from += size {
		to := min(from+size, len(members))
		part, results := members[from:to], outcomes[from:to]
		if err := r.ctx.Err(); err != nil {
			for i := range results {
				results[i] = outcome{err: err}
			}
			continue
		}
		rows := rowsOf(part)
		answers += r.try(part, cutInputs(r.class.q.m.Signature, inputs, row, rows), 0, results).answers
		row += rows
	}
	return answers
}

// deal gives each member its rows of the outputs. An error means that they are
// not what the members' rows make; the outputs are still the caller's then. One
// alone has whatever the model makes of it.
func (r *run) deal(members []*item, inputs, outputs []infer.Tensor, charged *room, release func(), timing *infer.Timing, outcomes []outcome) error {
	q := r.class.q
	if len(members) == 1 {
		if err := q.check(outputs); err != nil {
			return err
		}
	} else if wrong := r.fits(inputs, outputs, rowsOf(members)); wrong != nil {
		return wrong
	}
	began := time.Now()
	parts, release, err := q.cutOutputs(r.ctx, members, outputs, charged, release)
	if err != nil {
		return err
	}
	timing.Output = time.Since(began)
	for i, it := range members {
		own := *timing
		own.Queue, own.Rows = r.started.Sub(it.arrived), it.rows
		outcomes[i] = outcome{result: &Result{Outputs: parts[i], Timing: own, Release: sync.OnceFunc(release)}}
	}
	return nil
}

// aloneAfterFailure is how many requests of a class run alone after one that made a
// batch fail, so that a caller cannot make the others' batches run again and again.
// More cost a class more of what batches gain it after one bad request.
const aloneAfterFailure = 16

// isRefusal reports whether the model refused the inputs, which may be one
// request's fault, or had no memory for so many.
func isRefusal(err error) bool {
	code := problem.CodeOf(err)
	return code == problem.InvalidArgument || code == problem.PayloadTooLarge
}

// ended is how a run went.
type ended struct {
	ok      bool  // as a whole
	refused bool  // by the model, alone
	bytes   int64 // of the outputs
	answers int
	outputs []infer.Tensor // of a run alone
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
	c.q.inRuns -= r.rows
	if e.ok {
		learned := c.costs.observe(sample{r.rows, took, s.busy.others(r.from, to), e.bytes, r.cold})
		r.recordEvidence(learned, float64(took), now)
		c.learnShapes(e.outputs)
		c.q.took += (float64(took) - c.q.took) / recentRuns
	}
	c.tenant.pending -= r.cost
	c.tenant.tag += float64(took)
	answers := r.deliver(e, outcomes)
	c.linger.ended(now, answers, took)
	s.dispatch(nil)
	s.fair.forget(c.tenant)
}

// recentRuns is how many runs their average is over, about.
const recentRuns = 16

// recordEvidence keeps how long a run took that went well, in nanoseconds, as
// evidence for requests like its members. learned is whether it was typical.
func (r *run) recordEvidence(learned bool, took float64, now time.Time) {
	e := &r.class.evidence
	if learned && len(r.members) == 1 {
		e.add(r.members[0].kind(), took, now)
		return
	}
	for _, it := range r.members {
		e.atMost(it.kind(), took, now)
	}
}

// deliver gives the members their outcomes and counts those who were answered and
// may call again.
func (r *run) deliver(e ended, outcomes []outcome) (answers int) {
	c := r.class
	for i, it := range r.members {
		c.tenant.running--
		if !r.shared {
			c.countAlone(e.refused)
			answers++
			continue
		}
		o := outcomes[i]
		if isRefusal(o.err) {
			c.alone = aloneAfterFailure
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

// countAlone counts a run alone after a batch that failed (see aloneAfterFailure).
func (c *class) countAlone(refused bool) {
	if c.alone == 0 {
		return
	}
	if c.alone--; refused {
		c.alone = aloneAfterFailure
	}
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

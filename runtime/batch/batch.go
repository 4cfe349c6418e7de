// Package batch decides which requests run, when, and together. A Scheduler
// shares the slots of one device between the models of a process and between
// their callers; each model has a Queue in it, which joins a tenant's requests
// along the model's batch axis as far as that pays, and gives each caller its
// own rows of the answer. Rows of two tenants are never in one run (see formOf).
//
// It neither loads models nor checks requests: pool does, and hands over what
// fits the signature. It knows no wire.
package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Runner runs one loaded model. Run is called from many goroutines; inputs are
// read until it returns, and the outputs are valid until release is called. What they
// take is charged to held before it is allocated, and given back by who called Run,
// after release; of a Run that fails nothing stays charged.
type Runner interface {
	Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) (results []infer.Tensor, release func(), err error)
}

// Config is what a Scheduler needs.
type Config struct {
	// Slots is how many runs are under way at once: one for each processor, or
	// what a device takes.
	Slots int

	// Brief is how long a run may be expected to take that goes beside the slots when
	// all are taken: one at a time, of a tenant of whom nothing runs. 0 is none. Runs
	// are not interrupted, so that others' long ones would keep it waiting.
	Brief time.Duration

	// Long, when set, runs what may take longer than Brief, beside what does not. It
	// has a thread for each slot and one more, so that nothing waits for it.
	Long *nice.Threads

	// Queue bounds the requests that wait in one model's queue. More are
	// refused with problem.Overloaded.
	Queue int

	// Metrics, when set, are counted. Several schedulers may share them.
	Metrics *Metrics
}

// Model is what a Queue needs to know of a loaded version.
type Model struct {
	Name      string // in metrics and errors
	Signature *infer.Signature
	Runner    Runner

	// Points are the times of runs as measured before, by size, rising; nil
	// when nobody measured. Their inputs had the example shapes.
	Points []Point

	// MaxRows and MaxDelay are the publisher's settings: batches of at most MaxRows
	// (1 is none), gathered for at most MaxDelay. 0 leaves both to what is
	// learned, which waits for nobody in particular.
	MaxRows  int
	MaxDelay time.Duration

	// MaxOutput bounds the bytes of one run's outputs, as far as earlier ones
	// show; 0 is no bound.
	MaxOutput int64

	// Hold, when set, keeps the model loaded for a shared run, which may outlive
	// its callers, until what it returns is called.
	Hold func() (release func())

	// Check, when set, holds a run's outputs to the model's signature.
	Check func(outputs []infer.Tensor) error

	// Rules are those that the model was seen to break before; nil is none. They
	// are kept here, so that whoever hands them to the queue of the same version
	// again remembers them.
	Rules *Rules

	// Misfit, when set, is called once for each rule that the model breaks, and is
	// not joined by any more: RuleRows or RuleRagged.
	Misfit func(rule string, why error)

	// Executed, when set, is called after each run with its rows (BatchSize) and its times.
	Executed func(infer.Timing)
}

// Result is one caller's part of a run.
type Result struct {
	Outputs []infer.Tensor // in the order asked for; valid until Release
	Timing  infer.Timing   // Queue, Input, Infer, Output and BatchSize
	Release func()         // gives the outputs' memory back, and what was charged for it; once
}

// Scheduler shares slots between queues. It is safe for concurrent use.
type Scheduler struct {
	cfg Config

	mu   sync.Mutex
	free int // slots; -1 is none, and a brief run beside them
	busy occupancy
	fair fairness
	seq  uint64

	refusals pacing
	timer    *time.Timer
	wakeAt   time.Time // when the timer goes off; zero when it is stopped
	work     sync.WaitGroup
}

// New makes a scheduler.
func New(cfg Config) (*Scheduler, error) {
	if cfg.Slots < 1 {
		return nil, fmt.Errorf("batch: expected at least one slot, got %d", cfg.Slots)
	}
	if cfg.Queue < 0 {
		return nil, fmt.Errorf("batch: expected a queue of 0 or more, got %d", cfg.Queue)
	}
	return &Scheduler{cfg: cfg, free: cfg.Slots, busy: occupancy{slots: cfg.Slots}, fair: newFairness()}, nil
}

// Queue holds the requests of one model until they run.
type Queue struct {
	s       *Scheduler
	m       Model
	metrics *queueMetrics

	rules *Rules

	// Under Scheduler.mu.
	classes map[string]*class
	owners  map[string]*owner // of classes, by tenant
	costs   map[string]*costs
	waiting int
	rows    int     // waiting
	inRuns  int     // rows under way
	took    float64 // nanoseconds of a run of any shape, averaged lately

	smallBatchesUntil time.Time // for a tenant with little
}

// NewQueue adds a model.
func (s *Scheduler) NewQueue(m Model) *Queue {
	q := &Queue{
		s: s, m: m, metrics: s.cfg.Metrics.of(m.Name), rules: m.Rules,
		classes: map[string]*class{}, owners: map[string]*owner{}, costs: map[string]*costs{},
	}
	if q.rules == nil {
		q.rules = &Rules{}
	}
	if p, ok := m.Runner.(padder); ok {
		p.Misfits(func(why error) { q.misfit(&misfit{RuleRows, why}) })
	}
	return q
}

// Close waits for the shared runs that outlive their callers. Nothing is
// started any more.
func (s *Scheduler) Close() { s.work.Wait() }

// Run runs one request, alone or with others, and returns its rows of the
// outputs wanted. The request has passed the signature's checks; its inputs are
// read until Run returns.
//
// A request that has less time left than its tenant's own such requests were seen
// to take is mostly problem.DeadlineExceeded before it costs a run; a full queue is
// problem.Overloaded with the time it takes to drain. When ctx ends Run returns
// its error at once, and the run itself stops unless it is others' too.
//
// Outputs are charged to req.Held as they are made. A run waits for no memory, for it
// has a slot: what there is none for waits without one, as req.Held does, and runs again.
func (q *Queue) Run(ctx context.Context, req *infer.Request, wanted []string) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("before the run: %w", err)
	}
	return q.withRoom(ctx, req, func(ahead *advance) (*Result, error) { return q.run(ctx, req, wanted, ahead) })
}

// run runs a request whose outputs have so much memory ahead.
func (q *Queue) run(ctx context.Context, req *infer.Request, wanted []string, ahead *advance) (*Result, error) {
	var scratch [512]byte
	form := q.formOf(scratch[:0], req, wanted)
	s := q.s
	s.mu.Lock()
	c := q.class(&form, req, wanted)
	if per := c.part(form.rows); per < form.rows {
		err := c.admitParts(ctx, req, &form, per)
		s.mu.Unlock()
		if err != nil {
			s.pace(ctx, req.Inputs)
			return nil, err
		}
		return q.runParts(ctx, req, wanted, ahead, form.rows, per)
	}
	return q.runOne(ctx, c, req, &form, ahead, false)
}

// errPanic is what the callers of a shared run get for a panic in it.
var errPanic = errors.New("the run panicked")

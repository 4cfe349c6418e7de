package execution

import (
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/problem"
)

// Evaluator says what a pipeline's expressions are, with the values of the
// execution that the transition is about: what it has recorded, and what the answer
// in hand has. It may fetch them.
//
// An error that is a problem.Error of the caller's (4xx other than 408 and 429) is
// the step's, or of Output the execution's, failure. Any other ends the transition
// with that error, and nothing is to be saved, nor the execution in hand to be used:
// the caller loads and decides again.
type Evaluator interface {
	When(step string) (bool, error) // whether a step's condition holds
	Items(step string) (int, error) // how many items a forEach has
	Output() (envelope.Value, error)
}

// Options are what a Machine depends on beside the plan.
type Options struct {
	// ColdStart is how long a function may take from nothing to ready.
	ColdStart time.Duration
	// Random is for jitter: from 0 up to but not including 1.
	Random func() float64
}

// Machine decides for the executions of one version of a pipeline. It keeps
// nothing of them, and may be used by several goroutines where Options.Random may.
type Machine struct {
	plan *plan.Plan
	o    Options
}

// New makes the machine of a plan.
func New(p *plan.Plan, o Options) *Machine { return &Machine{plan: p, o: o} }

// Accept makes x, whose own fields are set, a queued execution. What is due of it is
// Start, at RunAt.
func (m *Machine) Accept(x *Execution, now time.Time) Change {
	x.Status, x.Created = Queued, now
	x.Segments = make([]Segment, len(m.plan.Segments))
	for i := range x.Segments {
		x.Segments[i].Status = Queued
	}
	x.Steps = make([]Step, len(m.plan.Definition.Steps))
	for i := range x.Steps {
		step := &m.plan.Definition.Steps[i]
		x.Steps[i] = Step{Name: step.Name, Status: Queued}
		if step.ForEach != nil {
			x.Steps[i].Join = step.ForEach.Join
		}
	}
	x.Events, x.Lates = 0, 0
	t := m.transition(x, nil, nil, now)
	t.event(ExecutionAccepted, "", Queued)
	due := now
	if x.RunAt.After(now) {
		due = x.RunAt
	}
	t.put(Branch{BranchID: Whole(x.ID), What: Start, Due: due})
	return t.c
}

// Begin starts a queued execution that was admitted: its first segments are to be
// sent. One that is not queued, or not due, stays as it is.
func (m *Machine) Begin(x *Execution, branches []Branch, e Evaluator, now time.Time) (Change, error) {
	if x.Status != Queued || x.RunAt.After(now) {
		return Change{}, nil
	}
	if err := m.fits(x); err != nil {
		return Change{}, err
	}
	t := m.transition(x, branches, e, now)
	x.Status, x.Started, x.Deadline = Running, now, now.Add(m.plan.Definition.Timeout)
	t.event(ExecutionStarted, "", Running)
	t.put(Branch{BranchID: Whole(x.ID), What: End, Due: x.Deadline})
	return t.advance()
}

// maxCold bounds what a chain's deadline allows for cold starts: plan.MaxChain
// leaves as much of the channel's fifteen minutes.
const maxCold = 5 * time.Minute

// slack is what an answer has after its deadline to come here and be saved.
const slack = 5 * time.Second

// Send is a branch as it is once it is sent: the next epoch, and a lease. The
// deadline goes into the ticket: no step begins or answers after it. The lease ends a
// little later. ok is false where nothing is to be sent, because the execution does
// not run, its deadline has come, or the branch is not due.
//
// It is committed before the event is posted, and only if the row is as it was: of
// this epoch, and to be sent.
func (m *Machine) Send(x *Execution, b Branch, now time.Time) (sent Branch, deadline time.Time, ok bool) {
	if x.Status != Running || b.What != Send || b.Due.After(now) || m.fits(x) != nil || !m.has(b) {
		return b, time.Time{}, false
	}
	deadline = now.Add(m.remaining(b.Segment, b.Step))
	if deadline.After(x.Deadline) {
		deadline = x.Deadline
	}
	if !deadline.After(now) {
		return b, time.Time{}, false
	}
	b.Epoch++
	b.What, b.Due = Lease, deadline.Add(slack)
	return b, deadline, true
}

// remaining is how long the steps of a segment may take from one of them on.
func (m *Machine) remaining(segment, from int) time.Duration {
	s := &m.plan.Segments[segment]
	var timeouts, cold time.Duration
	for _, i := range s.Steps[from:] {
		timeouts += m.plan.Definition.Steps[i].Timeout
		if !s.Outside {
			cold += m.o.ColdStart
		}
	}
	return timeouts + min(cold, maxCold)
}

// fits is an error where x is not of the machine's plan: another version's, or of a
// program that planned otherwise. Such an execution can be cancelled, and times out.
func (m *Machine) fits(x *Execution) error {
	if x.Damage != nil {
		return fmt.Errorf("execution %s cannot be read: %s", x.ID, x.Damage.Why)
	}
	if len(x.Segments) == len(m.plan.Segments) && len(x.Steps) == len(m.plan.Definition.Steps) {
		return nil
	}
	return fmt.Errorf("execution %s has %d segments and %d steps, the plan of %s has %d and %d",
		x.ID, len(x.Segments), len(x.Steps), m.plan.Definition.Name, len(m.plan.Segments), len(m.plan.Definition.Steps))
}

// has reports whether the plan has where b is.
func (m *Machine) has(b Branch) bool {
	return b.Segment >= 0 && b.Segment < len(m.plan.Segments) && b.Step >= 0 && b.Step < len(m.plan.Segments[b.Segment].Steps)
}

// Answered takes the answer of a whole chain. One that is of another epoch than the
// branch's, or of a branch that has ended, is noted as late.
func (m *Machine) Answered(x *Execution, branches []Branch, a Answer, e Evaluator, now time.Time) (Change, error) {
	if err := m.fits(x); err != nil {
		return Change{}, err
	}
	t := m.transition(x, branches, e, now)
	b, ok := t.current(a)
	if !ok {
		return t.late(a, ""), nil
	}
	last := len(m.plan.Segments[b.Segment].Steps) - 1
	if !t.whole(b, a, last) {
		return t.broke(b, damaged())
	}
	t.record(b, a, last)
	return t.done(b)
}

// Failed takes a failing answer, or that there is none. What the chain's steps
// before the one that failed answered is recorded, and that step alone is tried
// again; where the event was damaged, or the step is not known, all that was sent.
func (m *Machine) Failed(x *Execution, branches []Branch, f Failure, e Evaluator, now time.Time) (Change, error) {
	if err := m.fits(x); err != nil {
		return Change{}, err
	}
	t := m.transition(x, branches, e, now)
	b, ok := t.current(f.Answer)
	if !ok {
		return t.late(f.Answer, f.Step), nil
	}
	at := t.at(b, f.Step)
	verdict := f.Verdict()
	switch {
	case f.Problem.Code == EventDamaged || at < b.Step && verdict == Break:
		return t.broke(b, f.problem())
	case at < b.Step: // the step is none that was sent: what failed is not known, that it failed is
		at = b.Step
	case !t.whole(b, f.Answer, at-1):
		return t.broke(b, damaged())
	}
	if at > b.Step {
		t.record(b, f.Answer, at-1)
		b.Step, b.Attempts, b.Breaks = at, 0, 0
		t.started(t.step(b))
	}
	switch verdict {
	case Break:
		return t.broke(b, f.problem())
	case Retry:
		return t.failed(b, f.problem(), f.RetryAfter)
	default:
		return t.dead(b, true, f.problem())
	}
}

// Expired takes that a lease ran out: the event or its answer was lost, or whoever
// had it died. It is counted with the processes and connections that broke.
func (m *Machine) Expired(x *Execution, branches []Branch, lease Branch, e Evaluator, now time.Time) (Change, error) {
	if err := m.fits(x); err != nil {
		return Change{}, err
	}
	t := m.transition(x, branches, e, now)
	b, ok := t.current(Answer{Segment: lease.Segment, Item: lease.Item, Epoch: lease.Epoch})
	if !ok || b.Due.After(now) {
		return Change{}, nil
	}
	return t.broke(b, Of(problem.New(problem.DeadlineExceeded, "the step's deadline passed without an answer")))
}

// refusedPause is until an event is sent again that its channel did not take.
const refusedPause = time.Second

// Refused takes that a channel did not take an event, so that nothing came of it. It is
// sent again a little later and counts as neither an attempt nor a break, since it says
// nothing of the step: the execution's deadline ends that.
func (m *Machine) Refused(x *Execution, branches []Branch, a Answer, now time.Time) Change {
	if m.fits(x) != nil {
		return Change{}
	}
	t := m.transition(x, branches, nil, now)
	b, ok := t.current(a)
	if !ok {
		return Change{}
	}
	b.What, b.Due = Send, now.Add(refusedPause)
	t.put(b)
	return t.c
}

// Seen is what a tap on a channel shows: a step of a chain has answered, and the
// next has begun.
type Seen struct {
	Segment, Item, Epoch int
	Step                 string
	Record               envelope.Record
}

// Seen brings an execution's progress up to date within a chain. It records no
// output: the event itself brings that. So it may be lost without harm, and a step
// that it showed as succeeded is run again where its output was lost afterwards. The
// lease becomes no longer.
func (m *Machine) Seen(x *Execution, branches []Branch, s Seen, now time.Time) Change {
	if m.fits(x) != nil {
		return Change{}
	}
	t := m.transition(x, branches, nil, now)
	b, ok := t.current(Answer{Segment: s.Segment, Item: s.Item, Epoch: s.Epoch})
	if !ok {
		return Change{}
	}
	at, steps := t.at(b, s.Step), m.plan.Segments[b.Segment].Steps
	if at < b.Step || at == len(steps)-1 || x.Steps[steps[at]].Status == Succeeded {
		return Change{}
	}
	for i := b.Step; i <= at; i++ {
		var record envelope.Record
		if i == at {
			record = s.Record
		}
		t.succeeded(steps[i], t.attempts(b, i), record)
	}
	t.started(steps[at+1])
	if due := now.Add(m.remaining(b.Segment, at+1)).Add(slack); due.Before(b.Due) {
		b.Due = due
		t.put(b)
	}
	return t.c
}

func damaged() Problem {
	return Of(problem.New(problem.EventDamaged, "an event came without what the steps before it answered"))
}

package execution

import (
	"errors"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/problem"
)

// transition is one change in the making.
type transition struct {
	m        *Machine
	x        *Execution
	branches []Branch // as loaded
	e        Evaluator
	now      time.Time
	c        Change
}

func (m *Machine) transition(x *Execution, branches []Branch, e Evaluator, now time.Time) *transition {
	return &transition{m: m, x: x, branches: branches, e: e, now: now}
}

func (t *transition) put(b Branch) {
	b.Priority = t.x.Priority
	t.c.Changed = true
	t.c.Put = append(t.c.Put, b)
}

func (t *transition) event(kind, step string, status Status) {
	t.x.Events++
	t.c.Changed = true
	t.c.Events = append(t.c.Events, Event{Number: t.x.Events, Type: kind, Step: step, Status: status, At: t.now})
}

// late notes an answer that changes nothing, if there is room.
func (t *transition) late(a Answer, step string) Change {
	if t.x.Lates >= MaxLate {
		return Change{}
	}
	t.x.Lates++
	t.c.Changed = true
	t.c.Late = append(t.c.Late, Late{Segment: a.Segment, Item: a.Item, Epoch: a.Epoch, Step: clip(step, MaxDetail/4), At: t.now})
	return t.c
}

// current is the branch that an answer is of, where its epoch is the branch's and
// has not been decided.
func (t *transition) current(a Answer) (Branch, bool) {
	if t.x.Status != Running {
		return Branch{}, false
	}
	id := BranchID{Execution: t.x.ID, Segment: a.Segment, Item: a.Item}
	for _, b := range t.branches {
		if b.BranchID == id {
			return b, b.What == Lease && b.Epoch == a.Epoch && t.m.has(b)
		}
	}
	return Branch{}, false
}

// step is the definition's index of the step that b is at.
func (t *transition) step(b Branch) int { return t.m.plan.Segments[b.Segment].Steps[b.Step] }

// at is the index in b's segment of a step; -1 is none of those that were sent.
func (t *transition) at(b Branch, step string) int {
	for i, s := range t.m.plan.Segments[b.Segment].Steps {
		if i >= b.Step && t.x.Steps[s].Name == step {
			return i
		}
	}
	return -1
}

// whole reports whether a has an output of each step from b's up to one.
func (t *transition) whole(b Branch, a Answer, to int) bool {
	for i := b.Step; i <= to; i++ {
		v := a.Values[t.x.Steps[t.m.plan.Segments[b.Segment].Steps[i]].Name]
		if v.JSON == nil && v.Claim == nil {
			return false
		}
	}
	return true
}

// record takes the outputs of the steps from b's up to one, of a's chain.
func (t *transition) record(b Branch, a Answer, to int) {
	for i := b.Step; i <= to; i++ {
		step := t.m.plan.Segments[b.Segment].Steps[i]
		name := t.x.Steps[step].Name
		var record envelope.Record
		for _, r := range a.Records {
			if r.Step == name && r.Epoch == a.Epoch {
				record = r
			}
		}
		t.c.Changed = true
		t.c.Values = append(t.c.Values, StepValue{Step: name, Item: b.Item, Epoch: a.Epoch, Value: a.Values[name], Record: record})
		if t.forEach(b.Segment) != nil {
			t.used(&t.x.Steps[step], t.attempts(b, i), record)
			continue
		}
		t.succeeded(step, t.attempts(b, i), record)
	}
}

// attempts is how often the i-th step of b's segment was tried, the time in hand
// included.
func (t *transition) attempts(b Branch, i int) int {
	if i == b.Step {
		return b.Attempts + 1
	}
	return 1
}

func (t *transition) started(step int) {
	s := &t.x.Steps[step]
	if s.Status != Queued {
		return
	}
	s.Status, s.StartedAt = Running, t.now
	t.event(StepStarted, s.Name, Running)
}

// used adds what an answer took to a step.
func (t *transition) used(s *Step, attempts int, r envelope.Record) {
	s.Attempts = max(s.Attempts, attempts)
	if s.Join == "" { // the answer in hand is the step's only one
		s.ComputeMS, s.Rows = 0, 0
		if !r.StartedAt.IsZero() {
			s.StartedAt = r.StartedAt
		}
	}
	s.ComputeMS += max(r.ComputeMS, 0)
	s.Rows += max(r.Rows, 0)
	s.Model, s.Device = clip(r.Model, MaxDetail/4), clip(r.Device, MaxDetail/4)
	s.FinishedAt = t.now
	if !r.FinishedAt.IsZero() {
		s.FinishedAt = r.FinishedAt
	}
}

// succeeded ends a step that is no forEach. Where a tap has shown it already, the
// answer brings what it used.
func (t *transition) succeeded(step, attempts int, r envelope.Record) {
	t.started(step)
	s := &t.x.Steps[step]
	t.used(s, attempts, r)
	if s.Status != Succeeded {
		s.Status = Succeeded
		t.event(StepSucceeded, s.Name, Succeeded)
	}
}

func (t *transition) forEach(segment int) *definition.ForEach {
	return t.m.plan.Definition.Steps[t.m.plan.Segments[segment].Steps[0]].ForEach
}

// done goes on after a branch whose last step is recorded.
func (t *transition) done(b Branch) (Change, error) {
	s := &t.x.Segments[b.Segment]
	t.remove(b.BranchID)
	if each := t.forEach(b.Segment); each != nil {
		s.Done++
		if each.Join != definition.Any && t.refill(b.Segment) {
			return t.c, nil
		}
		t.joined(b.Segment)
	} else {
		s.Status = Succeeded
	}
	return t.advance()
}

// refill begins items of a forEach as far as its window is open, and reports whether
// any are still to come.
func (t *transition) refill(segment int) bool {
	s, each := &t.x.Segments[segment], t.forEach(segment)
	items := t.x.Steps[t.m.plan.Segments[segment].Steps[0]].Items
	for s.Next < items && s.Next-s.Done-s.Failed < max(each.AtOnce, 1) {
		t.put(Branch{BranchID: BranchID{Execution: t.x.ID, Segment: segment, Item: s.Next}, What: Send, Due: t.now})
		s.Next++
	}
	return s.Done+s.Failed < items
}

// joined ends a forEach as succeeded; items that it does not wait for are removed.
func (t *transition) joined(segment int) {
	for _, b := range t.branches {
		if b.Segment == segment {
			t.remove(b.BranchID)
		}
	}
	step := &t.x.Steps[t.m.plan.Segments[segment].Steps[0]]
	t.x.Segments[segment].Status, step.Status = Succeeded, Succeeded
	if step.FinishedAt.IsZero() {
		step.FinishedAt = t.now
	}
	t.event(StepSucceeded, step.Name, Succeeded)
}

// broke counts a process or connection that broke at b's step, which is sent
// again unless there were too many.
func (t *transition) broke(b Branch, p Problem) (Change, error) {
	step := &t.x.Steps[t.step(b)]
	if b.Breaks >= MaxBreaks {
		return t.dead(b, false, p)
	}
	b.Breaks++
	step.Breaks = max(step.Breaks, b.Breaks)
	return t.again(b, b.Breaks, 0, p)
}

// failed counts an attempt of b's step that failed.
func (t *transition) failed(b Branch, p Problem, retryAfter time.Duration) (Change, error) {
	retry := t.m.plan.Definition.Steps[t.step(b)].Retry
	if b.Attempts+1 >= retry.Attempts {
		return t.dead(b, true, p)
	}
	b.Attempts++
	step := &t.x.Steps[t.step(b)]
	step.Attempts = max(step.Attempts, b.Attempts)
	return t.again(b, b.Attempts, retryAfter, p)
}

// again has b sent again after a pause, or gives it up where the execution's
// deadline would come first.
func (t *transition) again(b Branch, failures int, retryAfter time.Duration, p Problem) (Change, error) {
	b.What = Send
	b.Due = t.now.Add(t.m.pause(t.m.plan.Definition.Steps[t.step(b)].Retry.Backoff, failures, retryAfter))
	if !b.Due.Before(t.x.Deadline) {
		return t.dead(b, false, p)
	}
	t.put(b)
	return t.c, nil
}

// The bounds of the pause before a step is tried again; a Retry-After may be longer.
const (
	minPause      = 100 * time.Millisecond
	maxPause      = 30 * time.Second
	maxRetryAfter = 30 * 24 * time.Hour // nobody waits as long: the execution's deadline comes first
)

// pause is how long to wait after the n-th failure, from 1: the backoff doubled at
// each, half of it by chance, so that those which failed together do not come back
// together. After a Retry-After it is that, and up to a tenth more.
func (m *Machine) pause(backoff time.Duration, n int, retryAfter time.Duration) time.Duration {
	d := min(max(backoff, minPause), maxPause)
	for range n - 1 {
		d = min(2*d, maxPause)
	}
	random := m.o.Random()
	d = d/2 + time.Duration(random*float64(d/2))
	retryAfter = min(retryAfter, maxRetryAfter)
	return max(d, retryAfter+time.Duration(random*float64(retryAfter/10)))
}

// dead gives b's step up. counts is set where the failure is an attempt that b has
// not counted.
func (t *transition) dead(b Branch, counts bool, p Problem) (Change, error) {
	if counts {
		b.Attempts++
	}
	step := &t.x.Steps[t.step(b)]
	step.Attempts, step.Breaks = max(step.Attempts, b.Attempts), max(step.Breaks, b.Breaks)
	t.c.Changed = true
	t.c.Dead = &DeadLetter{
		Step: step.Name, Segment: b.Segment, Item: b.Item, Epoch: b.Epoch, Attempts: b.Attempts, Breaks: b.Breaks, Error: p, At: t.now,
	}
	t.remove(b.BranchID)
	s := &t.x.Segments[b.Segment]
	if each := t.forEach(b.Segment); each != nil && step.Items > 0 {
		s.Failed++
		switch {
		case each.Join == definition.All:
		case t.refill(b.Segment):
			return t.c, nil
		case each.Join == definition.BestEffort:
			t.joined(b.Segment)
			return t.advance()
		}
	}
	t.started(t.step(b))
	s.Status = Failed
	step.Status, step.Error, step.FinishedAt = Failed, &p, t.now
	t.event(StepFailed, step.Name, Failed)
	t.finish(Failed, ExecutionFailed, &p)
	return t.c, nil
}

// advance begins every segment whose needs have ended, and ends the execution when
// all have.
func (t *transition) advance() (Change, error) {
	ended := true
	for i := range t.x.Segments {
		if t.x.Segments[i].Status == Queued && t.ready(i) {
			if err := t.begin(i); err != nil {
				return Change{}, err
			}
			if t.x.Status.Ended() {
				return t.c, nil
			}
		}
		ended = ended && t.x.Segments[i].Status.Ended()
	}
	if !ended {
		return t.c, nil
	}
	output, err := t.e.Output()
	if p, own := fault(err); own {
		t.finish(Failed, ExecutionFailed, &p)
		return t.c, nil
	}
	if err != nil {
		return Change{}, err
	}
	t.x.Output = &output
	t.finish(Succeeded, ExecutionSucceeded, nil)
	return t.c, nil
}

func (t *transition) ready(segment int) bool {
	return !slices.ContainsFunc(t.m.plan.Segments[segment].Needs, func(need int) bool {
		return t.x.Segments[need].Status != Succeeded && t.x.Segments[need].Status != Skipped
	})
}

// begin begins a segment, at the first of its steps that no replay has brought.
func (t *transition) begin(segment int) error {
	t.c.Changed = true
	s, steps := &t.x.Segments[segment], t.m.plan.Segments[segment].Steps
	from := slices.IndexFunc(steps, func(i int) bool { return !t.x.Steps[i].Status.Ended() })
	b := Branch{BranchID: BranchID{Execution: t.x.ID, Segment: segment}, Step: from, What: Send, Due: t.now}
	of, step := &t.m.plan.Definition.Steps[steps[from]], &t.x.Steps[steps[from]]
	if of.When != "" {
		holds, err := t.e.When(of.Name)
		if p, own := fault(err); own {
			_, err = t.dead(b, false, p)
			return err
		}
		if err != nil {
			return err
		}
		if !holds {
			t.skip(s, step)
			return nil
		}
	}
	s.Status = Running
	if of.ForEach != nil {
		return t.each(b, of, step)
	}
	t.started(steps[from])
	t.put(b)
	return nil
}

// each begins the first items of a forEach.
func (t *transition) each(b Branch, of *definition.Step, step *Step) error {
	items, err := t.e.Items(of.Name)
	if err == nil && items > of.ForEach.Max {
		err = problem.New(problem.InvalidArgument, "forEach has %d items; its max is %d", items, of.ForEach.Max)
	}
	p, own := fault(err)
	switch {
	case own:
		_, err = t.dead(b, false, p)
		return err
	case err != nil:
		return err
	case items == 0 && of.ForEach.Join == definition.Any: // none can succeed, and none failed
		t.skip(&t.x.Segments[b.Segment], step)
		return nil
	}
	t.started(t.step(b))
	step.Items = items
	if !t.refill(b.Segment) {
		t.joined(b.Segment)
	}
	return nil
}

func (t *transition) skip(s *Segment, step *Step) {
	s.Status, step.Status, step.FinishedAt = Skipped, Skipped, t.now
	t.event(StepSucceeded, step.Name, Skipped)
}

// fault is an Evaluator's error as a problem, where it is the pipeline's own.
func fault(err error) (Problem, bool) {
	var known *problem.Error
	if !errors.As(err, &known) {
		return Problem{}, false
	}
	p := Of(err)
	f := Failure{Status: p.Status, Problem: p}
	return p, known.Code != problem.Cancelled && f.Verdict() == Dead
}

// finish ends the execution: nothing is due any more, and what has not ended is
// cancelled.
func (t *transition) finish(status Status, kind string, p *Problem) {
	t.x.Status, t.x.Finished, t.x.Error = status, t.now, p
	for i := range t.x.Segments {
		if s := &t.x.Segments[i]; !s.Status.Ended() {
			s.Status = Cancelled
		}
	}
	for i := range t.x.Steps {
		if s := &t.x.Steps[i]; !s.Status.Ended() {
			s.Status = Cancelled
		}
	}
	t.c.Put = nil
	for _, b := range t.branches {
		t.remove(b.BranchID)
	}
	t.remove(Whole(t.x.ID))
	t.event(kind, "", status)
}

func (t *transition) remove(id BranchID) {
	t.c.Changed = true
	if !slices.Contains(t.c.Remove, id) {
		t.c.Remove = append(t.c.Remove, id)
	}
}

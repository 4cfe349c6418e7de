package execution_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

var errConflict = errors.New("the row has moved")

// row is all that a database keeps of one execution.
type row struct {
	x        execution.Execution
	input    uint64
	branches map[execution.BranchID]execution.Branch
	taken    map[execution.BranchID]time.Time // claimed until
	values   map[string]map[int]execution.StepValue
	events   []execution.Event
	dead     []execution.DeadLetter
	late     []execution.Late
	refused  map[execution.BranchID]int // events that no channel took
}

// store is a database with the rules of the real one: transactions, revisions,
// claims that end, and its own clock. Each commit is held to what must always be
// true; the first that is not is kept in broken.
type store struct {
	plan     *plan.Plan
	rows     map[string]*row
	order    []string
	clock    func() time.Time
	revision int64
	undo     []undo // what a crash of the database takes back
	broken   error
}

func newStore(p *plan.Plan, clock func() time.Time) *store {
	return &store{plan: p, rows: map[string]*row{}, clock: clock}
}

func (s *store) violated(format string, args ...any) {
	if s.broken == nil {
		s.broken = fmt.Errorf(format, args...)
	}
}

func clone(x *execution.Execution) *execution.Execution {
	c := *x
	c.Segments, c.Steps = slices.Clone(x.Segments), slices.Clone(x.Steps)
	return &c
}

// undo takes a commit back that was not durable.
type undo struct {
	at time.Time
	do func()
}

// written is when the database has written what it did not have to write at once
// (PostgreSQL: three times wal_writer_delay).
const written = 600 * time.Millisecond

// remember has a crash take a commit back.
func (s *store) remember(r *row) {
	old, now := *r, s.clock()
	old.branches = maps.Clone(r.branches)
	s.undo = slices.DeleteFunc(s.undo, func(u undo) bool { return now.Sub(u.at) > written })
	s.undo = append(s.undo, undo{now, func() {
		old.taken, old.values = map[execution.BranchID]time.Time{}, r.values // outputs are durable
		*r = old
	}})
}

// crash loses every commit since the last durable one that is not written yet, and all
// claims.
func (s *store) crash() {
	now := s.clock()
	for _, u := range slices.Backward(s.undo) {
		if now.Sub(u.at) <= written {
			u.do()
		}
	}
	s.undo = nil
	for _, r := range s.rows {
		clear(r.taken)
	}
}

func (s *store) accept(x *execution.Execution, input uint64, c execution.Change) {
	r := &row{
		x: execution.Execution{ID: x.ID, Status: execution.Queued}, input: input,
		branches: map[execution.BranchID]execution.Branch{}, taken: map[execution.BranchID]time.Time{},
		values: map[string]map[int]execution.StepValue{}, refused: map[execution.BranchID]int{},
	}
	s.rows[x.ID] = r
	s.order = append(s.order, x.ID)
	s.commit(r, x, c)
}

func (s *store) load(id string) (*execution.Execution, []execution.Branch) {
	r := s.rows[id]
	branches := slices.SortedFunc(maps.Values(r.branches), func(a, b execution.Branch) int {
		return cmpBranch(a.BranchID, b.BranchID)
	})
	return clone(&r.x), branches
}

func cmpBranch(a, b execution.BranchID) int {
	return cmp.Or(cmp.Compare(a.Execution, b.Execution), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Item, b.Item))
}

func (s *store) save(x *execution.Execution, c execution.Change) error {
	r := s.rows[x.ID]
	if r.x.Revision != x.Revision {
		return errConflict
	}
	s.commit(r, x, c)
	return nil
}

// mark commits that a branch is sent, if it still is to be.
func (s *store) mark(sent execution.Branch) bool {
	r := s.rows[sent.Execution]
	b, ok := r.branches[sent.BranchID]
	if !ok || b.What != execution.Send || b.Epoch != sent.Epoch-1 || b.Step != sent.Step {
		return false
	}
	if r.x.Status != execution.Running {
		s.violated("%s is %s and sends %+v", r.x.ID, r.x.Status, sent)
	}
	s.remember(r)
	r.branches[sent.BranchID] = sent
	delete(r.taken, sent.BranchID)
	return true
}

// claim takes n rows that are due, for a time.
func (s *store) claim(n int, until time.Duration) []execution.Branch {
	now := s.clock()
	var due []execution.Branch
	running := 0
	for _, id := range s.order {
		r := s.rows[id]
		if r.x.Status == execution.Running {
			running++
		}
		for id, b := range r.branches {
			if !b.Due.After(now) && !r.taken[id].After(now) {
				due = append(due, b)
			}
		}
	}
	slices.SortFunc(due, func(a, b execution.Branch) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Due.Compare(b.Due), cmpBranch(a.BranchID, b.BranchID))
	})
	var claimed []execution.Branch
	for _, b := range due {
		if b.What == execution.Start {
			if running >= s.plan.Definition.Concurrency {
				continue
			}
			running++
		}
		if len(claimed) < n {
			s.rows[b.Execution].taken[b.BranchID] = now.Add(until)
			claimed = append(claimed, b)
		}
	}
	return claimed
}

// void makes every lease due, as a platform that starts again does.
func (s *store) void() {
	now := s.clock()
	for _, r := range s.rows {
		for id, b := range r.branches {
			if b.What == execution.Lease {
				b.Due = now
				r.branches[id] = b
			}
		}
	}
}

// commit is one transaction.
func (s *store) commit(r *row, x *execution.Execution, c execution.Change) {
	if !c.Changed {
		s.violated("%s: a change that changes nothing is saved", x.ID)
	}
	s.remember(r)
	if x.Status.Ended() || len(c.Values) > 0 || c.Dead != nil || r.x.Revision == 0 {
		s.undo = nil
	}
	before := r.x
	r.x = *clone(x)
	// Never one that was there: whoever loaded what a crash took back must not save.
	s.revision++
	r.x.Revision = s.revision
	for _, id := range c.Remove {
		delete(r.branches, id)
		delete(r.taken, id)
	}
	for _, b := range c.Put {
		r.branches[b.BranchID] = b
		delete(r.taken, b.BranchID)
	}
	for _, v := range c.Values {
		if r.values[v.Step] == nil {
			r.values[v.Step] = map[int]execution.StepValue{}
		}
		if _, ok := r.values[v.Step][v.Item]; ok {
			s.violated("%s: step %s, item %d is recorded twice", x.ID, v.Step, v.Item)
		}
		r.values[v.Step][v.Item] = v
	}
	r.events = append(r.events, c.Events...)
	r.late = append(r.late, c.Late...)
	if c.Dead != nil {
		r.dead = append(r.dead, *c.Dead)
	}
	if err := s.check(r, &before, c); err != nil {
		s.violated("%s: %w", x.ID, err)
	}
}

// check holds a commit to what must always be true.
func (s *store) check(r *row, before *execution.Execution, c execution.Change) error {
	x, d := &r.x, s.plan.Definition
	for i, e := range r.events[len(r.events)-len(c.Events):] {
		if want := int64(len(r.events) - len(c.Events) + i + 1); e.Number != want {
			return fmt.Errorf("event %d has number %d", want, e.Number)
		}
	}
	if int64(len(r.events)) != x.Events || len(r.late) != x.Lates || x.Lates > execution.MaxLate || len(r.events) > 3+3*len(x.Steps) {
		return fmt.Errorf("%d events, counted %d; %d late answers, counted %d", len(r.events), x.Events, len(r.late), x.Lates)
	}
	if before.Status.Ended() {
		if len(c.Put)+len(c.Values)+len(c.Events)+len(c.Remove) > 0 || c.Dead != nil || x.Status != before.Status {
			return fmt.Errorf("it has %s, and changes: %+v", before.Status, c)
		}
	}
	if x.Status.Ended() != (len(r.branches) == 0) {
		return fmt.Errorf("it is %s, and %d rows are due", x.Status, len(r.branches))
	}
	if _, ok := r.branches[execution.Whole(x.ID)]; !ok && !x.Status.Ended() {
		return errors.New("nothing is due of it as a whole")
	}
	for i := range x.Steps {
		step, of := &x.Steps[i], &d.Steps[i]
		if step.Attempts > of.Retry.Attempts || step.Breaks > execution.MaxBreaks {
			return fmt.Errorf("step %s has %d attempts of %d, and %d breaks", step.Name, step.Attempts, of.Retry.Attempts, step.Breaks)
		}
		if x.Status.Ended() && !step.Status.Ended() {
			return fmt.Errorf("it is %s and its step %s is %s", x.Status, step.Name, step.Status)
		}
	}
	return s.checkBranches(r)
}

func (s *store) checkBranches(r *row) error {
	at := map[int]int{}
	for id, b := range r.branches {
		if id.Segment < 0 {
			continue
		}
		at[id.Segment]++
		segment := s.plan.Segments[id.Segment]
		step := &s.plan.Definition.Steps[segment.Steps[b.Step]]
		if b.Attempts >= step.Retry.Attempts || b.Breaks > execution.MaxBreaks {
			return fmt.Errorf("%+v has more behind it than it may", b)
		}
		if b.Epoch-r.refused[id] > len(segment.Steps)*(10+execution.MaxBreaks) {
			return fmt.Errorf("%+v was sent too often", b)
		}
		if r.x.Segments[id.Segment].Status != execution.Running {
			return fmt.Errorf("%+v is due, and its segment is %s", b, r.x.Segments[id.Segment].Status)
		}
		for _, need := range segment.Needs {
			if status := r.x.Segments[need].Status; status != execution.Succeeded && status != execution.Skipped {
				return fmt.Errorf("%+v is due before segment %d, which is %s", b, need, status)
			}
		}
		bound := 1
		if step.ForEach != nil {
			bound = step.ForEach.AtOnce
		}
		if at[id.Segment] > bound {
			return fmt.Errorf("segment %d has more than %d at once", id.Segment, bound)
		}
	}
	for i, segment := range r.x.Segments {
		if segment.Status == execution.Running && at[i] == 0 {
			return fmt.Errorf("segment %d runs, and nothing is due of it", i)
		}
	}
	return nil
}

// ended holds an execution that has ended to what an undisturbed one would be.
func (s *store) ended(r *row, runs runs) error {
	x, d := &r.x, s.plan.Definition
	if !x.Status.Ended() {
		return fmt.Errorf("it is still %s", x.Status)
	}
	if last := r.events[len(r.events)-1]; r.events[0].Type != execution.ExecutionAccepted || !last.Ends() || last.Status != x.Status {
		return fmt.Errorf("it is %s; its events begin with %v and end with %v", x.Status, r.events[0], last)
	}
	if err := eventsInOrder(r.events); err != nil {
		return err
	}
	text, err := execution.EncodeState(x)
	if err != nil {
		return err
	}
	var again execution.Execution
	if err := execution.DecodeState(text, &again); err != nil {
		return err
	}
	if diff := gocmp.Diff(x.Steps, again.Steps); diff != "" {
		return fmt.Errorf("state read again: %s", diff)
	}
	for step, items := range r.values {
		for item, v := range items {
			if err := s.origin(r, runs, step, item, v); err != nil {
				return err
			}
		}
	}
	if (x.Status == execution.Succeeded) != (x.Output != nil) || (x.Status == execution.Failed) != (x.Error != nil) {
		return fmt.Errorf("it is %s with output %v and error %v", x.Status, x.Output, x.Error)
	}
	if x.Status != execution.Succeeded {
		return nil
	}
	want, err := undisturbed(d, r.input, func(step string) output { return runs.output(numbers(x, step, r.values)) })
	if err != nil {
		return err
	}
	if got := string(x.Output.JSON); got != fmt.Sprint(want) {
		return fmt.Errorf("its output is %s; undisturbed it would be %d", got, want)
	}
	for i := range d.Steps {
		if each := d.Steps[i].ForEach; each != nil && each.Join == definition.BestEffort && x.ReplayOf == "" {
			g := x.Step(d.Steps[i].Name)
			letters := 0
			for _, letter := range r.dead {
				if letter.Step == g.Name {
					letters++
				}
			}
			if g.Status == execution.Succeeded && letters+len(r.values[g.Name]) != g.Items {
				return fmt.Errorf("step %s: %d dead letters and %d outputs of %d items", g.Name, letters, len(r.values[g.Name]), g.Items)
			}
		}
	}
	return nil
}

// origin holds a recorded output to those it was made from: they are the recorded
// ones, so nothing is mixed of the chains of two epochs.
func (s *store) origin(r *row, runs runs, step string, item int, v execution.StepValue) error {
	run := runs[number(v.Value)-1]
	if run.step != step || run.item != item {
		return fmt.Errorf("step %s, item %d has the output of step %s, item %d", step, item, run.step, run.item)
	}
	for _, need := range s.plan.Definition.Step(step).Needs {
		if got := numbers(&r.x, need, r.values); !slices.Equal(got, run.on[need]) {
			return fmt.Errorf("step %s, item %d was made from runs %v of %s; recorded are %v", step, item, run.on[need], need, got)
		}
	}
	return nil
}

func eventsInOrder(events []execution.Event) error {
	count := map[string]int{}
	for i, e := range events {
		key := e.Step + " " + e.Type
		if count[key]++; count[key] > 1 {
			return fmt.Errorf("event %d, %s, comes twice", i+1, key)
		}
		if e.Step != "" && e.Status != execution.Skipped && e.Type != execution.StepStarted && count[e.Step+" "+execution.StepStarted] == 0 {
			return fmt.Errorf("event %d, %s, comes before the step's start", i+1, key)
		}
		if e.Ends() && i != len(events)-1 {
			return fmt.Errorf("event %d ends the execution, and %d follow", i+1, len(events)-1-i)
		}
	}
	return nil
}

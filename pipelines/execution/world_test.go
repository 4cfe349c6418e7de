package execution_test

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// faults are the rates of what goes wrong in a world, from 0 to 1, and its size.
type faults struct {
	Lose, Double, Late, Damage        float64 // of a delivery
	Fail, Poison, Hang, Die           float64 // of a run of a step
	Crash, Slow                       float64 // of a worker: it crashes, before anything it does; it takes long to decide
	Down, Fetch, Unknown, Amnesia     float64 // of the database: it cannot be reached, nor a value; whether a commit was made is not known; it crashes
	Clock, Void                       float64 // the database's clock steps; the platform starts again
	Tap, Cancel, Replay, Refuse       float64 // Refuse: a channel takes an event not at all
	Executions, Steps, Workers, Items int
}

// wakeup is something that happens at a time.
type wakeup struct {
	at  time.Duration
	seq int
	do  func()
}

type agenda []wakeup

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(v any)   { *a = append(*a, v.(wakeup)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// world is workers, a database, channels and functions in virtual time.
type world struct {
	f       faults
	r       *rand.Rand
	d       *definition.Definition
	plan    *plan.Plan
	machine *execution.Machine
	store   *store
	runs    runs
	workers []*worker
	agenda  agenda
	seq     int
	now     time.Duration
	offset  time.Duration // of the database's clock
	down    time.Duration // the database cannot be reached until
	trace   func(format string, args ...any)
}

func newWorld(seed uint64, f faults, trace func(string, ...any)) *world {
	r := rand.New(rand.NewPCG(seed, 17))
	w := &world{f: f, r: r, d: randomDefinition(r, f.Steps), trace: trace}
	for i := range w.d.Steps {
		if each := w.d.Steps[i].ForEach; each != nil {
			each.Max = min(each.Max, f.Items)
		}
	}
	w.plan = plan.Of(w.d)
	w.machine = execution.New(w.plan, execution.Options{ColdStart: 10 * time.Second, Random: r.Float64})
	w.store = newStore(w.plan, w.clock)
	for i := range f.Workers {
		p := &worker{w: w, name: i, up: true}
		w.workers = append(w.workers, p)
		w.after(w.short(), p.tick)
	}
	for i := range f.Executions {
		w.after(time.Duration(r.IntN(60_000))*time.Millisecond, func() { w.accept(fmt.Sprintf("x%d", i)) })
	}
	w.weather()
	return w
}

func (w *world) clock() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(w.now + w.offset)
}

func (w *world) roll(rate float64) bool { return rate > 0 && w.r.Float64() < rate }

func (w *world) short() time.Duration { return time.Duration(1+w.r.IntN(50)) * time.Millisecond }

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.agenda, wakeup{at: w.now + d, seq: w.seq, do: do})
}

// weather is what goes wrong by itself: every ten seconds or so, for a while.
func (w *world) weather() {
	if w.now > 20*time.Minute {
		return
	}
	if w.roll(w.f.Down) {
		w.down = w.now + time.Duration(w.r.IntN(60_000))*time.Millisecond
	}
	if w.roll(w.f.Clock) {
		w.offset += time.Duration(w.r.IntN(60_000)-30_000) * time.Millisecond
	}
	if w.roll(w.f.Amnesia) {
		w.after(w.short(), w.store.crash)
	}
	if w.roll(w.f.Void) {
		w.store.void()
	}
	w.after(10*time.Second+w.short(), w.weather)
}

// run goes on until every execution has ended and what is still on its way has
// come. It returns what was not as it must be.
func (w *world) run() error {
	horizon := time.Duration(w.f.Executions*2+1) * (w.d.Timeout + 5*time.Minute)
	end := time.Duration(-1)
	for steps := 0; len(w.agenda) > 0; steps++ {
		next := heap.Pop(&w.agenda).(wakeup)
		w.now = next.at
		if end >= 0 && w.now > end {
			break
		}
		if w.now > horizon || steps > 2_000_000 {
			w.store.violated("after %s and %d steps something still goes on", w.now, steps)
			break
		}
		next.do()
		if w.store.broken != nil {
			break
		}
		switch done := len(w.store.rows) >= w.f.Executions && w.ended(); {
		case !done:
			end = -1
		case end < 0:
			end = w.now + 10*time.Minute
		}
	}
	if w.store.broken != nil {
		return w.store.broken
	}
	for _, id := range w.store.order {
		r := w.store.rows[id]
		if err := w.store.ended(r, w.runs); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		if err := w.justly(r); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

func (w *world) ended() bool {
	for _, r := range w.store.rows {
		if !r.x.Status.Ended() {
			return false
		}
	}
	return true
}

// justly holds a failure to a cause, and calm worlds to having none.
func (w *world) justly(r *row) error {
	x := &r.x
	nothing := w.f == faults{Executions: w.f.Executions, Steps: w.f.Steps, Workers: w.f.Workers, Items: w.f.Items, Tap: w.f.Tap, Refuse: w.f.Refuse}
	for i := range x.Steps {
		if s := x.Steps[i]; nothing && (s.Attempts > 1 || s.Breaks > 0) {
			return fmt.Errorf("nothing goes wrong, and step %s has %d attempts, %d breaks", s.Name, s.Attempts, s.Breaks)
		}
	}
	if x.Status != execution.Failed || x.Error.Code == "invalid_argument" { // an input that is refused
		return nil
	}
	trouble := w.f
	trouble.Double, trouble.Unknown, trouble.Fetch, trouble.Tap, trouble.Cancel, trouble.Replay, trouble.Poison, trouble.Refuse = 0, 0, 0, 0, 0, 0, 0, 0
	if trouble == (faults{Executions: w.f.Executions, Steps: w.f.Steps, Workers: w.f.Workers, Items: w.f.Items}) {
		return fmt.Errorf("nothing of this world fails an execution, and it has failed: %+v", *x.Error)
	}
	if !x.Finished.Before(x.Deadline) {
		return nil
	}
	if len(r.dead) == 0 {
		return fmt.Errorf("it failed in time and has no dead letter: %+v", *x.Error)
	}
	last := r.dead[len(r.dead)-1]
	enough := last.Attempts == w.d.Step(last.Step).Retry.Attempts || last.Breaks == execution.MaxBreaks
	if soon := x.Deadline.Sub(x.Finished) < 70*time.Second; !enough && !soon { // longer than any pause
		return fmt.Errorf("it was given up too early: %+v", last)
	}
	return nil
}

// message is a step's event on its way.
type message struct {
	execution.Answer
	id       string
	at       int // index of the segment's steps
	deadline time.Time
	base     map[string][]int // runs recorded before it was sent, by step
	input    uint64
}

// deliver is a channel: it loses, doubles, delays and damages.
func (w *world) deliver(do func(damaged bool)) {
	if w.roll(w.f.Lose) {
		return
	}
	copies := 1
	if w.roll(w.f.Double) {
		copies = 2
	}
	for range copies {
		d := w.short()
		if w.roll(w.f.Late) {
			d = time.Duration(w.r.IntN(300_000)) * time.Millisecond
		}
		damaged := w.roll(w.f.Damage)
		w.after(d, func() { do(damaged) })
	}
}

func (w *world) step(m message) *definition.Step { return w.plan.Step(m.Segment, m.at) }

// function runs a step of an event. The result is its next message, or a failure; a
// function that hangs has neither.
func (w *world) function(m message, then func(ok *message, failed *execution.Failure)) {
	step := w.step(m)
	fail := func(d time.Duration, f execution.Failure) {
		f.Answer, f.Step = m.Answer, step.Name
		w.after(d, func() { then(nil, &f) })
	}
	took := time.Duration(w.r.IntN(3_000)) * time.Millisecond
	if w.roll(0.1) {
		took = step.Timeout
	}
	took = min(took, step.Timeout*9/10) // a function ends its own runs
	on := map[string][]int{}
	for _, need := range step.Needs {
		on[need] = m.base[need]
		if v, ok := m.Values[need]; ok {
			on[need] = []int{number(v)}
		}
	}
	in := inputs(m.input, step, func(need string) output { return w.runs.output(on[need]) })
	switch {
	case !w.clock().Before(m.deadline):
		w.trace("%s too late for %s of epoch %d", m.id, step.Name, m.Epoch)
	case w.roll(w.f.Hang):
		w.trace("%s hangs in %s of epoch %d", m.id, step.Name, m.Epoch)
	case w.roll(w.f.Die):
		switch w.r.IntN(3) {
		case 0:
			fail(took, execution.Failure{Status: 502, Transport: true})
		case 1:
			fail(took, execution.Failure{})
		}
	case poisonous(step, m.Item, in, w.f.Poison):
		fail(took, execution.Failure{Status: 422, Problem: execution.Problem{Code: "invalid_argument", Detail: "no such field"}})
	case w.roll(w.f.Fail):
		f := execution.Failure{Status: []int{500, 503, 408, 429, 504}[w.r.IntN(5)]}
		if f.Status == 429 {
			f.RetryAfter = time.Duration(w.r.IntN(60)) * time.Second
		}
		fail(took, f)
	default:
		w.after(took, func() {
			if !w.clock().Before(m.deadline) {
				return
			}
			next := m
			next.Values = maps.Clone(m.Values)
			next.Values[step.Name] = w.runs.add(ran{step: step.Name, item: m.Item, hash: answerOf(step, m.Item, in), on: on})
			next.Records = append(slices.Clone(m.Records), envelope.Record{Step: step.Name, Epoch: m.Epoch, Model: "m@1", Rows: 1})
			then(&next, nil)
		})
	}
}

// arrive is an event at a step's function, and what comes of it.
func (w *world) arrive(m message, damaged bool) {
	if damaged {
		spoilt := m.Answer
		spoilt.Values = map[string]envelope.Value{}
		for step := range m.Values {
			spoilt.Values[step] = w.runs.add(ran{step: "damaged"})
		}
		w.reply(func(p *worker, _ bool) {
			p.failed(m.id, execution.Failure{
				Answer: spoilt, Step: w.step(m).Name, Status: 400, Problem: execution.Problem{Code: execution.EventDamaged},
			})
		})
		return
	}
	name := w.step(m).Name
	w.function(m, func(next *message, f *execution.Failure) {
		switch {
		case f != nil:
			w.reply(func(p *worker, damaged bool) {
				if damaged {
					f.Values = nil
				}
				p.failed(m.id, *f)
			})
		case m.at == len(w.plan.Segments[m.Segment].Steps)-1:
			w.reply(func(p *worker, damaged bool) {
				if damaged {
					p.failed(m.id, execution.Failure{Answer: m.Answer, Status: 400, Problem: execution.Problem{Code: execution.EventDamaged}})
					return
				}
				p.answered(m.id, next.Answer)
			})
		default:
			if w.roll(w.f.Tap) {
				w.reply(func(p *worker, _ bool) {
					seen := execution.Seen{Segment: m.Segment, Item: m.Item, Epoch: m.Epoch, Step: name, Record: next.Records[len(next.Records)-1]}
					p.decide(m.id, nil, 3, func(x *execution.Execution, branches []execution.Branch, _ execution.Evaluator, now time.Time) (execution.Change, error) {
						return w.machine.Seen(x, branches, seen, now), nil
					})
				})
			}
			next.at++
			w.deliver(func(damaged bool) { w.arrive(*next, damaged) })
		}
	})
}

// reply brings something to a worker that is up; where there is none it is lost.
func (w *world) reply(do func(p *worker, damaged bool)) {
	w.deliver(func(damaged bool) {
		if p := w.anyone(); p != nil {
			do(p, damaged)
		}
	})
}

func (w *world) anyone() *worker {
	first := w.r.IntN(len(w.workers))
	for i := range w.workers {
		if p := w.workers[(first+i)%len(w.workers)]; p.up {
			return p
		}
	}
	return nil
}

// accept is a call that starts an execution, and what may become of it.
func (w *world) accept(id string) {
	if w.now < w.down {
		w.after(time.Second, func() { w.accept(id) })
		return
	}
	x := &execution.Execution{ID: id, Tenant: "t", Pipeline: w.d.Name, Version: 1, Priority: w.r.IntN(3)}
	if w.r.IntN(5) == 0 {
		x.RunAt = w.clock().Add(time.Duration(w.r.IntN(60)) * time.Second)
	}
	w.store.accept(x, w.r.Uint64(), w.machine.Accept(x, w.clock()))
	if w.roll(w.f.Cancel) {
		w.after(time.Duration(w.r.IntN(120_000))*time.Millisecond, func() { w.cancel(id) })
	}
	if w.roll(w.f.Replay) {
		w.after(time.Duration(w.r.IntN(120_000))*time.Millisecond, func() { w.replay(id) })
	}
}

func (w *world) cancel(id string) {
	p := w.anyone()
	if p == nil {
		return
	}
	p.decide(id, nil, 20, func(x *execution.Execution, branches []execution.Branch, _ execution.Evaluator, now time.Time) (execution.Change, error) {
		return execution.Cancel(x, branches, now), nil
	})
}

func (w *world) replay(id string) {
	old := w.store.rows[id]
	var values []execution.StepValue
	for i := range w.d.Steps {
		items := old.values[w.d.Steps[i].Name]
		for _, item := range slices.Sorted(maps.Keys(items)) {
			values = append(values, items[item])
		}
	}
	x := &execution.Execution{ID: id + "r", Tenant: "t", Pipeline: w.d.Name, Version: 1}
	from := w.d.Steps[w.r.IntN(len(w.d.Steps))].Name
	change, err := w.machine.Replay(x, clone(&old.x), values, from, w.clock())
	if err == nil {
		w.store.accept(x, old.input, change)
	}
}

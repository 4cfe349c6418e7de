package execution_test

import (
	"errors"
	"maps"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

// worker is a replica of the pipelines service. It may crash before anything that
// it does; what it was about to do is lost then.
type worker struct {
	w    *world
	name int
	up   bool
	life int
}

// then does something a little later, unless the worker crashes.
func (p *worker) then(d time.Duration, do func()) {
	life := p.life
	p.w.after(d, func() {
		switch {
		case p.life != life:
		case p.w.roll(p.w.f.Crash):
			p.crash()
		default:
			do()
		}
	})
}

func (p *worker) crash() {
	p.w.trace("worker %d crashes", p.name)
	p.life++
	p.up = false
	p.w.after(time.Duration(100+p.w.r.IntN(20_000))*time.Millisecond, func() {
		p.up = true
		p.tick()
	})
}

// tick claims what is due, and does it.
func (p *worker) tick() {
	w := p.w
	if w.now >= w.down {
		for _, b := range w.store.claim(8, 10*time.Second) {
			p.due(b)
		}
	}
	p.then(w.store.idle(), p.tick)
}

// idle is how long nothing is due, from half a second to five.
func (s *store) idle() time.Duration {
	now, least := s.clock(), 5*time.Second
	for _, r := range s.rows {
		for id, b := range r.branches {
			if d := b.Due.Sub(now); d < least && b.What != execution.Start && !r.taken[id].After(now) {
				least = d
			}
		}
	}
	return max(least, 500*time.Millisecond)
}

func (p *worker) due(b execution.Branch) {
	m := p.w.machine
	p.w.trace("worker %d claims %+v", p.name, b)
	switch b.What {
	case execution.Send:
		p.send(b)
	case execution.Start:
		p.decide(b.Execution, nil, 3, m.Begin)
	case execution.Lease:
		p.decide(b.Execution, nil, 3, func(x *execution.Execution, branches []execution.Branch, e execution.Evaluator, now time.Time) (execution.Change, error) {
			return m.Expired(x, branches, b, e, now)
		})
	case execution.End:
		p.decide(b.Execution, nil, 3, func(x *execution.Execution, branches []execution.Branch, _ execution.Evaluator, now time.Time) (execution.Change, error) {
			return execution.TimeOut(x, branches, now), nil
		})
	}
}

type transition func(x *execution.Execution, branches []execution.Branch, e execution.Evaluator, now time.Time) (execution.Change, error)

// decide is a transition: load, decide, save, and again where the row has moved.
func (p *worker) decide(id string, inHand *execution.Answer, tries int, f transition) {
	w := p.w
	again := func() {
		if tries > 0 {
			p.then(100*time.Millisecond+w.short(), func() { p.decide(id, inHand, tries-1, f) })
		}
	}
	p.then(w.short(), func() {
		if w.now < w.down {
			again()
			return
		}
		x, branches := w.store.load(id)
		e := &evaluator{d: w.d, x: x, input: w.store.rows[id].input, runs: w.runs, have: w.values(id, inHand), fails: func() bool { return w.roll(w.f.Fetch) }}
		change, err := f(x, branches, e, w.clock())
		switch {
		case errors.Is(err, errFetch):
			again()
			return
		case err != nil:
			w.store.violated("%s: %w", id, err)
			return
		case !change.Changed:
			return
		}
		deciding := w.short()
		if w.roll(w.f.Slow) {
			deciding = time.Duration(w.r.IntN(30_000)) * time.Millisecond
		}
		p.then(deciding, func() {
			if w.now < w.down {
				again()
				return
			}
			if w.roll(w.f.Amnesia / 20) {
				w.after(w.short(), w.store.crash)
			}
			switch err := w.store.save(x, change); {
			case err != nil:
				again()
			case w.roll(w.f.Unknown):
				w.trace("%s: saved, and not known to be: %+v", id, change)
				again()
			default:
				w.trace("%s: saved %+v", id, change)
			}
		})
	})
}

// values are what an execution has recorded and what is in hand.
func (w *world) values(id string, inHand *execution.Answer) map[string]map[int]execution.StepValue {
	recorded := w.store.rows[id].values
	if inHand == nil {
		return recorded
	}
	all := maps.Clone(recorded)
	for step, value := range inHand.Values {
		of := maps.Clone(all[step])
		if of == nil {
			of = map[int]execution.StepValue{}
		}
		if _, ok := of[inHand.Item]; !ok {
			of[inHand.Item] = execution.StepValue{Step: step, Item: inHand.Item, Value: value}
		}
		all[step] = of
	}
	return all
}

func (p *worker) answered(id string, a execution.Answer) {
	p.decide(id, &a, 8, func(x *execution.Execution, branches []execution.Branch, e execution.Evaluator, now time.Time) (execution.Change, error) {
		return p.w.machine.Answered(x, branches, a, e, now)
	})
}

func (p *worker) failed(id string, f execution.Failure) {
	p.decide(id, &f.Answer, 8, func(x *execution.Execution, branches []execution.Branch, e execution.Evaluator, now time.Time) (execution.Change, error) {
		return p.w.machine.Failed(x, branches, f, e, now)
	})
}

// send marks a branch as sent, and then posts its event.
func (p *worker) send(b execution.Branch) {
	w := p.w
	p.then(w.short(), func() {
		if w.now < w.down {
			return
		}
		x, _ := w.store.load(b.Execution)
		sent, deadline, ok := w.machine.Send(x, b, w.clock())
		if !ok {
			return
		}
		r := w.store.rows[b.Execution]
		m := message{id: b.Execution, at: sent.Step, deadline: deadline, base: map[string][]int{}, input: r.input}
		m.Answer = execution.Answer{Segment: sent.Segment, Item: sent.Item, Epoch: sent.Epoch, Values: map[string]envelope.Value{}}
		for i := range w.d.Steps {
			m.base[w.d.Steps[i].Name] = numbers(x, w.d.Steps[i].Name, r.values)
		}
		p.then(w.short(), func() {
			if w.now < w.down || !w.store.mark(sent) {
				return
			}
			w.trace("%s: sends %+v", b.Execution, sent)
			p.then(w.short(), func() { p.post(m) })
		})
	})
}

// post gives an event to the first channel, or calls what is outside.
func (p *worker) post(m message) {
	if !p.w.plan.Segments[m.Segment].Outside {
		if p.w.roll(p.w.f.Refuse) {
			p.w.store.rows[m.id].refused[execution.BranchID{Execution: m.id, Segment: m.Segment, Item: m.Item}]++
			p.decide(m.id, nil, 8, func(x *execution.Execution, branches []execution.Branch, _ execution.Evaluator, now time.Time) (execution.Change, error) {
				return p.w.machine.Refused(x, branches, m.Answer, now), nil
			})
			return
		}
		p.w.deliver(func(damaged bool) { p.w.arrive(m, damaged) })
		return
	}
	life := p.life
	p.w.function(m, func(next *message, f *execution.Failure) {
		switch {
		case p.life != life:
		case f != nil:
			p.failed(m.id, *f)
		default:
			p.answered(m.id, next.Answer)
		}
	})
}

package room

import (
	"context"
	"slices"
	"time"
)

// Place is a place in the queue of a tenant's class.
type Place struct {
	of    Tenant
	n     int64
	part  int64
	given chan struct{} // closed when the bytes are there

	refused bool
}

// WindowBytes is what one that waits is taken to hold while it does: what its client, or
// its function, has sent ahead.
const WindowBytes = 256 << 10

// mostWaiting is how many of a tenant may wait: those whose windows it might have room
// for, and a few in any case.
func (r *Room) mostWaiting() int { return max(int(r.most/2/WindowBytes), 64) }

// Ask takes n bytes as soon as they are there. Those of a class are served in the order
// in which they came, but that of Early whoever fits is, since the turn of what is large
// comes as well, and that of Message those that have more of theirs come first, so that
// of many that grow one ends: part is what that has of the room, in bytes. Whoever asks waits for Given or leaves,
// unless too many of the tenant wait already (Refused).
func (t Tenant) Ask(n, part int64) *Place {
	p := &Place{of: t, n: n, part: part, given: make(chan struct{})}
	r := t.room
	r.mu.Lock()
	defer r.mu.Unlock()
	a := t.account()
	if !a.waits() {
		r.waiting = append(r.waiting, a)
	}
	queue := a.queues[t.class]
	at := len(queue)
	if part > 0 {
		if first := slices.IndexFunc(queue, func(p *Place) bool { return p.part < part }); first >= 0 {
			at = first
		}
	}
	a.queues[t.class] = slices.Insert(queue, at, p)
	a.parts += part
	r.serve()
	if a.waiting() > r.mostWaiting() {
		if i := slices.Index(a.queues[t.class], p); i >= 0 {
			r.leave(a, t.class, i)
			p.refused = true
		}
	}
	return p
}

// Refused is whether there is no place, since too many wait.
func (p *Place) Refused() bool { return p.refused }

// Given is closed when the bytes are the asker's, who releases them.
func (p *Place) Given() <-chan struct{} { return p.given }

// Wait waits for Given, at most for a while, and is false where that was in vain: the
// place is given up.
func (p *Place) Wait(ctx context.Context, while time.Duration) bool {
	select {
	case <-p.given:
		return true
	default:
	}
	if p.refused {
		return false
	}
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-p.given:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return !p.Leave()
}

// Leave gives up the place. It is false where the bytes were given already.
func (p *Place) Leave() bool {
	r := p.of.room
	r.mu.Lock()
	defer r.mu.Unlock()
	a := p.of.account()
	defer r.forget(a)
	i := slices.Index(a.queues[p.of.class], p)
	if i < 0 {
		return false
	}
	r.leave(a, p.of.class, i)
	r.serve()
	return true
}

// leave takes a place out of its queue.
func (r *Room) leave(a *account, c Class, i int) {
	a.parts -= a.queues[c][i].part
	a.queues[c] = slices.Delete(a.queues[c], i, i+1)
	if !a.waits() {
		r.waiting = slices.DeleteFunc(r.waiting, func(other *account) bool { return other == a })
	}
}

func (a *account) waits() bool { return a.waiting() > 0 }

func (a *account) waiting() (n int) {
	for _, queue := range a.queues {
		n += len(queue)
	}
	return n
}

// serve gives what is there to those that wait, one of each tenant after the other.
func (r *Room) serve() {
	for served := true; served; {
		served = false
		for _, a := range slices.Clone(r.waiting) {
			if r.serveOne(a) {
				served = true
			}
		}
	}
}

// serveOne serves the first of a tenant's whose bytes are there. Nothing is given past
// the answer that is sent next, nor past the message that comes first, but for what waits
// for other tenants alone.
func (r *Room) serveOne(a *account) bool {
	for class, queue := range a.queues {
		for i, p := range queue {
			if r.fits(a, p) {
				r.leave(a, Class(class), i)
				r.take(a, Class(class), p.n)
				close(p.given)
				return true
			}
			if (Class(class) == Passing || Class(class) == Message) && p.n <= r.share(a) {
				return false
			}
		}
	}
	return false
}

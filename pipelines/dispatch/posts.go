package dispatch

import (
	"sync"
	"time"
)

// posts bounds what is on its way at once, of all and of each tenant. What a tenant has
// beyond that waits its turn, as much again at most.
type posts struct {
	most, perTenant int
	start           func(run func())
	freed           func()

	mu      sync.Mutex
	closed  bool
	used    int
	queued  int
	tenants map[string]*share
	order   []string // of tenants that wait, in turn
	idle    sync.Cond
}

// share is what one tenant has.
type share struct {
	used    int
	waiting []waiting
}

type waiting struct {
	until time.Time // after which the row is somebody else's
	run   func()
	back  func() // takes it where it is not run
}

func newPosts(most, perTenant int, start func(run func()), freed func()) *posts {
	p := &posts{most: most, perTenant: perTenant, start: start, freed: freed, tenants: map[string]*share{}}
	p.idle.L = &p.mu
	return p
}

// room is how much more may be taken on. What waits for its tenant's own places leaves
// some of the free ones to others: else two tenants, each with its share on its way and as
// much again waiting, would have all of them.
func (p *posts) room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.used >= p.most {
		return 0
	}
	return max(p.most-p.used-p.queued, p.perTenant/4, 1)
}

func (p *posts) counts() (used, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.queued
}

// offer has a tenant's run called when it may be, in a goroutine of its own, but not
// after a time; where the end comes before, back is. It is false where the tenant has too
// much waiting.
func (p *posts) offer(tenant string, until time.Time, run, back func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	s := p.tenants[tenant]
	if s == nil {
		s = &share{}
		p.tenants[tenant] = s
	}
	switch {
	case p.used < p.most && s.used < p.perTenant:
		p.begin(tenant, s, run)
	case len(s.waiting) < p.perTenant:
		if len(s.waiting) == 0 {
			p.order = append(p.order, tenant)
		}
		s.waiting = append(s.waiting, waiting{until, run, back})
		p.queued++
	default:
		return false
	}
	return true
}

func (p *posts) begin(tenant string, s *share, run func()) {
	p.used++
	s.used++
	p.start(func() {
		defer p.end(tenant, s)
		run()
	})
}

// end gives a place back, and has those that wait take it, each tenant in turn.
func (p *posts) end(tenant string, s *share) {
	p.mu.Lock()
	p.used--
	s.used--
	p.next(time.Now())
	if s.used == 0 && len(s.waiting) == 0 {
		delete(p.tenants, tenant)
	}
	if p.used == 0 {
		p.idle.Broadcast()
	}
	p.mu.Unlock()
	p.freed()
}

func (p *posts) next(now time.Time) {
	for turns := len(p.order); turns > 0 && p.used < p.most; turns-- {
		tenant := p.order[0]
		p.order = p.order[1:]
		s := p.tenants[tenant]
		for len(s.waiting) > 0 && s.used < p.perTenant {
			first := s.waiting[0]
			s.waiting = s.waiting[1:]
			p.queued--
			if first.until.After(now) {
				p.begin(tenant, s, first.run)
				break
			}
		}
		if len(s.waiting) > 0 {
			p.order = append(p.order, tenant)
		}
	}
}

// close takes on nothing more, and gives back what waits.
func (p *posts) close() {
	p.mu.Lock()
	var left []waiting
	p.closed, p.order, p.queued = true, nil, 0
	for _, s := range p.tenants {
		left = append(left, s.waiting...)
		s.waiting = nil
	}
	p.mu.Unlock()
	for _, w := range left {
		w.back()
	}
}

// wait returns when nothing is on its way.
func (p *posts) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.used > 0 {
		p.idle.Wait()
	}
}

package pool

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// The catalog is asked for changes at random between these, so that the
	// processes of a cluster do not ask in step.
	shortestPoll = 500 * time.Millisecond
	longestPoll  = 1200 * time.Millisecond

	// idleAfter is how long after the last request nobody asks any more.
	idleAfter = 10 * time.Second

	// checkLimit is how long asking may take, and checkedAtOnce the age of the
	// last answer past which a request asks before anything else: nobody polls.
	checkLimit    = time.Second
	checkedAtOnce = longestPoll + checkLimit + 300*time.Millisecond

	// renewals bounds the listings read at once when something changed.
	renewals = 8
)

// notice is how the pool learns that something was published. It is under
// Pool.mu.
type notice struct {
	generation string        // of the catalog, as last seen; "" is none known
	checked    time.Time     // when it was last asked for
	failing    bool          // the last asking had no answer
	called     time.Time     // the last request
	polling    bool          // someone asks now and then
	asking     chan struct{} // closed when calls need not wait for the catalog any longer; nil is none who wait
}

// watchCatalog keeps the catalog watched while requests come in. The first after a
// pause gets a channel that is closed when the catalog has been asked; nil is
// nothing to wait for. It is called under Pool.mu.
func (p *Pool) watchCatalog() chan struct{} {
	n := &p.notice
	n.called = time.Now()
	if !n.polling {
		n.polling = p.spawn(p.poll)
	}
	if n.failing || n.called.Sub(n.checked) < checkedAtOnce {
		return nil
	}
	if n.asking == nil {
		asking := make(chan struct{})
		if p.spawn(func() { p.refresh(asking) }) {
			n.asking = asking
		}
	}
	return n.asking
}

// refresh asks the catalog what changed, for calls that wait for it.
func (p *Pool) refresh(done chan struct{}) {
	generation, renew, err := p.ask()
	p.mu.Lock()
	if err == nil {
		p.notice.generation = generation
	}
	p.notice.asking = nil
	close(done)
	p.mu.Unlock()
	p.renew(renew, generation)
}

// poll asks what changed until no request came in for a while. It reads what
// changed of the models in memory before calls use it, so that none waits for that.
func (p *Pool) poll() {
	for {
		select {
		case <-time.After(shortestPoll + rand.N(longestPoll-shortestPoll)): //nolint:gosec // only spreads the load
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		if time.Since(p.notice.called) > idleAfter {
			p.notice.polling = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		generation, renew, err := p.ask()
		p.renew(renew, generation)
		if err == nil {
			p.mu.Lock()
			p.notice.generation = generation
			p.mu.Unlock()
		}
	}
}

// ask asks the catalog whether anything changed, and returns the models in
// memory whose listings are to be read again.
func (p *Pool) ask() (generation string, renew []string, err error) {
	p.mu.Lock()
	since := p.notice.generation
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.ctx, checkLimit)
	defer cancel()
	generation, err = p.catalog.Generation(ctx, since)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := &p.notice
	n.checked = time.Now()
	switch {
	case err == nil && n.failing:
		p.logger.Info("the catalog of models answers again")
	case err != nil && !n.failing && p.ctx.Err() == nil:
		p.logger.Warn("the catalog of models does not answer: its last known state stays in use", "error", err)
	}
	n.failing = err != nil
	for name, m := range p.models {
		old := time.Since(m.listing.read) >= maxListingAge/2
		moved := err == nil && generation != "" && m.listing.generation != generation
		if (moved || old) && (p.inMemory(name) || m.listing.generation == "") {
			renew = append(renew, name)
		}
	}
	p.forgetFailures()
	return generation, renew, err
}

// renew reads listings anew.
func (p *Pool) renew(models []string, generation string) {
	var g errgroup.Group
	g.SetLimit(renewals)
	for _, name := range models {
		g.Go(func() error {
			p.mu.Lock()
			f := p.read(name, generation)
			p.mu.Unlock()
			if f != nil {
				<-f.done
			}
			return nil
		})
	}
	_ = g.Wait() // what could not be read is as known as before
}

// forgetFailures drops what failed to load long ago and nobody asked for since.
func (p *Pool) forgetFailures() {
	for ref, e := range p.entries {
		if !e.loading() && e.err != nil && time.Since(e.retryAt) > maxListingAge {
			delete(p.entries, ref)
		}
	}
}

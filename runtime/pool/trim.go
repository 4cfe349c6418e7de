package pool

import (
	"time"
)

// trimAfter is how long nobody asked for a version until its session gives back
// what its runs left for later ones. For text-detect that is 130 MB of 210, and the
// next run takes a sixth longer without it (BenchmarkRunAfterTrim of runtime/ort).
const trimAfter = 10 * time.Second

// trims is a Session that keeps memory for later runs and gives it back.
type trims interface{ Trim() }

// trimLater has idle versions give memory back. One goroutine does it for all,
// while there is one that has not. It is called under Pool.mu.
func (p *Pool) trimLater() {
	if !p.trimming {
		p.trimming = p.spawn(p.trimIdle)
	}
}

func (p *Pool) trimIdle() {
	for wait := trimAfter; wait > 0; wait = p.trimTurn() {
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
			return
		}
	}
}

// trimTurn trims what has been idle for long enough, and returns when to look
// again; 0 is never, until somebody calls.
func (p *Pool) trimTurn() (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if !e.ready() || e.trimmed {
			continue
		}
		due := trimAfter // of what is in use
		if e.leases == 0 {
			due = trimAfter - time.Since(e.used)
		}
		if due <= 0 {
			p.trim(e)
			continue
		}
		if wait == 0 || due < wait {
			wait = due
		}
	}
	p.trimming = wait > 0
	return wait
}

// trim has e's session give memory back, under a lease of its own.
func (p *Pool) trim(e *entry) {
	e.trimmed = true
	session, ok := e.loaded.Session.(trims)
	if !ok || p.closed {
		return
	}
	e.leases++
	p.work.Go(func() {
		session.Trim()
		var bytes int64
		if s, ok := session.(sized); ok {
			bytes = s.Memory()
		}
		p.work.Add(1) // which release takes off
		p.release(e, bytes)
	})
}

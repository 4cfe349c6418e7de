//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints what is being done, how long it took, and every so often what
// it waits for.
type progress struct {
	out   io.Writer
	start time.Time

	mu      sync.Mutex
	waiting string
}

// reportEvery is how long a step may print nothing.
const reportEvery = 15 * time.Second

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(p.start).Round(time.Second)
	fmt.Fprintf(p.out, "%3d:%02d  %s\n", int(took.Minutes()), int(took.Seconds())%60, fmt.Sprintf(format, args...))
}

// waitFor sets what the present step waits for.
func (p *progress) waitFor(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = fmt.Sprintf(format, args...)
}

// step is one part of bringing a cluster up.
type step struct {
	name string
	do   func(context.Context) error
}

// steps does one after the other, and ends at the first that fails.
func (p *progress) steps(ctx context.Context, all ...step) error {
	for _, s := range all {
		if err := p.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *progress) step(ctx context.Context, s step) error {
	p.printf("%s", s.name)
	p.waitFor("")
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.mu.Lock()
				waiting := p.waiting
				p.mu.Unlock()
				if waiting != "" {
					p.printf("  … %s", waiting)
				}
			}
		}
	})
	err := s.do(ctx)
	close(done)
	reporting.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// until asks every so often whether something holds, and ends with ctx, or
// after limit with the last error of ask.
func (p *progress) until(ctx context.Context, limit time.Duration, what string, ask func(context.Context) error) error {
	p.waitFor("wait for %s", what)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		var fatal fatalError
		if err == nil || errors.As(err, &fatal) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not after %v: %w", what, limit, err)
		case <-tick.C:
		}
	}
}

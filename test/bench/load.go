package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outcome is what clients saw in one turn.
type outcome struct {
	rate    float64         // answers per second, while every client was at it
	answers int             // in all, those before and after that included
	each    []time.Duration // how long each answer took
}

// percentile of the answers' times.
func (o *outcome) percentile(p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(o.each))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// A turn goes on until every client had this many answers on average, but not
// longer than so many turns: a batch may take longer than a turn.
const (
	leastAnswers = 4
	longestTurn  = 15
)

// load keeps clients sending, each its next request when it has its answer,
// for a turn.
func (t *target) load(ctx context.Context, clients int, turn time.Duration) (*outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := make([]*conn, clients)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = t.dial(ctx); err != nil {
			return nil, err
		}
		if err := conns[i].SetDeadline(time.Now().Add(longestTurn*turn + longestAnswer)); err != nil {
			return nil, err
		}
	}
	l := &loading{ends: make([][]time.Duration, clients), took: make([][]time.Duration, clients), began: time.Now()}
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			if errs[i] = l.client(i, c, t.request); errs[i] != nil {
				cancel()
			}
		})
	}
	stopped := l.wait(ctx, clients, turn)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%d clients: %w", clients, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.outcome(clients, stopped), nil
}

// times has clients send so many requests in all, for what comes of the server
// and not for how long it takes.
func (t *target) times(ctx context.Context, clients int, requests int64) error {
	var sent atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := t.dial(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			errs[i] = c.SetDeadline(time.Now().Add(longestAnswer))
			for errs[i] == nil && sent.Add(1) <= requests {
				errs[i] = c.exchange(t.request)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// loading is a turn under way. Each client writes what is its own.
type loading struct {
	began time.Time
	stop  atomic.Bool
	count atomic.Int64
	ends  [][]time.Duration // by client: when each answer came
	took  [][]time.Duration // by client: how long it took
}

func (l *loading) client(i int, c *conn, request []byte) error {
	last := time.Since(l.began)
	for !l.stop.Load() {
		if err := c.exchange(request); err != nil {
			return err
		}
		now := time.Since(l.began)
		l.ends[i], l.took[i] = append(l.ends[i], now), append(l.took[i], now-last)
		last = now
		l.count.Add(1)
	}
	return nil
}

// wait ends the turn, and returns how long it took.
func (l *loading) wait(ctx context.Context, clients int, turn time.Duration) time.Duration {
	defer l.stop.Store(true)
	timer := time.NewTimer(turn)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return time.Since(l.began)
		}
		since := time.Since(l.began)
		if l.count.Load() >= int64(leastAnswers*clients) || since > longestTurn*turn {
			return since
		}
		timer.Reset(turn / 4)
	}
}

func (l *loading) outcome(clients int, stopped time.Duration) *outcome {
	ends := slices.Sorted(slices.Values(slices.Concat(l.ends...)))
	return &outcome{rate: steadyRate(ends, clients, stopped), answers: len(ends), each: slices.Concat(l.took...)}
}

// steadyRate counts from the answer that ends the clients' first lap to the
// last one before they had to stop. Between the two every client had a
// request under way, and whole batches lie between them: counting over the
// turn's own time would charge a large batch for being cut at both ends.
func steadyRate(ends []time.Duration, clients int, stopped time.Duration) float64 {
	upTo, _ := slices.BinarySearch(ends, stopped+1)
	if upTo <= clients { // every lap is under way until its end
		upTo = len(ends)
	}
	if upTo <= clients || ends[upTo-1] == ends[clients-1] {
		return float64(upTo) / max(stopped, ends[len(ends)-1]).Seconds()
	}
	return float64(upTo-clients) / (ends[upTo-1] - ends[clients-1]).Seconds()
}

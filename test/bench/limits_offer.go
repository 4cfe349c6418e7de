package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// offerers is how many clients call one gateway of a fleet, each over a connection.
const offerers = 8

// latest is how far behind their pace clients may come: beyond it they leave calls out.
const latest = 100 * time.Millisecond

// offering is calls that come at a pace, whether they are admitted or not. All times are
// by one clock, from began on.
type offering struct {
	began    time.Time
	every    time.Duration // between two calls of one client
	stop     chan struct{}
	clients  *errgroup.Group
	each     []offered // by client, who writes it
	admitted atomic.Int64
}

// offered is what became of calls.
type offered struct {
	admitted    []admission // by when they were answered
	refused     int
	unavailable int
	took        time.Duration
}

// admission is when a call that was admitted was sent and answered.
type admission struct{ sent, answered time.Duration }

// offer has so many calls a second come to a fleet, to each of its gateways as many,
// until end.
func (f *fleet) offer(ctx context.Context, key string, rate int) (*offering, error) {
	n := offerers * len(f.entrances)
	conns := make([]*conn, n)
	requests := make([][]byte, n)
	for i := range n {
		t, err := f.entrances[i%len(f.entrances)].target(key)
		if err == nil {
			conns[i], err = t.dial(ctx)
		}
		if err != nil {
			for _, c := range conns[:i] {
				c.Close()
			}
			return nil, err
		}
		requests[i] = t.request
	}
	l := &offering{every: time.Duration(n) * time.Second / time.Duration(rate), stop: make(chan struct{}), each: make([]offered, n), began: time.Now()}
	l.clients, ctx = errgroup.WithContext(ctx)
	for i, c := range conns {
		l.clients.Go(func() error {
			defer c.Close()
			return l.client(ctx, i, c, requests[i])
		})
	}
	return l, nil
}

// client calls at its pace. Clients begin one after the other.
func (l *offering) client(ctx context.Context, i int, c *conn, request []byte) error {
	due := l.every * time.Duration(i) / time.Duration(len(l.each))
	timer := time.NewTimer(due)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.call(&l.each[i], c, request); err != nil {
			return err
		}
		now := time.Since(l.began)
		due = max(due+l.every, now-latest)
		timer.Reset(due - now)
	}
}

func (l *offering) call(o *offered, c *conn, request []byte) error {
	if err := c.SetDeadline(time.Now().Add(longestAnswer)); err != nil {
		return err
	}
	sent := time.Since(l.began)
	err := c.exchange(request)
	var answer *statusError
	switch errors.As(err, &answer); {
	case err == nil:
		o.admitted = append(o.admitted, admission{sent, time.Since(l.began)})
		l.admitted.Add(1)
	case answer != nil && answer.status == http.StatusTooManyRequests:
		o.refused++
	case answer != nil && answer.status == http.StatusServiceUnavailable:
		o.unavailable++
	default:
		return err
	}
	return nil
}

// more waits for a call that is admitted from now on, for a minute.
func (l *offering) more(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for before := l.admitted.Load(); l.admitted.Load() == before; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no call is admitted any more: %w", ctx.Err())
		}
	}
	return nil
}

// end ends the calls, and returns what became of them.
func (l *offering) end() (*offered, error) {
	close(l.stop)
	err := l.clients.Wait()
	all := &offered{took: time.Since(l.began)}
	for i := range l.each {
		all.admitted = append(all.admitted, l.each[i].admitted...)
		all.refused += l.each[i].refused
		all.unavailable += l.each[i].unavailable
	}
	slices.SortFunc(all.admitted, func(a, b admission) int { return cmp.Compare(a.answered, b.answered) })
	if err == nil && len(all.admitted) == 0 {
		err = errors.New("no call was admitted")
	}
	return all, err
}

func (o *offered) String() string {
	return fmt.Sprintf("%.0f calls a second, %d admitted in %.2f s, %d refused, %d unavailable",
		o.rate(), len(o.admitted), o.span().Seconds(), o.refused, o.unavailable)
}

// rate is how many calls there were a second.
func (o *offered) rate() float64 {
	return float64(len(o.admitted)+o.refused+o.unavailable) / o.took.Seconds()
}

// span is from the first call that was admitted, when it was sent, to the last one's
// answer.
func (o *offered) span() time.Duration {
	first := slices.MinFunc(o.admitted, func(a, b admission) int { return cmp.Compare(a.sent, b.sent) })
	return o.admitted[len(o.admitted)-1].answered - first.sent
}

// beyond is how many calls were admitted beyond what a bucket may, in the span of time
// where that is the most.
func (o *offered) beyond(b bucket) float64 {
	least, most := math.Inf(1), math.Inf(-1) // of calls less rate × time, before one and with it
	for i, a := range o.admitted {
		filled := float64(b.rate) * a.answered.Seconds()
		least = min(least, float64(i)-filled)
		most = max(most, float64(i+1)-filled-least)
	}
	return most - float64(b.burst)
}

// gap is the longest time without a call that was admitted.
func (o *offered) gap() (longest time.Duration) {
	for i, a := range o.admitted[1:] {
		longest = max(longest, a.answered-o.admitted[i].answered)
	}
	return longest
}

// Package detach owns goroutines that go on when the call that started them has
// ended, because others wait for what they do.
//
// It bounds neither how many there are nor how long one takes: those who start
// them do. It is what ends them, and waits.
package detach

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the error of work that comes after Close.
var ErrClosed = errors.New("closed")

// Group is a number of goroutines with one owner, who closes it.
type Group struct {
	mu     sync.Mutex
	ending chan struct{} // closed by Close
	wg     sync.WaitGroup
}

// New makes a Group.
func New() *Group { return &Group{ending: make(chan struct{})} }

// Go runs f in a goroutine, with the values of ctx and a context that Close ends;
// the end of ctx does not. After Close it returns ErrClosed and runs nothing.
func (g *Group) Go(ctx context.Context, f func(context.Context)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.ending:
		return ErrClosed
	default:
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	g.wg.Go(func() {
		defer close(over)
		f(ctx)
	})
	g.wg.Go(func() {
		defer cancel()
		select {
		case <-g.ending:
		case <-over:
		}
	})
	return nil
}

// Close ends what runs and waits for it. Closing twice is safe.
func (g *Group) Close() {
	g.mu.Lock()
	select {
	case <-g.ending:
	default:
		close(g.ending)
	}
	g.mu.Unlock()
	g.wg.Wait()
}

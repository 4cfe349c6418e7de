// Package memory is a process's account of the bytes that its calls hold.
// Whoever is to allocate charges it first, by what that really takes, to the
// tenant whose call it is. A tenant has at most half of the account, so that
// another's calls go on whatever they send.
//
// It allocates and measures nothing itself.
package memory

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Holder is what a call's bytes are charged to. All charges go through it.
type Holder interface {
	// Take charges n bytes more, which are about to be allocated. Its error says
	// that they may not be.
	Take(ctx context.Context, n int64) error

	// Give returns n of the bytes taken.
	Give(n int64)
}

// Unbounded is a Holder that counts nothing, for programs that serve nobody.
type Unbounded struct{}

// Take implements Holder.
func (Unbounded) Take(context.Context, int64) error { return nil }

// Give implements Holder.
func (Unbounded) Give(int64) {}

// retrySoon is when to come back after a bound that empties by itself was hit.
const retrySoon = time.Second

// Account is the bytes of all calls of a process. It is safe for concurrent use.
type Account struct {
	size int64
	wait time.Duration

	mu      sync.Mutex
	used    int64
	tenants map[string]*tenant
	waiting []*place // those that hold most first, and of equals those that came first
	round   uint64   // of relieve
}

// tenant is what the calls of one hold.
type tenant struct {
	name  string
	used  int64
	calls int // that are open
}

// place is bytes that a call waits for.
type place struct {
	call *Call
	n    int64
	done chan struct{} // closed when they are the call's, or never will be

	refused bool // under account.mu
}

// New makes an account of size bytes, below 0 one that counts nothing. Bytes that are
// in use are waited for as long as wait.
func New(size int64, wait time.Duration) *Account {
	return &Account{size: size, wait: wait, tenants: map[string]*tenant{}}
}

// Share is the most bytes that one tenant may hold, and so the most of one call.
func (a *Account) Share() int64 { return a.size / 2 }

// Size is how many bytes there are.
func (a *Account) Size() int64 { return a.size }

// Used is how many bytes are taken.
func (a *Account) Used() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// Open begins a call of a tenant, which holds nothing yet. Its End must be called.
func (a *Account) Open(name string) *Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tenants[name]
	if t == nil {
		t = &tenant{name: name}
		a.tenants[name] = t
	}
	t.calls++
	return &Call{account: a, tenant: t}
}

// Sibling begins another call of the same tenant.
func (c *Call) Sibling() *Call { return c.account.Open(c.tenant.name) }

// Call is what one call holds. Its methods may be called from many goroutines.
type Call struct {
	account *Account
	tenant  *tenant

	// Under account.mu.
	taken int64
	ended bool
	seen  uint64 // the last round of relieve that counted it
}

// errEnded is of a goroutine that outlived its call.
var errEnded = errors.New("memory is taken after the call has ended")

// Take implements Holder. Bytes that others hold are waited for a little, and are
// then problem.Overloaded with a Retry-After, at once where those others wait too; what
// is more than a tenant may ever have beside what the call itself holds is
// problem.PayloadTooLarge at once.
func (c *Call) Take(ctx context.Context, n int64) error {
	a := c.account
	a.mu.Lock()
	granted, err := a.take(c, n)
	if granted || err != nil {
		a.mu.Unlock()
		return err
	}
	p := a.queue(c, n)
	a.relieve(c.tenant)
	a.mu.Unlock()
	return a.await(ctx, p)
}

// TakeNow charges n bytes that are there already, ahead of whoever waits. It waits for
// nothing: meanwhile they would be there and nobody's.
func (c *Call) TakeNow(n int64) error {
	a := c.account
	if n <= 0 || a.size < 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case c.ended:
		return errEnded
	case n > a.Share()-c.taken:
		return tooMuch(c.taken, n, a.Share())
	case !a.fits(c, n):
		return inUse()
	}
	a.grant(c, n)
	return nil
}

// TryTake is Take for who holds what others wait for, such as a slot: where it would wait,
// it is problem.Overloaded at once.
func (c *Call) TryTake(n int64) error {
	a := c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if granted, err := a.take(c, n); granted || err != nil {
		return err
	}
	return inUse()
}

// take grants n bytes more, or reports that they are to be waited for. An error is one
// for good.
func (a *Account) take(c *Call, n int64) (granted bool, err error) {
	switch {
	case n <= 0 || a.size < 0:
		return true, nil
	case c.ended:
		return false, errEnded
	case n > a.Share()-c.taken:
		return false, tooMuch(c.taken, n, a.Share())
	case a.isBehind(c) || !a.fits(c, n):
		return false, nil
	}
	a.grant(c, n)
	return true, nil
}

// isBehind reports whether a call's tenant has one that waits and comes before it.
func (a *Account) isBehind(c *Call) bool {
	return slices.ContainsFunc(a.waiting, func(p *place) bool {
		return p.call.tenant == c.tenant && p.call.taken >= c.taken
	})
}

// fits reports whether n more bytes may be c's now. One call may have all of its
// tenant's share; where there are several, they leave as much free as they have, so
// that of any number of tenants the next one finds something.
func (a *Account) fits(c *Call, n int64) bool {
	free, has := a.size-a.used-n, c.tenant.used+n
	switch {
	case free < 0 || has > a.Share():
		return false
	case c.tenant.used > c.taken:
		return has <= free
	default:
		return true
	}
}

func (a *Account) grant(c *Call, n int64) {
	c.taken += n
	c.tenant.used += n
	a.used += n
}

func (a *Account) queue(c *Call, n int64) *place {
	p := &place{call: c, n: n, done: make(chan struct{})}
	at := len(a.waiting)
	if first := slices.IndexFunc(a.waiting, func(p *place) bool { return p.call.taken < c.taken }); first >= 0 {
		at = first
	}
	a.waiting = slices.Insert(a.waiting, at, p)
	return p
}

func (a *Account) await(ctx context.Context, p *place) error {
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at := slices.Index(a.waiting, p)
	switch {
	case at < 0 && p.call.ended:
		return errEnded
	case at < 0 && p.refused:
		return inUse()
	case at < 0:
		return nil
	}
	a.waiting = slices.Delete(a.waiting, at, at+1)
	a.serve() // those that came behind it
	if err := ctx.Err(); err != nil {
		return err //nolint:wrapcheck // the call's own
	}
	return inUse()
}

func inUse() error {
	return problem.New(problem.Overloaded, "the server's memory for requests is in use").WithRetryAfter(retrySoon)
}

// serve gives what is there to those that wait, of each tenant to one after the
// other, so that what is large becomes due as well.
func (a *Account) serve() {
	var behind []*tenant
	a.waiting = slices.DeleteFunc(a.waiting, func(p *place) bool {
		t := p.call.tenant
		switch {
		case p.call.ended:
		case slices.Contains(behind, t):
			return false
		case !a.fits(p.call, p.n):
			behind = append(behind, t)
			return false
		default:
			a.grant(p.call, p.n)
		}
		close(p.done)
		return true
	})
	for _, t := range behind {
		a.relieve(t)
	}
}

// relieve refuses the call that holds least, where all that a tenant has is held by calls
// that wait: each would wait for the others, until all are refused.
func (a *Account) relieve(t *tenant) {
	a.round++
	held, first, last := int64(0), -1, -1
	for i, p := range a.waiting {
		if p.call.tenant != t || p.call.taken == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
		if p.call.seen != a.round {
			p.call.seen = a.round
			held += p.call.taken
		}
	}
	if held == 0 || held < t.used || t.used+a.waiting[first].n <= a.Share() {
		return
	}
	p := a.waiting[last]
	if p.call == a.waiting[first].call { // others of its goroutines may give some back
		return
	}
	a.waiting = slices.Delete(a.waiting, last, last+1)
	p.refused = true
	close(p.done)
}

// tooMuch is the error of a call that needs more than it may ever have.
func tooMuch(taken, n, share int64) error {
	if taken == 0 {
		return problem.New(problem.PayloadTooLarge, "the request needs %d bytes of memory; %d are the most for all requests of a tenant together", n, share)
	}
	return problem.New(problem.PayloadTooLarge, "the request needs %d bytes of memory beside the %d that it holds; %d are the most for all requests of a tenant together", n, taken, share)
}

// Give implements Holder.
func (c *Call) Give(n int64) {
	a := c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	c.give(n)
}

func (c *Call) give(n int64) {
	if n = min(n, c.taken); n <= 0 {
		return
	}
	a := c.account
	c.taken -= n
	c.tenant.used -= n
	a.used -= n
	if len(a.waiting) > 0 {
		a.serve()
	}
}

// Move hands n of the bytes taken to another call of the same account, which has
// what they were taken for from now on. It returns how many there were.
func (c *Call) Move(to *Call, n int64) int64 {
	a := c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if n = min(n, c.taken); n <= 0 {
		return 0
	}
	c.taken -= n
	c.tenant.used -= n
	a.used -= n
	if !to.ended {
		a.grant(to, n)
	}
	return n
}

// End returns everything, for good. Ending twice is safe.
func (c *Call) End() {
	a := c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.give(math.MaxInt64)
	if len(a.waiting) > 0 {
		a.serve() // its own places
	}
	if c.tenant.calls--; c.tenant.calls == 0 {
		delete(a.tenants, c.tenant.name)
	}
}

// Package room shares memory, in bytes, among the calls of all tenants, so that
// what one of them holds costs no other its calls: a tenant has at most half of what
// the others leave. A tenant's own calls do not keep each other from ending.
//
// It allocates nothing, and does not know what is held.
package room

import "sync"

// Class is what bytes are taken for. Who waits is served before those of later
// classes.
//
// None that has bytes waits for others of its room for ever: a message's are back once its
// function answers, a passing answer's once its client has read it, an early answer's
// once those before it were sent, which come before all others.
type Class int

// The classes.
const (
	// Passing is for what is there of an answer that is being sent. Such have a quarter of
	// what their tenant may have; one that is alone may be larger.
	Passing Class = iota

	// Early is for an answer that waits until others were sent. Such have a quarter of
	// what their tenant may have.
	Early

	// Arriving is for what a client sends ahead of whoever reads it, for as long as its call
	// takes. Such have a quarter of what their tenant may have.
	Arriving

	// Message is for a message. Such have half of what their tenant may have; one that
	// is alone may be larger.
	Message

	// Classes is how many there are.
	Classes
)

// Room is memory that calls share. It is safe for concurrent use.
type Room struct {
	most int64

	mu      sync.Mutex
	used    int64
	by      map[string]*account // those that have something or wait
	waiting []*account          // the longest first
}

// account is what a tenant has, and what it waits for.
type account struct {
	name   string
	has    [Classes]int64
	total  int64
	parts  int64 // of has[Message], what those have that wait for more
	queues [Classes][]*Place
}

// New makes a Room of so many bytes.
func New(most int64) *Room { return &Room{most: most, by: map[string]*account{}} }

// Of is a tenant's side of the room, for messages.
func (r *Room) Of(tenant string) Tenant { return Tenant{r, tenant, Message} }

// Tenant takes of a room for one tenant and one class.
type Tenant struct {
	room  *Room
	name  string
	class Class
}

// For is the tenant's side for another class.
func (t Tenant) For(c Class) Tenant { return Tenant{t.room, t.name, c} }

// Largest is what a tenant may have where it is alone, in bytes.
func (t Tenant) Largest() int64 { return t.room.most / 2 }

// TryAcquire takes n bytes of what the tenant may have, whatever the class may, or
// none and is false.
func (t Tenant) TryAcquire(n int64) bool {
	t.room.mu.Lock()
	defer t.room.mu.Unlock()
	a := t.account()
	defer t.room.forget(a)
	if !t.room.within(a, n) {
		return false
	}
	t.room.take(a, t.class, n)
	return true
}

// Release gives n bytes of the class back.
func (t Tenant) Release(n int64) {
	t.room.mu.Lock()
	defer t.room.mu.Unlock()
	if n == 0 {
		return
	}
	a := t.account()
	t.room.take(a, t.class, -n)
	t.room.serve()
	t.room.forget(a)
}

// account is the tenant's, with the room locked.
func (t Tenant) account() *account {
	a := t.room.by[t.name]
	if a == nil {
		a = &account{name: t.name}
		t.room.by[t.name] = a
	}
	return a
}

// forget drops an account that has nothing and waits for nothing.
func (r *Room) forget(a *account) {
	if a.total == 0 && !a.waits() {
		delete(r.by, a.name)
	}
}

// take notes n bytes more, or fewer.
func (r *Room) take(a *account, c Class, n int64) {
	r.used += n
	a.total += n
	a.has[c] += n
}

// within reports whether a tenant may have n bytes more, whatever they are for.
func (r *Room) within(a *account, n int64) bool { return a.total+n <= r.most-r.used-n }

// share is what a tenant may have, beside what others have.
func (r *Room) share(a *account) int64 { return (r.most - r.used + a.total) / 2 }

// fits reports whether there is what one waits for.
func (r *Room) fits(a *account, p *Place) bool {
	if !r.within(a, p.n) {
		return false
	}
	share := r.share(a)
	switch p.of.class {
	case Passing:
		return a.has[Passing] == 0 || a.has[Passing]+p.n <= share/4
	case Early, Arriving:
		return a.has[p.of.class]+p.n <= share/4
	default:
		alone := a.has[Message] == a.parts && (a.parts == 0 || p.part > 0)
		return alone || a.has[Message]+p.n <= share/2
	}
}

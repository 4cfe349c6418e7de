// Package room shares memory, in bytes, among the calls of all tenants, so that
// what one of them holds costs no other its calls.
//
// It allocates nothing, and does not know what is held.
package room

import "sync"

// factor is what a tenant may have at most, as a multiple of what it leaves free:
// three quarters of a room where it is alone, of which three quarters of the rest
// are the next one's, and so on.
const factor = 3

// Room is memory that calls share. It is safe for concurrent use.
type Room struct {
	most int64

	mu    sync.Mutex
	used  int64
	by    map[string]int64 // bytes by tenant; none has 0
	freed chan struct{}    // closed when some is given back; nil where nobody waits
}

// New makes a Room of so many bytes.
func New(most int64) *Room { return &Room{most: most, by: map[string]int64{}} }

// Of is a tenant's side of the room.
func (r *Room) Of(tenant string) Tenant { return Tenant{r, tenant} }

// Tenant takes of a room for one tenant.
type Tenant struct {
	room *Room
	name string
}

// Largest is what a tenant may have where it is alone, in bytes.
func (t Tenant) Largest() int64 { return factor * (t.room.most / (factor + 1)) }

// TryAcquire takes n bytes, or none and is false.
func (t Tenant) TryAcquire(n int64) bool {
	r := t.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if has := r.by[t.name] + n; has > factor*(r.most-r.used-n) {
		return false
	}
	r.used += n
	r.by[t.name] += n
	return true
}

// Release gives n bytes back.
func (t Tenant) Release(n int64) {
	r := t.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == 0 {
		return
	}
	r.used -= n
	if r.by[t.name] -= n; r.by[t.name] == 0 {
		delete(r.by, t.name)
	}
	if r.freed != nil {
		close(r.freed)
		r.freed = nil
	}
}

// Freed is closed when anybody gives some back, from now on.
func (t Tenant) Freed() <-chan struct{} {
	r := t.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.freed == nil {
		r.freed = make(chan struct{})
	}
	return r.freed
}

package forward

import "sync"

// keepRoom is what bodies may take that are kept. No tenant takes the last quarter
// of it but for a sixteenth of all: what one keeps costs no other a rerun.
type keepRoom struct {
	most int64

	mu   sync.Mutex
	used int64
	of   map[string]int64 // by tenant; none has 0
}

func newKeepRoom(most int64) *keepRoom { return &keepRoom{most: most, of: map[string]int64{}} }

// share is a tenant's part of the room.
func (r *keepRoom) share(tenant string) *roomShare { return &roomShare{room: r, tenant: tenant} }

// roomShare implements keeper.
type roomShare struct {
	room   *keepRoom
	tenant string
}

// TryAcquire implements keeper.
func (s *roomShare) TryAcquire(n int64) bool {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	has := r.of[s.tenant] + n
	if r.used+n > r.most || r.used+n > r.most-r.most/4 && has > r.most/16 {
		return false
	}
	r.used += n
	r.of[s.tenant] = has
	return true
}

// Release implements keeper.
func (s *roomShare) Release(n int64) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	if r.of[s.tenant] -= n; r.of[s.tenant] <= 0 {
		delete(r.of, s.tenant)
	}
}

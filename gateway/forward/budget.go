package forward

import "sync"

// budget bounds, in bytes, what the bodies of all calls take that are kept. No
// tenant takes the last quarter of it but for a sixteenth of all: what one keeps
// costs no other a rerun.
type budget struct {
	most int64

	mu   sync.Mutex
	used int64
	by   map[string]int64 // bytes by tenant; none has 0
}

func newBudget(most int64) *budget { return &budget{most: most, by: map[string]int64{}} }

// share is a tenant's part of the budget.
func (b *budget) share(tenant string) *share { return &share{of: b, tenant: tenant} }

// share implements limiter.
type share struct {
	of     *budget
	tenant string
}

// TryAcquire implements limiter.
func (s *share) TryAcquire(n int64) bool {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	has := b.by[s.tenant] + n
	if b.used+n > b.most || b.used+n > b.most-b.most/4 && has > b.most/16 {
		return false
	}
	b.used += n
	b.by[s.tenant] = has
	return true
}

// Release implements limiter.
func (s *share) Release(n int64) {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.by[s.tenant] -= n; b.by[s.tenant] <= 0 {
		delete(b.by, s.tenant)
	}
}

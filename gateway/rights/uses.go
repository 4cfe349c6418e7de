package rights

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// uses are the uses of keys that are to be noted.
type uses struct {
	mu      sync.Mutex
	minutes map[string]int64 // of keys, the minute of the last use that was noted
	pending map[string]Use
}

// Used implements auth.KnownKeys.
func (m *Mirror) Used(k *auth.Key, anew *auth.Hash) {
	now := time.Now()
	minute := now.Unix() / 60
	u := &m.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.minutes[k.ID] == minute && anew == nil {
		return
	}
	if u.minutes == nil {
		u.minutes, u.pending = map[string]int64{}, map[string]Use{}
	}
	u.minutes[k.ID] = minute
	use := u.pending[k.ID]
	use.Key, use.At = k.ID, now.UTC().Truncate(time.Minute)
	if anew != nil {
		use.Hash = anew
	}
	u.pending[k.ID] = use
}

// noteUses stores uses every now and then, and what is left when ctx ends.
func (m *Mirror) noteUses(ctx context.Context) {
	tick := time.NewTicker(useEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.storeUses(ctx)
		case <-ctx.Done():
			m.storeUses(context.WithoutCancel(ctx))
			return
		}
	}
}

// mostUses is how many are stored at once.
const mostUses = 1000

func (m *Mirror) storeUses(ctx context.Context) {
	m.uses.mu.Lock()
	pending := slices.Collect(maps.Values(m.uses.pending))
	m.uses.pending = map[string]Use{} // a map that is cleared keeps its room
	m.uses.mu.Unlock()
	for batch := range slices.Chunk(pending, mostUses) {
		writing, cancel := context.WithTimeout(ctx, pollTimeout)
		err := m.store.Used(writing, batch)
		cancel()
		if err != nil {
			m.logger.Warn("uses of keys could not be stored, and are tried again", "error", err)
			m.putBack(batch)
			continue
		}
		m.rehashed(batch)
	}
	m.uses.forget(m.State())
}

// putBack has uses stored later. Newer ones stay.
func (m *Mirror) putBack(batch []Use) {
	m.uses.mu.Lock()
	defer m.uses.mu.Unlock()
	for _, use := range batch {
		if _, newer := m.uses.pending[use.Key]; !newer {
			m.uses.pending[use.Key] = use
		}
	}
}

// forget drops keys that are no longer there.
func (u *uses) forget(s *access.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.minutes) <= 2*s.Keys()+mostUses {
		return
	}
	maps.DeleteFunc(u.minutes, func(id string, _ int64) bool { return s.Key(id) == nil })
}

// rehashed has what is known show the hashes that were stored, so that they are not
// made again. Whatever a poll brings later has them.
func (m *Mirror) rehashed(batch []Use) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.view.Load()
	var change access.Change
	for _, use := range batch {
		if k := now.state.Key(use.Key); k != nil && use.Hash != nil {
			anew := *k
			anew.Hash = *use.Hash
			change.Keys = append(change.Keys, &anew)
		}
	}
	if len(change.Keys) > 0 {
		m.view.Store(&view{now.state.Apply(&change), now.position, now.asOf})
	}
}

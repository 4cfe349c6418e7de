package rights

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// seenEvery is how much newer a token has to be to be noted, when it says what the
// one before did.
const seenEvery = time.Hour

// seen bounds how many tokens are noted at once.
type seen struct {
	mu      sync.Mutex
	pending map[string]*access.Subject
}

const mostSeen = 1000

// Seen notes the token of a subject that gave grants, which count by the rights of
// its last token. An older one than is known changes nothing.
func (m *Mirror) Seen(p *auth.Principal) {
	if p.Subject == "" {
		return
	}
	row := access.SubjectOf(p)
	if !newer(m.State(), row) {
		return
	}
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	if m.seen.pending == nil {
		m.seen.pending = map[string]*access.Subject{}
	}
	who := row.Tenant + " " + row.Subject
	if before := m.seen.pending[who]; before == nil && len(m.seen.pending) >= mostSeen || before != nil && !row.IssuedAt.After(before.IssuedAt) {
		return
	}
	m.seen.pending[who] = row
}

// newer reports whether a token says more than what is stored of its subject. Of
// one that gave nothing, nothing is.
func newer(s *access.State, row *access.Subject) bool {
	for _, known := range s.Tenant(row.Tenant).Subjects {
		if known.Subject == row.Subject {
			return row.IssuedAt.After(known.IssuedAt) &&
				(row.IssuedAt.Sub(known.IssuedAt) >= seenEvery || !slices.Equal(row.Roles, known.Roles) || row.NoAdmin != known.NoAdmin)
		}
	}
	return false
}

// noteSeen stores what was seen until ctx ends, beside the polls, which wait for no
// change.
func (m *Mirror) noteSeen(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.storeSeen(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// storeSeen stores what was seen of subjects.
func (m *Mirror) storeSeen(ctx context.Context) {
	m.seen.mu.Lock()
	pending := m.seen.pending
	m.seen.pending = nil
	m.seen.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	writing, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err := m.Update(writing, func(s *access.State) (*Stored, error) {
		stored := &Stored{}
		for _, row := range pending {
			if newer(s, row) {
				stored.Change.Subjects = append(stored.Change.Subjects, row)
			}
		}
		return stored, nil
	})
	if err != nil {
		m.logger.Warn("what tokens of those who gave grants say could not be stored", "error", err)
	}
}

package rights

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// How long and how much is remembered of what has ended. A database that fails over
// has lost some seconds.
const (
	rememberFor  = time.Hour
	rememberMost = 50_000
)

// lost makes good what a database has lost by failing over to one that was behind:
// nothing that this process knows to have ended counts again. It is under
// Mirror.mu.
type lost struct {
	ended map[string]time.Time // what ended, and when that was seen
	again access.Change        // what is to be stored again
	store bool                 // again has something
}

// The names of rows in lost.ended.
func keyName(id string) string         { return "key " + id }
func grantName(id string) string       { return "grant " + id }
func roleName(tenant, n string) string { return "role " + tenant + " " + n }

// names are the names of a tenant's rows.
func names(t *access.Tenant) map[string]bool {
	out := map[string]bool{}
	for _, k := range t.Keys {
		out[keyName(k.ID)] = true
	}
	for _, g := range t.Grants {
		out[grantName(g.ID)] = true
	}
	for _, r := range t.Roles {
		out[roleName(r.Tenant, r.Name)] = true
	}
	return out
}

// remember notes what a state had that the next has not.
func (l *lost) remember(before, after *access.State, now time.Time) {
	if l.ended == nil {
		l.ended = map[string]time.Time{}
	}
	for _, tenant := range before.Tenants() {
		had, has := before.Tenant(tenant), after.Tenant(tenant)
		if had == has {
			continue
		}
		kept := names(has)
		for name := range names(had) {
			if !kept[name] && len(l.ended) < rememberMost {
				l.ended[name] = now
			}
		}
	}
	maps.DeleteFunc(l.ended, func(_ string, at time.Time) bool { return now.Sub(at) > rememberFor })
}

// compare notes what is to be stored again, when a database has lost changes.
func (l *lost) compare(known, found *access.State, now time.Time) {
	for _, tenant := range found.Tenants() {
		t := found.Tenant(tenant)
		for _, k := range t.Keys {
			if again := l.key(known.Key(k.ID), k, now); again != nil {
				l.again.Keys, l.store = append(l.again.Keys, again), true
			}
		}
		for _, g := range t.Grants {
			if _, ended := l.ended[grantName(g.ID)]; ended {
				l.again.EndGrants, l.store = append(l.again.EndGrants, g), true
			}
		}
		for _, r := range t.Roles {
			l.role(known.Tenant(tenant), r)
		}
	}
	for _, tenant := range known.Tenants() {
		for _, sub := range known.Tenant(tenant).Subjects {
			if hasOlder(found, sub) { // or an older token would count again, for what its subject granted
				l.again.Subjects, l.store = append(l.again.Subjects, sub), true
			}
		}
	}
}

// hasOlder reports whether a state has nothing of a subject, or what an older token
// said.
func hasOlder(s *access.State, sub *access.Subject) bool {
	return !slices.ContainsFunc(s.Tenant(sub.Tenant).Subjects, func(o *access.Subject) bool {
		return o.Subject == sub.Subject && !o.IssuedAt.Before(sub.IssuedAt)
	})
}

// key is what a key should be again; nil is as it was found.
func (l *lost) key(known, found *auth.Key, now time.Time) *auth.Key {
	again := *found
	if _, ended := l.ended[keyName(found.ID)]; ended {
		again.RevokedAt = now.UTC().Truncate(time.Millisecond)
		return &again
	}
	if known == nil || known.ExpiresAt.IsZero() || !found.ExpiresAt.IsZero() && !known.ExpiresAt.Before(found.ExpiresAt) {
		return nil
	}
	again.ExpiresAt, again.Planned = known.ExpiresAt, known.Planned
	return &again
}

func (l *lost) role(known *access.Tenant, found *access.Role) {
	if at, ended := l.ended[roleName(found.Tenant, found.Name)]; ended && found.UpdatedAt.Before(at) {
		l.again.EndRoles, l.store = append(l.again.EndRoles, found), true
		return
	}
	for _, r := range known.Roles {
		if r.Name == found.Name && r.UpdatedAt.After(found.UpdatedAt) {
			l.again.Roles, l.store = append(l.again.Roles, r), true
		}
	}
}

// change is what is to be stored again over a state, which may have newer roles and
// subjects since; nil is nothing.
func (l *lost) change(over *access.State) *access.Change {
	if !l.store {
		return nil
	}
	again := l.again
	again.Subjects = slices.DeleteFunc(slices.Clone(again.Subjects), func(sub *access.Subject) bool {
		return slices.ContainsFunc(over.Tenant(sub.Tenant).Subjects, func(o *access.Subject) bool {
			return o.Subject == sub.Subject && o.IssuedAt.After(sub.IssuedAt)
		})
	})
	again.Roles = slices.DeleteFunc(slices.Clone(again.Roles), func(r *access.Role) bool {
		return slices.ContainsFunc(over.Tenant(r.Tenant).Roles, func(o *access.Role) bool { return o.Name == r.Name && o.UpdatedAt.After(r.UpdatedAt) })
	})
	return &again
}

// restore stores again what was lost. It is tried at each poll until it is stored;
// meanwhile what is known has it.
func (m *Mirror) restore(ctx context.Context) {
	m.mu.Lock()
	store := m.lost.store
	m.mu.Unlock()
	if !store {
		return
	}
	select {
	case m.committing <- struct{}{}:
		defer func() { <-m.committing }()
	default: // a poll waits for no change
		return
	}
	writing, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err := m.commit(writing, func(s *access.State) (*Stored, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		again := m.lost.change(s)
		return &Stored{Change: *again, Entries: restored(again)}, nil
	})
	if err != nil {
		m.logger.Error("what the gateway's database has lost could not be stored again", "error", err)
		return
	}
	m.mu.Lock()
	m.lost.again, m.lost.store = access.Change{}, false
	m.mu.Unlock()
	m.metrics.restored.Inc()
}

// restored is an entry for each tenant.
func restored(c *access.Change) []audit.Entry {
	var entries []audit.Entry
	for _, tenant := range c.Tenants() {
		entries = append(entries, audit.Entry{
			At: time.Now(), Tenant: tenant, Actor: "gateway", Action: "rights.restore", Outcome: audit.Done,
			Reason: "the database had lost the end of keys, roles or grants, or newer tokens of who gave grants",
		})
	}
	return entries
}

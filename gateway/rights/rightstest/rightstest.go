// Package rightstest is a database of the gateway in memory, for tests.
package rightstest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// Store is a rights.Store, an audit.Store and a list of keys. The zero Store is
// empty.
type Store struct {
	mu      sync.Mutex
	state   *access.State
	keys    map[string]*auth.Key // with those that have ended
	history []rights.Position
	changed map[string]int64 // tenants, and the number of their last change
	chains  map[string][]audit.Entry
	heads   map[string]audit.Head // of those chains
	err     error
	reads   int
}

// Fail makes every call return err until it is nil again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Reads counts the calls of Since.
func (s *Store) Reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// Copy is another Store with the same content, as a replica that does not follow is.
func (s *Store) Copy() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{
		state: s.state, keys: maps.Clone(s.keys), history: slices.Clone(s.history), changed: maps.Clone(s.changed), chains: maps.Clone(s.chains),
		heads: maps.Clone(s.heads),
	}
}

// Become gives the Store another's content, as a failover does.
func (s *Store) Become(other *Store) {
	o := other.Copy()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.keys, s.history, s.changed, s.chains, s.heads = o.state, o.keys, o.history, o.changed, o.chains, o.heads
}

func (s *Store) begin(ctx context.Context) error {
	if s.state == nil {
		s.state, s.keys = access.NewState(), map[string]*auth.Key{}
		s.changed, s.chains, s.heads = map[string]int64{}, map[string][]audit.Entry{}, map[string]audit.Head{}
	}
	return cmp.Or(ctx.Err(), s.err)
}

// Since implements rights.Store.
func (s *Store) Since(ctx context.Context, p rights.Position) (*rights.Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.since(p), nil
}

func (s *Store) since(p rights.Position) *rights.Update {
	u := &rights.Update{Tenants: map[string]*access.Tenant{}}
	if n := len(s.history); n > 0 {
		u.Position = s.history[n-1]
	}
	u.Whole = !slices.Contains(s.history, p)
	for tenant, number := range s.changed {
		if u.Whole || number > p.Number {
			u.Tenants[tenant] = s.tenant(tenant)
		}
	}
	return u
}

// tenant is a tenant without the keys that expired more than a day ago.
func (s *Store) tenant(name string) *access.Tenant {
	t := *s.state.Tenant(name)
	t.Keys = slices.DeleteFunc(slices.Clone(t.Keys), func(k *auth.Key) bool {
		return !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(time.Now().Add(-access.Remembered))
	})
	return &t
}

// Commit implements rights.Store.
func (s *Store) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return p, err
	}
	u := s.since(p)
	stored, err := decide(u)
	if err != nil {
		return p, err
	}
	change := stored.Change
	if len(change.Tenants())+len(stored.Entries) == 0 {
		return u.Position, nil
	}
	change.Keys = nil
	for _, k := range stored.Change.Keys {
		live, kept := *k, *k
		if before := s.keys[k.ID]; before != nil { // what uses of it noted stays
			live.Hash, kept.Hash, kept.LastUsedAt = before.Hash, before.Hash, before.LastUsedAt
		}
		s.keys[k.ID] = &kept
		change.Keys = append(change.Keys, &live)
	}
	for _, k := range change.Keys {
		s.forget(k.Tenant)
	}
	next := rights.Position{Number: u.Position.Number + 1, Mark: rand.Text()}
	s.history = append(s.history, next)
	s.state = s.state.Apply(&change)
	for _, tenant := range change.Tenants() {
		s.changed[tenant] = next.Number
	}
	return next, s.add(stored.Entries)
}

// forget removes a tenant's oldest ended keys, but for a thousand and those of the
// configuration.
func (s *Store) forget(tenant string) {
	var ended []*auth.Key
	for _, k := range s.keys {
		gone := !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(time.Now().Add(-access.Remembered))
		if k.Tenant == tenant && !k.Imported && (gone || !k.RevokedAt.IsZero()) {
			ended = append(ended, k)
		}
	}
	at := func(k *auth.Key) time.Time {
		if !k.RevokedAt.IsZero() {
			return k.RevokedAt
		}
		return k.ExpiresAt
	}
	slices.SortFunc(ended, func(a, b *auth.Key) int { return cmp.Or(at(b).Compare(at(a)), strings.Compare(b.ID, a.ID)) })
	for _, k := range ended[min(1000, len(ended)):] {
		delete(s.keys, k.ID)
	}
}

// Used implements rights.Store.
func (s *Store) Used(ctx context.Context, uses []rights.Use) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	for _, use := range uses {
		k := s.keys[use.Key]
		if k == nil {
			continue
		}
		used := *k
		if use.At.After(used.LastUsedAt) {
			used.LastUsedAt = use.At
		}
		if use.Hash != nil {
			used.Hash = *use.Hash
			if live := s.state.Key(k.ID); live != nil {
				anew := *live
				anew.Hash = *use.Hash
				s.state = s.state.Apply(&access.Change{Keys: []*auth.Key{&anew}})
			}
		}
		s.keys[use.Key] = &used
	}
	return nil
}

// Key returns a key whatever its status, or auth.ErrNoKey.
func (s *Store) Key(ctx context.Context, id string) (*auth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if k := s.keys[id]; k != nil {
		return k, nil
	}
	return nil, auth.ErrNoKey
}

// Keys returns a page of keys, newest first.
func (s *Store) Keys(ctx context.Context, page auth.Page) ([]*auth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	var all []*auth.Key
	for _, k := range s.keys {
		at := newestFirst(page.After, auth.Cursor{CreatedAt: k.CreatedAt, ID: k.ID})
		if (page.Tenant == "" || page.Tenant == k.Tenant) && (page.After == (auth.Cursor{}) || at < 0) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *auth.Key) int {
		return newestFirst(auth.Cursor{CreatedAt: a.CreatedAt, ID: a.ID}, auth.Cursor{CreatedAt: b.CreatedAt, ID: b.ID})
	})
	return all[:min(page.Limit, len(all))], nil
}

func newestFirst(a, b auth.Cursor) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
}

// Ping reports whether the Store answers.
func (s *Store) Ping(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin(ctx)
}

func (s *Store) head(tenant string) audit.Head {
	head := s.heads[tenant]
	head.Tenant = tenant
	return head
}

func (s *Store) add(entries []audit.Entry) error {
	for _, e := range entries {
		chain, head := s.chains[e.Tenant], s.head(e.Tenant)
		if n := len(chain); n > 0 && chain[n-1].Seq > head.Seq { // its head is damaged
			head.Seq, head.Hash = chain[n-1].Seq, ""
		}
		if head.Seq == 0 && e.Tenant != audit.Platform {
			if err := s.add([]audit.Entry{audit.Opened(e.Tenant, e.At)}); err != nil {
				return err
			}
		}
		next, err := head.Next(e)
		if err != nil {
			return err
		}
		s.chains[e.Tenant] = append(s.chains[e.Tenant], next)
		s.heads[e.Tenant] = audit.Head{Tenant: e.Tenant, Seq: next.Seq, Hash: next.Hash}
	}
	return nil
}

// Append implements audit.Store.
func (s *Store) Append(ctx context.Context, entries []audit.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.add(entries)
}

// Entries implements audit.Store.
func (s *Store) Entries(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	var out []audit.Entry
	for _, e := range slices.Backward(s.chains[f.Tenant]) {
		if len(out) < f.Limit && f.Matches(&e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// Chain implements audit.Store.
func (s *Store) Chain(ctx context.Context, tenant string, from int64) ([]audit.Entry, audit.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, audit.Head{}, err
	}
	var page []audit.Entry
	for _, e := range s.chains[tenant] {
		if e.Seq >= from && len(page) < audit.ChainPage {
			page = append(page, e)
		}
	}
	return page, s.head(tenant), nil
}

// Heads implements audit.Store.
func (s *Store) Heads(ctx context.Context, since time.Time, most int) ([]audit.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	var out []audit.Head
	for tenant, chain := range s.chains {
		moved := len(chain) > 0 && !chain[len(chain)-1].At.Before(since)
		if len(out) < most && moved && (since.IsZero() || s.heads[tenant].Seq > 0) {
			out = append(out, s.head(tenant))
		}
	}
	if since.IsZero() && len(s.chains[audit.Platform]) == 0 && len(s.history) > 1 && len(out) < most {
		out = append(out, audit.Head{})
	}
	return out, nil
}

// Trim implements audit.Store.
func (s *Store) Trim(ctx context.Context, tenant string, before time.Time, most int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	chain := s.chains[tenant]
	var opened int64
	for _, e := range chain {
		if tenant == audit.Platform && e.Action == audit.OpenAction {
			opened++
		}
	}
	oldest := chain[:max(0, min(len(chain)-1, audit.CutPage))]
	n := audit.Cut(oldest, s.head(tenant), opened, before, most)
	if n == 0 {
		return 0, nil
	}
	s.chains[tenant] = slices.Clone(chain[n:])
	return int64(n), s.add(audit.Cutting(oldest[:n], time.Now()))
}

// Damage changes an entry of a chain behind everybody's back.
func (s *Store) Damage(tenant string, seq int64, change func(*audit.Entry)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.chains[tenant] {
		if s.chains[tenant][i].Seq == seq {
			s.chains[tenant] = slices.Clone(s.chains[tenant])
			change(&s.chains[tenant][i])
			return nil
		}
	}
	return errors.New("there is no such entry")
}

// Remove deletes entries of a chain behind everybody's back, and its head as well.
func (s *Store) Remove(tenant string, from, to int64, head bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chains[tenant] = slices.DeleteFunc(slices.Clone(s.chains[tenant]), func(e audit.Entry) bool { return e.Seq >= from && e.Seq <= to })
	if head {
		delete(s.heads, tenant)
	}
}

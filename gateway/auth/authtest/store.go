package authtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Store is an auth.KeyStore in memory, for tests. The zero Store is empty.
type Store struct {
	mu   sync.Mutex
	keys map[string]auth.Key
	err  error
	gets int
}

var _ auth.KeyStore = (*Store)(nil)

// Fail makes every call return err until it is nil again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Gets counts the calls of Get.
func (s *Store) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Create implements auth.KeyStore.
func (s *Store) Create(ctx context.Context, key *auth.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return err
	}
	if _, ok := s.keys[key.ID]; ok {
		return auth.ErrKeyExists
	}
	if s.keys == nil {
		s.keys = map[string]auth.Key{}
	}
	s.keys[key.ID] = *key
	return nil
}

// Get implements auth.KeyStore.
func (s *Store) Get(ctx context.Context, id string) (*auth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return nil, err
	}
	key, ok := s.keys[id]
	if !ok {
		return nil, auth.ErrNoKey
	}
	return &key, nil
}

// List implements auth.KeyStore.
func (s *Store) List(ctx context.Context, page auth.Page) ([]*auth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return nil, err
	}
	var all []*auth.Key
	for _, key := range s.keys {
		at := newestFirst(page.After, auth.Cursor{CreatedAt: key.CreatedAt, ID: key.ID})
		if (page.Tenant == "" || page.Tenant == key.Tenant) && (page.After == (auth.Cursor{}) || at < 0) {
			all = append(all, &key)
		}
	}
	slices.SortFunc(all, func(a, b *auth.Key) int {
		return newestFirst(auth.Cursor{CreatedAt: a.CreatedAt, ID: a.ID}, auth.Cursor{CreatedAt: b.CreatedAt, ID: b.ID})
	})
	return all[:min(page.Limit, len(all))], nil
}

// Revoke implements auth.KeyStore.
func (s *Store) Revoke(ctx context.Context, id string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return err
	}
	key, ok := s.keys[id]
	if !ok {
		return auth.ErrNoKey
	}
	if key.RevokedAt.IsZero() {
		key.RevokedAt = now
	}
	s.keys[id] = key
	return nil
}

func newestFirst(a, b auth.Cursor) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/postgres/db"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/internal/postgresql"
)

// Key returns a key whatever its status, or auth.ErrNoKey.
func (s *Store) Key(ctx context.Context, id string) (*auth.Key, error) {
	if !postgresql.Storable(id) {
		return nil, fmt.Errorf("get key: %w", auth.ErrNoKey)
	}
	row, err := s.queries.GetKey(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("get key: %w", auth.ErrNoKey)
	}
	if err != nil {
		return nil, notRead(ctx, "get key", err)
	}
	return stored.Key(row).Key()
}

// Keys returns a page of keys, newest first, whatever their status.
func (s *Store) Keys(ctx context.Context, page auth.Page) ([]*auth.Key, error) {
	before, beforeID := stored.Before(page)
	if !postgresql.Storable(page.Tenant, beforeID) {
		return nil, nil
	}
	var rows []db.Key
	var err error
	if page.Tenant == "" {
		rows, err = s.queries.ListKeys(ctx, db.ListKeysParams{Before: before, BeforeID: beforeID, Most: int64(page.Limit)})
	} else {
		rows, err = s.queries.ListKeysOfTenant(ctx, db.ListKeysOfTenantParams{
			Tenant: page.Tenant, Before: before, BeforeID: beforeID, Most: int64(page.Limit),
		})
	}
	if err != nil {
		return nil, notRead(ctx, "list keys", err)
	}
	keys := make([]*auth.Key, 0, len(rows))
	for _, row := range rows {
		key, err := stored.Key(row).Key()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Used implements rights.Store.
func (s *Store) Used(ctx context.Context, uses []rights.Use) error {
	return s.write(ctx, func(q *db.Queries) error {
		var rows []db.NoteUseParams
		for _, use := range stored.SortedUses(uses) {
			row := db.NoteUseParams{UsedAt: stored.Millis(use.At), ID: use.Key}
			if use.Hash != nil {
				row.Hash, row.HashBy = use.Hash.Sum[:], &use.Hash.By
			}
			rows = append(rows, row)
		}
		if err := all(q.NoteUse(ctx, rows)); err != nil {
			return fmt.Errorf("note the use of keys: %w", err)
		}
		return nil
	})
}

// Convert has plain hashes, as keys were stored at first, take another form. It
// returns how many.
func (s *Store) Convert(ctx context.Context, convert func(auth.Hash) auth.Hash) (int, error) {
	converted := 0
	err := s.write(ctx, func(q *db.Queries) error {
		rows, err := q.PlainHashes(ctx)
		if err != nil {
			return fmt.Errorf("read keys' hashes: %w", err)
		}
		var anew []db.ConvertHashParams
		for _, row := range rows {
			plain := auth.Hash{}
			copy(plain.Sum[:], row.Hash)
			hash := convert(plain)
			anew = append(anew, db.ConvertHashParams{Hash: hash.Sum[:], HashBy: hash.By, ID: row.ID})
		}
		if err := all(q.ConvertHash(ctx, anew)); err != nil {
			return fmt.Errorf("convert keys' hashes: %w", err)
		}
		converted = len(anew)
		return nil
	})
	return converted, err
}

// HashedBy counts keys that are good by the id of the key of their hash.
func (s *Store) HashedBy(ctx context.Context) (map[string]int, error) {
	rows, err := s.queries.CountHashKeys(ctx, time.Now().UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("count keys' hashes: %w", err)
	}
	counts := make(map[string]int, len(rows))
	for _, row := range rows {
		counts[row.HashBy] = int(row.Keys)
	}
	return counts, nil
}

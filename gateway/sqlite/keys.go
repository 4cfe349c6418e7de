package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
)

// Key returns a key whatever its status, or auth.ErrNoKey.
func (s *Store) Key(ctx context.Context, id string) (*auth.Key, error) {
	var row db.Key
	err := s.get(ctx, s.reader, func(ctx context.Context, q *db.Queries) (err error) {
		row, err = q.GetKey(ctx, id)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("get key: %w", auth.ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("get key: %w", err)
	}
	return stored.Key(row).Key()
}

// Keys returns a page of keys, newest first, whatever their status.
func (s *Store) Keys(ctx context.Context, page auth.Page) ([]*auth.Key, error) {
	before, beforeID := stored.Before(page)
	var rows []db.Key
	err := s.get(ctx, s.reader, func(ctx context.Context, q *db.Queries) (err error) {
		if page.Tenant == "" {
			rows, err = q.ListKeys(ctx, db.ListKeysParams{Before: before, BeforeID: beforeID, Most: int64(page.Limit)})
			return err
		}
		rows, err = q.ListKeysOfTenant(ctx, db.ListKeysOfTenantParams{
			Tenant: page.Tenant, Before: before, BeforeID: beforeID, Most: int64(page.Limit),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
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
		for _, use := range stored.SortedUses(uses) {
			if !use.At.IsZero() {
				if err := q.NoteUse(ctx, db.NoteUseParams{UsedAt: stored.Millis(use.At), ID: use.Key}); err != nil {
					return fmt.Errorf("note a key's use: %w", err)
				}
			}
			if use.Hash != nil {
				if err := q.PutHash(ctx, db.PutHashParams{Hash: use.Hash.Sum[:], HashBy: use.Hash.By, ID: use.Key}); err != nil {
					return fmt.Errorf("note a key's hash: %w", err)
				}
			}
		}
		return nil
	})
}

// Convert has plain hashes, as keys were stored at first, take another form. It
// returns how many.
func (s *Store) Convert(ctx context.Context, convert func(auth.Hash) auth.Hash) (int, error) {
	var converted int64
	err := s.write(ctx, func(q *db.Queries) error {
		rows, err := q.PlainHashes(ctx)
		if err != nil {
			return fmt.Errorf("read keys' hashes: %w", err)
		}
		for _, row := range rows {
			plain := auth.Hash{}
			copy(plain.Sum[:], row.Hash)
			anew := convert(plain)
			n, err := q.ConvertHash(ctx, db.ConvertHashParams{Hash: anew.Sum[:], HashBy: anew.By, ID: row.ID})
			if err != nil {
				return fmt.Errorf("convert a key's hash: %w", err)
			}
			converted += n
		}
		return nil
	})
	return int(converted), err
}

// HashedBy counts keys that are good by the id of the key of their hash.
func (s *Store) HashedBy(ctx context.Context) (map[string]int, error) {
	var rows []db.CountHashKeysRow
	err := s.get(ctx, s.reader, func(ctx context.Context, q *db.Queries) (err error) {
		rows, err = q.CountHashKeys(ctx, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count keys' hashes: %w", err)
	}
	counts := make(map[string]int, len(rows))
	for _, row := range rows {
		counts[row.HashBy] = int(row.Keys)
	}
	return counts, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/gateway/sqlite/db"
)

// KeptPolicy implements artifact.LastGood.
func (s *Store) KeptPolicy(ctx context.Context, model string) ([]byte, error) {
	var data []byte
	err := s.get(ctx, s.poll, func(ctx context.Context, q *db.Queries) (err error) {
		data, err = q.Policy(ctx, model)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the newest policy of a model: %w", err)
	}
	return data, nil
}

// KeepPolicy implements artifact.LastGood.
func (s *Store) KeepPolicy(ctx context.Context, model string, generation int64, data []byte) error {
	return s.write(ctx, func(q *db.Queries) error {
		err := q.KeepPolicy(ctx, db.KeepPolicyParams{Model: model, Generation: generation, Data: data})
		if err != nil {
			return fmt.Errorf("keep the newest policy of a model: %w", err)
		}
		return nil
	})
}

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/gateway/postgres/db"
	"github.com/modelserveai/modelserve/internal/postgresql"
)

// KeptPolicy implements artifact.LastGood.
func (s *Store) KeptPolicy(ctx context.Context, model string) ([]byte, error) {
	if !postgresql.Storable(model) {
		return nil, nil
	}
	data, err := s.queries.Policy(ctx, model)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failed(fmt.Errorf("read the newest policy of a model: %w", err))
	}
	return data, nil
}

// KeepPolicy implements artifact.LastGood. Of several replicas that keep one at once
// the latest generation stays, for the one statement decides it.
func (s *Store) KeepPolicy(ctx context.Context, model string, generation int64, data []byte) error {
	err := s.queries.KeepPolicy(ctx, db.KeepPolicyParams{Model: model, Generation: generation, Data: data})
	if err != nil {
		return s.failed(fmt.Errorf("keep the newest policy of a model: %w", err))
	}
	return nil
}

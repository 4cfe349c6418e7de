// Package postgres keeps pipelines and their executions in PostgreSQL, for services of
// several replicas.
//
// It satisfies the interfaces of package record and decides nothing. The SQL is in
// queries and migrations, the Go in db is generated from it by sqlc. Its tables have a
// schema of their own, "pipelines", so that the database may be the gateway's as well.
package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
)

//go:generate go -C ../../tools/sqlc tool sqlc generate -f ../../pipelines/postgres/sqlc.yaml

//go:embed migrations/*.sql
var migrations embed.FS

const (
	whose  = "the pipelines' database"
	schema = "pipelines"

	maxQuick   = 6 // connections for what comes again when it is lost
	maxReading = 4 // and those for what only reads
)

// Store is pipelines and their executions in a PostgreSQL database.
type Store struct {
	durable *pgxpool.Pool // a commit is on the disk when it returns
	quick   *pgxpool.Pool // a crash of the database's machine may undo the last of them
	reading *pgxpool.Pool // also of a server that takes no writes
}

var _ record.Store = (*Store)(nil)

// Open connects to the database of a URL, and brings its schema up to date; several
// replicas may do so at once. Of several hosts in the URL the one is taken that can be
// written to, where the URL's target_session_attrs does not say otherwise. No error
// repeats the URL.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := postgresql.Parse(url, whose, "modelserve-pipelines")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	config.ConnConfig.RuntimeParams["search_path"] = schema
	if err := migrate(ctx, config.ConnConfig); err != nil {
		return nil, fmt.Errorf("open %s: %w", whose, err)
	}
	config.ConnConfig.DialFunc = postgresql.Patient(config.ConnConfig.DialFunc) // a migration may take longer
	config.PingTimeout = time.Second
	quick, reading := config.Copy(), config.Copy()
	quick.MaxConns, quick.MinConns = maxQuick, 0
	quick.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	reading.MaxConns, reading.MinConns = maxReading, 0
	if !strings.Contains(url, "target_session_attrs") {
		reading.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	s := &Store{}
	for _, p := range []struct {
		pool   **pgxpool.Pool
		config *pgxpool.Config
	}{{&s.durable, config}, {&s.quick, quick}, {&s.reading, reading}} {
		pool, err := pgxpool.NewWithConfig(ctx, p.config)
		if err == nil {
			*p.pool = pool
			err = pool.Ping(ctx)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", whose, err), s.Close())
		}
	}
	return s, nil
}

func migrate(ctx context.Context, config *pgx.ConnConfig) (err error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	// Two replicas that make it at once: one of them is refused, and finds it.
	for range 2 {
		if _, err = conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err == nil {
			break
		}
	}
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("make schema %s: %w", schema, err)
	}
	return postgresql.Migrate(ctx, config, files) //nolint:wrapcheck // it says all
}

// Close closes the connections. Closing twice is safe.
func (s *Store) Close() error {
	for _, pool := range []*pgxpool.Pool{s.durable, s.quick, s.reading} {
		if pool != nil {
			pool.Close()
		}
	}
	return nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	_, err := db.New(s.reading).Now(ctx)
	return s.failed(ctx, "ping "+whose, err)
}

// failed is what a caller gets of an error: record's own, as far as it is one of them.
// Connections are made anew where they are to a server that is no longer the one to
// write to.
func (s *Store) failed(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var refused *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = record.ErrNotFound
	case isOurs(err):
	case errors.As(err, &refused) && refused.Code == uniqueViolation:
		err = fmt.Errorf("%w: %w", record.ErrConflict, err)
	case postgresql.IsReadOnly(err):
		s.durable.Reset()
		s.quick.Reset()
		err = fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	case ctx.Err() == nil && postgresql.IsAway(err):
		err = fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

const uniqueViolation = "23505"

func isOurs(err error) bool {
	for _, own := range []error{record.ErrNotFound, record.ErrConflict, record.ErrOtherBody, record.ErrInUse, record.ErrUnavailable, record.ErrCursor} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// within has do write in a transaction of a pool. do's error undoes it and is returned
// as it is.
func within(ctx context.Context, pool *pgxpool.Pool, do func(*db.Queries) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return do(db.New(tx)) }) //nolint:wrapcheck // its callers do
}

// Package postgres keeps the gateway's state in PostgreSQL, for gateways of several
// replicas.
//
// It satisfies the gateway's interfaces and decides nothing. The SQL is in
// queries and migrations, the Go in db is generated from it by sqlc.
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

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/postgres/db"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/postgresql"
)

//go:generate go -C ../../tools/sqlc tool sqlc generate -f ../../gateway/postgres/sqlc.yaml

//go:embed migrations/*.sql
var migrations embed.FS

// maxPolling is how many connections the poll has for itself, so that it waits for no
// change; one is used, others replace one that hangs.
const maxPolling = 4

// Store is the gateway's state in a PostgreSQL database. It implements rights.Store,
// audit.Store and usage.Store.
type Store struct {
	pool, poll *pgxpool.Pool
	queries    *db.Queries // of pool
}

var (
	_ rights.Store = (*Store)(nil)
	_ audit.Store  = (*Store)(nil)
	_ usage.Store  = (*Store)(nil)
)

// Open connects to the database of a URL, and brings its schema up to date; several
// replicas may do so at once. Of several hosts in the URL the one is taken that can
// be written to, where the URL's target_session_attrs does not say otherwise. No
// error repeats the URL.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := postgresql.Parse(url, what, "modelserve-gateway")
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	if err := postgresql.Migrate(ctx, config.ConnConfig, files); err != nil {
		return nil, fmt.Errorf("open the gateway's database: %w", err)
	}
	config.ConnConfig.DialFunc = postgresql.Patient(config.ConnConfig.DialFunc) // a migration may take longer
	config.PingTimeout = time.Second
	s, err := open(ctx, config, url)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.pool.Ping(ctx), s.poll.Ping(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the gateway's database: %w", err), s.Close())
	}
	return s, nil
}

const what = "the gateway's database"

// Beside opens the database for another process than the gateway: it waits for no
// connection and leaves the schema as it is, so that what it is asked before the gateway
// has made that fails. No error repeats the URL.
func Beside(ctx context.Context, url, application string) (*Store, error) {
	config, err := postgresql.Parse(url, what, application)
	if err != nil {
		return nil, err
	}
	config.MinConns, config.MinIdleConns = 0, 0
	config.ConnConfig.DialFunc = postgresql.Patient(config.ConnConfig.DialFunc)
	return open(ctx, config, url)
}

// open makes the pools, and waits for no connection.
func open(ctx context.Context, config *pgxpool.Config, url string) (s *Store, err error) {
	polling := config.Copy()
	polling.MaxConns, polling.MinConns = maxPolling, 0
	if !strings.Contains(url, "target_session_attrs") {
		// What takes no writes can still be followed.
		polling.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	s = &Store{}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open the gateway's database: %w", err)
	}
	if s.poll, err = pgxpool.NewWithConfig(ctx, polling); err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("open the gateway's database: %w", err)
	}
	s.queries = db.New(s.pool)
	return s, nil
}

// Close closes the connections. Closing twice is safe.
func (s *Store) Close() error {
	s.pool.Close()
	s.poll.Close()
	return nil
}

// Sound returns nil: PostgreSQL sees to its files itself.
func (*Store) Sound(context.Context) error { return nil }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.queries.Newest(ctx); err != nil {
		return s.failed(fmt.Errorf("ping the gateway's database: %w", err))
	}
	return nil
}

// errStandby is of a server that follows another, and may be behind.
var errStandby = fmt.Errorf("%w: it is a standby, in recovery", rights.ErrAway)

// failed has connections made anew where an error says that they are to a server
// that is no longer the one to write to. It returns the error.
func (s *Store) failed(err error) error {
	switch {
	case errors.Is(err, errStandby):
		s.pool.Reset()
		s.poll.Reset()
	case postgresql.IsReadOnly(err):
		s.pool.Reset()
	}
	return err
}

// notRead is why something was not read: of a server that is away, busy or too slow,
// rights.ErrAway, where the caller's own time was not what ended.
func notRead(ctx context.Context, what string, err error) error {
	if ctx.Err() == nil && isAway(err) {
		return fmt.Errorf("%s: %w: %w", what, rights.ErrAway, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isAway reports whether an error is of a server that is away, but for one that says so
// already.
func isAway(err error) bool { return !errors.Is(err, rights.ErrAway) && postgresql.IsAway(err) }

// write has do write in a transaction. do's error undoes it and is returned as it
// is.
func (s *Store) write(ctx context.Context, do func(*db.Queries) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return s.failed(fmt.Errorf("write to the gateway's database: %w", err))
	}
	defer func() { _ = tx.Rollback(ctx) }() // where it was not committed; a connection that cannot is closed
	if err := do(db.New(tx)); err != nil {
		return s.failed(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return s.failed(fmt.Errorf("write to the gateway's database: %w", err))
	}
	return nil
}

// read has do read what was stored at one moment, beside whatever changes.
func (s *Store) read(ctx context.Context, pool *pgxpool.Pool, do func(*db.Queries) error) error {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return s.failed(notRead(ctx, "read the gateway's database", err))
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing was written
	return s.failed(do(db.New(tx)))
}

// all is the first error of a batch.
func all(batch interface{ Exec(func(int, error)) }) error {
	var first error
	batch.Exec(func(_ int, err error) {
		if first == nil {
			first = err
		}
	})
	return first
}

// Package sqlite keeps the gateway's state in one file, for the local platform
// and single-node use: no server to install.
//
// It satisfies the gateway's interfaces and decides nothing. The SQL is in
// queries and migrations, the Go in db is generated from it by sqlc.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/sqlitefile"
)

//go:generate go -C ../../tools/sqlc tool sqlc generate -f ../../gateway/sqlite/sqlc.yaml

//go:embed migrations/*.sql
var migrations embed.FS

// Store is the gateway's state in a SQLite file. It implements rights.Store,
// audit.Store and usage.Store.
type Store struct {
	reader, poll, writer *sql.DB

	holder *sql.DB // has one connection, so that SQLite removes no file of the database
	files  *sqlitefile.Files
}

var (
	_ rights.Store = (*Store)(nil)
	_ audit.Store  = (*Store)(nil)
	_ usage.Store  = (*Store)(nil)
)

// Open opens the file, makes it (mode 0600, in a folder that exists) when it
// is not there, and brings its schema up to date. Several processes may have
// it open.
func Open(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := sqlitefile.Protect(abs); err != nil {
		return nil, fmt.Errorf("protect the gateway's database: %w", err)
	}
	opened, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	schema, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	s := &Store{}
	if s.writer, err = sqlitefile.Connect(abs, 1, "synchronous(FULL)"); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := sqlitefile.Migrate(ctx, s.writer, abs+".lock", schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.writer.Close())
	}
	if s.reader, err = sqlitefile.Connect(abs, maxReaders, "query_only(true)"); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.writer.Close())
	}
	if s.poll, err = sqlitefile.Connect(abs, maxPolling, "query_only(true)"); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.reader.Close(), s.writer.Close())
	}
	if s.holder, err = sqlitefile.Connect(abs, 1, "query_only(true)"); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.poll.Close(), s.reader.Close(), s.writer.Close())
	}
	if _, err = db.New(s.holder).Newest(ctx); err == nil { // it has the files from now on
		s.files, err = sqlitefile.Watch(abs, opened, "the gateway's database")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.Close())
	}
	return s, nil
}

// Sound returns an error where the file was removed, replaced or damaged, so that an
// operator has to act.
func (s *Store) Sound(ctx context.Context) error {
	return s.files.Sound(ctx, s.reader, s.writer) //nolint:wrapcheck // it says all
}

// Close closes the file. Closing twice is safe.
func (s *Store) Close() error {
	if err := errors.Join(s.poll.Close(), s.reader.Close(), s.writer.Close(), s.holder.Close()); err != nil {
		return fmt.Errorf("close the gateway's database: %w", err)
	}
	return nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	err := s.get(ctx, s.poll, func(ctx context.Context, q *db.Queries) error {
		_, err := q.Newest(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ping the gateway's database: %w", err)
	}
	return nil
}

// errBusy is why a writer gave up.
var errBusy = fmt.Errorf("%w: another change takes too long", rights.ErrAway)

// write has do write in a transaction, which no other overlaps. do's error undoes
// it and is returned as it is.
func (s *Store) write(ctx context.Context, do func(*db.Queries) error) (err error) {
	defer func() { err = s.files.Note(err) }()
	waiting, cancel := context.WithTimeoutCause(ctx, sqlitefile.LockTimeout, errBusy)
	defer cancel()
	conn, err := s.writer.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			err = errBusy
		}
		return fmt.Errorf("write to the gateway's database: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back
	tx, err := conn.BeginTx(ctx, nil)   // immediate: takes the write lock at once
	if err != nil {
		if ctx.Err() == nil && sqlitefile.IsAway(err) {
			err = fmt.Errorf("%w: %w", rights.ErrAway, err)
		}
		return fmt.Errorf("write to the gateway's database: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // where it was not committed
	if err := do(db.New(tx)); err != nil {
		return err
	}
	if err := s.files.InPlace(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write to the gateway's database: %w", err)
	}
	return nil
}

// Package sqlite keeps pipelines and their executions in one file, for the local
// platform and single-node use: no server to install.
//
// It satisfies the interfaces of package record and decides nothing. The SQL is in
// queries and migrations, the Go in db is generated from it by sqlc. The database's
// clock is this process's.
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
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/modelserveai/modelserve/internal/sqlitefile"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

//go:generate go -C ../../tools/sqlc tool sqlc generate -f ../../pipelines/sqlite/sqlc.yaml

//go:embed migrations/*.sql
var migrations embed.FS

const (
	whose = "the pipelines' database"

	maxReaders = 4               // beside the one writer that SQLite allows
	waitWithin = time.Second     // for a reader
	readWithin = 5 * time.Second // with the waiting
)

// Store is pipelines and their executions in a SQLite file.
type Store struct {
	reader, writer *sql.DB

	holder *sql.DB // has one connection, so that SQLite removes no file of the database
	files  *sqlitefile.Files
}

var _ record.Store = (*Store)(nil)

// Open opens the file, makes it (mode 0600, in a folder that exists) when it is not
// there, and brings its schema up to date. Several processes may have it open.
func Open(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := sqlitefile.Protect(abs); err != nil {
		return nil, fmt.Errorf("protect %s: %w", whose, err)
	}
	s := &Store{}
	if err := s.open(ctx, abs); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	opened, err := os.Stat(path)
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	schema, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	if s.writer, err = sqlitefile.Connect(path, 1, "synchronous(FULL)"); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	if err := sqlitefile.Migrate(ctx, s.writer, path+".lock", schema); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	if s.reader, err = sqlitefile.Connect(path, maxReaders, "query_only(true)"); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	if s.holder, err = sqlitefile.Connect(path, 1, "query_only(true)"); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	if _, err := db.New(s.holder).Running(ctx); err != nil { // it has the files from now on
		return err //nolint:wrapcheck // its caller does
	}
	s.files, err = sqlitefile.Watch(path, opened, whose)
	return err //nolint:wrapcheck // its caller does
}

// Close closes the file. Closing twice is safe.
func (s *Store) Close() error {
	var err error
	for _, conns := range []*sql.DB{s.reader, s.writer, s.holder} {
		if conns != nil {
			err = errors.Join(err, conns.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", whose, err)
	}
	return nil
}

// Sound returns an error where the file was removed, replaced or damaged, so that an
// operator has to act.
func (s *Store) Sound(ctx context.Context) error {
	return s.files.Sound(ctx, s.reader, s.writer) //nolint:wrapcheck // it says all
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "ping "+whose, func(ctx context.Context, q *db.Queries) error {
		_, err := q.Waiting(ctx, db.WaitingParams{Most: 1})
		return err //nolint:wrapcheck // above
	})
}

// errBusy is why a writer or a reader gave up.
var errBusy = fmt.Errorf("%w: others take too long", record.ErrUnavailable)

// How a transaction commits.
const (
	durable = false // it is on the disk when it returns
	quick   = true  // a crash of the machine may undo the last of them
)

// write has do write in a transaction, which no other overlaps, at a time. do's error
// undoes it.
func (s *Store) write(ctx context.Context, what string, quick bool, do func(q *db.Queries, now int64) error) error {
	return s.failed(ctx, what, s.transact(ctx, quick, do))
}

func (s *Store) transact(ctx context.Context, quick bool, do func(q *db.Queries, now int64) error) (err error) {
	waiting, cancel := context.WithTimeout(ctx, sqlitefile.LockTimeout)
	defer cancel()
	conn, err := s.writer.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			return errBusy
		}
		return err //nolint:wrapcheck // its caller does
	}
	defer func() { _ = conn.Close() }() // gives it back
	if err := s.commitsAs(ctx, conn, quick); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil) // immediate: takes the write lock at once
	if err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	defer func() { _ = tx.Rollback() }() // where it was not committed
	if err := do(db.New(tx), time.Now().UnixMilli()); err != nil {
		return err
	}
	if err := s.files.InPlace(); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	return tx.Commit() //nolint:wrapcheck // its caller does
}

// commitsAs has the writer's connection commit one way or the other. A connection that
// is new, because the one before broke, is asked as well.
func (s *Store) commitsAs(ctx context.Context, conn *sql.Conn, quick bool) error {
	pragma := "PRAGMA synchronous = FULL"
	if quick {
		pragma = "PRAGMA synchronous = NORMAL"
	}
	_, err := conn.ExecContext(ctx, pragma)
	return err //nolint:wrapcheck // its caller does
}

// read has do read what was stored at one moment.
func (s *Store) read(ctx context.Context, what string, do func(context.Context, *db.Queries) error) error {
	return s.failed(ctx, what, s.withReader(ctx, do))
}

func (s *Store) withReader(ctx context.Context, do func(context.Context, *db.Queries) error) error {
	reading, cancel := context.WithTimeoutCause(ctx, readWithin, errBusy)
	defer cancel()
	waiting, cancel := context.WithTimeoutCause(reading, waitWithin, errBusy)
	defer cancel()
	conn, err := s.reader.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			return errBusy
		}
		return err //nolint:wrapcheck // its caller does
	}
	defer func() { _ = conn.Close() }() // gives it back
	tx, err := conn.BeginTx(reading, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	if err := do(reading, db.New(tx)); err != nil {
		if ctx.Err() == nil && reading.Err() != nil {
			return fmt.Errorf("%w: %w", errBusy, err)
		}
		return err
	}
	return nil
}

// failed is what a caller gets of an error: record's own, as far as it is one of them.
func (s *Store) failed(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	_ = s.files.Note(err)
	var e *sqlite.Error
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = record.ErrNotFound
	case errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE):
		err = fmt.Errorf("%w: %w", record.ErrConflict, err)
	case ctx.Err() == nil && (sqlitefile.IsAway(err) || sqlitefile.TakesNoWrites(err)):
		err = fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

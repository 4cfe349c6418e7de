package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
	"github.com/modelserveai/modelserve/internal/sqlitefile"
)

const (
	maxReaders = 4 // beside the one writer that SQLite allows
	maxPolling = 2 // the readers of what calls wait for, so that it waits for no list; one replaces one that hangs

	waitWithin = time.Second     // for a reader
	readWithin = 5 * time.Second // with the waiting: a filter of a long chain may match nothing
)

// errReaders is why a reading gave up.
var errReaders = fmt.Errorf("%w: other readings take too long", rights.ErrAway)

// get has do read with a reader of a pool. do's error is returned as it is.
func (s *Store) get(ctx context.Context, pool *sql.DB, do func(context.Context, *db.Queries) error) error {
	return s.withReader(ctx, pool, func(ctx context.Context, conn *sql.Conn) error { return do(ctx, db.New(conn)) })
}

// read has do read what was stored at one moment, likewise. What is read may be
// slow to be used: do leaves that for later.
func (s *Store) read(ctx context.Context, pool *sql.DB, do func(context.Context, *db.Queries) error) error {
	return s.withReader(ctx, pool, func(ctx context.Context, conn *sql.Conn) error {
		tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return fmt.Errorf("read the gateway's database: %w", err)
		}
		defer func() { _ = tx.Rollback() }() // nothing was written
		return do(ctx, db.New(tx))
	})
}

func (s *Store) withReader(ctx context.Context, pool *sql.DB, do func(context.Context, *sql.Conn) error) (err error) {
	defer func() { err = s.files.Note(err) }()
	reading, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	waiting, cancel := context.WithTimeout(reading, waitWithin)
	defer cancel()
	conn, err := pool.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			err = errReaders
		}
		if ctx.Err() == nil && sqlitefile.IsAway(err) {
			err = fmt.Errorf("%w: %w", rights.ErrAway, err)
		}
		return fmt.Errorf("read the gateway's database: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back
	err = do(reading, conn)
	if err != nil && ctx.Err() == nil && (reading.Err() != nil || sqlitefile.IsAway(err)) {
		return fmt.Errorf("%w: %w", rights.ErrAway, err)
	}
	return err
}

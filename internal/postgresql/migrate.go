package postgresql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Another replica's migrations are waited for, with a try each second.
const (
	lockEvery = 1   // seconds
	lockTries = 120 // of them
)

// Migrate brings the schema of a connection up to date with the files of a folder,
// while no other process migrates the database. A schema that is newer than this
// program is left as it is: each one suits the release before.
func Migrate(ctx context.Context, config *pgx.ConnConfig, files fs.FS) (err error) {
	config = config.Copy()
	for _, limit := range []string{"statement_timeout", "lock_timeout"} { // a migration takes as long as it takes
		delete(config.RuntimeParams, limit)
	}
	conn := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, conn.Close()) }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockEvery, lockTries))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

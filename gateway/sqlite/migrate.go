package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date. Files are applied in the order of
// their names, each in one transaction with SQLite's own user_version, which
// counts them. That is all a file that one process owns needs; a database that
// many processes share (PostgreSQL) takes a migration library with locks.
func migrate(ctx context.Context, conn *sql.DB) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if version > len(names) {
		return fmt.Errorf("the database has schema version %d, this program knows %d: use a newer one", version, len(names))
	}
	for i := version; i < len(names); i++ {
		if err := apply(ctx, conn, names[i], i+1); err != nil {
			return fmt.Errorf("migrate with %s: %w", names[i], err)
		}
	}
	return nil
}

// apply runs one migration, unless another process has done so meanwhile.
func apply(ctx context.Context, conn *sql.DB, name string, version int) (err error) {
	text, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil) // immediate: takes the write lock at once
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to return
		}
	}()
	var current int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&current); err != nil {
		return err
	}
	if current >= version {
		return tx.Rollback()
	}
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	// A pragma takes no parameters; version is our own number.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}

// Package sqlitefile opens SQLite databases that are one file, of a program that runs
// once: the file's mode and migrations, connections, and whether the file that is open
// is still the one in its place.
//
// It knows no table. Packages with tables of their own use it: gateway/sqlite and
// pipelines/sqlite.
package sqlitefile

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite" // the database/sql driver, without cgo
	sqlite3 "modernc.org/sqlite/lib"
)

// LockTimeout is how long is waited for the writer before, of this process or another.
const LockTimeout = time.Second

// Protect makes the file, or sees to its mode: SQLite would make it readable for
// all, and its journal files take this mode. A file that is there is not opened, for
// closing it would end the locks that this process has on it.
func Protect(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return os.Chmod(path, 0o600) //nolint:wrapcheck // it names the path
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o600), file.Close())
}

// Connect makes a pool of at most so many connections to a file that is there; each
// begins with a pragma, and its transactions take the write lock at once.
func Connect(path string, most int, pragma string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: url.Values{
		// Nothing is written but the file and its journal beside it.
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", LockTimeout.Milliseconds()), "temp_store(MEMORY)", pragma},
		"_txlock": {"immediate"},
		"mode":    {"rw"}, // none makes a file: SQLite would, in the place of one that was removed
	}.Encode()}
	conn, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	conn.SetMaxOpenConns(most)
	conn.SetMaxIdleConns(most)
	return conn, nil
}

// IsAway reports whether SQLite could not read a file, or not now.
func IsAway(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return true
	}
	return false
}

// TakesNoWrites reports whether a file could not be written to: the disk is full, or
// it is read-only.
func TakesNoWrites(err error) bool {
	return code(err) == sqlite3.SQLITE_FULL || code(err) == sqlite3.SQLITE_READONLY
}

// code is SQLite's primary code of an error; 0 is none.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

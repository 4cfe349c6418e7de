package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite"
	"github.com/modelserveai/modelserve/gateway/storetest"
	"github.com/modelserveai/modelserve/gateway/usage"
)

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// raw opens a database as any program can.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	conn, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// file implements storetest.Database.
type file struct {
	storetest.SQL

	path string
	conn *sql.DB
}

func newFile(t *testing.T, path string) *file {
	conn := raw(t, path)
	return &file{func(ctx context.Context, query string) error {
		_, err := conn.ExecContext(ctx, query)
		return err
	}, path, conn}
}

func (f *file) Open(t *testing.T) storetest.Store { return open(t, f.path) }

func (f *file) Copy(t *testing.T) storetest.Database {
	path := filepath.Join(t.TempDir(), "copy.db")
	f.Do(t, fmt.Sprintf("VACUUM INTO '%s'", path))
	return newFile(t, path)
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.RunStore(t, func(t *testing.T) storetest.Database { return newFile(t, filepath.Join(t.TempDir(), "gateway.db")) })
	storetest.RunDurable(t, func(t *testing.T) (storetest.Database, storetest.SQL) {
		f := newFile(t, filepath.Join(t.TempDir(), "gateway.db"))
		return f, f.SQL
	})
}

// TestAnotherProgramsWriteIsWaitedFor holds that a change which finds another program's
// write under way for too long is one to come again with.
func TestAnotherProgramsWriteIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	s := open(t, path)
	other, err := raw(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	change := func() error {
		_, err := s.Commit(t.Context(), rights.Position{}, func(*rights.Update) (*rights.Stored, error) { return &rights.Stored{}, nil })
		return err
	}
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if err := change(); !errors.Is(err, rights.ErrAway) {
		t.Errorf("beside another's write: %v", err)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := change(); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	// A name that is a URI's syntax is only a name.
	path := filepath.Join(t.TempDir(), "a b?mode=memory#%41.db")
	open(t, path)
	for _, name := range []string{path, path + "-wal", path + ".lock"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	if _, err := raw(t, path).ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "schema version 99") {
		t.Errorf("error %v", err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) func(*testing.T) usage.Store {
		path := filepath.Join(t.TempDir(), "gateway.db")
		return func(t *testing.T) usage.Store { return open(t, path) }
	})
}

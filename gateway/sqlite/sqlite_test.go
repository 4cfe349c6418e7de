package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/authtest"
	"github.com/modelserveai/modelserve/gateway/sqlite"
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

func TestKeyStore(t *testing.T) {
	t.Parallel()
	authtest.RunKeyStore(t, func(t *testing.T) auth.KeyStore {
		return open(t, filepath.Join(t.TempDir(), "gateway.db"))
	})
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	// A name that is a URI's syntax is only a name.
	path := filepath.Join(t.TempDir(), "a b?mode=memory#%41.db")
	open(t, path)
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestReopenKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	first := open(t, path)
	if err := first.Create(t.Context(), &auth.Key{ID: "k1", Name: "n", Tenant: "t"}); err != nil {
		t.Fatal(err)
	}
	second := open(t, path) // while the first still has it
	if _, err := second.Get(t.Context(), "k1"); err != nil {
		t.Error(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	conn, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "schema version 99") {
		t.Errorf("error %v", err)
	}
}

package sqlite_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// firstRelease makes a database as the first release did, and returns its queries by
// name.
func firstRelease(t *testing.T, path string) (*sql.DB, map[string]string) {
	t.Helper()
	conn := raw(t, path)
	schema, err := os.ReadFile("testdata/release1/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), string(schema)+"PRAGMA user_version = 1;"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/release1/queries.sql")
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, part := range strings.Split(string(text), "-- name: ")[1:] {
		name, query, _ := strings.Cut(part, " ")
		_, query, _ = strings.Cut(query, "\n")
		// As sqlc does, but by name.
		queries[name] = regexp.MustCompile(`sqlc\.arg\((\w+)\)`).ReplaceAllString(query, ":$1")
	}
	return conn, queries
}

func create(t *testing.T, conn *sql.DB, queries map[string]string, id string, revokedAt int64) {
	t.Helper()
	hash := sha256.Sum256([]byte(id))
	_, err := conn.ExecContext(t.Context(), queries["CreateKey"], id, "name", "a", `["infer:*"]`, `["operator"]`, hash[:], 1_700_000_000_000, 0, revokedAt)
	if err != nil {
		t.Fatal(err)
	}
}

func TestFirstReleasesDatabaseIsAdopted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	conn, queries := firstRelease(t, path)
	create(t, conn, queries, "k1", 0)
	create(t, conn, queries, "k2", 1_700_000_000_001)
	s := open(t, path)
	want := &auth.Key{
		ID: "k1", Name: "name", Tenant: "a", Scopes: []auth.Permission{auth.InferAll}, Lineage: "k1",
		Hash: auth.Hash{Sum: sha256.Sum256([]byte("k1"))}, CreatedAt: time.UnixMilli(1_700_000_000_000).UTC(),
	}
	u, err := s.Since(t.Context(), rights.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]*access.Tenant{"a": {Keys: []*auth.Key{want}}}, u.Tenants, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if u.Position.Number != 1 || u.Position.Mark == "" {
		t.Errorf("position %+v", u.Position)
	}
	gone, err := s.Key(t.Context(), "k2")
	if err != nil || gone.Status(time.Now()) != auth.Revoked {
		t.Errorf("the revoked key: %+v, %v", gone, err)
	}
	n, err := s.Convert(t.Context(), func(h auth.Hash) auth.Hash { return auth.Hash{By: "k", Sum: h.Sum} })
	if err != nil || n != 2 {
		t.Errorf("converted %d, %v", n, err)
	}
	again, err := open(t, path).Since(t.Context(), u.Position)
	if err != nil || again.Whole || again.Position != u.Position {
		t.Errorf("opened again: %+v, %v", again, err)
	}
	var version int
	if err := conn.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil || version != 5 {
		t.Errorf("schema version %d, %v: the first release would open it", version, err)
	}
}

func TestFirstReleasesQueriesRunOnTheNewSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	conn, queries := firstRelease(t, path)
	s := open(t, path)
	create(t, conn, queries, "k1", 0)
	key, err := s.Key(t.Context(), "k1")
	if err != nil || key.Lineage != "k1" {
		t.Errorf("the key of an older program: %+v, %v", key, err)
	}
	page := []any{sql.Named("before", int64(1)<<60), sql.Named("before_id", ""), sql.Named("max", 10), sql.Named("tenant", "a")}
	for name, args := range map[string][]any{"GetKey": {"k1"}, "ListKeys": page[:3], "ListKeysOfTenant": page} {
		rows := rowsOf(t, conn, queries[name], args...)
		if rows != 1 {
			t.Errorf("%s returns %d rows", name, rows)
		}
	}
	if _, err := conn.ExecContext(t.Context(), queries["RevokeKey"], sql.Named("revoked_at", 5), sql.Named("id", "k1")); err != nil {
		t.Fatal(err)
	}
	if key, err = s.Key(t.Context(), "k1"); err != nil || key.RevokedAt.IsZero() {
		t.Errorf("the key that an older program revoked: %+v, %v", key, err)
	}
}

func rowsOf(t *testing.T, conn *sql.DB, query string, args ...any) int {
	t.Helper()
	rows, err := conn.QueryContext(context.WithoutCancel(t.Context()), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

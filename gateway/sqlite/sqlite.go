// Package sqlite keeps the gateway's state in one file, for the local platform
// and single-node use: no server to install.
//
// It satisfies the gateway's interfaces and decides nothing. The SQL is in
// queries and migrations, the Go in db is generated from it by sqlc.
package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver, without cgo

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
)

//go:generate go -C ../../tools/sqlc tool sqlc generate -f ../../gateway/sqlite/sqlc.yaml

// maxConnections bounds readers beside the one writer that SQLite allows.
const maxConnections = 4

// Store is the gateway's state in a SQLite file. It implements auth.KeyStore.
type Store struct {
	conn    *sql.DB
	queries *db.Queries
}

var _ auth.KeyStore = (*Store)(nil)

// Open opens the file, makes it (mode 0600, in a folder that exists) when it
// is not there, and brings its schema up to date. Several processes may have
// it open.
func Open(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// SQLite would make it readable for all; its journal files take this mode.
	file, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the gateway's database: %w", err)
	}
	err = errors.Join(file.Chmod(0o600), file.Close())
	if err != nil {
		return nil, fmt.Errorf("protect the gateway's database: %w", err)
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: url.Values{
		// Nothing is written but the file and its journal beside it.
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "temp_store(MEMORY)"},
		"_txlock": {"immediate"},
	}.Encode()}
	conn, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	conn.SetMaxOpenConns(maxConnections)
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
	}
	return &Store{conn: conn, queries: db.New(conn)}, nil
}

// Close closes the file. Closing twice is safe.
func (s *Store) Close() error {
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close the gateway's database: %w", err)
	}
	return nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.conn.PingContext(ctx); err != nil {
		return fmt.Errorf("ping the gateway's database: %w", err)
	}
	return nil
}

// Create implements auth.KeyStore.
func (s *Store) Create(ctx context.Context, key *auth.Key) error {
	scopes, err := json.Marshal(append([]auth.Scope{}, key.Scopes...))
	if err != nil {
		return fmt.Errorf("write scopes of key %s: %w", key.ID, err)
	}
	roles, err := json.Marshal(append([]string{}, key.Roles...))
	if err != nil {
		return fmt.Errorf("write roles of key %s: %w", key.ID, err)
	}
	rows, err := s.queries.CreateKey(ctx, db.CreateKeyParams{
		ID: key.ID, Name: key.Name, Tenant: key.Tenant,
		Scopes: string(scopes), Roles: string(roles), Hash: key.Hash[:],
		CreatedAt: millis(key.CreatedAt), ExpiresAt: millis(key.ExpiresAt), RevokedAt: millis(key.RevokedAt),
	})
	if err != nil {
		return fmt.Errorf("create key %s: %w", key.ID, err)
	}
	if rows == 0 {
		return fmt.Errorf("create key %s: %w", key.ID, auth.ErrKeyExists)
	}
	return nil
}

// Get implements auth.KeyStore.
func (s *Store) Get(ctx context.Context, id string) (*auth.Key, error) {
	row, err := s.queries.GetKey(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("get key: %w", auth.ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("get key: %w", err)
	}
	return fromRow(row)
}

// List implements auth.KeyStore.
func (s *Store) List(ctx context.Context, page auth.Page) ([]*auth.Key, error) {
	before, beforeID := int64(math.MaxInt64), ""
	if page.After != (auth.Cursor{}) {
		before, beforeID = millis(page.After.CreatedAt), page.After.ID
	}
	var rows []db.Key
	var err error
	if page.Tenant == "" {
		rows, err = s.queries.ListKeys(ctx, db.ListKeysParams{Before: before, BeforeID: beforeID, Max: int64(page.Limit)})
	} else {
		rows, err = s.queries.ListKeysOfTenant(ctx, db.ListKeysOfTenantParams{
			Tenant: page.Tenant, Before: before, BeforeID: beforeID, Max: int64(page.Limit),
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	keys := make([]*auth.Key, 0, len(rows))
	for _, row := range rows {
		key, err := fromRow(row)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Revoke implements auth.KeyStore.
func (s *Store) Revoke(ctx context.Context, id string, now time.Time) error {
	rows, err := s.queries.RevokeKey(ctx, db.RevokeKeyParams{RevokedAt: millis(now), ID: id})
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	if rows == 0 {
		return fmt.Errorf("revoke key: %w", auth.ErrNoKey)
	}
	return nil
}

func fromRow(row db.Key) (*auth.Key, error) {
	key := &auth.Key{
		ID: row.ID, Name: row.Name, Tenant: row.Tenant,
		CreatedAt: fromMillis(row.CreatedAt), ExpiresAt: fromMillis(row.ExpiresAt), RevokedAt: fromMillis(row.RevokedAt),
	}
	if copy(key.Hash[:], row.Hash) != sha256.Size {
		return nil, fmt.Errorf("read key %s: its hash has %d bytes", row.ID, len(row.Hash))
	}
	if err := json.Unmarshal([]byte(row.Scopes), &key.Scopes); err != nil {
		return nil, fmt.Errorf("read scopes of key %s: %w", row.ID, err)
	}
	if err := json.Unmarshal([]byte(row.Roles), &key.Roles); err != nil {
		return nil, fmt.Errorf("read roles of key %s: %w", row.ID, err)
	}
	return key, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

package postgres_test

import (
	"context"
	"testing"

	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/storetest"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

func open(t *testing.T, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url)
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

// database implements storetest.Database.
type database struct {
	storetest.SQL

	server *postgrestest.Server
	name   string
}

func newDatabase(t *testing.T, server *postgrestest.Server, of string) *database {
	name := server.Database(t, of)
	return &database{func(ctx context.Context, query string) error { return server.Exec(ctx, name, query) }, server, name}
}

func (d *database) Open(t *testing.T) storetest.Store { return open(t, d.server.URL(d.name)) }

func (d *database) Copy(t *testing.T) storetest.Database { return newDatabase(t, d.server, d.name) }

func TestStore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	storetest.RunStore(t, func(t *testing.T) storetest.Database { return newDatabase(t, server, "") })
	storetest.RunDurable(t, func(t *testing.T) (storetest.Database, storetest.SQL) {
		d := newDatabase(t, server, "")
		return d, d.SQL
	})
}

func TestUsage(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	storetest.RunUsage(t, func(t *testing.T) func(*testing.T) usage.Store {
		url := server.URL(server.Database(t, ""))
		return func(t *testing.T) usage.Store { return open(t, url) }
	})
}

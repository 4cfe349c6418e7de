package postgres_test

import (
	"testing"

	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/storetest"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

func open(t *testing.T, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// database implements storetest.Database.
type database struct {
	server *postgrestest.Server
	name   string
}

func (d database) Open(t *testing.T) record.Store { return open(t, d.server.URL(d.name)) }

func (d database) Do(t *testing.T, statement string) {
	t.Helper()
	if err := d.server.Exec(t.Context(), d.name, "SET search_path = pipelines", statement); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	storetest.Run(t, func(t *testing.T) storetest.Database { return database{server, server.Database(t, "")} })
}

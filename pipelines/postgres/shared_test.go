package postgres_test

import (
	"errors"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	gateway "github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

func TestTheDatabaseMayBeTheGatewaysAsWell(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for name, pipelinesFirst := range map[string]bool{"pipelines first": true, "the gateway first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server.URL(server.Database(t, ""))
			ours := func() {
				if _, err := open(t, url).Load(t.Context(), "none"); !errors.Is(err, record.ErrNotFound) {
					t.Errorf("pipelines: %v", err)
				}
			}
			if pipelinesFirst {
				ours()
			}
			g, err := gateway.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if _, err := g.Key(t.Context(), "none"); !errors.Is(err, auth.ErrNoKey) {
				t.Errorf("the gateway: %v", err)
			}
			ours()
		})
	}
}

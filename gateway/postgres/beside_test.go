package postgres_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// grants are the rights that docs/operate.md gives to who adds usage alone.
func grants(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^CREATE ROLE pipelines_usage .+$").FindString(string(page))
	if found == "" {
		t.Fatal("docs/operate.md has no rights")
	}
	return found
}

// TestAnotherProcessAddsUsage holds that a process beside the gateway waits for it, and
// that a user with the rights that docs/operate.md gives it can add usage, and read nothing
// of keys.
func TestAnotherProcessAddsUsage(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	url := server.URL(server.Database(t, ""))
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	beside, err := postgres.Beside(t.Context(), url+sep+"options=-c%20role%3Dcharger", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = beside.Close() })
	flush := &usage.Flush{Replica: "r", Sequence: 1, At: time.Now(), Sums: []usage.Row{{Key: usage.Key{Tenant: "acme", Model: "a", Day: usage.DayOf(time.Now())}, Counts: usage.Counts{Rows: 3}}}}
	if _, err := beside.AddUsage(t.Context(), flush); err == nil {
		t.Fatal("usage was added to a database that the gateway has not made")
	}
	gateway := open(t, url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), strings.ReplaceAll(grants(t), "pipelines_usage", "charger")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what was sent twice is added once
		if _, err := beside.AddUsage(t.Context(), flush); err != nil {
			t.Fatal(err)
		}
	}
	if err := beside.Ping(t.Context()); err == nil {
		t.Error("it reads the gateway's keys")
	}
	today := usage.DayOf(time.Now())
	rows, err := gateway.Usage(t.Context(), &usage.Query{From: today - 1, To: today + 2, By: usage.By{Tenant: true}, Limit: 10})
	if err != nil || len(rows) != 1 || rows[0].Rows != 3 {
		t.Errorf("%+v, %v", rows, err)
	}
}

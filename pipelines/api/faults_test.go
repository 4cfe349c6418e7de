package api_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/storetest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// sick holds what a caller gets of a database that takes no writes: a 503 which says to
// come again, of everything that changes something, and nothing of it stored; and that
// what was there is still to be read. x has ended with a dead letter, whose id is letter.
func (s *service) sick(x contract.Execution, letter string) {
	s.t.Helper()
	const path = "/v1/pipelines/a/executions"
	before := s.listed()
	for _, op := range []struct{ method, path, media, body string }{
		{"POST", path, "application/json", "{}"},
		{"POST", path, "image/png", "png"},
		{"POST", "/v1/pipelines/a/versions/1/executions?label=team=other&priority=3", "application/json", "[]"},
		{"POST", "/v1/pipelines", "application/yaml", fmt.Sprintf(twoSteps, "b")},
		{"POST", "/v1/executions/" + x.ID + "/replay", "", ""},
		{"POST", "/v1/dead-letters/" + letter + "/replay", "", ""},
	} {
		got := s.do(op.method, op.path, op.body, "Content-Type", op.media, "Idempotency-Key", "sick")
		if got.status != http.StatusServiceUnavailable || got.code() != problem.Unavailable || got.header.Get("Retry-After") == "" {
			s.t.Errorf("%s %s with %s: %d %s, expected 503 and when to come again", op.method, op.path, op.media, got.status, got.body)
		}
	}
	if after := s.listed(); after != before {
		s.t.Errorf("something was stored: there was %s\nand is %s", before, after)
	}
	if got := s.do("GET", "/v1/executions/"+x.ID, ""); got.status != http.StatusOK {
		s.t.Errorf("what was there: %d %s", got.status, got.body)
	}
}

// listed is all that lists show.
func (s *service) listed() string {
	s.t.Helper()
	all := ""
	for _, path := range []string{"/v1/executions", "/v1/pipelines", "/v1/dead-letters"} {
		got := s.do("GET", path, "")
		if got.status != http.StatusOK {
			s.t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		all += got.body
	}
	return all
}

// failed is an execution that has, and its dead letter.
func (s *service) failed() (x contract.Execution, letter string) {
	s.t.Helper()
	s.register("a")
	x = s.start("/v1/pipelines/a/executions", "{}")
	s.begin(x.ID)
	s.fail(x.ID)
	letters := read[contract.DeadLetters](s.t, s.do("GET", "/v1/dead-letters", "")).DeadLetters
	if len(letters) != 1 {
		s.t.Fatalf("%+v", letters)
	}
	return x, letters[0].ID
}

// well holds that the same key starts one execution once the database takes writes again.
func (s *service) well(t *testing.T) {
	t.Helper()
	const path = "/v1/pipelines/a/executions"
	storetest.Recovers(t, "starting an execution", func() error {
		if got := s.do("POST", path, "{}", "Content-Type", "application/json", "Idempotency-Key", "sick"); got.status != http.StatusAccepted {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
	first, again := s.start(path, "{}", "Idempotency-Key", "sick"), s.start(path, "{}", "Idempotency-Key", "sick")
	if first.ID != again.ID {
		t.Errorf("one key, %s and %s", first.ID, again.ID)
	}
	if n := len(read[contract.Executions](t, s.do("GET", "/v1/executions", "")).Executions); n != 2 {
		t.Errorf("there are %d executions", n)
	}
}

// overPostgres is the API over a database of a server, and what it is called.
func overPostgres(t *testing.T, server *postgrestest.Server) (s *service, name string) {
	t.Helper()
	name = server.Database(t, "")
	store, err := postgres.Open(t.Context(), server.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return serviceOver(t, store), name
}

// TestADatabaseThatTakesNoWrites holds that nothing is half accepted by a PostgreSQL that
// is read-only, as one that has failed over to a standby.
func TestADatabaseThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s, _ := overPostgres(t, server)
	x, letter := s.failed()
	server.ReadOnly(t, true)
	storetest.Recovers(t, "the setting", func() error {
		if got := s.do("POST", "/v1/pipelines", fmt.Sprintf(twoSteps, "a")); got.status != http.StatusServiceUnavailable {
			return fmt.Errorf("it takes writes: %d", got.status)
		}
		return nil
	})
	s.sick(x, letter)
	server.ReadOnly(t, false)
	s.well(t)
}

// TestADatabaseWhoseDiskIsFull holds the same of one whose disk is full, at any of the
// tables that accepting an execution writes to.
func TestADatabaseWhoseDiskIsFull(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for _, table := range storetest.Tables() {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			s, name := overPostgres(t, server)
			s.register("a")
			run := func(statements ...string) {
				t.Helper()
				if err := server.Exec(t.Context(), name, append([]string{"SET search_path = pipelines"}, statements...)...); err != nil {
					t.Fatal(err)
				}
			}
			run(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`,
				fmt.Sprintf("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION full_disk()", table))
			before := s.listed()
			start := func() *answer {
				return s.do("POST", "/v1/pipelines/a/executions?label=team=docs", "{}", "Content-Type", "application/json", "Idempotency-Key", "k")
			}
			got := start()
			if table == "outputs" { // which a replay alone writes to
				if got.status != http.StatusAccepted {
					t.Errorf("%d %s", got.status, got.body)
				}
				return
			}
			if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("%d %s", got.status, got.body)
			}
			if after := s.listed(); after != before {
				t.Errorf("something was stored: there was %s\nand is %s", before, after)
			}
			run("DROP FUNCTION full_disk CASCADE")
			if got := start(); got.status != http.StatusAccepted {
				t.Errorf("with room again: %d %s", got.status, got.body)
			}
		})
	}
}

// TestADatabaseThatIsAway holds the same of a server that is stopped.
func TestADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s, _ := overPostgres(t, server)
	s.register("a")
	server.Stop(t)
	const path = "/v1/pipelines/a/executions"
	began := time.Now()
	for _, method := range []string{"POST", "GET"} {
		target := map[string]string{"POST": path, "GET": "/v1/executions"}[method]
		if got := s.do(method, target, "{}", "Content-Type", "application/json"); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s after %v", method, got.status, got.body, time.Since(began))
		}
	}
	server.Start(t)
	storetest.Recovers(t, "starting an execution", func() error {
		if got := s.do("POST", path, "{}", "Content-Type", "application/json", "Idempotency-Key", "k"); got.status != http.StatusAccepted {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
	if n := len(read[contract.Executions](t, s.do("GET", "/v1/executions", "")).Executions); n != 1 {
		t.Errorf("there are %d executions", n)
	}
}

// overSQLite is the API over a file in a folder.
func overSQLite(t *testing.T, dir string) *service {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "pipelines.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return serviceOver(t, store)
}

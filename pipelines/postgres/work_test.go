package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// An execution whose admission has run out is taken again, unless another is just
// beginning it: the row is locked when it is found, and is another's when it is free.
func TestWhatIsJustBegunIsNotAdmittedAgain(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := server.Database(t, "")
	s := open(t, server.URL(name))
	accept(t, s, "x1")
	admission := record.Admission{Most: 1, Hold: time.Minute}
	if taken, err := s.Admit(t.Context(), admission); err != nil || len(taken) != 1 {
		t.Fatalf("admitted %+v, %v", taken, err)
	}
	conn, err := pgx.Connect(t.Context(), server.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "UPDATE pipelines.due SET free_at = 0"); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE pipelines.due SET stage = 2, free_at = 9000000000000"); err != nil {
		t.Fatal(err)
	}
	var taken []execution.Branch
	done := make(chan error, 1)
	go func() {
		var err error
		taken, err = s.Admit(t.Context(), admission)
		done <- err
	}()
	for waits := false; !waits; { // each look is a round trip to the server
		if err := tx.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))").Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || len(taken) > 0 {
		t.Errorf("admitted again: %+v, %v", taken, err)
	}
	var free int64
	if err := conn.QueryRow(t.Context(), "SELECT free_at FROM pipelines.due").Scan(&free); err != nil || free != 9000000000000 {
		t.Errorf("free at %d, %v", free, err)
	}
}

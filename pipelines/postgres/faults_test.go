package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/storetest"
	"github.com/modelserveai/modelserve/test/netfault"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

func accept(t *testing.T, s record.Store, id string) *execution.Execution {
	t.Helper()
	a := storetest.Full(id)
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a.Execution
}

func TestServerThatIsKilledLosesNothingAccepted(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL(server.Database(t, "")))
	var accepted []string
	for round := range 3 {
		var mu sync.Mutex
		var work sync.WaitGroup
		enough := make(chan struct{})
		n := 0
		for i := range 4 {
			work.Go(func() {
				err := storetest.AcceptUntil(t.Context(), s, fmt.Sprintf("r%d-%d", round, i), func(id string) {
					mu.Lock()
					defer mu.Unlock()
					accepted = append(accepted, id)
					if n++; n == 40 {
						close(enough)
					}
				})
				if !errors.Is(err, record.ErrUnavailable) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		<-enough
		server.Stop(t) // in the midst of others, and without a checkpoint
		work.Wait()
		server.Start(t)
		storetest.Recovers(t, "pinging", func() error { return s.Ping(t.Context()) })
		storetest.Recovers(t, "accepting", func() error { _, err := s.Accept(t.Context(), storetest.Full(accepted[0])); return err })
	}
	storetest.Whole(t, s, accepted)
}

func TestServerThatIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := server.Database(t, "")
	s := open(t, server.URL(name))
	x := accept(t, s, "x1")
	server.Stop(t)
	storetest.Unavailable(t, storetest.Writes(t.Context(), s, x))
	storetest.Unavailable(t, storetest.Reads(t.Context(), s, x))
	if _, err := postgres.Open(t.Context(), server.URL(name)); err == nil || strings.Contains(err.Error(), postgrestest.Password()) {
		t.Errorf("opening: %v", err)
	}
	server.Start(t)
	storetest.Accepts(t, s, "x2")
	storetest.Whole(t, s, []string{"x1", "x2"})
}

func TestServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL(server.Database(t, "")))
	x := accept(t, s, "x1")
	server.ReadOnly(t, true)
	storetest.Recovers(t, "the setting", func() error {
		if err := storetest.Writes(t.Context(), s, x)["register"]; err == nil {
			return errors.New("it still takes writes")
		}
		return nil
	})
	for range 2 {
		storetest.Unavailable(t, writes(t.Context(), s, x))
		storetest.Fine(t, storetest.Reads(t.Context(), s, x))
	}
	storetest.Nothing(t, s, "x-later")
	server.ReadOnly(t, false)
	storetest.Accepts(t, s, "x2")
}

// writes are those that must fail also where there is nothing to do.
func writes(ctx context.Context, s record.Store, x *execution.Execution) map[string]error {
	errs := storetest.Writes(ctx, s, x)
	_, errs["accept"] = s.Accept(ctx, storetest.Full("x-later"))
	return errs
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for _, table := range storetest.Tables() {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			d := database{server, server.Database(t, "")}
			s := d.Open(t)
			accept(t, s, "x1")
			d.Do(t, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
			d.Do(t, fmt.Sprintf("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION full_disk()", table))
			_, err := s.Accept(t.Context(), storetest.Full("x2"))
			if !errors.Is(err, record.ErrUnavailable) {
				t.Errorf("accepting: %v", err)
			}
			storetest.Nothing(t, s, "x2")
			d.Do(t, "DROP FUNCTION full_disk CASCADE")
			storetest.Accepts(t, s, "x2")
			storetest.Whole(t, s, []string{"x1", "x2"})
		})
	}
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	proxy := netfault.NewProxy(t, server.Address())
	s := open(t, postgrestest.URL(proxy.Address(), server.Database(t, "")))
	accept(t, s, "x1")
	proxy.Hang(true)
	for what, do := range map[string]func(context.Context) error{
		"accepting": func(ctx context.Context) error { _, err := s.Accept(ctx, storetest.Full("x2")); return err },
		"loading":   func(ctx context.Context) error { _, err := s.Load(ctx, "x1"); return err },
		"claiming":  func(ctx context.Context) error { _, err := s.Claim(ctx, 1, time.Minute); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := do(ctx); err == nil {
			t.Errorf("%s works", what)
		}
		cancel()
	}
	proxy.Hang(false)
	storetest.Accepts(t, s, "x3")
	storetest.Whole(t, s, []string{"x1", "x3"})
}

func TestStandbyIsLeftForThePrimary(t *testing.T) {
	t.Parallel()
	primary := postgrestest.Start(t)
	name := primary.Database(t, "")
	accept(t, open(t, primary.URL(name)), "x1")
	standby := primary.Standby(t)
	storetest.Recovers(t, "the standby follows", func() error {
		return standby.Exec(t.Context(), name, "SELECT 1 / count(*) FROM pipelines.executions")
	})
	if _, err := postgres.Open(t.Context(), standby.URL(name)); err == nil {
		t.Error("a standby is opened")
	}
	both := open(t, postgrestest.URL(standby.Address()+","+primary.Address(), name))
	x := accept(t, both, "x2")
	storetest.Recovers(t, "the standby has it", func() error {
		return standby.Exec(t.Context(), name, "SELECT 1 / count(*) FROM pipelines.executions WHERE id = 'x2'")
	})
	primary.Stop(t)
	storetest.Unavailable(t, storetest.Reads(t.Context(), both, x))
	standby.Promote(t)
	storetest.Accepts(t, both, "x3")
	storetest.Whole(t, both, []string{"x1", "x2", "x3"})
}

func TestReplicasThatStartAtOnceAllComeUp(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := server.Database(t, "")
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			s, err := postgres.Open(t.Context(), server.URL(name))
			if err != nil {
				t.Errorf("replica %d: %v", i, err)
				return
			}
			defer s.Close()
			if _, err := s.Load(t.Context(), "none"); !errors.Is(err, record.ErrNotFound) {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	work.Wait()
}

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/test/netfault"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// put stores a role, and an entry of it.
func put(ctx context.Context, s *postgres.Store, name string) (rights.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.Commit(ctx, rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
		return &rights.Stored{
			Change:  access.Change{Roles: []*access.Role{{Tenant: "a", Name: name}}},
			Entries: []audit.Entry{{At: time.Now(), Tenant: "a", Action: "role.put", Outcome: audit.Done}},
		}, nil
	})
}

func since(ctx context.Context, s *postgres.Store, p rights.Position) (*rights.Update, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.Since(ctx, p)
}

// recovers calls until there is no error, at most for ten minutes.
func recovers(t *testing.T, what string, call func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	err := call()
	for ; err != nil && ctx.Err() == nil; err = call() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// bothRecover has reads and writes be tried until they are good again.
func bothRecover(t *testing.T, s *postgres.Store) {
	t.Helper()
	recovers(t, "reading", func() error { _, err := since(t.Context(), s, rights.Position{}); return err })
	recovers(t, "writing", func() error { _, err := put(t.Context(), s, "again"); return err })
	if v, err := audit.Verify(t.Context(), s, "a"); err != nil || !v.Holds {
		t.Errorf("the chain: %+v, %v", v, err)
	}
}

func mustPut(t *testing.T, s *postgres.Store, name string) rights.Position {
	t.Helper()
	p, err := put(t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fails has a read or a write fail, without a word of the password.
func fails(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s does not fail", what)
	case hasPassword(err):
		t.Errorf("%s: the error has the password: %v", what, err)
	}
}

func hasPassword(err error) bool {
	return strings.Contains(err.Error(), postgrestest.Password()) || strings.Contains(err.Error(), url.QueryEscape(postgrestest.Password())) ||
		strings.Contains(err.Error(), "p%40ss") || strings.Contains(err.Error(), "w:rd")
}

func TestServerThatStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL(server.Database(t, "")))
	at := mustPut(t, s, "r")
	server.Stop(t)
	_, err := since(t.Context(), s, at)
	fails(t, "reading", err)
	_, err = put(t.Context(), s, "r")
	fails(t, "writing", err)
	_, err = postgres.Open(t.Context(), server.URL("test1"))
	fails(t, "opening", err)
	for what, read := range map[string]func() error{
		"a key":   func() error { _, err := s.Key(t.Context(), "k"); return err },
		"keys":    func() error { _, err := s.Keys(t.Context(), auth.Page{Limit: 1}); return err },
		"entries": func() error { _, err := s.Entries(t.Context(), audit.Filter{Limit: 1}); return err },
		"a chain": func() error { _, _, err := s.Chain(t.Context(), "a", audit.BeforeFirst); return err },
		"heads":   func() error { _, err := s.Heads(t.Context(), time.Time{}, 1); return err },
		"usage": func() error {
			_, err := s.Usage(t.Context(), &usage.Query{By: usage.By{Day: true}, Limit: 1})
			return err
		},
		"quotas": func() error { _, err := s.Quotas(t.Context(), []usage.QuotaKey{{}}); return err },
	} {
		err := read()
		fails(t, what, err)
		if !errors.Is(err, rights.ErrAway) {
			t.Errorf("%s: not as of a database that is away: %v", what, err)
		}
	}
	server.Start(t)
	bothRecover(t, s)
}

func TestServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL(server.Database(t, "")))
	at := mustPut(t, s, "r")
	server.ReadOnly(t, true)
	recovers(t, "the setting", func() error {
		if _, err := put(t.Context(), s, "r"); err == nil {
			return errors.New("it still takes writes")
		}
		return nil
	})
	for range 3 {
		if _, err := since(t.Context(), s, at); err != nil {
			t.Errorf("what is stored is not read: %v", err)
		}
		_, err := put(t.Context(), s, "r")
		fails(t, "writing", err)
	}
	server.ReadOnly(t, false)
	bothRecover(t, s)
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	proxy := netfault.NewProxy(t, server.Address())
	s := open(t, postgrestest.URL(proxy.Address(), server.Database(t, "")))
	at := mustPut(t, s, "r")
	proxy.Hang(true)
	for range 3 {
		_, err := since(t.Context(), s, at)
		fails(t, "reading", err)
		_, err = put(t.Context(), s, "r")
		fails(t, "writing", err)
	}
	proxy.Hang(false)
	bothRecover(t, s)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for _, table := range []string{"roles", "audit", "audit_heads", "generations", "counter", "tenants"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			name := server.Database(t, "")
			s := open(t, server.URL(name))
			at := mustPut(t, s, "r")
			err := server.Exec(t.Context(), name, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`,
				fmt.Sprintf("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION full_disk()", table))
			if err != nil {
				t.Fatal(err)
			}
			_, err = put(t.Context(), s, "other")
			fails(t, "writing", err)
			if u, err := since(t.Context(), s, at); err != nil || u.Position != at {
				t.Errorf("something was stored: %+v, %v", u, err)
			}
			if err := server.Exec(t.Context(), name, "DROP FUNCTION full_disk CASCADE"); err != nil {
				t.Fatal(err)
			}
			bothRecover(t, s)
		})
	}
}

func TestStandbyIsNotReadAndFoundWhenPromoted(t *testing.T) {
	t.Parallel()
	primary := postgrestest.Start(t)
	name := primary.Database(t, "")
	s := open(t, primary.URL(name))
	known := mustPut(t, s, "known")
	standby := primary.Standby(t)
	replicated(t, primary, standby, name)

	_, err := postgres.Open(t.Context(), standby.URL(name))
	fails(t, "opening a standby", err)
	both := open(t, postgrestest.URL(standby.Address()+","+primary.Address(), name))
	if _, err := since(t.Context(), both, known); err != nil {
		t.Errorf("the primary is not found behind the standby: %v", err)
	}

	// What is stored from now on gets lost.
	if err := standby.Exec(t.Context(), name, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	recovers(t, "the standby leaves", func() error {
		return primary.Exec(t.Context(), name, "SELECT 1 / (1 - count(*)) FROM pg_stat_replication")
	})
	lost := mustPut(t, both, "lost")
	primary.Stop(t)
	_, err = since(t.Context(), both, lost)
	fails(t, "reading of nobody but a standby", err)
	standby.Promote(t)
	var u *rights.Update
	recovers(t, "reading", func() (err error) { u, err = since(t.Context(), both, lost); return err })
	if !u.Whole || u.Position != known || len(u.Tenants["a"].Roles) != 1 {
		t.Errorf("since what was lost: %+v", u)
	}
	recovers(t, "writing", func() error { _, err := put(t.Context(), both, "again"); return err })
	if u, err = since(t.Context(), both, lost); err != nil || !u.Whole || u.Position.Number != lost.Number {
		t.Errorf("since what was lost, and made anew: %+v, %v", u, err)
	}
	bothRecover(t, both)
}

// replicated waits until a standby has what its primary has.
func replicated(t *testing.T, primary, standby *postgrestest.Server, name string) {
	t.Helper()
	if err := primary.Exec(t.Context(), name, "CREATE TABLE marker ()"); err != nil {
		t.Fatal(err)
	}
	recovers(t, "the standby follows", func() error { return standby.Exec(t.Context(), name, "SELECT * FROM marker") })
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
			if _, err := s.Key(t.Context(), "none"); !errors.Is(err, auth.ErrNoKey) {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	work.Wait()
}

func TestNoErrorHasThePassword(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	good := server.URL(server.Database(t, ""))
	raw := postgrestest.Password()
	for name, address := range map[string]string{
		"no such database": server.URL("none"),
		"no such user":     strings.Replace(good, "postgres:p", "nobody:p", 1),
		"another password": strings.Replace(good, "p%40ss", "p%40ssx", 1),
		"nobody there":     postgrestest.URL("127.0.0.1:1", "d"),
		"no TLS there":     strings.Replace(good, "sslmode=disable", "sslmode=verify-full", 1),
		"a bad mode":       strings.Replace(good, "sslmode=disable", "sslmode=x", 1),
		"a bad setting":    good + "&statement_timeout=x",
		"not encoded":      "postgres://u:" + raw + "@h/d",
		"half encoded":     "postgres://u:12/p@ss/w:rd@h/d",
		"a bad port":       strings.Replace(good, "127.0.0.1:", "127.0.0.1:x", 1),
		"words":            "host=h port=x password='" + raw + "'",
		"words, unquoted":  "host=h password=p@ss/w:rd ?#%",
		"another scheme":   "mysql://u:p%40ss%2Fw%3Ard@h/d",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), address)
			fails(t, "opening", err)
		})
	}
}

func TestSessionsAreLimited(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	name := server.Database(t, "")
	for suffix, want := range map[string]string{
		"":                                       "2s 1s 5s modelserve-gateway",
		"&statement_timeout=700&lock_timeout=2s": "700ms 2s 5s modelserve-gateway",
	} {
		s := open(t, server.URL(name)+suffix)
		got := s.Limits(t)
		if got != want {
			t.Errorf("%q: %s, want %s", suffix, got, want)
		}
	}
}

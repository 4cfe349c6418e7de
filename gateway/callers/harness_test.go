package callers_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/sqlite"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

// database is one that can be away.
type database struct {
	callers.Store
	usageStore

	away atomic.Bool
}

var errAway = errors.New("the database is away")

// Since implements rights.Store.
func (d *database) Since(ctx context.Context, p rights.Position) (*rights.Update, error) {
	if d.away.Load() {
		return nil, errAway
	}
	return d.Store.Since(ctx, p)
}

// Commit implements rights.Store.
func (d *database) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	if d.away.Load() {
		return p, errAway
	}
	return d.Store.Commit(ctx, p, decide)
}

func openDatabase(t *testing.T) *database {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "gateway.db"))
}

func openAt(t *testing.T, path string) *database {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &database{Store: store, usageStore: store}
}

// recorded are the entries of an action in a chain, newest first.
func (d *database) recorded(t *testing.T, tenant, action string) []audit.Entry {
	t.Helper()
	entries, err := d.Entries(t.Context(), audit.Filter{Tenant: tenant, Action: action, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func hashKey(id string, first byte) auth.HashKey { return auth.HashKey{ID: id, Key: [32]byte{first}} }

type usageStore = usage.Store

// whole is a database with all that a gateway has of one.
type whole interface {
	callers.Store
	usage.Store
}

// replica is one process' Callers, and what they may have.
type replica struct {
	*callers.Callers
	much *allowance.Allowance
	log  *logtest.Log
	tel  *telemetry.Telemetry
}

// open opens a replica with environment variables besides the defaults.
func open(t *testing.T, store whole, variables map[string]string, keys ...auth.HashKey) (*replica, error) {
	t.Helper()
	var config callers.Config
	if err := env.ParseFrom(&config, variables); err != nil {
		t.Fatal(err)
	}
	if len(keys) == 0 {
		keys = []auth.HashKey{hashKey("test", 1)}
	}
	r := &replica{log: &logtest.Log{}}
	var err error
	if r.tel, err = telemetry.New(t.Context(), telemetry.Config{Service: "gateway", Level: slog.LevelInfo, Format: "json"}, r.log); err != nil {
		t.Fatal(err)
	}
	var much allowance.Config
	if err := env.ParseFrom(&much, variables); err != nil {
		t.Fatal(err)
	}
	if r.much, err = allowance.Open(much, store, r.tel); err != nil {
		t.Fatal(err)
	}
	r.Callers, err = callers.Open(t.Context(), config, store, keys, r.much, r.tel)
	return r, err
}

// start opens a replica and runs it until the test ends.
func start(t *testing.T, store whole, variables map[string]string, keys ...auth.HashKey) *replica {
	t.Helper()
	r, err := open(t, store, variables, keys...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	running.Go(func() { r.much.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return r
}

// revoke ends a key, as an admin does.
func (r *replica) revoke(t *testing.T, id string) {
	t.Helper()
	err := r.Rights().Update(t.Context(), func(s *access.State) (*rights.Stored, error) {
		for _, k := range s.Tenant("acme").Keys {
			if k.ID == id {
				ended := *k
				ended.RevokedAt = time.Now()
				return &rights.Stored{Change: access.Change{Keys: []*auth.Key{&ended}}}, nil
			}
		}
		return nil, auth.ErrNoKey
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counts holds a gauge to a value.
func (r *replica) counts(t *testing.T, name string, want float64) {
	t.Helper()
	families, err := r.tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			if got := f.GetMetric()[0].GetGauge().GetValue(); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
			return
		}
	}
	t.Errorf("there is no %s", name)
}

// behind are a gateway's own URLs, with a replica behind them.
func (r *replica) behind(t *testing.T) http.Handler {
	t.Helper()
	routes, err := route.New("{function}.localhost")
	if err != nil {
		t.Fatal(err)
	}
	deps := gateway.Deps{Catalog: struct{ gateway.Catalog }{}, Routes: routes, Telemetry: r.tel, Transport: http.DefaultTransport, Ready: r.Ready}
	r.Wire(&deps)
	r.much.Wire(&deps)
	handler, err := gateway.New(gateway.Config{}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// call asks a gateway, with a credential.
func call(handler http.Handler, method, path, credential, body string) (status int, answer map[string]any) {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request(method, path, credential, body))
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// eventually asks until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// write replaces a file at once, as a ConfigMap's is.
func write(t *testing.T, path, text string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// fileOf is a gateway's file that says how long known keys stay good.
func fileOf(seconds int) string {
	return "apiVersion: modelserve.dev/v1\nkind: Gateway\nstale: " + strconv.Itoa(seconds) + "s\n"
}

package rightstest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// Hasher hashes by a fixed key.
func Hasher(t testing.TB) *auth.Hasher {
	t.Helper()
	h, err := auth.NewHasher(auth.HashKey{ID: "test", Key: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Mirror makes a Mirror of a store that has been read, and runs it until the test
// ends.
func Mirror(t testing.TB, store rights.Store) *rights.Mirror {
	t.Helper()
	m, err := rights.NewMirror(store, 30*time.Second, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	Run(t, m)
	return m
}

// Run runs a Mirror until the test ends.
func Run(t testing.TB, m *rights.Mirror) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// Key stores a key, as an operator does, and returns its text.
func Key(t testing.TB, m *rights.Mirror, spec auth.KeySpec) (string, *auth.Key) {
	t.Helper()
	text, key, err := Hasher(t).NewKey(spec, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	Put(t, m, access.Change{Keys: []*auth.Key{key}})
	return text, key
}

// Put stores a change that nobody decided on.
func Put(t testing.TB, m *rights.Mirror, change access.Change) {
	t.Helper()
	err := m.Update(t.Context(), func(*access.State) (*rights.Stored, error) { return &rights.Stored{Change: change}, nil })
	if err != nil {
		t.Fatal(err)
	}
}

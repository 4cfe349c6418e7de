package live_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/problem"
)

func hub(notices live.Notices) *live.Hub {
	return live.New(live.Config{Most: 3, PerTenant: 2, Poll: time.Second}, notices, slog.New(slog.DiscardHandler))
}

func watch(t *testing.T, h *live.Hub, tenant, execution string) *live.Watch {
	t.Helper()
	w, err := h.Watch(tenant, execution)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func waited(t *testing.T, w *live.Watch) time.Duration {
	t.Helper()
	began := time.Now()
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

func TestAChangeWakesWhoeverWaitsForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hub(nil)
		a, b := watch(t, h, "acme", "a"), watch(t, h, "acme", "b")
		h.Changed("a")
		h.Changed("a")
		if took := waited(t, a); took != 0 {
			t.Errorf("woken after %v", took)
		}
		if took := waited(t, a); took != time.Second {
			t.Errorf("a poll after %v", took)
		}
		if took := waited(t, b); took != time.Second {
			t.Errorf("another's change: %v", took)
		}
	})
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	h := hub(nil)
	first := watch(t, h, "acme", "a")
	watch(t, h, "acme", "a")
	refused := func(tenant string) {
		t.Helper()
		if _, err := h.Watch(tenant, "a"); problem.CodeOf(err) != problem.Overloaded || problem.From(err).RetryAfter <= 0 {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	refused("acme")
	watch(t, h, "other", "a")
	refused("third")
	first.Close()
	first.Close()
	watch(t, h, "third", "a")
	refused("acme2")
}

func TestAwait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hub(nil)
		began, asked := time.Now(), 0
		go func() { time.Sleep(1500 * time.Millisecond); h.Changed("a") }()
		done, err := h.Await(t.Context(), "acme", "a", func(context.Context) (bool, error) {
			asked++
			return asked == 3, nil
		})
		if took := time.Since(began); !done || err != nil || took != 1500*time.Millisecond {
			t.Errorf("%v, %v after %v", done, err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if done, err = h.Await(ctx, "acme", "a", func(context.Context) (bool, error) { return false, nil }); done || err != nil {
			t.Errorf("over: %v, %v", done, err)
		}
		broken := errors.New("away")
		if _, err = h.Await(t.Context(), "acme", "a", func(context.Context) (bool, error) { return false, broken }); !errors.Is(err, broken) {
			t.Errorf("broken: %v", err)
		}
	})
}

// network carries notices between hubs, as Redis does.
type network struct {
	mu     sync.Mutex
	sinks  []chan []string
	broken bool
	tries  int
}

func (n *network) Publish(_ context.Context, executions []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		return errors.New("away")
	}
	for _, sink := range n.sinks {
		sink <- slices.Clone(executions)
	}
	return nil
}

func (n *network) Receive(ctx context.Context, changed func(string)) error {
	n.mu.Lock()
	n.tries++
	if n.broken {
		n.mu.Unlock()
		return errors.New("away")
	}
	sink := make(chan []string, 100)
	n.sinks = append(n.sinks, sink)
	n.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case executions := <-sink:
			for _, id := range executions {
				changed(id)
			}
		}
	}
}

func (n *network) set(broken bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = broken
}

func TestReplicasWakeEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n network
		n.set(true)
		one, other := hub(&n), hub(&n)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { one.Run(ctx) })
		work.Go(func() { other.Run(ctx) })
		w := watch(t, other, "acme", "a")
		time.Sleep(10500 * time.Millisecond)
		n.mu.Lock()
		tries := n.tries
		n.mu.Unlock()
		if tries > 22 {
			t.Errorf("tried %d times in ten seconds", tries)
		}
		one.Changed("a")
		if took := waited(t, w); took != time.Second {
			t.Errorf("without notices: %v", took)
		}
		n.set(false)
		time.Sleep(2 * time.Second)
		one.Changed("a")
		if took := waited(t, w); took != 0 {
			t.Errorf("with notices: %v", took)
		}
		cancel()
		work.Wait()
	})
}

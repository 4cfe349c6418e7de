package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/service"
)

// TestReplicasShareTheWork holds that two services over one store run each step once.
func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	var runs atomic.Int32
	p.function("two", func(ctx context.Context, input json.RawMessage) (any, error) {
		runs.Add(1)
		return echo("two")(ctx, input)
	})
	other, err := service.New(service.Config{}, service.Deps{
		Store: p.store, Objects: p.objects, Bucket: bucket, Channels: p, Signer: p.signer, Tickets: p.signer.Verifier(),
		Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := p.register("chain", chain)
	const n = 30
	for i := range n {
		p.begin(v, fmt.Sprintf("x%d", i), `{"a": 1}`)
		other.Accepted("x0")
	}
	for i := range n {
		if got := p.output(p.ended(fmt.Sprintf("x%d", i))); got != chainOutput {
			t.Errorf("x%d: %s", i, got)
		}
	}
	if err := other.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	refused := slices.ContainsFunc(p.seen.of(compile.ReplyPath), func(r received) bool { return r.status >= 300 })
	if runs.Load() != n && !refused { // an answer that a busy file did not take is made again
		t.Errorf("%d runs of %d executions", runs.Load(), n)
	}
}

// away is a store that can be away.
type away struct {
	record.Store

	is atomic.Bool
}

func (s *away) gone() error {
	if s.is.Load() {
		return fmt.Errorf("dial: %w", record.ErrUnavailable)
	}
	return nil
}

func (s *away) Load(ctx context.Context, id string) (*record.Loaded, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	return s.Store.Load(ctx, id)
}

func (s *away) Save(ctx context.Context, x *execution.Execution, change *execution.Change) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Save(ctx, x, change)
}

// TestADatabaseThatIsAwayLosesNothing holds that an answer which cannot be recorded is
// refused with a 503, and that the execution goes on when the database is back.
func TestADatabaseThatIsAwayLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	store := &away{Store: p.store}
	p.store = store
	p.run(service.Config{})
	chained(p)
	var n atomic.Int32
	p.function("three", func(ctx context.Context, input json.RawMessage) (any, error) {
		if n.Add(1) == 1 {
			store.is.Store(true)
		}
		return echo("three")(ctx, input)
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	replies := p.seen.wait(compile.ReplyPath, 1)
	p.seen.wait(compile.DeadPath, 1)
	if replies[0].status != http.StatusServiceUnavailable {
		t.Errorf("while it was away: %d", replies[0].status)
	}
	store.is.Store(false)
	if got := p.output(p.ended("x1")); got != chainOutput {
		t.Errorf("output %s", got)
	}
}

// unready are channels that are there after a few questions.
type unready struct {
	dispatch.Channels

	asked atomic.Int32
}

func (u *unready) First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	if u.asked.Add(1) <= 2 {
		return "", "", errors.New("the objects are not ready")
	}
	return u.Channels.First(ctx, owner, pipeline, version, segment, step)
}

// TestExecutionsWaitForTheirChannels holds that nothing is lost, and no attempt counted,
// while a version's objects are made.
func TestExecutionsWaitForTheirChannels(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	channels := &unready{Channels: p}
	p.channels = channels
	p.run(service.Config{})
	chained(p)
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput || x.Steps[0].Breaks != 0 || channels.asked.Load() < 3 {
		t.Errorf("output %s, %+v, asked %d times", got, x.Steps[0], channels.asked.Load())
	}
}

// ingress stands before the channels, and takes no event for a while.
type ingress struct {
	dispatch.Channels

	url  string
	left atomic.Int32 // events that it still refuses
}

func (c *ingress) First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	if c.left.Add(-1) >= 0 {
		return c.url, "", nil
	}
	return c.Channels.First(ctx, owner, pipeline, version, segment, step)
}

// TestAChannelThatTakesNothingIsNoFailure holds that events which no channel took are sent
// until one does: more often than a step may break.
func TestAChannelThatTakesNothingIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"no backend": http.StatusServiceUnavailable, "no such channel yet": http.StatusNotFound, "no connection": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			chained(p)
			var refused atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				refused.Add(1)
				w.WriteHeader(status)
			}))
			t.Cleanup(server.Close)
			if status == 0 {
				server.Close()
			}
			v := p.register("chain", chain)
			channels := &ingress{Channels: p, url: server.URL}
			p.channels = channels
			p.stop()
			channels.left.Store(2 * (execution.MaxBreaks + 1)) // the first look is whether there is a channel
			p.run(serviceConfig())
			p.begin(v, "x1", `{"a": 1}`)
			x := p.ended("x1")
			if got := p.output(x); got != chainOutput || x.Steps[0].Breaks != 0 || x.Steps[0].Attempts != 1 {
				t.Errorf("%s, %+v", got, x.Steps[0])
			}
			if status != 0 && refused.Load() <= execution.MaxBreaks {
				t.Errorf("refused %d times: this test holds nothing", refused.Load())
			}
		})
	}
}

// TestATenantsShareIsKept holds that a tenant has no more on its way at once than its
// share, and that what waits for that is not lost.
func TestATenantsShareIsKept(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	p.run(service.Config{Dispatch: dispatch.Config{Posts: 8, PerTenant: 2}})
	chained(p)
	var now, most atomic.Int32
	p.function("one", func(ctx context.Context, input json.RawMessage) (any, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return echo("one")(ctx, input)
	})
	v := p.register("chain", chain)
	for i := range 20 {
		p.begin(v, fmt.Sprintf("x%d", i), `{"a": 1}`)
	}
	for i := range 20 {
		p.ended(fmt.Sprintf("x%d", i))
	}
	if most.Load() > 2 {
		t.Errorf("%d at once for one tenant", most.Load())
	}
}

// breaking are channels whose first event is taken, and whose process dies then.
type breaking struct {
	dispatch.Channels

	server *httptest.Server
	broke  atomic.Bool
}

func (c *breaking) First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	url, host, err = c.Channels.First(ctx, owner, pipeline, version, segment, step)
	if err == nil && !c.broke.Load() {
		url = c.server.URL
	}
	return url, host, err
}

// TestAChannelThatDiesLosesNothing holds that what a channel had taken when its process
// died is sent again soon, and not when its lease ends.
func TestAChannelThatDiesLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	channels := &breaking{Channels: p}
	channels.server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		channels.broke.Store(true)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(channels.server.Close)
	p.channels = channels
	p.run(service.Config{})
	chained(p)
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1") // within a minute: a lease is longer
	if got := p.output(x); got != chainOutput || x.Steps[0].Breaks != 1 || !channels.broke.Load() {
		t.Errorf("output %s, %+v", got, x.Steps[0])
	}
}

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
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/pipelines/storetest"
	"github.com/modelserveai/modelserve/problem"
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

// never is channels of which there are none.
type never struct{}

func (never) First(context.Context, string, string, int, int, int) (url, host string, err error) {
	return "", "", errors.New("the objects are not ready")
}

// TestWhatNeverGetsReadyHasAnEnd holds that an execution whose channels never come fails,
// with the reason, and leaves its place.
func TestWhatNeverGetsReadyHasAnEnd(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	p.channels = never{}
	cfg := serviceConfig()
	cfg.Dispatch.Unready = time.Second
	p.run(cfg)
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if x.Status != execution.Failed || x.Error.Code != string(problem.Unavailable) || !strings.Contains(x.Error.Detail, "could not be begun for 1s") {
		t.Errorf("%s: %+v", x.Status, x.Error)
	}
	if left, err := p.store.Backlog(t.Context()); err != nil || left.Queued+left.Running != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

// some are channels, of which those of one pipeline never come.
type some struct {
	dispatch.Channels

	not   string
	asked chan struct{}
}

func (s *some) First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	if pipeline == s.not {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		return "", "", errors.New("the objects are not ready")
	}
	return s.Channels.First(ctx, owner, pipeline, version, segment, step)
}

// TestWhatIsNotReadyTakesNoPlace holds that executions which cannot begin keep none of
// their tenant's that can from beginning.
func TestWhatIsNotReadyTakesNoPlace(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	p.channels = &some{Channels: p, not: "bad"}
	cfg := serviceConfig()
	cfg.Dispatch.Running = 2
	p.run(cfg)
	chained(p)
	bad, good := p.register("bad", chain), p.register("good", chain)
	for i := range 4 {
		p.begin(bad, fmt.Sprintf("bad%d", i), `{"a": 1}`)
	}
	p.begin(good, "good", `{"a": 1}`)
	if got := p.output(p.ended("good")); got != chainOutput {
		t.Errorf("output %s", got)
	}
}

// TestWhatWasTakenIsGivenBack holds that nobody waits, after a service was stopped, for
// what it had taken and not begun: an execution whose channels are not there, and an event
// that waits for a place of its tenant.
func TestWhatWasTakenIsGivenBack(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.stop()
	channels := &some{Channels: p, not: "bad", asked: make(chan struct{})}
	p.channels = channels
	cfg := serviceConfig()
	cfg.Dispatch.PerTenant, cfg.Dispatch.Running = 1, 9
	p.run(cfg)
	chained(p)
	running := make(chan struct{}, 9)
	p.function("one", func(ctx context.Context, _ json.RawMessage) (any, error) {
		running <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	bad, good := p.register("bad", chain), p.register("good", chain)
	p.begin(good, "x1", `{"a": 1}`)
	<-running
	p.begin(good, "x2", `{"a": 1}`)
	p.until("x2", func(x *execution.Execution) bool { return x.Status == execution.Running })
	storetest.Recovers(t, "x2 is taken", func() error {
		if left, err := p.store.Backlog(t.Context()); err != nil || left.Due > 0 {
			return fmt.Errorf("%+v, %w", left, err)
		}
		return nil
	})
	p.begin(bad, "x3", `{"a": 1}`)
	<-channels.asked
	p.stop()
	rows, err := p.store.Admit(t.Context(), record.Admission{Most: 9, Hold: time.Hour})
	if err != nil || len(rows) != 1 || rows[0].Execution != "x3" {
		t.Errorf("admitted %+v, %v", rows, err)
	}
	rows, err = p.store.Claim(t.Context(), 9, time.Hour)
	if err != nil || !slices.ContainsFunc(rows, func(b execution.Branch) bool { return b.Execution == "x2" && b.What == execution.Send }) {
		t.Errorf("claimed %+v, %v", rows, err)
	}
}

// unreadable is a store of versions that cannot be read any more.
type unreadable struct{ record.Store }

func (u unreadable) Version(ctx context.Context, id record.VersionID) (*record.Version, error) {
	v, err := u.Store.Version(ctx, id)
	if err == nil {
		v.Canonical = []byte(`{"kind": "Pipelin`)
	}
	return v, err
}

// TestAnExecutionOfAVersionThatCannotBeReadHasAnEnd holds that one can be cancelled, ends by
// its deadline where it runs, and fails where it cannot begin.
func TestAnExecutionOfAVersionThatCannotBeReadHasAnEnd(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	running, release := make(chan struct{}), make(chan struct{})
	p.function("two", func(context.Context, json.RawMessage) (any, error) {
		running <- struct{}{}
		<-release
		return nil, errors.New("too late")
	})
	t.Cleanup(func() { close(release) })
	v := p.register("chain", chain+"  timeout: 3s\n")
	for _, id := range []string{"cancelled", "late"} {
		p.begin(v, id, `{"a": 1}`)
		<-running
	}
	good := p.store
	p.stop()
	p.store = unreadable{good}
	cfg := serviceConfig()
	cfg.Dispatch.Unready = time.Second
	p.run(cfg)
	if err := p.now().Decider().Cancel(t.Context(), tenant, "cancelled"); err != nil {
		t.Error(err)
	}
	x := &execution.Execution{ID: "queued", Tenant: tenant, Pipeline: v.ID.Name, Version: v.ID.Number, Digest: v.Digest}
	if _, err := p.store.Accept(t.Context(), &record.Acceptance{Execution: x, Change: v.Machine.Accept(x, time.Now()), Owner: v.ID.Owner}); err != nil {
		t.Fatal(err)
	}
	p.now().Accepted("queued")
	for id, want := range map[string]problem.Code{"late": problem.DeadlineExceeded, "queued": problem.Unavailable} {
		if x := p.ended(id); x.Status != execution.Failed || x.Error.Code != string(want) {
			t.Errorf("%s is %s: %+v", id, x.Status, x.Error)
		}
	}
	if x := p.ended("cancelled"); x.Status != execution.Cancelled {
		t.Errorf("%+v", x)
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

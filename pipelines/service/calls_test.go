package service_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// call accepts a call that is answered later.
func (p *platform) call(id, url string, repeatable bool) {
	p.t.Helper()
	ctx, s := p.t.Context(), p.now()
	v, err := s.Decider().Version(ctx, record.VersionID{})
	if err != nil {
		p.t.Fatal(err)
	}
	request := calls.Request{Order: calls.Order{Method: http.MethodPost, URL: url, Path: "/", Repeatable: repeatable}}
	if request.Body, err = s.Values().Store(ctx, tenant, id, "request", "text/plain", []byte("q")); err != nil {
		p.t.Fatal(err)
	}
	x := &execution.Execution{ID: id, Tenant: tenant, Digest: v.Digest}
	if x.Input, err = request.Value(); err != nil {
		p.t.Fatal(err)
	}
	change := v.Machine.Accept(x, time.Now())
	if _, err := p.store.Accept(ctx, &record.Acceptance{Execution: x, Change: change}); err != nil {
		p.t.Fatal(err)
	}
	s.Accepted(id)
}

// TestACallThatMayNotRunTwiceRunsOnce holds that a call which is answered later is not
// made again where the process that made it ended in it, unless the function says that a
// call may run twice: then it is reported as failed, with a dead letter.
func TestACallThatMayNotRunTwiceRunsOnce(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct{ graceful, repeatable bool }{
		"stopped": {true, false}, "killed": {false, false}, "stopped, may run twice": {true, true}, "killed, may run twice": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			var made atomic.Int32
			running, release := make(chan struct{}), make(chan struct{})
			function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if made.Add(1) == 1 {
					close(running)
					<-release
				}
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte("a"))
			}))
			t.Cleanup(function.Close)
			t.Cleanup(func() { close(release) })
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			p.calls = transport
			p.stop()
			p.run(serviceConfig())
			p.call("x1", function.URL, of.repeatable)
			<-running
			old := p.now()
			if of.graceful {
				p.stop()
			}
			p.run(serviceConfig()) // of a killed one nothing was said
			x := p.ended("x1")
			if of.repeatable {
				if x.Status != execution.Succeeded || made.Load() != 2 {
					t.Errorf("%s after %d calls: %+v", x.Status, made.Load(), x.Error)
				}
			} else if x.Status != execution.Failed || made.Load() != 1 || x.Error.Code != string(problem.BadGateway) {
				t.Errorf("%s after %d calls: %+v", x.Status, made.Load(), x.Error)
			}
			letters, err := p.store.DeadLetters(t.Context(), record.DeadQuery{Tenant: tenant, Limit: 10})
			if err != nil || (len(letters.Letters) == 1) == of.repeatable {
				t.Errorf("%+v, %v", letters, err)
			}
			if !of.graceful {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				if err := old.Stop(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

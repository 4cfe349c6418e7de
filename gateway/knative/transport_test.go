package knative_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// network answers every request, but for hosts it cannot reach.
type network struct {
	seen []string
	away []string
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if slices.Contains(n.away, r.URL.Host) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no such host")}
	}
	n.seen = append(n.seen, r.URL.Host+r.Header.Get(infer.WakeHeader))
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// TestTransport holds that what may wake nothing wakes nothing, that all else
// goes through, and the reason why a function cannot start, or has not yet.
func TestTransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := aRevision("default/broken-1", "broken@1", 0)
		broken.Status.Conditions = condition(corev1.ConditionFalse, "no such image")
		unknown := aRevision("default/unknown-1", "unknown@1", 0)
		unknown.Status.ActualReplicas = nil
		young := aService("default/young")
		young.Status.Conditions = condition(corev1.ConditionUnknown, "it waits for a node")
		c := newCluster(t, knative.Config{Namespaces: []string{"default"}},
			aService("default/awake", share("awake-1", 100, ""), share("idle-1", 0, "old")), aRevision("default/awake-1", "", 1),
			aService("default/idle", share("idle-1", 100, ""), share("awake-1", 0, "new")), aRevision("default/idle-1", "", 0),
			aService("default/half", share("awake-1", 50, ""), share("idle-1", 50, "")),
			aService("default/unknown", share("unknown-1", 100, "")), unknown,
			aService("default/broken", share("broken-1", 100, "")), broken,
			young,
		)
		inner := &network{away: []string{"broken.default.svc.cluster.local", "young.default.svc.cluster.local"}}
		transport := c.watcher.Transport(inner)
		ask := func(host, wake string) error {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+"/v2/x", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			if wake != "" {
				r.Header.Set(infer.WakeHeader, wake)
			}
			res, err := transport.RoundTrip(r)
			if err == nil {
				_ = res.Body.Close()
			}
			if r.Header.Get(infer.WakeHeader) != wake {
				t.Error("the caller's request was changed")
			}
			return err
		}
		if err := ask("idle.default.svc.cluster.local", infer.WakeNever); err != nil {
			t.Errorf("before anything is known: %v", err)
		}
		defer c.run()()
		synctest.Wait()
		inner.seen = nil
		for host, atZero := range map[string]bool{
			"awake.default.svc.cluster.local": false, "old-awake.default.svc.cluster.local": true,
			"idle.default.svc.cluster.local": true, "new-idle.default.svc.cluster.local": false, "IDLE.default.svc.cluster.local": true,
			"half.default.svc.cluster.local": true, "unknown.default.svc.cluster.local": true, "elsewhere.test": false,
		} {
			if err := ask(host, infer.WakeNever); errors.Is(err, route.ErrAtZero) != atZero {
				t.Errorf("%s: %v, want at zero: %v", host, err, atZero)
			}
			if err := ask(host, ""); err != nil {
				t.Errorf("%s, called: %v", host, err)
			}
		}
		for _, host := range inner.seen {
			if strings.Contains(host, infer.WakeNever) {
				t.Errorf("the wish went through to %s", host)
			}
		}
		if err := ask("broken.default.svc.cluster.local", ""); problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "cannot start: no such image") {
			t.Errorf("one that cannot start: %v", err)
		}
		var starting *problem.Error
		if err := ask("young.default.svc.cluster.local", ""); !errors.As(err, &starting) || starting.Code != problem.Unavailable ||
			starting.Detail != "the function is starting: it waits for a node" || starting.RetryAfter == 0 {
			t.Errorf("one that starts: %v", err)
		}
		// A pod comes: it is asked from then on.
		c.apply(aRevision("default/idle-1", "", 1))
		synctest.Wait()
		if err := ask("idle.default.svc.cluster.local", infer.WakeNever); err != nil {
			t.Errorf("awake by now: %v", err)
		}
	})
}

// TestAFunctionHasACallWhenItIsAwake holds when the trace of a call reports a connection:
// of a function at zero not when the activator has it, but when an instance is ready, or
// the answer is there; and never of one whose caller leaves before.
func TestAFunctionHasACallWhenItIsAwake(t *testing.T) {
	t.Parallel()
	const awake, idle = "awake.default.svc.cluster.local", "idle.default.svc.cluster.local"
	for name, tc := range map[string]struct {
		host    string
		wakes   bool
		answers bool // else the caller leaves
		atOnce  bool // it is reported before anything else comes of it
		want    bool
	}{
		"awake, the caller leaves":               {host: awake, atOnce: true, want: true},
		"some revisions are":                     {host: "half.default.svc.cluster.local", atOnce: true, want: true},
		"at zero, the caller leaves":             {host: idle},
		"at zero, it answers":                    {host: idle, answers: true, want: true},
		"at zero and awake, the caller leaves":   {host: idle, wakes: true, want: true},
		"a tag at zero, the caller leaves":       {host: "old-" + awake},
		"no function, which is somebody's proxy": {host: "elsewhere.test", atOnce: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, knative.Config{Namespaces: []string{"default"}},
					aService("default/awake", share("awake-1", 100, ""), share("idle-1", 0, "old")), aRevision("default/awake-1", "", 1),
					aService("default/idle", share("idle-1", 100, "")), aRevision("default/idle-1", "", 0),
					aService("default/half", share("awake-1", 50, ""), share("idle-1", 50, "")),
				)
				answer := make(chan struct{})
				transport := c.watcher.Transport(connected{answer})
				defer c.run()()
				synctest.Wait()
				var had atomic.Bool
				ctx, leave := context.WithCancel(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					GotConn: func(httptrace.GotConnInfo) { had.Store(true) },
				}))
				defer leave()
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+tc.host+"/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				var call sync.WaitGroup
				call.Go(func() {
					if res, err := transport.RoundTrip(r); err == nil {
						_ = res.Body.Close()
					}
				})
				synctest.Wait()
				if had.Load() != tc.atOnce {
					t.Errorf("a function has it: %v", had.Load())
				}
				if tc.wakes {
					c.apply(aRevision("default/idle-1", "", 1))
					synctest.Wait()
				}
				if tc.answers {
					close(answer)
				} else {
					leave()
				}
				call.Wait()
				if had.Load() != tc.want {
					t.Errorf("a function had it: %v", had.Load())
				}
			})
		})
	}
}

// connected is a transport that has a connection at once, and an answer later.
type connected struct{ answer <-chan struct{} }

func (c connected) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	select {
	case <-c.answer:
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

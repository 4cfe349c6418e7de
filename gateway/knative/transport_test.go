package knative_test

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
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

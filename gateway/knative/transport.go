package knative

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Transport returns next, for the URLs of the routes: what may wake nothing is
// not sent to a function at zero, but answered with route.ErrAtZero; and where
// one that cannot start, or has not yet, is not reached, the error has the reason.
func (w *Watcher) Transport(next http.RoundTripper) http.RoundTripper {
	return &transport{next: next, watcher: w}
}

type transport struct {
	next    http.RoundTripper
	watcher *Watcher
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	host := strings.ToLower(r.URL.Host)
	known, ours := t.watcher.standing.Load().by[host]
	if wake := r.Header.Get(infer.WakeHeader); wake != "" {
		if wake == infer.WakeNever && ours && known.atZero {
			if r.Body != nil {
				_ = r.Body.Close() // as a RoundTripper must
			}
			return nil, route.ErrAtZero
		}
		r = r.Clone(r.Context())
		r.Header.Del(infer.WakeHeader) // it is between the gateway and this transport
	}
	send := t.next.RoundTrip
	if known.cold {
		send = func(r *http.Request) (*http.Response, error) { return t.wakes(host, r) }
	}
	res, err := send(r)
	var op *net.OpError
	switch {
	case !errors.As(err, &op) || op.Op != "dial":
		return res, err
	case known.failed != "":
		return nil, problem.New(problem.Unavailable, "the function cannot start: %s", known.failed)
	case known.starting != "":
		return nil, problem.New(problem.Unavailable, "%s", known.starting).WithRetryAfter(time.Second)
	default:
		return nil, err
	}
}

// wakes sends a request to a function at zero. Knative's activator has it until there
// is an instance, so its trace has a connection (httptrace) when one is known to be
// ready, or the answer is there, and not when that of the activator is.
func (t *transport) wakes(host string, r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	if trace == nil || trace.GotConn == nil {
		return t.next.RoundTrip(r)
	}
	ended := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if t.awake(host, ended) {
			trace.GotConn(httptrace.GotConnInfo{})
		}
	})
	res, err := t.next.RoundTrip(r.WithContext(untraced{r.Context()}))
	close(ended)
	waiting.Wait()
	if err == nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	return res, err
}

// awake waits for an instance at a host; false when the call has ended before.
func (t *transport) awake(host string, ended <-chan struct{}) bool {
	for {
		now := t.watcher.standing.Load()
		if !now.by[host].cold {
			return true
		}
		select {
		case <-now.replaced:
		case <-ended:
			return false
		}
	}
}

// untraced is a context without its trace: all else of it, such as why it ended, stays.
type untraced struct{ context.Context } //nolint:containedctx // it is one

// Value implements context.Context.
func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, is := v.(*httptrace.ClientTrace); is {
		return nil
	}
	return v
}

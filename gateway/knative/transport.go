package knative

import (
	"errors"
	"net"
	"net/http"
	"strings"
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
	known, ours := (*t.watcher.standing.Load())[strings.ToLower(r.URL.Host)]
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
	res, err := t.next.RoundTrip(r)
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

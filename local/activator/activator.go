// Package activator carries a request from the name of a Service to a slot of
// one of its instances: host, traffic split, revision, instance, and the answer
// back. It is what the gateway uses as its transport, so there is one hop over
// loopback between the two and no other.
//
// It starts and stops nothing: revisions do.
package activator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/local/revision"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Domain ends the name of every Service inside the platform, as in a cluster.
const Domain = ".default.svc.cluster.local"

// Target is a revision with its part of a Service's traffic.
type Target struct {
	Revision *revision.Revision
	Percent  int
	Timeout  time.Duration // of a request, from its arrival, or the end of the build, to the last byte of its answer
}

// Table is where each host's requests go. The targets of a host add up to
// 100 percent; a host of a Service that has nothing to route to has a reason.
type Table map[string]Route

// Route is one host's row.
type Route struct {
	Service string
	Targets []Target
	Reason  error // when there are no targets
}

// Activator is an http.RoundTripper over a table that may change at any time.
type Activator struct {
	table  atomic.Pointer[Table]
	atZero error
	cold   func(Cold)
}

// Cold describes the first request that an instance answered.
type Cold struct {
	Service  string
	FromZero bool // else there were other instances
	Total    time.Duration
	Parts    []Part
}

// Part is one part of a cold start.
type Part struct {
	Name     string
	Duration time.Duration
}

// New makes an Activator that routes nothing yet. atZero is what it answers
// instead of waking a function; cold is called for each cold start.
func New(atZero error, cold func(Cold)) *Activator {
	a := &Activator{atZero: atZero, cold: cold}
	a.table.Store(&Table{})
	return a
}

// Replace puts a new table in place. Requests under way are not touched.
func (a *Activator) Replace(t Table) { a.table.Store(&t) }

// attempts bounds how often one request looks for a place: its instance may end
// or its revision be replaced just as it comes.
const attempts = 5

// RoundTrip sends req, whose URL's host names a Service or a tag of one, to an
// instance. The instance's slot is given back when the answer's body is closed.
func (a *Activator) RoundTrip(req *http.Request) (*http.Response, error) {
	body := newBody(req.Body)
	resp, err := a.carry(req, body)
	if err != nil {
		body.abandon()
		return nil, err
	}
	return resp, nil
}

func (a *Activator) carry(req *http.Request, body *replayBody) (*http.Response, error) {
	arrived := time.Now()
	var last error
	name := ""
	for range attempts {
		target, service, err := a.target(req.URL.Host)
		if err != nil {
			return nil, err
		}
		name = service
		lease, err := target.Revision.Acquire(req.Context(), req.Header.Get(infer.TenantHeader), req.Header.Get(infer.WakeHeader) != infer.WakeNever)
		switch {
		case errors.Is(err, revision.ErrRetired):
			last = err
			continue
		case errors.Is(err, revision.ErrAtZero):
			return nil, a.atZero
		case err != nil:
			return nil, err //nolint:wrapcheck // it is for the caller as it is
		}
		resp, err := send(req, body, lease, target.Timeout-time.Since(arrived)+lease.Build)
		if err == nil {
			a.addParts(resp, service, lease, arrived)
			return resp, nil
		}
		if broke(err) {
			lease.ReportBroken() // before its slot is free for the next
		}
		lease.Release()
		if !body.untouched() || !isDial(err) || req.Context().Err() != nil {
			return nil, err
		}
		last = err
	}
	return nil, problem.New(problem.Unavailable, "%s: its instances ended as the request came; tried %d times: %w", name, attempts, problem.ForLog(last))
}

// target picks the revision for one request.
func (a *Activator) target(host string) (Target, string, error) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	row, ok := (*a.table.Load())[strings.ToLower(host)]
	if !ok {
		return Target{}, "", problem.New(problem.NotFound, "no function is called %s", strings.TrimSuffix(host, Domain))
	}
	at := rand.IntN(100) //nolint:gosec // a share of traffic, no secret
	for _, t := range row.Targets {
		if at -= t.Percent; at < 0 {
			return t, row.Service, nil
		}
	}
	if row.Reason != nil {
		return Target{}, "", problem.New(problem.Unavailable, "%s cannot start: %w", row.Service, row.Reason)
	}
	return Target{}, "", problem.New(problem.Unavailable, "%s has no revision that traffic goes to", row.Service)
}

// instance is what a lease's instance must be able to do here.
type instance interface {
	Address() string
	Secret() string
	Transport(h2c bool) http.RoundTripper
}

// send sends the request to the lease's instance.
func send(req *http.Request, body *replayBody, lease *revision.Lease, timeout time.Duration) (*http.Response, error) {
	to, ok := lease.Instance.(instance)
	if !ok {
		return nil, fmt.Errorf("instance %T has no transport", lease.Instance)
	}
	ctx, cancel := context.WithTimeoutCause(req.Context(), timeout,
		problem.New(problem.DeadlineExceeded, "the function did not finish within its timeoutSeconds"))
	out := req.Clone(ctx)
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	out.URL.Scheme, out.URL.Host = "http", to.Address()
	out.Header.Del(infer.WakeHeader)
	out.Header.Set(infer.SecretHeader, to.Secret())
	out.Body = body.reader()
	h2c := req.ProtoMajor == 2 || media.IsGRPC(req.Header)
	resp, err := to.Transport(h2c).RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		cancel()
		return nil, err
	}
	body.commit()
	resp.Body = &answer{ReadCloser: resp.Body, closed: func() { cancel(); lease.Release() }}
	resp.Request = req
	return resp, nil
}

// answer gives the slot back when it is closed.
type answer struct {
	io.ReadCloser
	once   sync.Once
	closed func()
}

// Close closes the body and releases the slot.
func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.once.Do(a.closed)
	return err //nolint:wrapcheck // passed through
}

// broke reports whether a request failed by its connection, and not since its time
// was over, its caller left or its body could not be read.
func broke(err error) bool {
	var known *problem.Error
	return !errors.As(err, &known) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isDial reports whether the connection was never made, so nothing was sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

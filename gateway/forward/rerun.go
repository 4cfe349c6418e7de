package forward

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
)

// rerun runs an inference again, once, whose function broke off before any of its
// answer came, as one does that is killed. Only what may run twice is, and only
// while its body is kept.
//
// Locally the function's end is a broken connection. In a cluster queue-proxy,
// or the ingress, answers 502 for it; until the container has been started again
// they answer so without having reached it, and then nothing has run.
type rerun struct {
	next    Forwarder
	kept    *room.Room
	times   timeouts
	counter *prometheus.CounterVec
}

// Rerun runs inferences again. kept bounds, in bytes, what the bodies of all calls
// take that are kept for it, and json what of one body's JSON is read, decompressed,
// for its timeout, on one of large; counter counts the reruns by function.
func Rerun(kept, json int64, large *nice.Threads, counter *prometheus.CounterVec) Decorator {
	shared := room.New(kept)
	times := timeouts{most: json, threads: large}
	return func(next Forwarder) Forwarder { return &rerun{next, shared, times, counter} }
}

// A container that was killed is started again at once. It is waited for at most
// waitAtMost, looked for after firstPause and then ever less often, and no less
// often than every mostPause.
const (
	waitAtMost = 30 * time.Second
	firstPause = 100 * time.Millisecond
	mostPause  = time.Second
)

// Forward implements Forwarder.
func (f *rerun) Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error) {
	if !t.Repeatable {
		return f.next.Forward(ctx, c, t, r)
	}
	var body again = renewed{r.GetBody}
	answered := func() {}
	if r.GetBody == nil {
		k := keep(r, f.kept.Of(c.Tenant()))
		body = k
		if t.Timed && c.Protocol == call.HTTP { // of gRPC whoever sends it keeps to it
			ctx, answered = f.times.keep(ctx, c.Tenant(), r.Header, k)
		}
	}
	defer body.noMoreReaders()
	defer answered()
	began, pause, again := time.Now(), firstPause, false
	for {
		out := r.Clone(ctx)
		out.Body, out.GetBody = body.reader(), nil
		res, err := f.next.Forward(ctx, c, t, out)
		how := failed(t, res, err)
		switch {
		case how == unreached && time.Since(began) < waitAtMost:
		case how == brokeOff && !again:
			again = true
			if res == nil {
				pause = 0 // a transport that knows that it is gone has the next call wait
			}
		default:
			return res, err
		}
		if ctx.Err() != nil || !body.whole() || !rest(ctx, pause) {
			return res, err
		}
		if res != nil {
			Close(res)
		}
		if how == brokeOff {
			f.counter.WithLabelValues(t.Function).Inc()
		}
		pause = min(max(2*pause, firstPause), mostPause)
	}
}

// again is a body that each try reads from its beginning.
type again interface {
	reader() io.ReadCloser // nil when there is no body
	whole() bool           // whether another would find all of it
	noMoreReaders()        // there will be no other
}

// renewed is a body whose every reader is made anew: one of a message that is
// held anyway.
type renewed struct {
	body func() (io.ReadCloser, error)
}

func (b renewed) reader() io.ReadCloser {
	body, err := b.body()
	if err != nil {
		return io.NopCloser(failedReader{err})
	}
	return body
}

func (renewed) whole() bool    { return true }
func (renewed) noMoreReaders() {}

// failedReader is a body that there is none of.
type failedReader struct{ err error }

// Read implements io.Reader.
func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// rest waits, and is false when ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // a jitter, no secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tried is how one try went.
type tried int

const (
	notRetried tried = iota // it was answered, or trying again helps nobody
	unreached               // nothing has come to a function
	brokeOff                // it may have run
)

// failed reports how a try failed. Of a response only the text of what stands
// before a function counts: functions' errors are JSON.
func failed(t *call.Target, res *http.Response, err error) tried {
	var known *problem.Error
	var op *net.OpError
	var network net.Error
	switch {
	case errors.As(err, &known), errors.Is(err, route.ErrAtZero), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return notRetried
	case errors.As(err, &op) && op.Op == "dial", errors.As(err, &network) && network.Timeout():
		return notRetried // the transport waits for what is coming itself
	case err != nil:
		return brokeOff
	case t.Plain || res.StatusCode != http.StatusBadGateway || ingressError(res) == nil:
		return notRetried
	}
	if proxyAlone(res) {
		return unreached
	}
	return brokeOff
}

// proxyAlone reports whether an answer is that of Knative's proxies (http.Error, by
// knative.dev/pkg/network.ErrorHandler) that could not reach what is behind them, and
// that text alone, since a function's own may have it somewhere: queue-proxy reaches the
// container beside it, the activator a queue-proxy.
func proxyAlone(res *http.Response) bool {
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		return false
	}
	text, err := beginning(res)
	if err != nil {
		return false
	}
	line, more, ended := strings.Cut(string(text), "\n")
	rest, dialled := strings.CutPrefix(line, "dial tcp ")
	address, reason, _ := strings.Cut(rest, ": ")
	to, err := netip.ParseAddrPort(address)
	if !ended || more != "" || !dialled || err != nil {
		return false
	}
	return (to.Addr().IsLoopback() || isQueueProxy(to.Port())) && (strings.HasPrefix(reason, "connect: ") || reason == "i/o timeout")
}

// isQueueProxy reports whether queue-proxy listens at a port of a pod
// (knative.dev/serving/pkg/networking's Backend ports).
func isQueueProxy(port uint16) bool { return port == 8012 || port == 8013 || port == 8112 }

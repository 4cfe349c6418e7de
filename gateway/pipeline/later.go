package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Later has calls answered later whose callers prefer that (respond-async of RFC 7240, 4.1):
// an inference by REST, or a POST at a function's own host. It is for the outermost place:
// by then the call was let in, limited and resolved, and what is refused is refused at once.
// The pipelines service stores the request with where it goes, and its answer is the
// caller's. public is the platform's own address, for Location; "" is what the caller
// called, without the function's name.
func Later(service http.RoundTripper, at *url.URL, secret, public string) forward.Decorator {
	return func(next forward.Forwarder) forward.Forwarder {
		return &later{next: next, service: service, at: at, secret: secret, public: strings.TrimSuffix(public, "/")}
	}
}

type later struct {
	next           forward.Forwarder
	service        http.RoundTripper
	at             *url.URL
	secret, public string
}

// Forward implements forward.Forwarder.
func (l *later) Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error) {
	if c.Protocol != call.HTTP || r.Method != http.MethodPost || c.Operation != "/" && !strings.HasSuffix(c.Operation, "/infer") || !prefersLater(r.Header) {
		return l.next.Forward(ctx, c, t, r)
	}
	to := *r.URL
	to.Scheme, to.Host = t.URL.Scheme, t.URL.Host
	order := calls.Order{Method: r.Method, URL: to.String(), Path: c.Path, Repeatable: t.Repeatable}
	if c.Bound != nil {
		order.Host = strings.ToLower(c.Host)
	}
	text, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("write what is to be called: %w", err)
	}
	out := r.Clone(ctx)
	address := *l.at
	address.Path = strings.TrimSuffix(address.Path, "/") + contract.CallsPath
	out.URL, out.Host, out.RequestURI = &address, "", ""
	out.Header.Set(contract.CallHeader, string(text))
	if l.secret != "" {
		out.Header.Set(infer.SecretHeader, l.secret)
	}
	res, err := l.service.RoundTrip(out)
	if err != nil {
		return nil, away(ctx, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		defer func() { _ = res.Body.Close() }()
		return nil, refusal(res)
	}
	if location := res.Header.Get("Location"); strings.HasPrefix(location, "/") {
		res.Header.Set("Location", l.host(c)+location)
	}
	res.Header.Set(infer.CostHeader, infer.Usage{}.String()) // nothing ran yet: what does, the service charges
	return res, nil
}

// refusal is the service's error, in whichever form its caller gets errors.
func refusal(res *http.Response) error {
	fault, err := forward.Fault(res)
	switch {
	case err != nil:
		return err //nolint:wrapcheck // a problem
	case fault == nil:
		return problem.New(problem.BadGateway, "the pipelines service answered %d", res.StatusCode)
	}
	if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
		fault.RetryAfter = time.Duration(seconds) * time.Second
	}
	return fault
}

// prefersLater reports whether a request prefers to be answered later.
func prefersLater(h http.Header) bool {
	for _, line := range h.Values(contract.PreferHeader) {
		for part := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// host is the platform's own address for the caller of a call.
func (l *later) host(c *call.Call) string {
	if l.public != "" {
		return l.public
	}
	host := c.Host
	if c.Bound != nil { // FUNCTION.NAMESPACE.domain, or FUNCTION.domain
		_, rest, ok := strings.Cut(host, ".")
		if ok {
			host = strings.TrimPrefix(rest, c.Bound.Function.Namespace+".")
		}
	}
	return "http://" + host
}

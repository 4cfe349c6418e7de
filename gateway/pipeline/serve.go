package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// serve answers a request of an operation.
func (s *Service) serve(op *operationOf, c *call.Call, w http.ResponseWriter, r *http.Request) error {
	if s == nil {
		return problem.New(problem.Unimplemented, "this platform runs no pipelines: the gateway has no MODELSERVE_PIPELINES_URL")
	}
	action := auth.Action{Verb: op.needs}
	if op.needs == auth.DoRun {
		action.On = r.PathValue("name")
		if !auth.IsLabel(action.On) { // no permission is for it, and no pipeline has it
			return problem.New(problem.NotFound, "there is no such pipeline")
		}
	}
	if err := s.deps.Door.Decide(r.Context(), c, action); err != nil {
		return err
	}
	about := resource(op, r)
	switch {
	case op.id == registerPipeline:
		text, d, err := s.definition(r.Context(), c, r)
		if err != nil {
			return err
		}
		about = "pipeline:" + d.Name
		r = withBody(r, text)
	case op.id == createSchedule:
		text, d, err := s.schedule(r.Context(), c, r)
		if err != nil {
			return err
		}
		about = "schedule:" + d.Name
		r = withBody(r, text)
	case !op.body:
		r = withBody(r, nil)
	}
	if op.stream {
		ctx, end := s.watch(r.Context(), c, action)
		defer end()
		r = r.WithContext(ctx)
	}
	if op.audit != "" {
		// The change may be made whether or not the caller waits for its answer: then it
		// is entered all the same.
		ctx, cancel := detached(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
	}
	return s.deps.Proxy.Serve(w, r, r.URL.EscapedPath(), func(out *http.Request) (*http.Response, error) {
		res, err := s.send(c, out)
		if err != nil {
			return nil, err
		}
		if op.audit != "" && res.StatusCode < http.StatusBadRequest {
			s.enter(out.Context(), c, op, about, res.Header.Get("Location"))
		}
		return res, nil
	})
}

// withBody is a request with another body; nil is none.
func withBody(r *http.Request, text []byte) *http.Request {
	r = r.Clone(r.Context())
	r.ContentLength = int64(len(text))
	r.Body = http.NoBody
	r.GetBody = nil
	if len(text) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(text))
	} else {
		r.Header.Del("Content-Type")
	}
	return r
}

// detached is a context with the deadline and the values of another, that does not end
// with it.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	free := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(free, deadline)
	}
	return context.WithTimeout(free, time.Minute)
}

// send sends a request to the service, with what the gateway says of it.
func (s *Service) send(c *call.Call, out *http.Request) (*http.Response, error) {
	ctx := out.Context()
	forward.SetHeaders(ctx, c, out.Header)
	out.Header.Del("Cookie")
	if s.deps.Secret != "" {
		out.Header.Set(infer.SecretHeader, s.deps.Secret)
	}
	out.URL.Scheme, out.URL.Host = s.deps.URL.Scheme, s.deps.URL.Host
	if base := strings.TrimSuffix(s.deps.URL.Path, "/"); base != "" {
		out.URL.Path, out.URL.RawPath = base+out.URL.Path, base+out.URL.EscapedPath()
	}
	res, err := s.deps.Service.RoundTrip(out)
	if err != nil {
		return nil, away(ctx, err)
	}
	forward.CleanAnswer(res.Header)
	fault, err := forward.Fault(res)
	switch {
	case err != nil:
		_ = res.Body.Close()
		return nil, err
	case fault != nil:
		c.Log.Err = fault
	case res.StatusCode == http.StatusSwitchingProtocols:
		_ = res.Body.Close()
		return nil, problem.New(problem.BadGateway, "the pipelines service switched protocols, which no call asks for")
	}
	return res, nil
}

// away is the error of a service that did not answer.
func away(ctx context.Context, err error) error {
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		return known
	case ctx.Err() != nil:
		return ctx.Err() //nolint:wrapcheck // the call's own
	default:
		return problem.New(problem.Unavailable,
			"the pipelines service does not answer: whether it did anything is not known, and a start is safe to repeat with the same Idempotency-Key: %w",
			problem.ForLog(err)).WithRetryAfter(time.Second)
	}
}

// revokedWithin is how long a stream may go on whose caller may not see it any more: as
// long as a revoked key may.
const revokedWithin = 2 * time.Second

// watch ends a stream's context when its caller is not known any more, or has lost the
// right to it. Whoever called it calls end, which waits for it.
func (s *Service) watch(ctx context.Context, c *call.Call, a auth.Action) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(revokedWithin)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			again := *c
			again.Log = &call.Entry{}
			err := s.deps.Door.Identify(ctx, &again)
			if problem.CodeOf(err) == problem.Unauthenticated || err == nil && !s.deps.Door.May(ctx, &again, a) {
				cancel()
				return
			}
		}
	}()
	return ctx, func() { cancel(); <-done }
}

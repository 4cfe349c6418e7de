package door

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Passage is a call that was let in and resolved, until it has its answer.
type Passage struct {
	Target *call.Target

	door  *Door
	call  *call.Call
	share Share // nil without a limiter
	runs  bool  // the function runs something for it

	mu       sync.Mutex
	began    time.Time // when a function had it; zero before that
	named    *named    // what its request names; nil where nobody asks
	used     infer.Usage
	reported bool
	ended    bool
}

// Send sends the call's request, whose path is that of the target, and returns the
// answer. The answer's body is to be closed; what the call took, in a header or in
// a trailer behind it, is taken off.
func (p *Passage) Send(ctx context.Context, r *http.Request) (*http.Response, error) {
	p.look(r)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: p.had})
	res, err := p.door.Forwarder.Forward(ctx, p.call, p.Target, r)
	if err != nil {
		p.ran(err, 0)
		return nil, err
	}
	p.ran(nil, res.StatusCode)
	p.charge(res.Header)
	res.Body = &charged{res.Body, p, res}
	if res.StatusCode < http.StatusBadRequest && p.Target.Alias != "" && res.Header.Get(infer.AliasHeader) == "" {
		res.Header.Set(infer.AliasHeader, p.Target.Alias)
	}
	return res, nil
}

// had notes that a function has the call's request: there is a connection that it is
// sent by. Until then the function may be built or started, or others are before the
// call, which nobody is charged for.
func (p *Passage) had(httptrace.GotConnInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began = time.Now()
	}
}

// look keeps the beginning of a request whose cost counts, for what it names.
func (p *Passage) look(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.share == nil || !p.share.Measures() || r.Body == nil || r.Body == http.NoBody {
		return
	}
	encoding := r.Header.Get("Content-Encoding")
	p.named = &named{ReadCloser: r.Body, encoding: encoding}
	r.Body = p.named
	if again := r.GetBody; again != nil {
		r.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			n := &named{ReadCloser: body, encoding: encoding}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.named = n
			return n, nil
		}
	}
}

// ran notes whether the call's request may have been run: not where it came to no
// function, nor where ours refused it. Of anybody's function every answer is what it
// ran for.
func (p *Passage) ran(err error, status int) {
	if err == nil && p.Target.Plain {
		return
	}
	refused := status >= http.StatusBadRequest && status < http.StatusInternalServerError || status == http.StatusServiceUnavailable
	if slices.Contains([]problem.Code{problem.Unavailable, problem.ModelUnavailable, problem.Overloaded}, problem.CodeOf(err)) {
		refused = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if refused {
		p.began = time.Time{}
	}
}

// Serve forwards a request of HTTP by a proxy, with another path, and ends the
// passage. Nothing is written when it returns an error.
func (p *Passage) Serve(proxy *forward.Proxy, w http.ResponseWriter, r *http.Request, path string) error {
	defer p.End()
	return proxy.Serve(w, r, path, func(out *http.Request) (*http.Response, error) {
		res, err := p.Send(out.Context(), out)
		if err != nil {
			return nil, err
		}
		if err := p.Learn(res); err != nil {
			_ = res.Body.Close()
			return nil, err
		}
		return res, nil
	})
}

// Learn notes what an answer of HTTP reports of the model. An error is of an answer
// that broke off.
func (p *Passage) Learn(res *http.Response) error {
	if res.StatusCode < http.StatusBadRequest {
		p.Answered(res.Header)
		return nil
	}
	fault, err := forward.Fault(res)
	if err != nil || fault == nil {
		return err
	}
	p.call.Log.Err = fault
	p.Failed(fault.Code, fault.Detail)
	return nil
}

// Answered notes that the call was answered, with these headers.
func (p *Passage) Answered(h http.Header) { p.door.Resolver.Answered(p.Target, h) }

// Failed notes what the call failed with.
func (p *Passage) Failed(code problem.Code, reason string) {
	if !p.Target.Plain && !code.Ours() && code != problem.Cancelled && code != problem.DeadlineExceeded {
		p.mu.Lock()
		p.began = time.Time{} // it was refused, and did not run
		p.mu.Unlock()
	}
	if code == problem.ModelUnavailable {
		p.door.Resolver.Failed(p.Target, reason)
	}
}

// charge takes what the call took off headers or trailers.
func (p *Passage) charge(h http.Header) {
	values := h.Values(infer.CostHeader)
	if len(values) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, value := range values {
		if used, ok := infer.ParseUsage(value); ok {
			p.used.Add(used)
			p.reported = true
		}
	}
	delete(h, infer.CostHeader)
}

// took is what the call took: what its function reported, or else, as of one whose
// caller left, the time since that had it, and what its request names.
func (p *Passage) took() infer.Usage {
	if p.reported || p.began.IsZero() || !p.runs {
		return p.used
	}
	used := infer.Usage{Rows: 1, Compute: time.Since(p.began)}
	if p.named != nil {
		used.Rows, used.Elements = p.named.of(p.call.Protocol)
	}
	return used
}

// End ends the call's share, charged with what it took. Ending twice is safe.
func (p *Passage) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	p.call.Log.Used = p.took()
	if p.share != nil {
		p.share.Done(p.call.Log.Used)
	}
}

// charged is the body of an answer, behind which the trailers are.
type charged struct {
	io.ReadCloser

	passage *Passage
	res     *http.Response
}

// Read implements io.Reader.
func (b *charged) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		b.passage.charge(b.res.Trailer)
		forward.CleanTrailer(b.res.Trailer)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

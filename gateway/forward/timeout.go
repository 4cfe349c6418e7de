package forward

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// A V2 request may say how long there is for it (its parameter timeout). Its
// function keeps to that from when it has the request; until then, while the
// function starts, the gateway does. A gRPC message is read whole anyway. A JSON
// body is looked into only when there is no answer after lookAfter, up to the end
// of its parameters, and as far as it may be kept (MaxKept).
const (
	lookAfter = 20 * time.Millisecond

	// Slack lets a function that has the request be the one that reports that it is late.
	Slack = 50 * time.Millisecond
)

// MaxTimeout is more than any request has.
const MaxTimeout = 1000 * time.Hour

// TimedOut is the error of a request without an answer within its timeout.
func TimedOut(timeout time.Duration) error {
	return problem.New(problem.DeadlineExceeded, "the request's timeout of %v passed without an answer", timeout)
}

// jsonPart is the JSON of a V2 request in its body.
type jsonPart struct {
	encoding string // of the body
	length   int64  // bytes, decompressed
}

// jsonOf is where the JSON of a V2 request is, by its headers, of most bytes; false
// where they are wrong, which its function reports.
func jsonOf(h http.Header, most int64) (jsonPart, bool) {
	encoding := strings.Join(h.Values("Content-Encoding"), ", ") // as functions read it
	part := jsonPart{encoding: strings.ToLower(strings.TrimSpace(encoding)), length: most}
	n, err := infer.JSONLength(h.Values(infer.JSONLengthHeader))
	if n != infer.NoHeader {
		part.length = min(int64(n), most)
	}
	return part, err == nil
}

// timeout is what the JSON of a body says; 0 where that is nothing, or cannot be
// read. It reads most bytes of it, and reports whether there may be more.
func (p jsonPart) timeout(ctx context.Context, body io.Reader, most int64) (timeout time.Duration, more bool) {
	var err error
	switch p.encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	default:
		return 0, false
	}
	if err != nil {
		return 0, false
	}
	text := &io.LimitedReader{R: body, N: min(most, p.length)}
	timeout = infer.TimeoutOf(&whileWanted{ctx, text})
	return timeout, text.N == 0 && most < p.length
}

// whileWanted ends with the wish for what is read.
type whileWanted struct {
	ctx context.Context //nolint:containedctx // io.Reader's is none
	r   io.Reader
}

func (w *whileWanted) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // ends the reading
	}
	return w.r.Read(p) //nolint:wrapcheck // io.EOF must stay itself
}

// timeouts ends requests by what their JSON says.
type timeouts struct {
	most    int64         // bytes of a body's JSON that are read, decompressed
	threads *nice.Threads // that look
}

// keep ends the context of a tenant's V2 request when its own timeout has passed.
// answered is to be called when the answer has begun: the rest is the function's.
func (t timeouts) keep(parent context.Context, tenant string, h http.Header, body *kept) (ctx context.Context, answered func()) {
	part, ok := jsonOf(h, t.most)
	if !ok {
		return parent, func() {}
	}
	began := time.Now()
	ctx, cancel := context.WithCancelCause(parent) // parent ends with the request
	wanted, enough := context.WithCancel(ctx)
	var (
		mu   sync.Mutex
		over bool
		end  *time.Timer
	)
	look := time.AfterFunc(lookAfter, func() {
		timeout := t.look(wanted, tenant, part, body)
		if timeout <= 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		end = time.AfterFunc(time.Until(began.Add(min(timeout, MaxTimeout)+Slack)), func() {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				cancel(TimedOut(timeout))
			}
		})
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		enough()
		look.Stop()
		if end != nil {
			end.Stop()
		}
	}
}

// look is what the JSON of a body says. Of a large one that is looked for once the body is
// there, on a thread that waits for nothing and keeps nobody waiting.
func (t timeouts) look(ctx context.Context, tenant string, part jsonPart, body *kept) time.Duration {
	timeout, more := part.timeout(ctx, &lookAhead{of: body}, nice.LargeBytes)
	if !more {
		return timeout
	}
	if _, err := io.Copy(io.Discard, &lookAhead{of: body}); err != nil {
		return 0
	}
	err := t.threads.Do(ctx, tenant, func() { timeout, _ = part.timeout(ctx, &lookAhead{of: body}, part.length) })
	if err != nil {
		return 0
	}
	return timeout
}

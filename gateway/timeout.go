package gateway

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// A V2 request may say how long there is for it (its parameter timeout). Its
// function keeps to that from when it has the request; until then, while the
// function starts, the gateway does. A gRPC message is read whole anyway. A JSON
// body is looked into only when there is no answer after lookAfter, up to the end
// of its parameters, and as far as there is room to keep it (MaxKept).
const (
	lookAfter = 20 * time.Millisecond

	// slack lets a function that has the request be the one that says it is late.
	slack = 50 * time.Millisecond
)

// timedOut is what is told of a request without an answer within its timeout.
func timedOut(timeout time.Duration) error {
	return problem.New(problem.DeadlineExceeded, "the request's timeout of %v passed without an answer", timeout)
}

// headLengthHeader says how many bytes of a V2 body are JSON, where it has more.
const headLengthHeader = "Inference-Header-Content-Length"

type jsonKey struct{}

// jsonPart is the JSON of a V2 request in its body.
type jsonPart struct {
	encoding string // of the body
	length   int64  // bytes, decompressed
}

// withJSON notes in the context of a V2 request, whose body is of most bytes when
// decompressed, where its JSON is.
func withJSON(ctx context.Context, h http.Header, most int64) context.Context {
	part := jsonPart{encoding: strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding"))), length: most}
	if text := h.Get(headLengthHeader); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return ctx // its function says what is wrong with it
		}
		part.length = min(n, most)
	}
	return context.WithValue(ctx, jsonKey{}, part)
}

// timeout is what the JSON of a body says; 0 where that is nothing, or cannot be
// read.
func (p jsonPart) timeout(body io.Reader) time.Duration {
	var err error
	switch p.encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	default:
		return 0
	}
	if err != nil {
		return 0
	}
	return infer.TimeoutOf(io.LimitReader(body, p.length))
}

// withTimeout ends the context of a V2 request when its own timeout has passed.
// answered is to be called when the answer has begun: the rest is the function's.
func withTimeout(parent context.Context, body *kept) (ctx context.Context, answered func()) {
	part, ok := parent.Value(jsonKey{}).(jsonPart)
	if !ok {
		return parent, func() {}
	}
	began := time.Now()
	ctx, cancel := context.WithCancelCause(parent) // parent ends with the request
	var (
		mu   sync.Mutex
		over bool
		end  *time.Timer
	)
	look := time.AfterFunc(lookAfter, func() {
		timeout := part.timeout(&lookAhead{of: body})
		if timeout <= 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		end = time.AfterFunc(time.Until(began.Add(min(timeout, maxTimeout)+slack)), func() {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				cancel(timedOut(timeout))
			}
		})
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		look.Stop()
		if end != nil {
			end.Stop()
		}
	}
}

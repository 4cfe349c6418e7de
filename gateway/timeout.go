package gateway

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// A V2 request may say how long there is for it (its parameter timeout). Its
// function keeps to that from when it has the request; until then, while the
// function starts, the gateway does. A gRPC message is read whole anyway. A JSON
// body is looked into only when there is no answer after lookAfter, and only as
// far as it can be kept: the first MiB, uncompressed. Of any other the function
// alone knows the timeout.
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

type headKey struct{}

// withHead notes in the context of a V2 request how many bytes of its body are
// JSON.
func withHead(ctx context.Context, h http.Header) context.Context {
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return ctx
	}
	head := infer.NoHeader
	if text := h.Get(headLengthHeader); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return ctx // its function says what is wrong with it
		}
		head = n
	}
	return context.WithValue(ctx, headKey{}, head)
}

// withTimeout ends the context of a V2 request when its own timeout has passed.
// answered is to be called when the answer has begun: the rest is the function's.
func withTimeout(parent context.Context, body *kept) (ctx context.Context, answered func()) {
	head, ok := parent.Value(headKey{}).(int)
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
		timeout := infer.TimeoutOf(body.ahead(head))
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

package forward

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
)

// ingressError is an error that no function wrote, whose errors are JSON: it is
// the text of a proxy before one, the ingress, the activator or queue-proxy. A
// route that is announced is there a moment later.
func ingressError(res *http.Response) error {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode < http.StatusBadRequest || media != "" && media != "text/plain" {
		return nil
	}
	switch res.StatusCode {
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return problem.New(problem.DeadlineExceeded, "the function did not answer in time")
	case http.StatusTooManyRequests:
		return problem.New(problem.Overloaded, "the function has more calls than it takes").WithRetryAfter(time.Second)
	case http.StatusNotFound, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		return problem.New(problem.Unavailable, "the function cannot be reached now: a proxy before it (ingress, activator or queue-proxy) answered %d", res.StatusCode).WithRetryAfter(time.Second)
	default:
		return problem.New(problem.BadGateway, "a proxy before the function (ingress, activator or queue-proxy) answered %d", res.StatusCode)
	}
}

// Error is what a caller gets of a function that could not be reached or
// broke off. Addresses stay in the log.
func Error(ctx context.Context, err error) error {
	var known *problem.Error
	var network net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &known), errors.As(context.Cause(ctx), &known):
		return known
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case errors.Is(err, route.ErrAtZero):
		return problem.New(problem.Unavailable, "%w", err)
	case errors.As(err, &op) && op.Op == "dial":
		return problem.New(problem.Unavailable, "the function cannot be reached: %w", problem.ForLog(err)).WithRetryAfter(time.Second)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return problem.New(problem.DeadlineExceeded, "the function did not answer in time: %w", problem.ForLog(err))
	default:
		return BrokeOff(err)
	}
}

// BrokeOff is the error of a function whose answer is not whole.
func BrokeOff(err error) error {
	return problem.New(problem.BadGateway, "the function broke off before its answer was whole: %w", problem.ForLog(err))
}

// errorBody bounds what is read of a function's error.
const errorBody = 64 << 10

// beginning reads what an answer begins with, which is still there for whoever
// reads it next.
func beginning(res *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, errorBody))
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), res.Body), res.Body}
	return text, err //nolint:wrapcheck // its kind is looked at
}

// Fault is the problem that a function's answer is, whose body is still to be
// read; nil for what is none, or cannot be read as that. An error is of an answer
// that broke off.
func Fault(res *http.Response) (*problem.Error, error) {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	unavailable := res.StatusCode == problem.ModelUnavailable.Row().Status // that is always read: it is remembered
	if res.StatusCode < http.StatusBadRequest || !unavailable && (res.ContentLength < 0 || res.ContentLength > errorBody) ||
		media != "application/json" && media != "application/problem+json" {
		return nil, nil //nolint:nilnil // it is no problem
	}
	text, err := beginning(res)
	if err != nil {
		return nil, BrokeOff(err)
	}
	return parseFault(text, res.StatusCode), nil
}

func parseFault(text []byte, status int) *problem.Error {
	var body struct {
		Error  string       `json:"error"`
		Detail string       `json:"detail"`
		Code   problem.Code `json:"code"`
	}
	if json.Unmarshal(text, &body) == nil && body.Code.Known() && body.Code.Row().Status == status {
		return &problem.Error{Code: body.Code, Detail: cmp.Or(body.Error, body.Detail)}
	}
	return nil
}

// Refusal is a function's error answer as an error, for a request of the gateway's
// own.
func Refusal(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, errorBody))
	fault := parseFault(text, res.StatusCode)
	if err != nil || fault == nil || fault.Code == problem.Internal {
		return problem.New(problem.BadGateway, "the function answered %d", res.StatusCode)
	}
	return fault
}

// Close reads what little is left of an answer, so that its connection can be used
// again, and closes it.
func Close(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, errorBody)
	_ = res.Body.Close()
}

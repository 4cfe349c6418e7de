package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config is how calls are made.
type Config struct {
	Secret    string // shows a function that a call comes from the platform; "" where the transport does
	MaxAnswer int64  // bytes of an answer
	Memory    int64  // bytes of requests and answers that are in memory at once, of which one tenant has at most half
}

// Caller makes the calls.
type Caller struct {
	cfg       Config
	functions http.RoundTripper
	values    *values.Values
	memory    *memory.Account
}

// memoryPatience is how long a call waits for memory that others have.
const memoryPatience = 10 * time.Second

// NewCaller makes a Caller. functions reaches them by the hosts of their URLs, and waits
// where one is started for the call.
func NewCaller(cfg Config, functions http.RoundTripper, v *values.Values) *Caller {
	return &Caller{cfg: cfg, functions: functions, values: v, memory: memory.New(max(cfg.Memory, 8*cfg.MaxAnswer), memoryPatience)}
}

// Call makes the call of an execution once, and returns what its step answered, or why it
// failed. The record has no step and no epoch.
func (c *Caller) Call(ctx context.Context, x *execution.Execution, epoch int) (envelope.Value, envelope.Record, *execution.Failure) {
	held := c.memory.Open(x.Tenant)
	defer held.End()
	var r envelope.Record
	request, err := Of(x.Input)
	if err != nil {
		return envelope.Value{}, r, failed(problem.New(problem.Internal, "the call cannot be read as it is stored: %w", problem.ForLog(err)))
	}
	if err := held.Take(ctx, request.Body.Size); err != nil {
		return envelope.Value{}, r, failed(err)
	}
	body, err := c.values.Fetch(ctx, x.Tenant, x.ID, envelope.Value{Claim: request.Body})
	if err != nil {
		return envelope.Value{}, r, failed(err)
	}
	res, err := c.send(ctx, x, request, body)
	if err != nil {
		return envelope.Value{}, r, broken(ctx, request, err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, text, err := c.keep(ctx, held, x, res, epoch)
	if err != nil {
		var cut cutError
		if errors.As(err, &cut) {
			return envelope.Value{}, r, broken(ctx, request, err)
		}
		return envelope.Value{}, r, failed(err)
	}
	r = recordOf(res, answer)
	out, err := value(answer)
	if err != nil {
		return envelope.Value{}, r, failed(err)
	}
	if res.StatusCode < http.StatusBadRequest {
		return out, r, nil
	}
	if _, err := c.values.Store(ctx, x.Tenant, x.ID, fmt.Sprintf("%s%06d", FailureName, epoch), values.JSON, out.JSON); err != nil {
		return envelope.Value{}, r, failed(err)
	}
	return envelope.Value{}, r, refused(request, res, text)
}

func (c *Caller) send(ctx context.Context, x *execution.Execution, request *Request, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, request.Method, request.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the call: %w", err)
	}
	r.Header = request.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set(infer.TenantHeader, x.Tenant)
	r.Header.Set(problem.RequestIDHeader, x.ID)
	if c.cfg.Secret != "" {
		r.Header.Set(infer.SecretHeader, c.cfg.Secret)
	}
	if x.Traceparent != "" {
		r.Header.Set("Traceparent", x.Traceparent)
	}
	if deadline, ok := ctx.Deadline(); ok {
		r.Header.Set(infer.TimeoutHeader, strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10))
	}
	return c.functions.RoundTrip(r) //nolint:wrapcheck // its kind is looked at
}

// cutError is of an answer that broke off.
type cutError struct{ error }

// keep stores an answer's bytes, and returns them too.
func (c *Caller) keep(ctx context.Context, held *memory.Call, x *execution.Execution, res *http.Response, epoch int) (*Answer, []byte, error) {
	size := res.ContentLength
	if size > c.cfg.MaxAnswer {
		return nil, nil, problem.New(problem.PayloadTooLarge, "the answer has %d bytes; expected at most %d", size, c.cfg.MaxAnswer)
	}
	if size < 0 {
		size = c.cfg.MaxAnswer
	}
	if err := held.Take(ctx, size); err != nil {
		return nil, nil, err //nolint:wrapcheck // a problem
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, size+1))
	switch {
	case err != nil:
		return nil, nil, cutError{err}
	case int64(len(text)) > size:
		return nil, nil, problem.New(problem.PayloadTooLarge, "the answer has more than %d bytes", size)
	}
	media := res.Header.Get("Content-Type")
	if media == "" || len(media) > 255 {
		media = "application/octet-stream"
	}
	claim, err := c.values.Store(ctx, x.Tenant, x.ID, fmt.Sprintf("answer-%06d", epoch), media, text)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // a problem
	}
	return &Answer{Status: res.StatusCode, Header: keptOfAnswer(res.Header), Body: claim}, text, nil
}

// recordOf is what an answer says of the run.
func recordOf(res *http.Response, a *Answer) envelope.Record {
	r := envelope.Record{Model: res.Header.Get(infer.ModelHeader), Device: res.Header.Get(infer.DeviceHeader), Size: a.Body.Size}
	for _, h := range []http.Header{res.Header, res.Trailer} {
		for _, text := range h.Values(infer.CostHeader) {
			if used, ok := infer.ParseUsage(text); ok {
				r.Rows += used.Rows
				r.ComputeMS += float64(used.Compute) / float64(time.Millisecond)
			}
		}
	}
	return r
}

// failed is an error of ours as the step's failure.
func failed(err error) *execution.Failure {
	p := execution.Of(err)
	return &execution.Failure{Status: p.Status, Problem: p}
}

// broken is a connection that was not made, or that broke before the answer was whole.
// Where the function may have had a call that may not be made twice, it is not.
func broken(ctx context.Context, request *Request, err error) *execution.Failure {
	var known *problem.Error
	var op *net.OpError
	unreached := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.As(err, &known): // of a transport that starts functions
		f := failed(known)
		unreached = known.Code == problem.Unavailable || known.Code == problem.Overloaded
		f.RetryAfter = known.RetryAfter
		return once(request, f, unreached)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return once(request, failed(problem.New(problem.DeadlineExceeded, "the function did not answer within the time of a call that is answered later")), false)
	}
	return once(request, &execution.Failure{
		Transport: true, Problem: execution.Of(problem.New(problem.BadGateway, "the connection to the function was not made, or broke before its answer was whole")),
	}, unreached)
}

// Lost is the failure of a call that may have been made, by a process that died before it
// was answered: nil where the call may be made twice.
func (c *Caller) Lost(x *execution.Execution) *execution.Failure {
	request, err := Of(x.Input)
	if err == nil && request.Repeatable {
		return nil
	}
	f := failed(problem.New(problem.BadGateway, "whether the call ran is not known: the process that made it ended before it was answered, and the function does not say that a call may run twice"))
	return once(&Request{}, f, false)
}

// refused is a failing answer.
func refused(request *Request, res *http.Response, text []byte) *execution.Failure {
	f := &execution.Failure{Status: res.StatusCode}
	var body struct {
		Error  string       `json:"error"`
		Detail string       `json:"detail"`
		Code   problem.Code `json:"code"`
	}
	if json.Unmarshal(text, &body) == nil && body.Code.Known() {
		detail := body.Detail
		if detail == "" {
			detail = body.Error
		}
		f.Problem = execution.Of(&problem.Error{Code: body.Code, Detail: detail})
	}
	if f.Problem.Code == "" {
		f.Transport = strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain")
		f.Problem = execution.Problem{Title: http.StatusText(res.StatusCode), Status: res.StatusCode, Detail: fmt.Sprintf("the function answered %d; the result has its answer", res.StatusCode)}
	}
	if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
		f.RetryAfter = time.Duration(seconds) * time.Second
	}
	unreached := res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable
	return once(request, f, unreached)
}

// once makes the failure of a call that may not be made twice one that is not tried
// again, unless the function did not have it.
func once(request *Request, f *execution.Failure, unreached bool) *execution.Failure {
	if request.Repeatable || unreached {
		return f
	}
	f.Transport, f.Status = false, http.StatusConflict // any that is dead at once; Problem has its own
	return f
}

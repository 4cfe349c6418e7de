package problemgrpc_test

import (
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

func TestEveryCodeTravels(t *testing.T) {
	t.Parallel()
	for _, code := range problem.Codes() {
		e := problemgrpc.Error(problem.New(code, "why").WithRetryAfter(time.Second))
		if problemgrpc.Code(e) != code || uint32(e.Code()) != uint32(code.Row().GRPC) || e.Message() != "why" {
			t.Errorf("%s became %v with code %q", code, e, problemgrpc.Code(e))
		}
	}
	if problemgrpc.Error(nil) != nil {
		t.Error("no error became one")
	}
	inner := connect.NewError(connect.CodeAborted, errors.New("10.1.2.3"))
	if e := problemgrpc.Error(inner); e != inner {
		t.Errorf("gRPC's own became %v", e)
	}
	if e := problemgrpc.Error(problem.New(problem.BadGateway, "why%w", quiet{inner})); problemgrpc.Code(e) != problem.BadGateway || e.Message() != "why" {
		t.Errorf("a problem became its cause: %v", e)
	}
}

// quiet is a cause without a text.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

func TestWithCode(t *testing.T) {
	t.Parallel()
	for c := connect.CodeCanceled; c <= connect.CodeUnauthenticated; c++ {
		if got := problemgrpc.Code(problemgrpc.WithCode(connect.NewError(c, errors.New("x")))); got == "" {
			t.Errorf("%v has no code", c)
		}
	}
	e := problemgrpc.WithCode(problemgrpc.Error(problem.New(problem.Overloaded, "x")))
	if len(e.Details()) != 1 || problemgrpc.Code(e) != problem.Overloaded {
		t.Errorf("a code was put over another: %v", e.Details())
	}
}

package problemgrpc_test

import (
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/internal/problem/problemgrpc"
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
}

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

package gateway

import (
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/modelserveai/modelserve/internal/problem"
)

// errorDomain is the domain of every ErrorInfo; its reason is the problem's code.
const errorDomain = "modelserve.dev"

// grpcError is an error as gRPC clients see it.
func grpcError(err error) *connect.Error {
	var known *connect.Error
	if errors.As(err, &known) {
		return known
	}
	p := problem.From(err)
	e := connect.NewError(connect.Code(p.Code.Row().GRPC), errors.New(p.Detail))
	info, detailErr := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: string(p.Code), Domain: errorDomain})
	if detailErr == nil {
		e.AddDetail(info)
	}
	return e
}

func (g *gateway) newGRPC() http.Handler { return http.NotFoundHandler() }

func (g *gateway) serveGRPC(w http.ResponseWriter, r *http.Request) { g.grpc.ServeHTTP(w, r) }

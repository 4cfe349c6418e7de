package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strings"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// isGRPC reports whether a request is gRPC with protobuf messages. connect-go
// would also serve its own protocol, gRPC-Web and JSON, which are no part of the
// API, and gRPC over HTTP/1.x, whose errors look like an empty answer there.
func isGRPC(r *http.Request) bool {
	_, err := infer.MediaType(r.Header.Values("Content-Type"))
	return err == nil && r.ProtoMajor >= 2 && r.Method == http.MethodPost && media.IsGRPC(r.Header, "", "+proto")
}

// newGRPC is the handler of gRPC requests.
func (s *Server) newGRPC() http.Handler {
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(int(s.cfg.Limits.MaxBody)),
		// Tensors are dense: compressing them costs more than it saves. Clients
		// may compress what they send.
		connect.WithCompressMinBytes(math.MaxInt),
		connect.WithCompression(deflate.Name, deflate.NewInflater, deflate.NewDeflater),
		connect.WithRecover(func(ctx context.Context, _ connect.Spec, _ http.Header, p any) error {
			return problemgrpc.Error(s.panicked(ctx, p))
		}),
	}
	path, service := inferpbconnect.NewGRPCInferenceServiceHandler(&inference{s}, options...)
	mux.Handle(path, service)
	services := wellknown.New(wellknown.Config{
		Services: []string{inferpbconnect.GRPCInferenceServiceName},
		Serving:  func(context.Context) bool { return s.cfg.Health.isReady() },
	}, options...)
	for _, procedure := range wellknown.Procedures() {
		mux.Handle(procedure, services.Handler(procedure, wellknown.Asker{}))
	}
	mux.HandleFunc("/", unimplemented)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// connect-go answers what is no procedure of a service in HTTP's way.
		if _, pattern := mux.Handler(r); pattern == "" || pattern == path && !isProcedure(r.URL.Path) {
			unimplemented(w, r)
			return
		}
		telemetry.SetRoute(r.Context(), r.URL.Path)
		s.serveGRPC(mux, w, r)
	})
}

// isProcedure reports whether a path is a procedure of the inference service.
func isProcedure(path string) bool {
	method := strings.TrimPrefix(path, "/"+inferpbconnect.GRPCInferenceServiceName+"/")
	service := inferpb.File_inferpb_grpc_service_proto.Services().Get(0)
	for i := range service.Methods().Len() {
		if string(service.Methods().Get(i).Name()) == method {
			return true
		}
	}
	return false
}

// unimplemented answers a procedure nobody serves, as gRPC does.
func unimplemented(w http.ResponseWriter, r *http.Request) {
	refuseGRPC(w, r, problem.New(problem.Unimplemented, "there is no such procedure"))
}

// refuseGRPC answers a request that reaches no procedure.
func refuseGRPC(w http.ResponseWriter, r *http.Request, err error) {
	problemgrpc.Write(w, r, problemgrpc.Error(err))
}

// serveGRPC bounds a gRPC request's deadline, memory and time to arrive.
func (s *Server) serveGRPC(next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, cancel, err := deadline(r.Context(), r.Header)
	if err != nil {
		refuseGRPC(w, r, err)
		return
	}
	defer cancel()
	hold := s.memory.hold()
	defer hold.end()
	t := &transport{
		hold:       hold,
		body:       &grpcBody{ReadCloser: r.Body, metered: meteredReader{r: r.Body, ctx: ctx, hold: hold}, limits: s.cfg.Limits},
		controller: http.NewResponseController(w),
	}
	defer t.end()
	if r.URL.Path != inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure && !wellknown.IsStream(r.URL.Path) {
		lift := s.boundBodyTime(w)
		defer lift()
	}
	r = r.WithContext(context.WithValue(ctx, transportKey{}, t))
	r.Body = t.body
	next.ServeHTTP(w, r)
	most := s.cfg.Limits.MaxBody
	if wellknown.Is(r.URL.Path) {
		most = wellknown.MaxMessage
	}
	_ = problemgrpc.Complete(w.Header(), most) // handlers have logged their own errors; the rest are connect-go's to the client
}

type transportKey struct{}

// transport is what lies below one gRPC call.
type transport struct {
	hold       *hold
	body       *grpcBody
	controller *http.ResponseController
	atEnd      []func() // run when the answer is written; only the handler looks
}

// end runs what waited for the answer to be written.
func (t *transport) end() {
	for _, f := range t.atEnd {
		f()
	}
}

// below returns the transport that serveGRPC put into ctx.
func below(ctx context.Context) *transport {
	t, _ := ctx.Value(transportKey{}).(*transport)
	return t
}

// grpcBody takes memory for what is read of a gRPC request, ends it at a message
// over the bound as soon as its length is announced, and gives connect-go errors
// that it passes on with their details.
type grpcBody struct {
	io.ReadCloser

	metered meteredReader
	limits  Limits
	read    int64 // by those who read; only they look

	ended  error   // what each Read returns from then on
	prefix [5]byte // of the message being read: flags, and its length (big endian)
	have   int     // bytes of prefix
	left   int64   // bytes of the message
}

func (b *grpcBody) Read(p []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	n, err := b.readOn(p)
	b.ended = err
	return n, err
}

func (b *grpcBody) readOn(p []byte) (int, error) {
	n, err := b.metered.Read(p)
	b.read += int64(n)
	if tooLarge := b.follow(p[:n]); tooLarge != nil {
		return n, problemgrpc.Error(tooLarge)
	}
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		err = problemgrpc.Error(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problemgrpc.Error(problem.New(problem.RequestTimeout, "expected the whole message within %v", b.limits.BodyTimeout))
	}
	return n, err
}

// follow keeps count of the messages in what is read.
func (b *grpcBody) follow(p []byte) error {
	for len(p) > 0 {
		if b.left > 0 {
			skip := min(b.left, int64(len(p)))
			b.left -= skip
			p = p[skip:]
			continue
		}
		n := copy(b.prefix[b.have:], p)
		b.have += n
		p = p[n:]
		if b.have < len(b.prefix) {
			return nil
		}
		b.have = 0
		b.left = int64(binary.BigEndian.Uint32(b.prefix[1:]))
		if b.left > b.limits.MaxBody {
			return problem.New(problem.PayloadTooLarge, "expected a message of at most %d bytes; %d are announced", b.limits.MaxBody, b.left)
		}
	}
	return nil
}

// grpcFail logs an error and turns it into gRPC's.
func (s *Server) grpcFail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.logError(ctx, err)
	return problemgrpc.Error(err)
}

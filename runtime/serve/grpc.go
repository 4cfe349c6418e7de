package serve

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
	"github.com/modelserveai/modelserve/runtime/serve/frame"
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
		connect.WithCodec(protobuf{s.cfg.Large}),
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
		if _, pattern := mux.Handler(r); pattern == "" || pattern == path && methodOf(r.URL.Path) == nil {
			unimplemented(w, r)
			return
		}
		telemetry.SetRoute(r.Context(), r.URL.Path)
		s.serveGRPC(mux, w, r)
	})
}

// methodOf is the procedure of the inference service that a path names; nil for
// none.
func methodOf(path string) protoreflect.MethodDescriptor {
	name := strings.TrimPrefix(path, "/"+inferpbconnect.GRPCInferenceServiceName+"/")
	return inferpb.File_inferpb_grpc_service_proto.Services().Get(0).Methods().ByName(protoreflect.Name(name))
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
	held := s.memory.Open(s.payer(r.Header))
	defer held.End()
	t := &transport{held: held, controller: http.NewResponseController(w)}
	defer t.end()
	r = r.WithContext(context.WithValue(ctx, transportKey{}, t))
	body, most := s.framed(w, r, t)
	defer body.paced.lift()
	r.Body = body
	next.ServeHTTP(w, r)
	_ = problemgrpc.Complete(w.Header(), most) // handlers have logged their own errors; the rest are connect-go's to the client
}

type transportKey struct{}

// transport is what lies below one gRPC call.
type transport struct {
	held       *memory.Call
	frames     *frame.Reader
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

// framed is a request's body in place of its own, and the bound on a message. The
// frames that it has are of no encoding, as the request's header is from then on. A
// stream may wait between two messages; of one that has begun the rest must come.
func (s *Server) framed(w http.ResponseWriter, r *http.Request, t *transport) (body *grpcBody, most int64) {
	most = s.cfg.Limits.MaxBody
	message := (&emptypb.Empty{}).ProtoReflect().Descriptor() // whose fields are all unknown
	path := r.URL.Path
	if wellknown.Is(path) {
		most = wellknown.MaxMessage
	} else if method := methodOf(path); method != nil {
		message = method.Input()
	}
	body = &grpcBody{ReadCloser: r.Body, server: s, paced: s.paced(w, r.Body)}
	cfg := frame.Config{Encoding: r.Header.Get("Grpc-Encoding"), Most: most, Message: message, Memory: t.held, Large: s.large(r.Context(), r.Header)}
	if path == inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure || wellknown.IsStream(path) {
		cfg.Between = body.paced.pause
	}
	if frame.Knows(cfg.Encoding) {
		r.Header = r.Header.Clone()
		r.Header.Del("Grpc-Encoding")
	}
	t.frames = frame.New(r.Context(), body.paced, cfg)
	body.frames = t.frames
	return body, most
}

// grpcBody is a request's frames, with errors that connect-go passes on with their
// details.
type grpcBody struct {
	io.ReadCloser

	server *Server
	paced  *pacedReader
	frames *frame.Reader
}

// Read implements io.Reader.
func (b *grpcBody) Read(p []byte) (int, error) {
	n, err := b.frames.Read(p)
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		err = problemgrpc.Error(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problemgrpc.Error(b.server.tooSlow("message"))
	}
	return n, err
}

// grpcFail logs an error and turns it into gRPC's.
func (s *Server) grpcFail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.logError(ctx, err)
	return problemgrpc.Error(err)
}

package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// errorDomain is the domain of the ErrorInfo in every gRPC error.
const errorDomain = "modelserve.dev"

// isGRPC reports whether a request is gRPC with protobuf messages. connect-go
// would also speak its own protocol, gRPC-Web and JSON, which are promised to
// nobody.
func isGRPC(r *http.Request) bool {
	media := mediaType(r.Header.Get("Content-Type"))
	return r.Method == http.MethodPost && (media == "application/grpc" || media == "application/grpc+proto")
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
			return GRPCError(s.panicked(ctx, p))
		}),
	}
	path, service := inferpbconnect.NewGRPCInferenceServiceHandler(&inference{s}, options...)
	mux.Handle(path, service)
	const check = "/grpc.health.v1.Health/Check"
	mux.Handle(check, connect.NewUnaryHandlerSimple(check, s.checkHealth, options...))
	mux.HandleFunc("/", unimplemented)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// connect-go answers what is no procedure of a service in HTTP's way.
		if _, pattern := mux.Handler(r); pattern == "" || pattern == path && !isProcedure(r.URL.Path) {
			unimplemented(w, r)
			return
		}
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
	grpcStatus(w.Header(), "", problem.New(problem.Unimplemented, "there is no procedure %s", strconv.Quote(r.URL.Path)))
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
}

// serveGRPC bounds a gRPC request's deadline, memory and time to arrive.
func (s *Server) serveGRPC(next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, cancel, err := deadline(r.Context(), r.Header)
	if err != nil {
		grpcStatus(w.Header(), "", err)
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
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
	if r.URL.Path != inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure {
		lift := s.boundBodyTime(w)
		defer lift()
	}
	r = r.WithContext(context.WithValue(ctx, transportKey{}, t))
	r.Body = t.body
	next.ServeHTTP(w, r)
	completeStatus(w.Header())
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

	prefix [5]byte // of the message being read: flags, and its length (big endian)
	have   int     // bytes of prefix
	left   int64   // bytes of the message
}

func (b *grpcBody) Read(p []byte) (int, error) {
	n, err := b.metered.Read(p)
	b.read += int64(n)
	if tooLarge := b.follow(p[:n]); tooLarge != nil {
		return n, GRPCError(tooLarge)
	}
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		err = GRPCError(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = GRPCError(problem.New(problem.RequestTimeout, "expected the whole message within %v", b.limits.BodyTimeout))
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

// grpcStatus sets an error as gRPC's status headers, or, with http.TrailerPrefix,
// trailers.
func grpcStatus(h http.Header, prefix string, err error) {
	p := problem.From(err)
	code := p.Code.Row().GRPC
	status := &spb.Status{Code: int32(code), Message: p.Detail}
	if info, err := anypb.New(&errdetails.ErrorInfo{Reason: string(p.Code), Domain: errorDomain}); err == nil {
		status.Details = append(status.Details, info)
	}
	h[prefix+"Grpc-Status"] = []string{strconv.Itoa(int(code))}
	h[prefix+"Grpc-Message"] = []string{percentEncode(p.Detail)}
	if data, err := proto.Marshal(status); err == nil { // else only the detail is lost
		h[prefix+"Grpc-Status-Details-Bin"] = []string{connect.EncodeBinaryHeader(data)}
	}
}

// completeStatus gives connect-go's own errors, about messages that never
// reached a handler, the stable code every error has.
func completeStatus(h http.Header) {
	value := func(name string) string {
		if v := h[http.TrailerPrefix+name]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	if status := value("Grpc-Status"); status == "" || status == "0" || value("Grpc-Status-Details-Bin") != "" {
		return
	}
	code := problem.Internal
	switch number, _ := strconv.Atoi(value("Grpc-Status")); connect.Code(number) {
	case connect.CodeInvalidArgument:
		code = problem.MalformedBody
	case connect.CodeResourceExhausted:
		code = problem.PayloadTooLarge
	case connect.CodeUnimplemented:
		code = problem.Unimplemented
	case connect.CodeNotFound:
		code = problem.NotFound
	case connect.CodeDeadlineExceeded:
		code = problem.DeadlineExceeded
	case connect.CodeCanceled:
		code = problem.Cancelled
	default:
	}
	message, err := url.PathUnescape(value("Grpc-Message"))
	if err != nil || code == problem.Internal {
		message = problem.From(errors.New("connect")).Detail
	}
	grpcStatus(h, http.TrailerPrefix, problem.New(code, "%s", message))
}

// GRPCError turns an error into what gRPC clients see of it: the code of the
// error table, and the code's name in an ErrorInfo.
func GRPCError(err error) error {
	var already *connect.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	p := problem.From(err)
	out := connect.NewError(connect.Code(p.Code.Row().GRPC), errors.New(p.Detail))
	addDetail(out, &errdetails.ErrorInfo{Reason: string(p.Code), Domain: errorDomain})
	if len(p.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range p.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Detail})
		}
		addDetail(out, bad)
	}
	if p.RetryAfter > 0 {
		addDetail(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(p.RetryAfter)})
	}
	return out
}

func addDetail(e *connect.Error, m proto.Message) {
	if d, err := connect.NewErrorDetail(m); err == nil { // else the message is lost, not the error
		e.AddDetail(d)
	}
}

// grpcFail logs an error and turns it into gRPC's.
func (s *Server) grpcFail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.logError(ctx, err)
	return GRPCError(err)
}

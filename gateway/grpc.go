package gateway

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// grpcService is the inference service and the health check, by procedure.
type grpcService struct {
	g        *gateway
	handlers map[string]http.Handler
	infer    *connect.Client[frame, frame]
	config   *connect.Client[frame, frame]
}

// newGRPC makes the gRPC side. Only gRPC reaches it: connect-go's own protocol
// and gRPC-Web have other content types.
func (g *gateway) newGRPC() *grpcService {
	s := &grpcService{g: g}
	most := int(g.config.MaxBody)
	options := []connect.HandlerOption{
		connect.WithCodec(codec{}),
		connect.WithReadMaxBytes(most),
		// Tensors are dense: compressing them costs more than it saves. Clients
		// may compress what they send.
		connect.WithCompressMinBytes(math.MaxInt),
		connect.WithCompression(deflate.Name, deflate.NewInflater, deflate.NewDeflater),
		connect.WithInterceptors(connect.UnaryInterceptorFunc(tellUnary)),
	}
	s.infer = s.client(inferpbconnect.GRPCInferenceServiceModelInferProcedure)
	s.config = s.client(inferpbconnect.GRPCInferenceServiceModelConfigProcedure)
	s.handlers = map[string]http.Handler{
		inferpbconnect.GRPCInferenceServiceModelInferProcedure: connect.NewUnaryHandler(
			inferpbconnect.GRPCInferenceServiceModelInferProcedure, s.modelInfer, options...),
		inferpbconnect.GRPCInferenceServiceModelConfigProcedure: connect.NewUnaryHandler(
			inferpbconnect.GRPCInferenceServiceModelConfigProcedure, s.modelConfig, options...),
		inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure: connect.NewBidiStreamHandler(
			inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure, s.modelStreamInfer, options...),
	}
	_, rest := inferpbconnect.NewGRPCInferenceServiceHandler(&tellers{g: g}, options...)
	maps.Copy(s.handlers, wellknown.Handlers(wellknown.Config{
		Services: []string{inferpbconnect.GRPCInferenceServiceName},
		Serving:  func(ctx context.Context) bool { return g.isReady(ctx, boundOf(ctx)) == nil },
		Caller:   s.caller,
	}, options...))
	for _, procedure := range []string{
		inferpbconnect.GRPCInferenceServiceServerLiveProcedure,
		inferpbconnect.GRPCInferenceServiceServerReadyProcedure,
		inferpbconnect.GRPCInferenceServiceServerMetadataProcedure,
		inferpbconnect.GRPCInferenceServiceModelReadyProcedure,
		inferpbconnect.GRPCInferenceServiceModelMetadataProcedure,
		inferpbconnect.GRPCInferenceServiceModelStatisticsProcedure,
		inferpbconnect.GRPCInferenceServiceRepositoryIndexProcedure,
		inferpbconnect.GRPCInferenceServiceRepositoryModelLoadProcedure,
		inferpbconnect.GRPCInferenceServiceRepositoryModelUnloadProcedure,
	} {
		s.handlers[procedure] = rest
	}
	return s
}

// client calls one procedure of the function that the context names.
func (s *grpcService) client(procedure string) *connect.Client[frame, frame] {
	return connect.NewClient[frame, frame](toFunction{s.g.functions}, "http://function"+procedure,
		connect.WithGRPC(), connect.WithCodec(codec{}),
		connect.WithReadMaxBytes(int(maxMaxBody)),
		connect.WithAcceptCompression("gzip", nil, nil))
}

type outgoingKey struct{}

// outgoing is what a client's request sends, and where.
type outgoing struct {
	to      *url.URL
	message frame
}

// toFunction sends a client's requests as the outgoing in their context says.
type toFunction struct{ transport http.RoundTripper }

// Do implements connect.HTTPClient. The request's body is made anew as often as
// it is asked for: connect-go's can be read again, but not while an earlier
// reader goes on in its own time.
func (t toFunction) Do(r *http.Request) (*http.Response, error) {
	o, ok := r.Context().Value(outgoingKey{}).(outgoing)
	if !ok {
		return nil, errors.New("a gRPC call without a function")
	}
	r.URL.Scheme, r.URL.Host, r.Host = o.to.Scheme, o.to.Host, ""
	r.Body, r.GetBody, r.ContentLength = o.message.body(), func() (io.ReadCloser, error) { return o.message.body(), nil }, frameHeader+int64(len(o.message))
	res, err := t.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := onTheWay(res); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

type boundKey struct{}

// boundOf is what the host of a gRPC request leads to.
func boundOf(ctx context.Context) *route.Bound {
	b, _ := ctx.Value(boundKey{}).(*route.Bound)
	return b
}

// serve is what happens between a gRPC request's arrival and its procedure.
func (s *grpcService) serve(w http.ResponseWriter, r *http.Request) error {
	g := s.g
	if n := headerBytes(r); n > int64(g.config.MaxHeaders) {
		return problem.New(problem.HeadersTooLarge, "the headers take %d bytes; expected at most %v", n, g.config.MaxHeaders)
	}
	bound, hostErr := g.host(r)
	if bound != nil {
		observed(r.Context()).function = bound.Function.Name
	}
	principal, err := s.authenticate(r, bound == nil && hostErr == nil)
	if err != nil {
		return err
	}
	media := mediaType(r)
	if r.Method != http.MethodPost || r.ProtoMajor < 2 || media != "application/grpc" && media != "application/grpc+proto" {
		return problem.New(problem.Unimplemented, "expected gRPC with protobuf messages: POST over HTTP/2 with content type application/grpc")
	}
	handler, ok := s.handlers[r.URL.Path]
	if !ok {
		return problem.New(problem.Unimplemented, "there is no such procedure")
	}
	observed(r.Context()).route = r.URL.Path
	if hostErr != nil {
		return hostErr
	}
	ctx := auth.WithPrincipal(r.Context(), principal)
	ctx = context.WithValue(ctx, boundKey{}, bound)
	b, err := g.bound(w, r)
	if err != nil {
		return err
	}
	defer b.release()
	b.grpc = true
	b.stream = streamsUp(r.URL.Path)
	if !b.stream && !wellknown.IsStream(r.URL.Path) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.config.Timeout)
		defer cancel()
	}
	handler.ServeHTTP(w, r.WithContext(ctx))
	o, most := observed(ctx), int64(g.config.MaxBody)
	if wellknown.Is(r.URL.Path) {
		most = wellknown.MaxMessage
	}
	switch e := problemgrpc.Complete(w.Header(), most); {
	case e != nil && o.err == nil:
		o.err, o.grpc = e, e.Code().String()
	case e == nil && o.grpc == "":
		o.grpc = "ok"
	}
	return nil
}

// authenticate is gateway.authenticate, but for the health of the platform
// itself, which probes ask for without a key. Its principal is nil.
func (s *grpcService) authenticate(r *http.Request, own bool) (*auth.Principal, error) {
	if own && wellknown.IsHealth(r.URL.Path) {
		return nil, nil //nolint:nilnil // nobody
	}
	return s.g.authenticate(r)
}

// caller is the id of who makes a call, "" without a key: one that may be made
// without is asked for here, for what its caller has a share of.
func (s *grpcService) caller(ctx context.Context, h http.Header) string {
	p := auth.PrincipalOf(ctx)
	if credential, err := auth.Credential(h); p == nil && err == nil {
		p, _ = s.g.chain.Authenticate(ctx, credential) // a wrong one is none
	}
	if p == nil {
		return ""
	}
	return p.ID
}

// streamsUp reports whether the client of a procedure sends message after
// message.
func streamsUp(procedure string) bool {
	return procedure == inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure ||
		procedure == wellknown.Reflect || procedure == wellknown.ReflectAlpha
}

func (g *gateway) serveGRPC(w http.ResponseWriter, r *http.Request) {
	if err := g.grpc.serve(w, r); err != nil {
		g.fail(w, r, err)
	}
}

// tellUnary gives every error its form and tells the access log.
func tellUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, tellGRPC(ctx, err)
	}
}

// tellGRPC is grpcError for the access log too. It returns a nil error for nil.
func tellGRPC(ctx context.Context, err error) error {
	o := observed(ctx)
	if err == nil {
		o.grpc = "ok"
		return nil
	}
	o.err = err
	e := problemgrpc.Error(err)
	o.grpc = e.Code().String()
	return e
}

// modelInfer hands an inference on, to the version it resolves to.
func (s *grpcService) modelInfer(ctx context.Context, req *connect.Request[frame]) (*connect.Response[frame], error) {
	return s.inference(ctx, req.Header(), req.Msg)
}

// inference hands on one inference, whose metadata may name the version that
// the message does not.
func (s *grpcService) inference(ctx context.Context, h http.Header, message *frame) (*connect.Response[frame], error) {
	a, err := message.address()
	if err != nil {
		return nil, err
	}
	version, err := infer.VersionOf(a.version, h.Values(infer.VersionHeader))
	if err != nil {
		return nil, err
	}
	return s.forward(ctx, s.infer, auth.DoInfer, a, version, message)
}

// modelConfig hands on too: the configuration tells where the model runs,
// which only its function knows.
func (s *grpcService) modelConfig(ctx context.Context, req *connect.Request[frame]) (*connect.Response[frame], error) {
	a, err := req.Msg.address()
	if err != nil {
		return nil, err
	}
	return s.forward(ctx, s.config, auth.DoRead, a, a.version, req.Msg)
}

// forward sends a message, which is for a version, to the function that it
// resolves to, and returns that one's answer with the headers meant for callers.
func (s *grpcService) forward(
	ctx context.Context, client *connect.Client[frame, frame], verb auth.Verb, a addressed, version string, message *frame,
) (*connect.Response[frame], error) {
	t, err := s.g.resolve(ctx, verb, boundOf(ctx), a.name, version)
	if err != nil {
		return nil, err
	}
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, a.timeout+slack, timedOut(a.timeout))
		defer cancel()
	}
	if t.version != a.version {
		message.setVersion(t.version)
	}
	out := connect.NewRequest(message)
	handOn(ctx, out.Header())
	res, err := client.CallUnary(context.WithValue(mayRunTwice(ctx), outgoingKey{}, outgoing{t.url, *message}), out)
	if err != nil {
		return nil, s.g.learnGRPC(ctx, t, err)
	}
	s.g.failures.answered(t, res.Header())
	answer := connect.NewResponse(res.Msg)
	for name, values := range res.Header() {
		if name == "Server-Timing" || strings.HasPrefix(name, "Modelserve-") {
			answer.Header()[name] = values
		}
	}
	t.tellAlias(answer.Header())
	return answer, nil
}

// learnGRPC is what a caller is told of a failed call to a function, and what
// is remembered of it.
func (g *gateway) learnGRPC(ctx context.Context, t *target, err error) error {
	var e *connect.Error
	if !errors.As(err, &e) || !connect.IsWireError(err) {
		return upstream(ctx, err) // the transport's, or a function that speaks no gRPC
	}
	told := connect.NewError(e.Code(), errors.New(e.Message()))
	for _, d := range e.Details() {
		told.AddDetail(d)
	}
	if problemgrpc.Code(told) == problem.ModelUnavailable {
		g.failures.failed(t, e.Message())
	}
	return problemgrpc.WithCode(told)
}

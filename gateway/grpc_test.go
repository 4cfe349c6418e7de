package gateway_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// service is called through grpc-go, which nobody here wrote, by procedure.
const service = "/" + inferpbconnect.GRPCInferenceServiceName + "/"

func (w *world) dial(host string) *grpc.ClientConn {
	w.t.Helper()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if host != "" {
		options = append(options, grpc.WithAuthority(host))
	}
	conn, err := grpc.NewClient(w.server.Listener.Addr().String(), options...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func with(t *testing.T, pairs ...string) context.Context {
	t.Helper()
	return metadata.NewOutgoingContext(t.Context(), metadata.Pairs(pairs...))
}

// reason is the code in an error's ErrorInfo.
func reason(t testing.TB, err error) string {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// function is a function's gRPC side: it answers with what it was asked.
type function struct {
	inferpbconnect.UnimplementedGRPCInferenceServiceHandler

	name   string
	header atomic.Pointer[http.Header]
	fail   error
	cost   string
	size   int           // bytes of an answer's output; 0 is its input
	hold   chan struct{} // when set, an inference waits for it or its end
	held   chan struct{} // closed when it waits
	ended  chan error
}

func (f *function) ModelInfer(ctx context.Context, in *inferpb.ModelInferRequest) (*inferpb.ModelInferResponse, error) {
	if f.hold != nil {
		close(f.held)
		select {
		case <-f.hold:
		case <-ctx.Done():
			f.ended <- ctx.Err()
			return nil, ctx.Err()
		}
	}
	if f.fail != nil {
		return nil, problemgrpc.Error(f.fail)
	}
	if f.size > 0 {
		in.RawInputContents = [][]byte{make([]byte, f.size)}
	}
	return &inferpb.ModelInferResponse{
		ModelName: f.name + "/" + in.GetModelName(), ModelVersion: in.GetModelVersion(), Id: in.GetId(),
		RawOutputContents: in.GetRawInputContents(),
	}, nil
}

func (w *world) grpcFunction(name string) *function {
	f := &function{name: name, ended: make(chan error, 1)}
	_, h := inferpbconnect.NewGRPCInferenceServiceHandler(f, connect.WithInterceptors(connect.UnaryInterceptorFunc(
		func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				header := req.Header().Clone()
				f.header.Store(&header)
				res, err := next(ctx, req)
				if err == nil {
					res.Header().Set("Modelserve-Model", "m@1;digest=sha256:00")
					res.Header().Set("X-Inner", "stays inside")
					if f.cost != "" {
						res.Header().Set(infer.CostHeader, f.cost)
					}
				}
				return res, err
			}
		})))
	w.serve(name, h.ServeHTTP)
	return f
}

func TestGRPCInfer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.grpcFunction(name)
	}
	narrow := w.key(auth.Infer("iris"))
	for name, tc := range map[string]struct {
		host, key, model, version string
		wantModel, wantVersion    string
		code                      codes.Code
		reason                    problem.Code
	}{
		"newest, in the pool":        {"", w.admin, "iris", "", "pool/iris", "", codes.OK, ""},
		"a version":                  {"", w.admin, "iris", "2", "pool/iris", "2", codes.OK, ""},
		"pinned by a function":       {"", w.admin, "text-recognize", "", "ocr/text-recognize", "2", codes.OK, ""},
		"by host, its own version":   {"text-detect.default.localhost:80", w.admin, "text-detect", "", "text-detect/text-detect", "", codes.OK, ""},
		"by host, another's model":   {"text-detect.default.localhost", w.admin, "iris", "", "", "", codes.NotFound, problem.ModelNotFound},
		"no such host":               {"nope.default.localhost", w.admin, "iris", "", "", "", codes.NotFound, problem.NotFound},
		"a key for it":               {"", narrow, "iris", "", "pool/iris", "", codes.OK, ""},
		"a key for another":          {"", narrow, "text-detect", "", "", "", codes.PermissionDenied, problem.PermissionDenied},
		"and not for what is not":    {"", narrow, "nope", "", "", "", codes.PermissionDenied, problem.PermissionDenied},
		"no key":                     {"", "", "iris", "", "", "", codes.Unauthenticated, problem.Unauthenticated},
		"unknown model":              {"", w.admin, "nope", "", "", "", codes.NotFound, problem.ModelNotFound},
		"a path in the model's name": {"", w.admin, "../iris", "", "", "", codes.InvalidArgument, problem.InvalidArgument},
		"no alias of it":             {"", w.admin, "iris", "beta", "", "", codes.NotFound, problem.ModelNotFound},
		"a version of no form":       {"", w.admin, "iris", "Newest", "", "", codes.InvalidArgument, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &inferpb.ModelInferRequest{ModelName: tc.model, ModelVersion: tc.version, Id: "7", RawInputContents: [][]byte{{1, 2}}}
			var out inferpb.ModelInferResponse
			var header metadata.MD
			err := w.dial(tc.host).Invoke(with(t, "x-api-key", tc.key), service+"ModelInfer", in, &out, grpc.Header(&header))
			if status.Code(err) != tc.code || reason(t, err) != string(tc.reason) {
				t.Fatalf("%v with reason %q, want %v with %q", err, reason(t, err), tc.code, tc.reason)
			}
			if err != nil {
				return
			}
			want := &inferpb.ModelInferResponse{ModelName: tc.wantModel, ModelVersion: tc.wantVersion, Id: "7", RawOutputContents: [][]byte{{1, 2}}}
			if !proto.Equal(want, &out) {
				t.Errorf("got %v, want %v", &out, want)
			}
			if len(header.Get("modelserve-model")) != 1 || len(header.Get("x-inner")) != 0 || len(header.Get("x-request-id")) != 1 {
				t.Errorf("headers %v", header)
			}
		})
	}
}

// TestGRPCAuthorizesWhatADecoderReads holds that what is authorised is what a decoder
// behind the gateway reads.
func TestGRPCAuthorizesWhatADecoderReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.grpcFunction("pool")
	key := w.key(auth.Infer("iris"))
	text := func(number protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), s)
	}
	client := connect.NewClient[raw, inferpb.ModelInferResponse](w.h2c(), w.server.URL+service+"ModelInfer",
		connect.WithGRPC(), connect.WithCodec(rawCodec{}))
	for name, tc := range map[string]struct {
		message []byte
		code    connect.Code // 0 is good
	}{
		"the last name counts, allowed":     {append(text(1, "secret-model"), text(1, "iris")...), 0},
		"the last name counts, not allowed": {append(text(1, "iris"), text(1, "secret-model")...), connect.CodePermissionDenied},
		"a name of another wire type":       {append(text(1, "iris"), protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)...), 0},
		"cut short":                         {text(1, "iris")[:3], connect.CodeInvalidArgument},
		"a group that does not end":         {protowire.AppendTag(text(1, "iris"), 9, protowire.StartGroupType), connect.CodeInvalidArgument},
		"nothing":                           {nil, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := raw(tc.message)
			req := connect.NewRequest(&message)
			req.Header().Set("Authorization", "Bearer "+key)
			req.Header().Set("Modelserve-Tenant", "somebody-else")
			res, err := client.CallUnary(t.Context(), req)
			if tc.code != 0 {
				if connect.CodeOf(err) != tc.code {
					t.Errorf("error %v, want %v", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Msg.GetModelName() != "pool/iris" {
				t.Errorf("the function was asked for %q", res.Msg.GetModelName())
			}
			h := *f.header.Load()
			if h.Get("Modelserve-Tenant") != "default" || h.Get("Authorization") != "" || h.Get("Modelserve-Timeout") == "" {
				t.Errorf("the function got %v", h)
			}
		})
	}
}

func TestGRPCErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody = 1 << 10 })
	f := w.grpcFunction("pool")
	f.fail = problem.New(problem.ModelUnavailable, "model.onnx: sha256 differs")
	conn := w.dial("")
	ctx := with(t, "x-api-key", w.admin)
	for name, tc := range map[string]struct {
		procedure string
		in        proto.Message
		code      codes.Code
		reason    problem.Code
		says      string
	}{
		"the function's own error": {service + "ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris"}, codes.Unavailable, problem.ModelUnavailable, ""},
		"a function that is not there": {
			service + "ModelInfer", &inferpb.ModelInferRequest{ModelName: "text-recognize"}, codes.Unavailable, problem.Unavailable, "",
		},
		"too large": {
			service + "ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, 2<<10)}},
			codes.ResourceExhausted, problem.PayloadTooLarge, "expected a message of at most 1024 bytes",
		},
		"not protobuf, handed on": {
			service + "ModelInfer", unknown([]byte{0x0f, 0xff}), codes.InvalidArgument, problem.MalformedBody, "the message is not protobuf of its type",
		},
		"not protobuf": {
			service + "ServerLive", unknown([]byte{0x0f, 0xff}), codes.InvalidArgument, problem.MalformedBody, "the message is not protobuf of its type",
		},
		"no such procedure":     {service + "Nope", &inferpb.ModelInferRequest{}, codes.Unimplemented, problem.Unimplemented, ""},
		"no such service":       {"/other.Service/Nope", &inferpb.ModelInferRequest{}, codes.Unimplemented, problem.Unimplemented, ""},
		"not that message":      {service + "ModelReady", &inferpb.ModelInferResponse{ModelName: "\x7f", RawOutputContents: [][]byte{{0xff}}}, codes.InvalidArgument, problem.InvalidArgument, ""},
		"load with parameters":  {service + "RepositoryModelLoad", &inferpb.RepositoryModelLoadRequest{ModelName: "iris", Parameters: map[string]*inferpb.ModelRepositoryParameter{"config": {}}}, codes.Unimplemented, problem.Unimplemented, ""},
		"load of what is not":   {service + "RepositoryModelLoad", &inferpb.RepositoryModelLoadRequest{ModelName: "nope"}, codes.NotFound, problem.ModelNotFound, ""},
		"health of no service":  {"/grpc.health.v1.Health/Check", &healthpb.HealthCheckRequest{Service: "nope"}, codes.NotFound, problem.NotFound, ""},
		"statistics of no name": {service + "ModelStatistics", &inferpb.ModelStatisticsRequest{Name: "nope"}, codes.NotFound, problem.ModelNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := conn.Invoke(ctx, tc.procedure, tc.in, &inferpb.ModelInferResponse{})
			if status.Code(err) != tc.code || reason(t, err) != string(tc.reason) {
				t.Errorf("%v with reason %q, want %v with %q", err, reason(t, err), tc.code, tc.reason)
			}
			if want := tc.says; !strings.Contains(status.Convert(err).Message(), want) {
				t.Errorf("says %q, want %q", status.Convert(err).Message(), want)
			}
		})
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, 2<<10)}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&inferpb.ModelStreamInferResponse{}); !strings.Contains(err.Error(), "expected a message of at most 1024 bytes") {
		t.Errorf("a stream's message that is too large: %v", err)
	}
}

// TestGRPCHidesAddresses holds that a gRPC caller learns no more than one by HTTP
// of why a function was not reached.
func TestGRPCHidesAddresses(t *testing.T) {
	t.Parallel()
	lookup := &net.DNSError{Err: "no such host", Name: "pool.default.svc.cluster.local", Server: "10.1.2.3:53"}
	for name, tc := range map[string]struct {
		err    error
		reason problem.Code
		text   string
		again  bool // it says when to come back
		logged string
	}{
		"not reached": {&net.OpError{Op: "dial", Net: "tcp", Err: lookup}, problem.Unavailable, "the function cannot be reached: the log has the reason", true, "10.1.2.3"},
		"starting":    {problem.New(problem.Unavailable, "the function is starting").WithRetryAfter(time.Second), problem.Unavailable, "the function is starting", true, "is starting"},
		"broken off":  {errors.New("read tcp 10.1.2.3:80: reset"), problem.BadGateway, "the function broke off before its answer was whole: the log has the reason", false, "10.1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = failing{tc.err} })
			conn, ctx := w.dial(""), with(t, "x-api-key", w.admin)
			for procedure, in := range map[string]proto.Message{
				"ModelInfer":            &inferpb.ModelInferRequest{ModelName: "iris"},
				"ModelConfig":           &inferpb.ModelConfigRequest{Name: "iris"},
				"ModelStatistics":       &inferpb.ModelStatisticsRequest{Name: "iris"},
				"RepositoryModelLoad":   &inferpb.RepositoryModelLoadRequest{ModelName: "iris"},
				"RepositoryModelUnload": &inferpb.RepositoryModelUnloadRequest{ModelName: "iris"},
			} {
				err := conn.Invoke(ctx, service+procedure, in, &inferpb.ModelInferResponse{})
				again := slices.ContainsFunc(status.Convert(err).Details(), func(d any) bool { _, ok := d.(*errdetails.RetryInfo); return ok })
				if status.Code(err) != codes.Unavailable || reason(t, err) != string(tc.reason) || status.Convert(err).Message() != tc.text || again != tc.again {
					t.Errorf("%s: %v with reason %q, to come back %v", procedure, err, reason(t, err), again)
				}
			}
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
			if err != nil {
				t.Fatal(err)
			}
			var out inferpb.ModelStreamInferResponse
			if err := errors.Join(stream.SendMsg(&inferpb.ModelInferRequest{ModelName: "iris"}), stream.RecvMsg(&out)); err != nil || out.GetErrorMessage() != tc.text {
				t.Errorf("in a stream: %v, %v", &out, err)
			}
			if log := w.log.String(); !strings.Contains(log, tc.logged) {
				t.Errorf("the log has no reason:\n%s", log)
			}
		})
	}
}

// TestALoadReturnsAProxysErrorAsAProblem holds that what the activator or queue-proxy
// answers to a load, as text, reaches its caller as a problem.
func TestALoadReturnsAProxysErrorAsAProblem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve  http.HandlerFunc
		status int
		code   problem.Code
		grpc   codes.Code
	}{
		"it waited enough": {plain("activator request timeout", 504), 504, problem.DeadlineExceeded, codes.DeadlineExceeded},
		"it knows no way":  {plain("404 page not found", 404), 503, problem.Unavailable, codes.Unavailable},
		"the function's own": {func(w http.ResponseWriter, _ *http.Request) {
			problem.WriteV2(w, problem.New(problem.Overloaded, "full"))
		}, 429, problem.Overloaded, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("pool", tc.serve)
			got := w.do(request{method: http.MethodPost, path: "/v2/repository/models/iris/load", key: w.admin})
			if got.status != tc.status || got.code() != string(tc.code) {
				t.Errorf("%d %s", got.status, got.body)
			}
			err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"RepositoryModelLoad",
				&inferpb.RepositoryModelLoadRequest{ModelName: "iris"}, &inferpb.RepositoryModelLoadResponse{})
			if status.Code(err) != tc.grpc || reason(t, err) != string(tc.code) {
				t.Errorf("by gRPC: %v", err)
			}
		})
	}
}

// TestOwnAnswersByGRPCAgreeWithREST holds that the gateway's own answers by gRPC wake nothing and
// agree with REST's.
func TestOwnAnswersByGRPCAgreeWithREST(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.net.sleep("pool", "ocr", "text-detect")
	conn := w.dial("")
	ctx := with(t, "x-api-key", w.admin)
	for name, tc := range map[string]struct {
		in, out, want proto.Message
	}{
		"ServerLive":  {&inferpb.ServerLiveRequest{}, &inferpb.ServerLiveResponse{}, &inferpb.ServerLiveResponse{Live: true}},
		"ServerReady": {&inferpb.ServerReadyRequest{}, &inferpb.ServerReadyResponse{}, &inferpb.ServerReadyResponse{Ready: true}},
		"ModelReady":  {&inferpb.ModelReadyRequest{Name: "iris"}, &inferpb.ModelReadyResponse{}, &inferpb.ModelReadyResponse{Ready: true}},
		"ModelMetadata": {&inferpb.ModelMetadataRequest{Name: "iris"}, &inferpb.ModelMetadataResponse{}, &inferpb.ModelMetadataResponse{
			Name: "iris", Versions: []string{"3", "2", "1"}, Platform: "onnxruntime_onnx",
			Inputs:  []*inferpb.ModelMetadataResponse_TensorMetadata{{Name: "x", Datatype: "FP32", Shape: []int64{-1, 4}}},
			Outputs: []*inferpb.ModelMetadataResponse_TensorMetadata{{Name: "y", Datatype: "INT64", Shape: []int64{-1}}},
		}},
		"RepositoryModelUnload": {
			&inferpb.RepositoryModelUnloadRequest{ModelName: "iris"}, &inferpb.RepositoryModelUnloadResponse{}, &inferpb.RepositoryModelUnloadResponse{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := conn.Invoke(ctx, service+name, tc.in, tc.out); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(tc.want, tc.out) {
				t.Errorf("got %v, want %v", tc.out, tc.want)
			}
		})
	}
	var missing inferpb.ModelReadyResponse
	if err := conn.Invoke(ctx, service+"ModelReady", &inferpb.ModelReadyRequest{Name: "nope"}, &missing); err != nil || missing.GetReady() {
		t.Errorf("a model that is not published: %v, %v", &missing, err)
	}
	var stats inferpb.ModelStatisticsResponse
	if err := conn.Invoke(ctx, service+"ModelStatistics", &inferpb.ModelStatisticsRequest{Name: "iris"}, &stats); err != nil ||
		len(stats.GetModelStats()) != 1 || stats.GetModelStats()[0].GetVersion() != "3" {
		t.Errorf("statistics at zero: %v, %v", &stats, err)
	}
	var index inferpb.RepositoryIndexResponse
	if err := conn.Invoke(ctx, service+"RepositoryIndex", &inferpb.RepositoryIndexRequest{}, &index); err != nil || len(index.GetModels()) != 8 {
		t.Errorf("index: %v, %v", &index, err)
	}
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
}

package serve_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// dial connects grpc-go, a client nobody here wrote.
func dial(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

const service = "/inference.GRPCInferenceService/"

// request asks model for two numbers, raw.
func request(model, id string, values ...float32) *inferpb.ModelInferRequest {
	x := infer.NewTensor("x", nil, values)
	return &inferpb.ModelInferRequest{
		ModelName: model, Id: id,
		Inputs:           []*inferpb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{int64(len(values) / 2), 2}}},
		RawInputContents: [][]byte{x.Data},
	}
}

// outputs are a response's only output.
func outputs(t *testing.T, resp *inferpb.ModelInferResponse) []float32 {
	t.Helper()
	if len(resp.GetRawOutputContents()) != 1 {
		t.Fatalf("%d outputs: %v", len(resp.GetRawOutputContents()), resp)
	}
	values, err := infer.Values[float32](&infer.Tensor{DataType: infer.FP32, Data: resp.GetRawOutputContents()[0]})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestGRPCInfer(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f}).URL)
	typed := request("double", "2", 0, 0)
	typed.RawInputContents = nil
	typed.Inputs[0].Contents = &inferpb.InferTensorContents{Fp32Contents: []float32{1, 2.5}}
	emptied := request("double", "5", 1, 2)
	emptied.Inputs[0].Contents = new(inferpb.InferTensorContents)
	for name, tc := range map[string]struct {
		in   *inferpb.ModelInferRequest
		opts []grpc.CallOption
		want []float32
	}{
		"raw":                                {in: request("double", "1", 1, 2, 3, 4), want: []float32{2, 4, 6, 8}},
		"contents":                           {in: typed, want: []float32{2, 5}},
		"raw beside contents without values": {in: emptied, want: []float32{2, 4}},
		"gzip":                               {in: request("double", "3", make([]float32, 4000)...), opts: []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, want: make([]float32, 4000)},
		"versioned":                          {in: func() *inferpb.ModelInferRequest { r := request("double", "4", 1, 1); r.ModelVersion = "3"; return r }(), want: []float32{2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out inferpb.ModelInferResponse
			var header metadata.MD
			if err := conn.Invoke(t.Context(), service+"ModelInfer", tc.in, &out, append(tc.opts, grpc.Header(&header))...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, outputs(t, &out)); diff != "" {
				t.Error(diff)
			}
			if out.GetId() != tc.in.GetId() || out.GetModelName() != "double" || out.GetModelVersion() != "3" || out.GetOutputs()[0].GetDatatype() != "FP32" {
				t.Errorf("%v", &out)
			}
			if diff := cmp.Diff([]string{"double@3;digest=sha256:abc"}, header.Get("modelserve-model")); diff != "" {
				t.Error(diff)
			}
			if len(header.Get("server-timing")) != 1 || len(header.Get("x-request-id")) != 1 {
				t.Errorf("headers %v", header)
			}
		})
	}
}

// TestConnectClient calls as the gateway does: connect-go over a RoundTripper.
func TestConnectClient(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 1 << 20}})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	client := inferpbconnect.NewGRPCInferenceServiceClient(&http.Client{Transport: transport}, ts.URL, connect.WithGRPC(),
		connect.WithAcceptCompression(deflate.Name, deflate.NewInflater, deflate.NewDeflater), connect.WithSendCompression(deflate.Name))
	for range 3 { // pools of compressors are used again
		out, err := client.ModelInfer(t.Context(), request("double", "", make([]float32, 4000)...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(make([]float32, 4000), outputs(t, out)); diff != "" {
			t.Error(diff)
		}
	}
	_, err := client.ModelInfer(t.Context(), request("double", "", make([]float32, 1<<20)...))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a bomb: %v", err)
	}
}

// reason checks a gRPC error and returns the reason in its ErrorInfo.
func reason(t *testing.T, err error, code codes.Code) string {
	t.Helper()
	s, ok := status.FromError(err)
	if !ok || s.Code() != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			if info.GetDomain() != "modelserve.dev" {
				t.Errorf("domain %q", info.GetDomain())
			}
			return info.GetReason()
		}
	}
	t.Fatalf("no ErrorInfo in %v", err)
	return ""
}

func TestGRPCRefuses(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 1 << 20}}).URL)
	change := func(f func(*inferpb.ModelInferRequest)) *inferpb.ModelInferRequest {
		r := request("double", "", 1, 2)
		f(r)
		return r
	}
	contents := func(dataType string, c *inferpb.InferTensorContents) *inferpb.ModelInferRequest {
		return change(func(r *inferpb.ModelInferRequest) {
			r.RawInputContents = nil
			r.Inputs[0].Datatype, r.Inputs[0].Contents = dataType, c
		})
	}
	parameter := func(name string, p *inferpb.InferParameter) *inferpb.ModelInferRequest {
		return change(func(r *inferpb.ModelInferRequest) { r.Parameters = map[string]*inferpb.InferParameter{name: p} })
	}
	timeout := request("slow", "", 1, 2)
	timeout.Parameters = map[string]*inferpb.InferParameter{"timeout": {ParameterChoice: &inferpb.InferParameter_Int64Param{Int64Param: 100}}}
	for name, tc := range map[string]struct {
		in    *inferpb.ModelInferRequest
		opts  []grpc.CallOption
		code  codes.Code
		want  problem.Code
		field string
	}{
		"unknown model":     {in: request("nope", "", 1, 2), code: codes.NotFound, want: problem.ModelNotFound},
		"failed model":      {in: request("bad", "", 1, 2), code: codes.Unavailable, want: problem.ModelUnavailable},
		"a path for a name": {in: request("../etc", "", 1, 2), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "model_name"},
		"panic":             {in: request("panics", "", 1, 2), code: codes.Internal, want: problem.Internal},
		"unknown error":     {in: request("broken", "", 1, 2), code: codes.Internal, want: problem.Internal},
		"timeout":           {in: timeout, code: codes.DeadlineExceeded, want: problem.DeadlineExceeded},
		"bytes":             {in: change(func(r *inferpb.ModelInferRequest) { r.RawInputContents[0] = make([]byte, 5) }), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].data"},
		"raw count":         {in: change(func(r *inferpb.ModelInferRequest) { r.RawInputContents = make([][]byte, 2) }), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "raw_input_contents"},
		"raw and contents": {
			in: change(func(r *inferpb.ModelInferRequest) {
				r.Inputs[0].Contents = &inferpb.InferTensorContents{Fp32Contents: []float32{1}}
			}),
			code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].contents",
		},
		"no data":        {in: contents("FP32", nil), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].data"},
		"wrong contents": {in: contents("FP32", &inferpb.InferTensorContents{Fp64Contents: []float64{1, 2}}), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].contents"},
		"half contents":  {in: contents("FP16", &inferpb.InferTensorContents{Fp32Contents: []float32{1, 2}}), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].contents"},
		"out of range":   {in: contents("INT8", &inferpb.InferTensorContents{IntContents: []int32{1, 128}}), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].contents.int_contents[1]"},
		"data type":      {in: contents("FLOAT", nil), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "inputs[0].datatype"},
		"a parameter": {
			in:   parameter("timeout", &inferpb.InferParameter{ParameterChoice: &inferpb.InferParameter_StringParam{StringParam: "1"}}),
			code: codes.InvalidArgument, want: problem.InvalidArgument, field: "parameters.timeout",
		},
		"no parameter": {in: parameter("a", &inferpb.InferParameter{}), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "parameters.a"},
		"unknown output": {in: change(func(r *inferpb.ModelInferRequest) {
			r.Outputs = []*inferpb.ModelInferRequest_InferRequestedOutputTensor{{Name: "z"}}
		}), code: codes.InvalidArgument, want: problem.InvalidArgument, field: "outputs[0].name"},
		"shared memory": {in: change(func(r *inferpb.ModelInferRequest) {
			r.Inputs[0].Parameters = map[string]*inferpb.InferParameter{"shared_memory_region": {}}
		}), code: codes.Unimplemented, want: problem.Unimplemented, field: "inputs[0].parameters.shared_memory_region"},
		"too large":  {in: request("double", "", make([]float32, 1<<18)...), code: codes.ResourceExhausted, want: problem.PayloadTooLarge},
		"gzip bomb":  {in: request("double", "", make([]float32, 1<<21)...), opts: []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, code: codes.ResourceExhausted, want: problem.PayloadTooLarge},
		"wrong data": {in: change(func(r *inferpb.ModelInferRequest) { r.ProtoReflect().SetUnknown([]byte{0x0a, 0xff}) }), code: codes.InvalidArgument, want: problem.MalformedBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out inferpb.ModelInferResponse
			err := conn.Invoke(t.Context(), service+"ModelInfer", tc.in, &out, tc.opts...)
			if got := reason(t, err, tc.code); got != string(tc.want) {
				t.Errorf("reason %s, want %s: %v", got, tc.want, err)
			}
			for _, word := range []string{"secret", "proto:", "message size", "unmarshal"} {
				if strings.Contains(err.Error(), word) {
					t.Error(err)
				}
			}
			if tc.field == "" {
				return
			}
			for _, d := range status.Convert(err).Details() {
				if bad, ok := d.(*errdetails.BadRequest); ok && bad.GetFieldViolations()[0].GetField() == tc.field {
					return
				}
			}
			t.Errorf("%v does not name %s", err, tc.field)
		})
	}
	if f.leases.Load() != 0 {
		t.Errorf("%d leases left", f.leases.Load())
	}
}

func TestGRPCDeadline(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f}).URL)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := conn.Invoke(ctx, service+"ModelInfer", request("slow", "", 1, 2), &inferpb.ModelInferResponse{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	err = conn.Invoke(metadata.AppendToOutgoingContext(t.Context(), infer.TimeoutHeader, "5"), service+"ModelInfer", request("slow", "", 1, 2), &inferpb.ModelInferResponse{})
	if got := reason(t, err, codes.DeadlineExceeded); got != string(problem.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestGRPCCalls(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f, Version: "1"}).URL)
	for name, tc := range map[string]struct {
		method   string
		in, want proto.Message
	}{
		"live":    {"ServerLive", &inferpb.ServerLiveRequest{}, &inferpb.ServerLiveResponse{Live: true}},
		"ready":   {"ServerReady", &inferpb.ServerReadyRequest{}, &inferpb.ServerReadyResponse{Ready: true}},
		"model":   {"ModelReady", &inferpb.ModelReadyRequest{Name: "double"}, &inferpb.ModelReadyResponse{Ready: true}},
		"failed":  {"ModelReady", &inferpb.ModelReadyRequest{Name: "bad"}, &inferpb.ModelReadyResponse{}},
		"unknown": {"ModelReady", &inferpb.ModelReadyRequest{Name: "nope"}, &inferpb.ModelReadyResponse{}},
		"server":  {"ServerMetadata", &inferpb.ServerMetadataRequest{}, &inferpb.ServerMetadataResponse{Name: "modelserve", Version: "1", Extensions: []string{"binary_tensor_data", "model_repository", "model_configuration", "statistics", "schedule_policy"}}},
		"metadata": {"ModelMetadata", &inferpb.ModelMetadataRequest{Name: "double", Version: "3"}, &inferpb.ModelMetadataResponse{
			Name: "double", Versions: []string{"3", "2"}, Platform: "onnxruntime_onnx",
			Inputs:  []*inferpb.ModelMetadataResponse_TensorMetadata{{Name: "x", Datatype: "FP32", Shape: []int64{-1, 2}}, {Name: "s", Datatype: "BYTES", Shape: []int64{-1}}},
			Outputs: []*inferpb.ModelMetadataResponse_TensorMetadata{{Name: "y", Datatype: "FP32", Shape: []int64{-1, 2}}},
		}},
		"index": {"RepositoryIndex", &inferpb.RepositoryIndexRequest{Ready: true}, &inferpb.RepositoryIndexResponse{
			Models: []*inferpb.RepositoryIndexResponse_ModelIndex{{Name: "double", Version: "3", State: "READY"}},
		}},
		"load":   {"RepositoryModelLoad", &inferpb.RepositoryModelLoadRequest{ModelName: "double"}, &inferpb.RepositoryModelLoadResponse{}},
		"unload": {"RepositoryModelUnload", &inferpb.RepositoryModelUnloadRequest{ModelName: "double"}, &inferpb.RepositoryModelUnloadResponse{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tc.want.ProtoReflect().New().Interface()
			if err := conn.Invoke(t.Context(), service+tc.method, tc.in, got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("config", func(t *testing.T) {
		t.Parallel()
		var got inferpb.ModelConfigResponse
		if err := conn.Invoke(t.Context(), service+"ModelConfig", &inferpb.ModelConfigRequest{Name: "double"}, &got); err != nil {
			t.Fatal(err)
		}
		if got.GetConfig().GetInput()[1].GetDataType() != inferpb.DataType_TYPE_STRING {
			t.Errorf("%v", &got)
		}
	})
	t.Run("statistics", func(t *testing.T) {
		t.Parallel()
		var got inferpb.ModelStatisticsResponse
		if err := conn.Invoke(t.Context(), service+"ModelStatistics", &inferpb.ModelStatisticsRequest{}, &got); err != nil {
			t.Fatal(err)
		}
		if s := got.GetModelStats()[0]; s.GetInferenceStats().GetSuccess().GetNs() != 7 || s.GetLastInference() != 1700000000000 || s.GetBatchStats()[0].GetBatchSize() != 2 {
			t.Errorf("%v", &got)
		}
	})
	t.Run("unknown procedure", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{service + "SystemSharedMemoryStatus", "/some.Service/Call"} {
			err := conn.Invoke(t.Context(), path, &inferpb.ServerLiveRequest{}, &inferpb.ServerLiveResponse{})
			if got := reason(t, err, codes.Unimplemented); got != string(problem.Unimplemented) {
				t.Error(err)
			}
		}
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		for method, in := range map[string]proto.Message{
			"ModelMetadata":       &inferpb.ModelMetadataRequest{Name: "nope"},
			"ModelConfig":         &inferpb.ModelConfigRequest{Name: "nope"},
			"ModelStatistics":     &inferpb.ModelStatisticsRequest{Name: "nope"},
			"RepositoryModelLoad": &inferpb.RepositoryModelLoadRequest{ModelName: "nope"},
		} {
			err := conn.Invoke(t.Context(), service+method, in, &inferpb.ServerLiveResponse{})
			if got := reason(t, err, codes.NotFound); got != string(problem.ModelNotFound) {
				t.Error(method, err)
			}
		}
	})
}

func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	f := newFake()
	health := new(serve.Health)
	client := grpc_health_v1.NewHealthClient(dial(t, start(t, serve.Config{Backend: f, Repository: f, Health: health}).URL))
	check := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		got, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "inference.GRPCInferenceService"})
		if err != nil || got.GetStatus() != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	check(grpc_health_v1.HealthCheckResponse_SERVING)
	watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("watching: %v, %v; want %v", got, err, want)
		}
	}
	next(grpc_health_v1.HealthCheckResponse_SERVING)
	health.Drain()
	next(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	check(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

// TestEmptyContentsBesideRaw holds that a client that always sets the field, as
// some do, is answered.
func TestEmptyContentsBesideRaw(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f}).URL)
	in := request("double", "", 1, 2)
	in.Inputs[0].Contents = &inferpb.InferTensorContents{}
	var out inferpb.ModelInferResponse
	if err := conn.Invoke(t.Context(), service+"ModelInfer", in, &out); err != nil {
		t.Error(err)
	}
}

func TestGRPCSlowBody(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{BodyTimeout: 20 * time.Millisecond}})
	body, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+service+"ModelInfer", io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 0, 9, 1}), body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer writer.Close() // first, or the transport waits for the request's end
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if got := resp.Trailer.Get("Grpc-Status"); got != "4" {
		t.Errorf("status %s, %v", got, resp.Trailer)
	}
}

package gateway_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestHealthWithoutAKey holds that a probe learns how the platform itself is, and
// nobody of a function without a key.
func TestHealthWithoutAKey(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) {
		d.Ready = func(context.Context) error {
			if down.Load() {
				return errors.New("the store is gone")
			}
			return nil
		}
	})
	client := healthpb.NewHealthClient(w.dial(""))
	for _, name := range []string{"", "inference.GRPCInferenceService"} {
		if got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if _, err := client.Check(with(t, "x-api-key", "nonsense"), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("with a key that is none: %v", err)
	}
	ofFunction := healthpb.NewHealthClient(w.dial("ocr.default.localhost"))
	if _, err := ofFunction.Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a function's: %v", err)
	}
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
		down.Store(true)
	}
}

// TestNoClientTakesTheWatchOfOthers holds that a client that watches as often as
// may be keeps nobody from watching: no other connection, and no caller with a key.
func TestNoClientTakesTheWatchOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch := func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	conn, took := w.dial(""), 0
	for i := range 600 {
		if i%200 == 0 {
			conn = w.dial("") // for the bound on a connection's streams
		}
		switch err := watch(ctx, conn); status.Code(err) {
		case codes.OK:
			took++
		case codes.Unimplemented: // by which clients go on without
		default:
			t.Fatalf("watch %d: %v", i, err)
		}
	}
	for range 10 {
		if err := watch(ctx, w.dial("")); err != nil {
			t.Errorf("another client, after %d: %v", took, err)
		}
		if err := watch(metadata.AppendToOutgoingContext(ctx, "x-api-key", w.key(auth.Infer("iris"))), conn); err != nil {
			t.Errorf("a caller with a key, after %d: %v", took, err)
		}
	}
	leave()
	w.server.Close()
	if log := w.log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Error(log)
	}
}

// TestAWatchHoldsNoMemoryOfOthers holds that nobody without a key fills what there
// is for the messages of all, by a name as long as a message may be.
func TestAWatchHoldsNoMemoryOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, env.MiB })
	w.grpcFunction("pool")
	conn := w.dial("")
	long := &healthpb.HealthCheckRequest{Service: strings.Repeat("a", 900<<10)}
	const want = "expected a message of at most 16384 bytes"
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), long)
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want) {
		t.Errorf("Watch: %v", err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), long); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want) {
		t.Errorf("Check: %v", err)
	}
	request := &inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, 500<<10)}}
	if err := conn.Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", request, &inferpb.ModelInferResponse{}); err != nil {
		t.Errorf("another's call: %v", err)
	}
}

// TestReflection holds that tools find the services, for callers with a key.
func TestReflection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(ctx context.Context, q *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
		stream, err := reflectionpb.NewServerReflectionClient(w.dial("")).ServerReflectionInfo(ctx)
		if err != nil {
			return nil, err
		}
		if err := stream.Send(q); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	ctx := with(t, "x-api-key", w.key(auth.Infer("iris")))
	list, err := ask(ctx, &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if diff := cmp.Diff([]string{
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "inference.GRPCInferenceService",
	}, names); diff != "" {
		t.Errorf("services %s", diff)
	}
	for _, symbol := range append(names, "inference.ModelInferRequest", "grpc.health.v1.HealthCheckResponse") {
		got, err := ask(ctx, &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
		if err != nil || len(got.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s: %v, %v", symbol, got, err)
		}
	}
	if _, err := ask(t.Context(), &reflectionpb.ServerReflectionRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
}

// unknown is a message of bytes that its type does not know.
func unknown(data []byte) proto.Message {
	m := &inferpb.ModelInferRequest{}
	m.ProtoReflect().SetUnknown(data)
	return m
}

// TestMessagesToTheGatewayItselfAreBounded holds that what the gateway decodes is no larger
// than by REST, also decompressed.
func TestMessagesToTheGatewayItselfAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, ctx := w.dial(""), with(t, "x-api-key", w.admin)
	parameters := map[string]*inferpb.ModelRepositoryParameter{}
	for i := range 10_000 {
		parameters[strconv.Itoa(i)] = &inferpb.ModelRepositoryParameter{}
	}
	large := &inferpb.RepositoryModelLoadRequest{ModelName: "iris", Parameters: parameters}
	for name, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
		err := conn.Invoke(ctx, service+"RepositoryModelLoad", large, &inferpb.RepositoryModelLoadResponse{}, options...)
		if reason(t, err) != string(problem.PayloadTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

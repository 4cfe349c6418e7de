package gateway_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
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
	if diff := cmp.Diff([]string{"grpc.health.v1.Health", "inference.GRPCInferenceService"}, names); diff != "" {
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

package wellknown_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // clients that watch
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/modelserveai/modelserve/internal/wellknown"
)

// serve serves the handlers of cfg, and returns a client of grpc-go's.
func serve(t *testing.T, cfg wellknown.Config) (healthpb.HealthClient, *httptest.Server) {
	t.Helper()
	services := wellknown.New(cfg)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		services.Handler(r.URL.Path, wellknown.Asker{Caller: r.Header.Get("X-Api-Key")}).ServeHTTP(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return dial(t, server), server
}

// connect returns a connection of its own to a server.
func connect(t *testing.T, server *httptest.Server, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(server.URL, "http://"),
		append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dial(t *testing.T, server *httptest.Server) healthpb.HealthClient {
	t.Helper()
	return healthpb.NewHealthClient(connect(t, server))
}

// wants reads the next status of a watch.
func wants(t *testing.T, watch healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestWatchSendsChangesAlone(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	client, _ := serve(t, wellknown.Config{
		Services: []string{"a.B"}, Every: time.Millisecond, Serving: func(context.Context) bool { return up.Load() },
	})
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "a.B"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wants(t, watch, healthpb.HealthCheckResponse_NOT_SERVING)
		up.Store(true)
		wants(t, watch, healthpb.HealthCheckResponse_SERVING)
		up.Store(false)
	}
}

func TestWatchOfNoService(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, wellknown.Config{Serving: func(context.Context) bool { return true }})
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "nope"})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, watch, healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
}

// TestAWatcherHoldsUpNoDrain holds that a server that stops ends its watchers,
// and waits for none.
func TestAWatcherHoldsUpNoDrain(t *testing.T) {
	t.Parallel()
	client, server := serve(t, wellknown.Config{Every: time.Hour, Serving: func(context.Context) bool { return true }})
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, watch, healthpb.HealthCheckResponse_SERVING)
	if err := server.Config.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wants(t, watch, healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := watch.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// TestNoClientTakesTheWatchOfOthers holds that one who watches as often as may be
// gives way to another, and that whoever is left without gets the one
// error after which clients go on sending (gRFC A17).
func TestNoClientTakesTheWatchOfOthers(t *testing.T) {
	t.Parallel()
	cfg := wellknown.Config{
		Watchers: 4, Serving: func(context.Context) bool { return true },
	}
	client, server := serve(t, cfg)
	watches := func(client healthpb.HealthClient, key string) healthpb.Health_WatchClient {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
		watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return watch
	}
	ended := func(name string, watch healthpb.Health_WatchClient) {
		if got, err := watch.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	var greedy []healthpb.Health_WatchClient
	for range 3 {
		watch := watches(client, "")
		wants(t, watch, healthpb.HealthCheckResponse_SERVING)
		greedy = append(greedy, watch)
	}
	ended("a fourth of three for those without a key", watches(client, ""))
	wants(t, watches(client, "key"), healthpb.HealthCheckResponse_SERVING) // the last place of all
	wants(t, watches(dial(t, server), ""), healthpb.HealthCheckResponse_SERVING)
	ended("the last of who has most", greedy[2])
	wants(t, watches(dial(t, server), "another"), healthpb.HealthCheckResponse_SERVING)
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// TestAClientWithoutAPlaceGoesOnSending holds that the bound on watchers is no
// outage for clients that send only to servers whose health they watch: one
// that has a place, and one that finds none.
func TestAClientWithoutAPlaceGoesOnSending(t *testing.T) {
	t.Parallel()
	_, server := serve(t, wellknown.Config{Watchers: 1, Serving: func(context.Context) bool { return true }})
	for name, conn := range map[string]*grpc.ClientConn{"the first": watching(t, server), "the second": watching(t, server)} {
		for range 10 {
			if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// watching is a connection that is used while a watch reports that it is healthy.
func watching(t *testing.T, server *httptest.Server) *grpc.ClientConn {
	t.Helper()
	return connect(t, server, grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"grpc.health.v1.Health"}}`))
}

// TestReflectionKnowsItself holds that every service listed can be described, with
// all that it needs, and has a health.
func TestReflectionKnowsItself(t *testing.T) {
	t.Parallel()
	client, server := serve(t, wellknown.Config{Serving: func(context.Context) bool { return true }})
	ask := func(q *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
		stream, err := reflectionpb.NewServerReflectionClient(connect(t, server)).ServerReflectionInfo(t.Context())
		if err != nil {
			return nil, err
		}
		if err := stream.Send(q); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	list, err := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if diff := cmp.Diff([]string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}, names); diff != "" {
		t.Errorf("services %s", diff)
	}
	for _, name := range names {
		got, err := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
		if err != nil {
			t.Fatal(err)
		}
		set := &descriptorpb.FileDescriptorSet{}
		for _, data := range got.GetFileDescriptorResponse().GetFileDescriptorProto() {
			file := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(data, file); err != nil {
				t.Fatal(err)
			}
			set.File = append(set.File, file)
		}
		files, err := protodesc.NewFiles(set)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := files.FindDescriptorByName(protoreflect.FullName(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("Check of %s: %v, %v", name, got, err)
		}
	}
}

// TestReflectionSaysWhatIsNotThere holds that its errors are sentences.
func TestReflectionSaysWhatIsNotThere(t *testing.T) {
	t.Parallel()
	_, server := serve(t, wellknown.Config{Serving: func(context.Context) bool { return true }})
	for name, tc := range map[string]struct {
		q    *reflectionpb.ServerReflectionRequest
		want string
	}{
		"a symbol":     {&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "a.B"}}, `there is no symbol "a.B"`},
		"a file":       {&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: "a.proto"}}, `there is no file "a.proto"`},
		"an extension": {&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingExtension{FileContainingExtension: &reflectionpb.ExtensionRequest{ContainingType: "a.B", ExtensionNumber: 7}}}, `there is no extension 7 of "a.B"`},
		"extensions":   {&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: "a.B"}}, `there is no symbol "a.B"`},
		"nothing":      {&reflectionpb.ServerReflectionRequest{}, "message_request: expected one of file_by_filename,"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream, err := reflectionpb.NewServerReflectionClient(connect(t, server)).ServerReflectionInfo(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(tc.q); err != nil {
				t.Fatal(err)
			}
			got, err := stream.Recv()
			if text := got.GetErrorResponse().GetErrorMessage() + status.Convert(err).Message(); !strings.HasPrefix(text, tc.want) {
				t.Errorf("answered %q, want %q", text, tc.want)
			}
			if err != nil && status.Code(err) != codes.InvalidArgument || err == nil && got.GetErrorResponse().GetErrorCode() != int32(codes.NotFound) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/internal/wellknown"
)

// serve serves the handlers of cfg, and returns a client of grpc-go's.
func serve(t *testing.T, cfg wellknown.Config) (healthpb.HealthClient, *httptest.Server) {
	t.Helper()
	mux := http.NewServeMux()
	for procedure, handler := range wellknown.Handlers(cfg) {
		mux.Handle(procedure, handler)
	}
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	conn, err := grpc.NewClient(strings.TrimPrefix(server.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return healthpb.NewHealthClient(conn), server
}

// wants reads the next status of a watch.
func wants(t *testing.T, watch healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestWatchTellsChangesAlone(t *testing.T) {
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

// TestAWatcherHoldsUpNoDrain holds that a server that stops tells its watchers,
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

func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, wellknown.Config{Watchers: 1, Serving: func(context.Context) bool { return true }})
	first, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, first, healthpb.HealthCheckResponse_SERVING)
	second, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = second.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the second: %v", err)
	}
}

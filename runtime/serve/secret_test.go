package serve_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestRequestsWithoutTheSecretAreRefused holds that a function with a secret
// answers nobody else but what asks for its health.
func TestRequestsWithoutTheSecretAreRefused(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Secret: "swordfish"})
	for _, path := range []string{"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"} {
		if got := send(t, http.MethodGet, ts.URL+path, nil); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for name, tc := range map[string]struct {
		path, secret string
		good         bool
	}{
		"with it":             {"/v2", "swordfish", true},
		"without":             {"/v2", "", false},
		"with another":        {"/v2", "swordfisH", false},
		"a model, without":    {"/v2/models/double", "", false},
		"no such path":        {"/", "", false},
		"nearly health":       {"/healthz/", "", false},
		"a repository's call": {"/v2/repository/index", "", false},
	} {
		var headers []string
		if tc.secret != "" {
			headers = []string{infer.SecretHeader, tc.secret}
		}
		got := send(t, http.MethodGet, ts.URL+tc.path, nil, headers...)
		if tc.good && got.status != http.StatusOK || !tc.good && got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if !tc.good && strings.HasPrefix(tc.path, "/v2") {
			got.failed(t, problem.Unauthenticated)
		}
	}
	conn := dial(t, ts.URL)
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("gRPC health: %v", err)
	}
	live := func(ctx context.Context) codes.Code {
		return status.Code(conn.Invoke(ctx, "/inference.GRPCInferenceService/ServerLive", &inferpb.ServerLiveRequest{}, &inferpb.ServerLiveResponse{}))
	}
	if code := live(t.Context()); code != codes.Unauthenticated {
		t.Errorf("gRPC without: %v", code)
	}
	if code := live(metadata.AppendToOutgoingContext(t.Context(), infer.SecretHeader, "swordfish")); code != codes.OK {
		t.Errorf("gRPC with it: %v", code)
	}
}

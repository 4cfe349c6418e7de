package gateway_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// ocrIs replaces every function with one.
func (w *world) ocrIs(f route.Function) {
	w.t.Helper()
	f.Name, f.Namespace, f.URL = "ocr", "default", "http://ocr.default.svc.cluster.local"
	if err := w.routes.Replace([]route.Function{f}); err != nil {
		w.t.Fatal(err)
	}
}

const ocrHost = "ocr.default.localhost"

// TestAFunctionWithoutARevisionYetIsStarting holds that what nobody knows the
// models of yet is reported as starting, and not as a function of other models.
func TestAFunctionWithoutARevisionYetIsStarting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ocrIs(route.Function{State: "starting", Starting: "the function is starting"})
	// An activator that does not know the revision either.
	w.serve("ocr", plain("Error getting active endpoint: revision default/ocr-00001 not found", 404))
	const path = "/models/text-recognize"
	for _, tc := range []struct{ method, path, code string }{
		{http.MethodPost, "/", "unavailable"},
		{http.MethodGet, "/v2" + path, "unavailable"},
		{http.MethodPost, "/v2" + path + "/infer", "unavailable"},
		{http.MethodGet, "/v2" + path + "/ready", "model_unavailable"},
		{http.MethodPost, "/v2/repository" + path + "/load", "unavailable"},
	} {
		got := w.do(request{method: tc.method, host: ocrHost, path: tc.path, key: w.admin})
		if got.status != http.StatusServiceUnavailable || got.code() != tc.code || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %v %s", tc.path, got.status, got.header, got.body)
		}
	}
	conn, ctx := w.dial(ocrHost), with(t, "x-api-key", w.admin)
	if err := conn.Invoke(ctx, service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "text-recognize"}, &inferpb.ModelInferResponse{}); status.Code(err) != codes.Unavailable || reason(t, err) != "unavailable" {
		t.Errorf("by gRPC: %v", err)
	}
	var ready inferpb.ModelReadyResponse
	if err := conn.Invoke(ctx, service+"ModelReady", &inferpb.ModelReadyRequest{Name: "text-recognize"}, &ready); err != nil || ready.GetReady() {
		t.Errorf("ready by gRPC: %v, %v", &ready, err)
	}
	// Of what it is known to serve, other models are none.
	w.ocrIs(route.Function{State: "starting", Starting: "the function is starting", Mixed: []model.Ref{{Name: "text-recognize", Version: 2}}})
	if got := w.do(request{method: http.MethodPost, host: ocrHost, path: "/v2/models/iris/infer", key: w.admin, body: "{}"}); got.code() != "model_not_found" {
		t.Errorf("another model: %d %s", got.status, got.body)
	}
}

// TestAFunctionsHostIsReadyAsItIs holds that the server's readiness at a function's
// own host is that of the function, without its reason, which not every key may see.
func TestAFunctionsHostIsReadyAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		function   route.Function
		ready      bool
		retryAfter string
	}{
		"ready":    {route.Function{State: "ready"}, true, ""},
		"at zero":  {route.Function{State: "idle", Reason: "the newest is broken"}, true, ""},
		"failed":   {route.Function{State: route.StateFailed, Reason: "hush"}, false, ""},
		"starting": {route.Function{State: "starting", Starting: "the function is starting: hush"}, false, "1"},
	} {
		w.ocrIs(tc.function)
		got := w.do(request{host: ocrHost, path: "/v2/health/ready", key: w.admin})
		if (got.status == http.StatusOK) != tc.ready || !tc.ready && got.code() != "unavailable" ||
			got.header.Get("Retry-After") != tc.retryAfter || strings.Contains(got.body, "hush") {
			t.Errorf("%s: %d %v %s", name, got.status, got.header, got.body)
		}
		conn, ctx := w.dial(ocrHost), with(t, "x-api-key", w.admin)
		var server inferpb.ServerReadyResponse
		if err := conn.Invoke(ctx, service+"ServerReady", &inferpb.ServerReadyRequest{}, &server); err != nil || server.GetReady() != tc.ready {
			t.Errorf("%s: ServerReady: %v, %v", name, &server, err)
		}
		health, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || (health.GetStatus() == healthpb.HealthCheckResponse_SERVING) != tc.ready {
			t.Errorf("%s: health: %v, %v", name, health, err)
		}
		if got := w.do(request{path: "/v2/health/ready", key: w.admin}); got.status != http.StatusOK {
			t.Errorf("%s: at the gateway's own host: %d %s", name, got.status, got.body)
		}
	}
}

// TestAFunctionAtZeroWithoutAStoreIsNotReady holds that a model which would have
// to be fetched, and cannot be, is not reported as ready.
func TestAFunctionAtZeroWithoutAStoreIsNotReady(t *testing.T) {
	t.Parallel()
	pins := []model.Ref{{Name: "text-recognize", Version: 2}}
	away := errors.New("S3 unreachable: connection refused")
	for name, tc := range map[string]struct {
		state route.State
		fault error
		ready bool
	}{
		"at zero":                   {"idle", nil, true},
		"at zero without a store":   {"idle", away, false},
		"that runs without a store": {"ready", away, true},
		"of no known state":         {"", away, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.catalog.fault = tc.fault
			w.ocrIs(route.Function{State: tc.state, Models: pins})
			for path, host := range map[string]string{
				"/v2/models/text-recognize/ready": ocrHost, "/v2/models/text-recognize/versions/2/ready": "", "/v2/health/ready": ocrHost,
			} {
				got := w.do(request{host: host, path: path, key: w.admin})
				if (got.status == http.StatusOK) != tc.ready {
					t.Errorf("%s: %d %s", path, got.status, got.body)
				}
				if !tc.ready && strings.HasPrefix(path, "/v2/models") && !strings.Contains(got.body, "S3 unreachable") {
					t.Errorf("%s: %s", path, got.body)
				}
			}
			if got := w.do(request{host: ocrHost, path: "/v2/repository/index", key: w.admin}); strings.Contains(got.body, "UNAVAILABLE") == tc.ready {
				t.Errorf("index: %s", got.body)
			}
		})
	}
}

package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// TestFaultsAreToldInOneOrder holds that the same mistakes are told alike each
// time: as the settings are listed.
func TestFaultsAreToldInOneOrder(t *testing.T) {
	t.Parallel()
	config := Config{Timeout: 25 * time.Hour, BodyTimeout: -1, StreamIdle: -1, StreamInFlight: -1}
	want := []string{
		"MODELSERVE_REQUEST_TIMEOUT: expected at most 24h, got 25h0m0s",
		"MODELSERVE_BODY_TIMEOUT: expected at most 24h, got -1ns",
		"MODELSERVE_STREAM_IDLE: expected at most 24h, got -1ns",
		"MODELSERVE_STREAM_IN_FLIGHT: expected 1 to 1000, got -1",
	}
	for range 20 {
		var got []string
		for _, fault := range config.Check() {
			got = append(got, fault.Error())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("faults (-want +got):\n%s", diff)
		}
		_, err := New(Config{}, Deps{})
		if diff := cmp.Diff("gateway: Deps.Keys is missing\ngateway: Deps.Catalog is missing\ngateway: Deps.Routes is missing\n"+
			"gateway: Deps.Telemetry is missing\ngateway: Deps.Transport is missing", err.Error()); diff != "" {
			t.Fatalf("what is missing (-want +got):\n%s", diff)
		}
	}
}

// TestAStreamThatIsRefusedLeavesNothing holds that a stream which ends before its
// first message ends all that it began: what is left would hang the bubble.
func TestAStreamThatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{config: Config{}.withDefaults()}
		s := g.newGRPC()
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, inferpbconnect.GRPCInferenceServiceModelStreamInferProcedure, http.NoBody)
		r.ProtoMajor, r.ProtoMinor = 2, 0
		r.Header.Set("Content-Type", "application/grpc") // and no credential
		rec := httptest.NewRecorder()
		s.handlers[r.URL.Path].ServeHTTP(rec, r)
		if got := rec.Result().Trailer.Get("Grpc-Status"); got != "16" {
			t.Errorf("status %q, want 16 (unauthenticated); %v", got, rec.Result().Header)
		}
	})
}

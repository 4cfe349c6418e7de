package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFaultsAreReportedInOneOrder holds that the same mistakes are reported alike
// each time: as the settings are listed.
func TestFaultsAreReportedInOneOrder(t *testing.T) {
	t.Parallel()
	config := Config{Timeout: 25 * time.Hour, BodyTimeout: -1, StreamIdle: -1, StreamInFlight: -1, TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0"),
	}}
	want := []string{
		"MODELSERVE_REQUEST_TIMEOUT: expected at most 24h, got 25h0m0s",
		"MODELSERVE_BODY_TIMEOUT: expected at most 24h, got -1ns",
		"MODELSERVE_STREAM_IDLE: expected at most 24h, got -1ns",
		"MODELSERVE_STREAM_IN_FLIGHT: expected 1 to 1000, got -1",
		"MODELSERVE_TRUSTED_PROXIES: expected the networks of proxies, got ::/0, which is everybody's: each caller would choose their address",
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
		if diff := cmp.Diff("gateway: Deps.Rights is missing\ngateway: Deps.Hasher is missing\ngateway: Deps.Keys is missing\n"+
			"gateway: Deps.Audit is missing\ngateway: Deps.Catalog is missing\ngateway: Deps.Routes is missing\n"+
			"gateway: Deps.Telemetry is missing\ngateway: Deps.Transport is missing", err.Error()); diff != "" {
			t.Fatalf("what is missing (-want +got):\n%s", diff)
		}
	}
}

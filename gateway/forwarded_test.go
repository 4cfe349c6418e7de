package gateway_test

import (
	"net/http"
	"net/netip"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestBehindAWildcardRoute holds what the gateway does with the host that an
// ingress forwards, as HTTP and as gRPC: a function's leads to the function,
// any other is the gateway's own, and nobody else is believed.
func TestBehindAWildcardRoute(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for name, tc := range map[string]struct {
		trusted         []netip.Prefix
		host, forwarded string
		want            string
	}{
		"a function":                       {loopback, "gateway.default.models.test", "text-detect.default.models.test", answered},
		"with a port, in capitals":         {loopback, "gateway.default.models.test", "Text-Detect.default.models.test:80", answered},
		"none there":                       {loopback, "gateway.default.models.test", "nope.default.models.test", nobody},
		"the gateway":                      {loopback, "gateway.default.models.test", "gateway.default.models.test", itself},
		"the gateway, nothing forwarded":   {loopback, "gateway.default.models.test", "", itself},
		"an address with a port":           {loopback, "gateway.default.models.test", "198.18.0.2:30080", itself},
		"an address of version 6":          {loopback, "gateway.default.models.test", "[fd00::2]:80", itself},
		"a name outside the templates":     {loopback, "gateway.default.models.test", "example.com", itself},
		"the domain itself":                {loopback, "gateway.default.models.test", "models.test", itself},
		"two hosts in one":                 {loopback, "gateway.default.models.test", "text-detect.default.models.test, x", itself},
		"by an address, nothing forwarded": {loopback, "198.18.0.2:30080", "", itself},
		"from who is not trusted":          {nil, "gateway.default.models.test", "text-detect.default.models.test", itself},
		"from another network":             {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "gateway.default.models.test", "text-detect.default.models.test", itself},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			behind := func() *world {
				return newWorld(t, func(c *gateway.Config, _ *gateway.Deps) {
					c.TrustedProxies, c.Hosts = tc.trusted, []string{"gateway.default.models.test"}
				})
			}
			if got := overHTTP(behind(), tc.host, tc.forwarded); got != tc.want {
				t.Errorf("HTTP reaches %s, want %s", got, tc.want)
			}
			if got := overGRPC(behind(), tc.host, tc.forwarded); got != tc.want {
				t.Errorf("gRPC reaches %s, want %s", got, tc.want)
			}
		})
	}
}

// Who answers a request.
const (
	answered = "the function"
	itself   = "the gateway"
	nobody   = "nobody"
)

func overHTTP(w *world, host, forwarded string) string {
	w.t.Helper()
	w.echo("text-detect")
	q := request{method: http.MethodPost, host: host, path: "/", key: w.admin, body: "x", header: http.Header{}}
	if forwarded != "" {
		q.header.Set("X-Forwarded-Host", forwarded)
	}
	if w.do(q).status == http.StatusOK {
		return answered
	}
	q.method, q.path, q.body = http.MethodGet, "/healthz", ""
	if w.do(q).status == http.StatusOK {
		return itself
	}
	return nobody
}

func overGRPC(w *world, host, forwarded string) string {
	w.t.Helper()
	w.grpcFunction("text-detect")
	w.grpcFunction("pool") // has the newest version, for who calls by path
	pairs := []string{"x-api-key", w.admin}
	if forwarded != "" {
		pairs = append(pairs, "x-forwarded-host", forwarded)
	}
	ctx := metadata.NewOutgoingContext(w.t.Context(), metadata.Pairs(pairs...))
	var out inferpb.ModelInferResponse
	err := w.dial(host).Invoke(ctx, service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "text-detect"}, &out)
	switch {
	case err == nil && out.GetModelName() == "text-detect/text-detect":
		return answered
	case err == nil && out.GetModelName() == "pool/text-detect":
		return itself
	case status.Code(err) == codes.NotFound:
		return nobody
	}
	w.t.Fatalf("gRPC: %v, %v", &out, err)
	return ""
}

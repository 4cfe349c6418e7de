package gateway_test

import (
	"net/http"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestTheGatewayProvesItselfToFunctions holds that each request to a function, by HTTP
// and by gRPC, has the gateway's secret where there is one, and never a caller's.
func TestTheGatewayProvesItselfToFunctions(t *testing.T) {
	t.Parallel()
	const secret = "what-only-the-gateway-and-functions-know"
	for name, want := range map[string]string{"with a secret": secret, "without one": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.Secret = want })
			got := make(chan http.Header, 1)
			w.serve("text-detect", func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
			for _, path := range []string{"/", "/v2/models/text-detect/infer"} {
				w.do(request{
					method: http.MethodPost, host: "text-detect.default.localhost", path: path, key: w.key(auth.Infer("text-detect")),
					header: http.Header{infer.SecretHeader: {"a caller's"}, infer.TenantHeader: {"another"}, "Modelserve_secret": {"a caller's"}},
				})
				h := <-got
				if h.Get(infer.SecretHeader) != want || len(h.Values(infer.SecretHeader)) > 1 || h.Get("Modelserve_secret") != "" || h.Get(infer.TenantHeader) == "another" {
					t.Errorf("%s: %v", path, h)
				}
			}
		})
	}
}

func TestASecretIsNoGuess(t *testing.T) {
	t.Parallel()
	for secret, good := range map[string]bool{
		"": true, "0123456789abcdef0123456789abcdef": true, "swordfish": false, "0123456789abcdef 0123456789abcdef": false, "0123456789abcdef0123456789abcdef\n": false,
	} {
		c := gateway.Config{Secret: secret}
		if faults := c.Check(); (len(faults) == 0) != good {
			t.Errorf("%q: %v", secret, faults)
		}
	}
}

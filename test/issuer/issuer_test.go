package issuer_test

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/test/issuer"
)

func TestTokensOfARealIssuerAreTaken(t *testing.T) {
	t.Parallel()
	real := issuer.Start(t, "../..")
	v, err := jwt.New([]jwt.Issuer{real.Config()}, jwt.Options{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p, err := v.Authenticate(t.Context(), real.Machine(t))
	if err != nil {
		t.Fatalf("%v (%s)", err, jwt.Reason(err))
	}
	if p.Subject != real.URL+" machine" || p.Tenant != "acme" || !cmp.Equal(p.Roles, []string{"invoker"}) {
		t.Errorf("principal %+v", p)
	}
}

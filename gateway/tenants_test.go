package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// anybody takes "key.TENANT" and "token.TENANT", whoever they are.
type anybody struct{}

// Authenticate implements auth.Authenticator.
func (anybody) Authenticate(_ context.Context, credential string) (*auth.Principal, error) {
	kind, tenant, _ := strings.Cut(credential, ".")
	switch kind {
	case "key":
		return &auth.Principal{ID: "key:" + tenant, Tenant: tenant, Lineage: tenant, Scopes: []auth.Permission{auth.ModelsRead}}, nil
	case "token":
		return &auth.Principal{ID: "subject:x " + tenant, Tenant: tenant, Subject: "x " + tenant}, nil
	default:
		return nil, problem.New(problem.Unauthenticated, "nobody")
	}
}

// counted are the counters of calls of the gateway, by tenant, route and outcome.
func (w *world) counted() map[[3]string]float64 {
	w.t.Helper()
	families, err := w.tel.Registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	counted := map[[3]string]float64{}
	for _, f := range families {
		if f.GetName() != "modelserve_gateway_tenant_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			counted[[3]string{labels["tenant"], labels["route"], labels["outcome"]}] += m.GetCounter().GetValue()
		}
	}
	return counted
}

func (w *world) ask(from, path, credential string) {
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	r.RemoteAddr = from + ":1"
	r.Header.Set("X-Api-Key", credential)
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
}

func withAnybody(_ *gateway.Config, d *gateway.Deps) {
	d.Authenticators = append(d.Authenticators, anybody{})
}

// TestTenantsDoNotGrowTheMetrics holds that ten thousand tenants of tokens and as many
// of keys are counted under a bounded number of names, that those of tokens take no
// place of those of keys, and that who is not known makes none.
func TestTenantsDoNotGrowTheMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withAnybody)
	const many, unknown = 10_000, 100
	const here = "192.0.2.1"
	for n := range many {
		w.ask(here, "/v2/models/iris", fmt.Sprintf("token.subject-%d", n))
	}
	for n := range many {
		w.ask(here, "/v2/models/iris", fmt.Sprintf("key.acme-%d", n))
	}
	for n := range unknown { // each from its own address: none is slowed for another
		w.ask(fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("/v2/models/nobody-%d", n), fmt.Sprintf("nobody.nobody-%d", n))
	}
	counted, total := w.counted(), 0.0
	for labels, n := range counted {
		total += n
		if strings.HasPrefix(labels[0], "nobody") {
			t.Errorf("counted for %v, which nobody has authenticated", labels)
		}
	}
	if len(counted) != 2*100+2+1 || total != 2*many+unknown { // named tenants, others good and refused, and nobody
		t.Errorf("%d series of %v calls", len(counted), total)
	}
	const route = "/v2/models/{model}"
	for labels, want := range map[[3]string]float64{
		{"subject-99", route, "refused"}: 1,
		{"acme-99", route, "good"}:       1,
		{"_other", route, "refused"}:     many - 100,
		{"_other", route, "good"}:        many - 100,
		{"", "none", "refused"}:          unknown,
	} {
		if counted[labels] != want {
			t.Errorf("%v counted %v times, want %v", labels, counted[labels], want)
		}
	}
}

// TestCallsAreCountedByTenantAndOutcome holds which outcome a call has.
func TestCallsAreCountedByTenantAndOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withAnybody)
	w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) })
	w.do(request{path: "/v2/models/iris", key: w.keyOf("acme", auth.ModelsRead)})
	w.do(request{path: "/v2/models/iris", key: "token.acme"}) // a tenant is one by whatever credential
	w.do(request{path: "/v2/models/nope", key: w.keyOf("acme", auth.ModelsRead)})
	w.do(request{path: "/v2/models/iris/infer", method: "POST", key: w.keyOf("other-one", auth.Infer("*")), body: "{}"})
	w.do(request{path: "/v2/models/iris", key: "ms_no_key"})
	w.do(request{path: "/healthz"})
	w.server.Close() // all are counted by then
	want := map[[3]string]float64{
		{"acme", "/v2/models/{model}", "good"}:              1,
		{"acme", "/v2/models/{model}", "refused"}:           2,
		{"other-one", "/v2/models/{model}/infer", "failed"}: 1,
		{"", "none", "refused"}:                             1,
		{"", "/healthz", "good"}:                            1,
	}
	if diff := cmp.Diff(want, w.counted()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

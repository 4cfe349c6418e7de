package control_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/limit"
)

// inForce is what a gateway's file says.
type inForce struct{ file *gatewayfile.File }

func (f inForce) InForce() gatewayfile.InForce {
	return gatewayfile.InForce{File: f.file, Generation: 3, Digest: strings.Repeat("a", 64), Since: time.Now()}
}

// TestTheFileIsShownAsItIsInForce holds that what the file leaves out is shown as what
// it comes to: the clock's leeway, and where keys come from.
func TestTheFileIsShownAsItIsInForce(t *testing.T) {
	t.Parallel()
	issuers := []jwt.Issuer{
		{Issuer: "https://id.test/a/", Audiences: []string{"x"}, Algorithms: []string{"ES256"}, Leeway: 90 * time.Second, Tenant: "claims.org"},
		{Issuer: "b", JWKSURI: "https://keys.test/b", Audiences: []string{"x"}, Algorithms: []string{"RS256"}, Tenant: "claims.org", Roles: "claims.r", Admin: true},
		{Issuer: "c", JWKSFile: "/keys.json", Audiences: []string{"x"}, Algorithms: []string{"RS256"}, Tenant: "claims.org"},
	}
	limits := []limit.Rule{
		{Name: "fast", Match: limit.Match{Model: "text-*"}, Per: []limit.By{limit.ByTenant}, Rate: 100, Burst: 200, Cost: limit.Requests},
		{Name: "monthly", Quota: 1000, Period: limit.Month, Report: true, Cost: limit.Rows},
		{Name: "at-once", Concurrency: 4, Cost: limit.Requests},
	}
	file := &gatewayfile.File{Issuers: issuers, Limits: limits, Down: limit.Open, Stale: time.Minute}
	a := newAPI(t, func(d *control.Deps) { d.File = inForce{file} })
	const want = `"stale":"1m","issuers":[` +
		`{"issuer":"https://id.test/a/","audiences":["x"],"discovery":"https://id.test/a/.well-known/openid-configuration","algorithms":["ES256"],"leeway":"1m30s","tenant":"claims.org","admin":false},` +
		`{"issuer":"b","audiences":["x"],"jwks_uri":"https://keys.test/b","algorithms":["RS256"],"leeway":"0s","tenant":"claims.org","roles":"claims.r","admin":true},` +
		`{"issuer":"c","audiences":["x"],"jwks_file":"/keys.json","algorithms":["RS256"],"leeway":"0s","tenant":"claims.org","admin":false}],"limits":[` +
		`{"name":"fast","match":{"model":"text-*"},"per":["tenant"],"rate":100,"burst":200,"cost":"requests"},` +
		`{"name":"monthly","quota":1000,"period":"month","cost":"rows","at_quota":"report"},` +
		`{"name":"at-once","concurrency":4,"cost":"requests"}],"redis_down":"open"}`
	if got := a.do(request{path: "/v1/gateway"}); got.status != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(got.body), want) {
		t.Errorf("%d %s, want %s", got.status, got.body, want)
	}
}

func TestLoginsAreThoseOfIssuersThatNameOne(t *testing.T) {
	t.Parallel()
	file := &gatewayfile.File{Issuers: []jwt.Issuer{
		{Issuer: "https://people.test", Tenant: "claims.org", Login: &jwt.Login{ClientID: "cli", Scopes: []string{"openid"}}},
		{Issuer: "https://programs.test", Tenant: "claims.org"},
		{Issuer: "https://bare.test", Tenant: "claims.org", Login: &jwt.Login{ClientID: "cli"}},
	}}
	const both = `{"issuers":[{"issuer":"https://people.test","client_id":"cli","scopes":["openid"]},` +
		`{"issuer":"https://bare.test","client_id":"cli","scopes":[]}]}`
	for name, tc := range map[string]struct {
		file control.File
		want string
	}{
		"of a file":         {inForce{file}, both},
		"without issuers":   {inForce{gatewayfile.Default()}, `{"issuers":[]}`},
		"without following": {nil, `{"issuers":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, func(d *control.Deps) { d.File = tc.file })
			a.caller = nil // it needs none
			if got := a.do(request{path: "/v1/login"}); got.status != http.StatusOK || strings.TrimSpace(got.body) != tc.want {
				t.Errorf("%d %s, want %s", got.status, got.body, tc.want)
			}
		})
	}
}

package control_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
)

// inForce is what a gateway's file says.
type inForce struct{ file *gatewayfile.File }

func (f inForce) InForce() gatewayfile.InForce {
	return gatewayfile.InForce{File: f.file, Generation: 3, Digest: strings.Repeat("a", 64), Since: time.Now()}
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

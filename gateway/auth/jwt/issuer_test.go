package jwt_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/problem"
)

func TestCheckNamesEachFault(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 256)
	for name, tc := range map[string]struct {
		change func(*jwt.Issuer)
		want   []string // fields of issuers[0]
	}{
		"good": {func(*jwt.Issuer) {}, nil},
		"whole": {func(i *jwt.Issuer) {
			i.JWKSURI, i.Leeway, i.Admin = "https://keys.test/jwks?x=1", 5*time.Minute, true
			i.Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
			i.Login = &jwt.Login{ClientID: "cli", Scopes: []string{"openid", "offline_access"}}
		}, nil},
		"loopback":              {func(i *jwt.Issuer) { i.Issuer = "http://127.0.0.1:8000" }, nil},
		"localhost":             {func(i *jwt.Issuer) { i.Issuer = "http://localhost:8000" }, nil},
		"a name and a file":     {func(i *jwt.Issuer) { i.Issuer, i.JWKSFile = "kubernetes/serviceaccount", "/keys.json" }, nil},
		"no issuer":             {func(i *jwt.Issuer) { i.Issuer = "" }, []string{"issuer"}},
		"plain HTTP":            {func(i *jwt.Issuer) { i.Issuer = "http://id.test" }, []string{"issuer"}},
		"like loopback":         {func(i *jwt.Issuer) { i.Issuer = "http://127.0.0.1.id.test" }, []string{"issuer"}},
		"no URL":                {func(i *jwt.Issuer) { i.Issuer = "id.test" }, []string{"issuer"}},
		"a query":               {func(i *jwt.Issuer) { i.Issuer = "https://id.test?x" }, []string{"issuer"}},
		"an empty query":        {func(i *jwt.Issuer) { i.Issuer = "https://id.test?" }, []string{"issuer"}},
		"an empty fragment":     {func(i *jwt.Issuer) { i.Issuer = "https://id.test#" }, []string{"issuer"}},
		"keys' empty fragment":  {func(i *jwt.Issuer) { i.JWKSURI = "https://id.test/keys#" }, []string{"jwks_uri"}},
		"a port alone":          {func(i *jwt.Issuer) { i.Issuer = "https://:443" }, []string{"issuer"}},
		"a fragment":            {func(i *jwt.Issuer) { i.Issuer = "https://id.test#x" }, []string{"issuer"}},
		"a user":                {func(i *jwt.Issuer) { i.Issuer = "https://u:p@id.test" }, []string{"issuer"}},
		"a space":               {func(i *jwt.Issuer) { i.Issuer, i.JWKSFile = "id test", "/keys.json" }, []string{"issuer"}},
		"a long issuer":         {func(i *jwt.Issuer) { i.Issuer = "https://" + long }, []string{"issuer"}},
		"keys in plain":         {func(i *jwt.Issuer) { i.JWKSURI = "http://id.test/keys" }, []string{"jwks_uri"}},
		"keys of a file":        {func(i *jwt.Issuer) { i.JWKSURI = "file:///keys" }, []string{"jwks_uri"}},
		"keys twice":            {func(i *jwt.Issuer) { i.JWKSURI, i.JWKSFile = "https://id.test/keys", "/keys" }, []string{"jwks_file"}},
		"no audience":           {func(i *jwt.Issuer) { i.Audiences = nil }, []string{"audiences"}},
		"an empty audience":     {func(i *jwt.Issuer) { i.Audiences = []string{"a", ""} }, []string{"audiences[1]"}},
		"many audiences":        {func(i *jwt.Issuer) { i.Audiences = strings.Fields(strings.Repeat("a ", 21)) }, []string{"audiences"}},
		"none":                  {func(i *jwt.Issuer) { i.Algorithms = []string{"ES256", "none"} }, []string{"algorithms[1]"}},
		"HMAC":                  {func(i *jwt.Issuer) { i.Algorithms = []string{"HS256", "HS384", "HS512"} }, []string{"algorithms[0]", "algorithms[1]", "algorithms[2]"}},
		"no algorithm":          {func(i *jwt.Issuer) { i.Algorithms = nil }, []string{"algorithms"}},
		"unknown algorithm":     {func(i *jwt.Issuer) { i.Algorithms = []string{"ES256K", "es256", "*", ""} }, []string{"algorithms[3]", "algorithms[0]", "algorithms[1]", "algorithms[2]", "algorithms[3]"}},
		"much leeway":           {func(i *jwt.Issuer) { i.Leeway = 5*time.Minute + 1 }, []string{"leeway"}},
		"negative leeway":       {func(i *jwt.Issuer) { i.Leeway = -1 }, []string{"leeway"}},
		"no tenant":             {func(i *jwt.Issuer) { i.Tenant = "" }, []string{"tenant"}},
		"a tenant that is none": {func(i *jwt.Issuer) { i.Tenant = "1" }, []string{"tenant"}},
		"tenants":               {func(i *jwt.Issuer) { i.Tenant = "[claims.org]" }, []string{"tenant"}},
		"no expression":         {func(i *jwt.Issuer) { i.Tenant, i.Roles = "claims.", "(" }, []string{"tenant", "roles"}},
		"an unknown variable":   {func(i *jwt.Issuer) { i.Tenant = "token.org" }, []string{"tenant"}},
		"an unknown function":   {func(i *jwt.Issuer) { i.Roles = "env('HOME')" }, []string{"roles"}},
		"no regular expression": {func(i *jwt.Issuer) {
			i.Tenant, i.Roles = `claims.a.matches("(") ? "a" : "b"`, `claims.l.filter(l, l.matches("[z-a]"))`
		}, []string{"tenant", "roles"}},
		"no duration":            {func(i *jwt.Issuer) { i.Tenant = `duration("soon") > duration("1s") ? "a" : "b"` }, []string{"tenant"}},
		"no time":                {func(i *jwt.Issuer) { i.Tenant = `timestamp("soon") > timestamp(0) ? "a" : "b"` }, []string{"tenant"}},
		"roles that are numbers": {func(i *jwt.Issuer) { i.Roles = "[1]" }, []string{"roles"}},
		"a long expression":      {func(i *jwt.Issuer) { i.Roles = "'" + strings.Repeat("a", 5000) + "'" }, []string{"roles"}},
		"a deep expression":      {func(i *jwt.Issuer) { i.Roles = strings.Repeat("(", 2000) + "''" + strings.Repeat(")", 2000) }, []string{"roles"}},
		"a client with a space":  {func(i *jwt.Issuer) { i.Login = &jwt.Login{ClientID: "a b", Scopes: []string{"c d"}} }, []string{"login.client_id", "login.scopes[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := jwttest.New("https://id.test").Config()
			tc.change(&config)
			var got, want []string
			for _, fault := range jwt.Check([]jwt.Issuer{config}) {
				got = append(got, fault.Field)
				if fault.Detail == "" {
					t.Errorf("%s has no detail", fault.Field)
				}
			}
			for _, field := range tc.want {
				want = append(want, "issuers[0]."+field)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestIssuersAreListedOnceAndBounded(t *testing.T) {
	t.Parallel()
	one := jwttest.New("https://id.test").Config()
	if got := jwt.Check([]jwt.Issuer{one, one}); len(got) != 1 || got[0].Field != "issuers[1].issuer" {
		t.Errorf("twice: %v", got)
	}
	if got := jwt.Check(make([]jwt.Issuer, 51)); got[0].Field != "issuers" {
		t.Errorf("51: %v", got[0])
	}
}

func TestExpressionsMapClaims(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tenant, roles string
		claims        map[string]any
		want          []string // the tenant, then the roles; nil is refused
	}{
		"a constant":               {tenant: `"shared"`, want: []string{"shared"}},
		"inside":                   {tenant: `claims.a.b[1]`, claims: map[string]any{"a": map[string]any{"b": []string{"x", "y"}}}, want: []string{"y"}},
		"a name like a URL":        {tenant: `claims["https://id.test/org"]`, claims: map[string]any{"https://id.test/org": "x"}, want: []string{"x"}},
		"a choice":                 {tenant: `has(claims.missing) ? claims.missing : "none"`, want: []string{"none"}},
		"by audience":              {tenant: `claims.iss.startsWith("https://") ? "in" : "out"`, want: []string{"in"}},
		"roles that are filtered":  {tenant: `"t"`, roles: `claims.groups.filter(g, g.startsWith("ms-"))`, claims: map[string]any{"groups": []string{"x", "ms-a"}}, want: []string{"t", "ms-a"}},
		"roles that are made":      {tenant: `"t"`, roles: `claims.groups.map(g, "x-" + g)`, claims: map[string]any{"groups": []string{"b", "a"}}, want: []string{"t", "x-a", "x-b"}},
		"roles if there are any":   {tenant: `"t"`, roles: `has(claims.missing) ? claims.missing : []`, want: []string{"t"}},
		"a constant role":          {tenant: `"t"`, roles: `["viewer"]`, want: []string{"t", "viewer"}},
		"what can be no role":      {tenant: `"t"`, roles: `["/admins", "", "A", "viewer", "-x"]`, want: []string{"t", "viewer"}},
		"admin is left out":        {tenant: `"t"`, roles: `["admin", "viewer"]`, want: []string{"t", "viewer"}},
		"a missing claim":          {tenant: `claims.missing`},
		"a tenant that is no text": {tenant: `claims.exp`},
		"roles that are no text":   {tenant: `"t"`, roles: `claims.exp`},
		"a map of roles":           {tenant: `"t"`, roles: `claims.m`, claims: map[string]any{"m": map[string]any{"viewer": true}}},
		"no end":                   {tenant: `claims.l.all(a, claims.l.all(b, claims.l.all(c, a + b + c >= 0.0))) ? "t" : "u"`, claims: map[string]any{"l": make([]int, 500)}},
		"division by zero":         {tenant: `1 / 0 == 1 ? "t" : "u"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := jwttest.New("https://id.test")
			config := issuer.Config()
			config.Tenant, config.Roles = tc.tenant, tc.roles
			v, _, _ := verifier(t, issuer, config)
			p, err := v.Authenticate(t.Context(), issuer.Token(tc.claims))
			if tc.want == nil {
				if problem.CodeOf(err) != problem.Unauthenticated || err.Error() != "the token is not valid" {
					t.Errorf("principal %v, error %v", p, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v (%s)", err, jwt.Reason(err))
			}
			if diff := cmp.Diff(tc.want, append([]string{p.Tenant}, p.Roles...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzExpression holds that an operator's expression is a fault or a program that ends,
// and that what it says is a tenant and roles or a refusal.
func FuzzExpression(f *testing.F) {
	f.Add(`claims.org`, `claims.groups`, `{"org":"a","groups":["b"]}`)
	f.Add(`claims["a"].b`, `claims.x.map(y, y + y)`, `{"a":{"b":"c"},"x":["y",1]}`)
	f.Add(`"a".matches("(a+)+$") ? "t" : ""`, `[]`, `{}`)
	issuer := jwttest.New("https://id.test")
	f.Fuzz(func(t *testing.T, tenant, roles, claims string) {
		config := issuer.Config()
		config.Tenant, config.Roles = tenant, roles
		var values map[string]any
		if len(jwt.Check([]jwt.Issuer{config})) > 0 || json.Unmarshal([]byte(claims), &values) != nil {
			return
		}
		p, err := jwt.Map(config, values)
		if err != nil {
			return
		}
		for _, name := range append([]string{p.Tenant}, p.Roles...) {
			if name == "" || len(name) > 63 || strings.ToLower(name) != name || name == "admin" && name != p.Tenant {
				t.Errorf("%q of %q and %q over %q", name, tenant, roles, claims)
			}
		}
	})
}

// FuzzKeySet holds that an issuer's answer is read or refused, and verifies nothing
// that none of its keys signed.
func FuzzKeySet(f *testing.F) {
	issuer := jwttest.New("https://id.test")
	f.Add(issuer.KeySet())
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AA","e":"AQ"},{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","x5c":["AA=="],"x5u":"%","x5t":"AA"}]}`))
	token := jwttest.NewKey("thief", "ES256").Sign(map[string]any{"kid": nil}, issuer.Claims(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		if jwt.Verifies(text, token) {
			t.Errorf("%q verifies a thief's token", text)
		}
	})
}

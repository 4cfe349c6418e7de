package jwt

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// Issuer is one whose tokens are taken, as the gateway's file describes it.
type Issuer struct {
	Issuer     string   // what `iss` is, exactly
	Audiences  []string // one of which `aud` holds
	JWKSURI    string   // where its keys are; "" is what OpenID discovery names
	JWKSFile   string   // a file of its keys, read again when it changes, instead of a URI
	Algorithms []string // RS, PS and ES with 256, 384 or 512, and EdDSA; at least one

	Leeway time.Duration // how far the issuer's clock may be off, at most 5 minutes

	Tenant string // CEL over `claims`, a string: the tenant's name
	Roles  string // CEL over `claims`, strings, or one with spaces between the names; "" is no roles
	Admin  bool   // whether its tokens may have the role `admin`
	Login  *Login // how people get a token; nil is not here
}

// Login is how `modelserve login` takes a token of an issuer (RFC 8628).
type Login struct {
	ClientID string
	Scopes   []string
}

// The bounds of issuers.
const (
	maxIssuers = 50
	maxListed  = 20   // audiences, algorithms, scopes
	maxText    = 255  // bytes of a name, as auth.IsName has it
	maxURI     = 2048 // bytes
	maxLeeway  = 5 * time.Minute
	adminRole  = "admin"
)

// asymmetric lists the algorithms that an issuer may have. With HMAC, whoever
// verifies could sign, and a published key could be taken for a secret
// (RFC 8725, section 2.1).
func asymmetric() []string {
	return []string{
		string(jose.RS256), string(jose.RS384), string(jose.RS512),
		string(jose.PS256), string(jose.PS384), string(jose.PS512),
		string(jose.ES256), string(jose.ES384), string(jose.ES512),
		string(jose.EdDSA),
	}
}

// Discovery is where OpenID discovery says the issuer's keys are.
func (i *Issuer) Discovery() string {
	return strings.TrimSuffix(i.Issuer, "/") + "/.well-known/openid-configuration"
}

// Check reports all that is wrong with issuers, by paths as "issuers[0].leeway".
func Check(issuers []Issuer) []problem.Field {
	var faults faults
	if len(issuers) > maxIssuers {
		faults.add("issuers", "expected at most %d, got %d", maxIssuers, len(issuers))
	}
	seen := map[string]bool{}
	for i := range issuers {
		path := fmt.Sprintf("issuers[%d]", i)
		if seen[issuers[i].Issuer] {
			faults.add(path+".issuer", "is there twice")
		}
		seen[issuers[i].Issuer] = true
		issuers[i].check(path+".", &faults)
	}
	return faults
}

type faults []problem.Field

func (f *faults) add(path, format string, args ...any) {
	*f = append(*f, problem.Field{Field: path, Detail: fmt.Sprintf(format, args...)})
}

func (i *Issuer) check(path string, faults *faults) {
	i.checkKeys(path, faults)
	faults.names(path+"audiences", i.Audiences)
	if len(i.Audiences) == 0 {
		faults.add(path+"audiences", "expected at least one: without it, tokens for others would be taken")
	}
	faults.names(path+"algorithms", i.Algorithms)
	if len(i.Algorithms) == 0 {
		faults.add(path+"algorithms", "expected at least one")
	}
	for n, name := range i.Algorithms {
		if !slices.Contains(asymmetric(), name) {
			faults.add(fmt.Sprintf("%salgorithms[%d]", path, n), "expected one of %s", strings.Join(asymmetric(), ", "))
		}
	}
	if i.Leeway < 0 || i.Leeway > maxLeeway {
		faults.add(path+"leeway", "expected 0s to %s, got %s", maxLeeway, i.Leeway)
	}
	if i.Tenant == "" {
		faults.add(path+"tenant", "expected an expression over claims, as claims.org")
	} else if _, err := compile(i.Tenant, tenantKind()); err != nil {
		faults.add(path+"tenant", "%v", err)
	}
	if i.Roles != "" {
		if _, err := compile(i.Roles, rolesKind()); err != nil {
			faults.add(path+"roles", "%v", err)
		}
	}
	if i.Login != nil {
		if !auth.IsName(i.Login.ClientID) {
			faults.add(path+"login.client_id", "expected 1 to %d characters without spaces", maxText)
		}
		faults.names(path+"login.scopes", i.Login.Scopes)
	}
}

func (f *faults) names(path string, names []string) {
	if len(names) > maxListed {
		f.add(path, "expected at most %d, got %d", maxListed, len(names))
	}
	for n, name := range names {
		if !auth.IsName(name) {
			f.add(fmt.Sprintf("%s[%d]", path, n), "expected 1 to %d characters without spaces", maxText)
		}
	}
}

func (i *Issuer) checkKeys(path string, faults *faults) {
	switch {
	case !auth.IsName(i.Issuer):
		faults.add(path+"issuer", "expected 1 to %d characters without spaces", maxText)
	case i.JWKSURI == "" && i.JWKSFile == "":
		if _, err := fetchable(i.Issuer); err != nil || strings.Contains(i.Issuer, "?") { // a path is put behind it
			faults.add(path+"issuer", "expected https://HOST/… for OpenID discovery (http only of loopback), or jwks_uri, or jwks_file")
		}
	case i.JWKSURI != "" && i.JWKSFile != "":
		faults.add(path+"jwks_file", "expected jwks_uri or jwks_file, got both")
	case i.JWKSURI != "":
		if _, err := fetchable(i.JWKSURI); err != nil {
			faults.add(path+"jwks_uri", "%v", err)
		}
	}
}

// fetchable is a URI from which keys may come: https, or http of this machine.
func fetchable(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil || len(uri) > maxURI || u.Hostname() == "" || u.User != nil || strings.Contains(uri, "#") || u.Opaque != "":
		return nil, fmt.Errorf("expected https://HOST/… without a user and a fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u):
		return u, nil
	default:
		return nil, fmt.Errorf("expected https (http only of loopback)")
	}
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

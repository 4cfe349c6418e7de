// Package jwttest is an issuer of tokens for tests, with the tokens that an attacker
// would try (RFC 8725), so that every protocol of the gateway is held to the same
// ones. Nothing but tests imports it.
package jwttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
)

// Audience is whom the issuer's tokens are for, and Tenant whose they are.
const (
	Audience = "modelserve"
	Tenant   = "acme"
)

// Key is one with which an issuer signs.
type Key struct {
	ID      string
	Alg     jose.SignatureAlgorithm
	Private crypto.Signer
	Use     string // "" is not said
}

// Issuer is one with a key set that tests change. It is an http.Handler.
type Issuer struct {
	URL string // what `iss` is

	mu      sync.Mutex
	keys    []Key
	fetches int
	answer  http.HandlerFunc // in place of the key set; nil is the set
}

// Start makes an issuer that answers on loopback until the test ends, with one key
// for ES256 and one for RS256.
func Start(tb testing.TB) *Issuer {
	tb.Helper()
	issuer := New("")
	server := httptest.NewServer(issuer)
	tb.Cleanup(server.Close)
	issuer.URL = server.URL
	return issuer
}

// New makes an issuer that is reached by RoundTrip alone, so that time may be a
// test's.
func New(url string) *Issuer {
	return &Issuer{URL: url, keys: []Key{NewKey("ec", jose.ES256), NewKey("rsa", jose.RS256)}}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return NewRSA(2048) })

// NewRSA makes an RSA key of bits.
func NewRSA(bits int) *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) }

// NewKey makes a key for an algorithm. RSA keys take long to make, and are all the
// same.
func NewKey(id string, alg jose.SignatureAlgorithm) Key {
	k := Key{ID: id, Alg: alg}
	switch alg {
	case jose.ES256:
		k.Private = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	case jose.ES384:
		k.Private = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	case jose.ES512:
		k.Private = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		k.Private = must(private, err)
	default:
		k.Private = rsaKey()
	}
	return k
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err) // of tests alone
	}
	return value
}

// Config is what a gateway's file says of the issuer: the tenant is the claim org,
// the roles are the claim groups.
func (i *Issuer) Config() jwt.Issuer {
	return jwt.Issuer{
		Issuer: i.URL, Audiences: []string{Audience}, Algorithms: []string{"RS256", "ES256"}, Leeway: 30 * time.Second,
		Tenant: "claims.org", Roles: "claims.groups",
	}
}

// SetKeys replaces the key set. The first key signs.
func (i *Issuer) SetKeys(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Keys are those of the set.
func (i *Issuer) Keys() []Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys
}

// Answer has the issuer answer something else where its keys are; nil is its keys
// again.
func (i *Issuer) Answer(with http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = with
}

// Fetches is how often the keys were asked for.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// ServeHTTP answers OpenID discovery, and the keys at /keys.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		write(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	case "/keys":
		i.mu.Lock()
		i.fetches++
		answer := i.answer
		i.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		_, _ = w.Write(i.KeySet())
	default:
		http.NotFound(w, r)
	}
}

// RoundTrip implements http.RoundTripper, without a network. A handler that waits ends
// with the request's context.
func (i *Issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err //nolint:wrapcheck // as a transport
	}
	response := w.Result()
	response.Request = r
	return response, nil
}

// KeySet is the issuer's as JSON.
func (i *Issuer) KeySet() []byte {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range i.Keys() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Alg), Use: k.Use})
	}
	return must(json.Marshal(set))
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(must(json.Marshal(value)))
}

// Claims are good ones, which end in five minutes, with changes: a nil value takes a
// claim away.
func (i *Issuer) Claims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": i.URL, "sub": "jane", "aud": Audience, "org": Tenant, "groups": []string{"invoker"},
		"exp": now + 300, "nbf": now, "iat": now,
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Token is a good one, with changes of its claims.
func (i *Issuer) Token(changes map[string]any) string {
	return i.Keys()[0].Sign(nil, i.Claims(changes))
}

// Sign makes a token of claims: text or bytes as they are, all else as JSON. Changes of
// the header are as those of Claims.
func (k Key) Sign(header map[string]any, claims any) string {
	whole := map[string]any{"alg": string(k.Alg), "kid": k.ID, "typ": "JWT"}
	maps.Copy(whole, header)
	maps.DeleteFunc(whole, func(_ string, value any) bool { return value == nil })
	return k.SignText(string(must(json.Marshal(whole))), text(claims))
}

// SignText signs a header and claims as they are written.
func (k Key) SignText(header, claims string) string {
	input := encode(header) + "." + encode(claims)
	return input + "." + encode(k.signature(input))
}

// signature is of the text that RFC 7515 has as the signing input, by the standard
// library: what verifies it is then held to another implementation.
func (k Key) signature(input string) string {
	switch private := k.Private.(type) {
	case ed25519.PrivateKey:
		return string(ed25519.Sign(private, []byte(input)))
	case *rsa.PrivateKey:
		sum, hash := digest(k.Alg, input)
		if strings.HasPrefix(string(k.Alg), "PS") {
			return string(must(rsa.SignPSS(rand.Reader, private, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})))
		}
		return string(must(rsa.SignPKCS1v15(rand.Reader, private, hash, sum)))
	case *ecdsa.PrivateKey:
		sum, _ := digest(k.Alg, input)
		r, s, err := ecdsa.Sign(rand.Reader, private, sum)
		size := (must(private.Params().BitSize, err) + 7) / 8
		return string(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
	default:
		panic(fmt.Sprintf("no signatures with a %T", private))
	}
}

func digest(alg jose.SignatureAlgorithm, input string) ([]byte, crypto.Hash) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(alg)[2:]]
	h := hash.New()
	h.Write([]byte(input))
	return h.Sum(nil), hash
}

func text(claims any) string {
	switch claims := claims.(type) {
	case string:
		return claims
	case []byte:
		return string(claims)
	default:
		return string(must(json.Marshal(claims)))
	}
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

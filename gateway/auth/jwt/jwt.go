// Package jwt authenticates callers by the tokens (JWTs, RFC 7519) that issuers
// signed: the operator lists the issuers, and says in CEL what a token's claims mean
// here.
//
// It knows signed tokens in their compact form alone, with the algorithms that an
// issuer may use and with keys of that issuer. It follows RFC 8725; package jwttest
// has what that warns of as tokens. It neither issues tokens nor decides what their
// subjects may do.
package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/internal/detach"
)

// Options are what a Verifier needs.
type Options struct {
	Transport  http.RoundTripper // by which keys are fetched; nil is one of its own
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Verifier is the auth.Authenticator of tokens. Verified ones are remembered, by
// their hash, for a minute at most, while their issuer is configured as it was, and
// has the keys it had. Its owner closes it.
type Verifier struct {
	client  *http.Client
	logger  *slog.Logger
	metrics *metrics
	group   *detach.Group
	cache   *cache

	mu      sync.Mutex // of Set
	issuers atomic.Pointer[map[string]*issuer]
}

// issuer is one whose tokens are taken. It does not change.
type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	mapping    mapping
	keys       *source
}

// New makes a Verifier of issuers, in which Check finds no fault. Keys are fetched
// when they are first needed.
func New(issuers []Issuer, options Options) (*Verifier, error) {
	metrics, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		client: newClient(options.Transport), logger: options.Logger, metrics: metrics,
		group: detach.New(), cache: newCache(),
	}
	v.issuers.Store(&map[string]*issuer{})
	return v, v.Set(issuers)
}

// Set replaces the issuers, all at once: calls from now on are authenticated by
// these. An issuer whose keys are where they were keeps them, and one that is as it
// was keeps its verified tokens. On a fault it changes nothing.
func (v *Verifier) Set(issuers []Issuer) error {
	if faults := Check(issuers); len(faults) > 0 {
		return fmt.Errorf("%s: %s", faults[0].Field, faults[0].Detail)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old, next := *v.issuers.Load(), make(map[string]*issuer, len(issuers))
	for i := range issuers {
		made, err := v.issuer(&issuers[i], old[issuers[i].Issuer])
		if err != nil {
			return err
		}
		next[made.Issuer.Issuer] = made
	}
	v.issuers.Store(&next)
	for name := range old {
		if next[name] == nil {
			v.metrics.forget(name)
		}
	}
	return nil
}

// issuer makes what is in use of config, from what is of before, which may be nil.
func (v *Verifier) issuer(config *Issuer, before *issuer) (*issuer, error) {
	if before != nil && reflect.DeepEqual(before.Issuer, *config) {
		return before, nil
	}
	mapping, err := newMapping(config)
	if err != nil {
		return nil, err
	}
	made := &issuer{Issuer: config.clone(), mapping: mapping}
	for _, name := range config.Algorithms {
		made.algorithms = append(made.algorithms, jose.SignatureAlgorithm(name))
	}
	if before != nil && before.JWKSURI == config.JWKSURI && before.JWKSFile == config.JWKSFile {
		made.keys = before.keys
	} else {
		made.keys = v.source(&made.Issuer)
	}
	return made, nil
}

func (v *Verifier) source(config *Issuer) *source {
	s := &source{
		issuer: config.Issuer, cooldown: fetchCooldown, timeout: fetchTimeout,
		group: v.group, metrics: v.metrics, logger: v.logger,
	}
	if config.JWKSFile != "" {
		s.cooldown, s.fetch = fileFresh, fetchFile(config.JWKSFile)
	} else {
		s.fetch = fetchURI(v.client, config)
	}
	return s
}

// clone shares nothing that the caller could change.
func (i *Issuer) clone() Issuer {
	c := *i
	c.Audiences, c.Algorithms = slices.Clone(i.Audiences), slices.Clone(i.Algorithms)
	if i.Login != nil {
		c.Login = &Login{ClientID: i.Login.ClientID, Scopes: slices.Clone(i.Login.Scopes)}
	}
	return c
}

// Close ends what is being fetched and waits for it. Closing twice is safe.
func (v *Verifier) Close() { v.group.Close() }

// Authenticate implements auth.Authenticator. What holds no dot and begins with no
// brace is no token, and not its own. With no keys of a token's issuer, ever, it
// returns problem.Unavailable.
func (v *Verifier) Authenticate(ctx context.Context, credential string) (*auth.Principal, error) {
	if !strings.Contains(credential, ".") && !strings.HasPrefix(credential, "{") {
		return nil, auth.ErrNotMine
	}
	p, err := v.authenticate(ctx, credential)
	if r := (*refusal)(nil); errors.As(err, &r) {
		v.metrics.token(r.outcome)
		v.logger.DebugContext(ctx, "a token is refused", "outcome", r.outcome, "reason", r.reason)
		return nil, r.problem()
	}
	return p, err
}

func (v *Verifier) authenticate(ctx context.Context, credential string) (*auth.Principal, error) {
	if len(credential) > maxToken { // before it is hashed
		return nil, refuse(malformed, fmt.Errorf("longer than %d bytes", maxToken))
	}
	hash, now := sha256.Sum256([]byte(credential)), time.Now()
	if found, ok := v.cache.get(hash); ok && now.Before(found.until) {
		if by := (*v.issuers.Load())[found.by.Issuer.Issuer]; by == found.by {
			set, err := by.keys.current(ctx)
			if err != nil {
				return nil, fmt.Errorf("authenticate: %w", err)
			}
			if set == found.set {
				v.metrics.cached.Inc()
				return found.principal, nil
			}
		}
	}
	token, err := parse(credential)
	if err != nil {
		return nil, refuse(malformed, err)
	}
	by := (*v.issuers.Load())[token.issuer]
	if by == nil {
		return nil, refuse(unknownIssuer, errors.New("of an issuer that is not configured"))
	}
	set, err := by.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	p, err := by.principal(token.claims, time.Now())
	if err != nil {
		return nil, err
	}
	v.metrics.token(verified)
	until := now.Add(cacheFor)
	if p.Until.Before(until) {
		until = p.Until
	}
	v.cache.put(hash, remembered{principal: p, until: until, by: by, set: set}, now)
	return p, nil
}

// verify checks a token's signature, and returns the keys that did. When they do not,
// its issuer may have changed them, under another id or under the same.
func (i *issuer) verify(ctx context.Context, token *parsed) (*keySet, error) {
	signed, err := jose.ParseSignedCompact(token.text, i.algorithms)
	if err != nil {
		return nil, refuse(badSignature, errors.New("no signature with an algorithm of its issuer"))
	}
	set, err := i.keys.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	if set.verifies(token, signed) {
		return set, nil
	}
	newer, err := i.keys.newer(ctx, set)
	switch {
	case err != nil:
		return nil, fmt.Errorf("authenticate: %w", err)
	case newer == nil:
		return nil, refuse(noKeys, errors.New("its issuer's keys were never fetched"))
	case newer != set && newer.verifies(token, signed):
		return newer, nil
	}
	return nil, refuse(badSignature, errors.New("by no key of its issuer"))
}

// principal is who a token's verified claims say the caller is.
func (i *issuer) principal(claims map[string]any, now time.Time) (*auth.Principal, error) {
	times, err := timesOf(claims)
	if err != nil {
		return nil, refuse(badClaims, err)
	}
	sub, err := subject(claims)
	if err != nil {
		return nil, refuse(badClaims, err)
	}
	if err := audience(claims, i.Audiences); err != nil {
		return nil, refuse(otherAudience, err)
	}
	until := times.expires.Add(i.Leeway)
	switch {
	case !now.Before(until):
		return nil, refuse(expired, fmt.Errorf("since %s", times.expires.Format(time.RFC3339)))
	case now.Add(i.Leeway).Before(times.notBefore), now.Add(i.Leeway).Before(times.issued):
		return nil, refuse(early, errors.New("not before, or issued at, a later time than now"))
	}
	tenant, err := i.mapping.tenantOf(claims)
	if err != nil {
		return nil, refuse(unmapped, err)
	}
	roles, err := i.mapping.rolesOf(claims)
	if err != nil {
		return nil, refuse(unmapped, err)
	}
	named := i.Issuer.Issuer + " " + sub
	return &auth.Principal{
		ID: "subject:" + named, Subject: named, Tenant: tenant, Roles: roles, IssuedAt: times.issued, Until: until, NoAdmin: !i.Admin,
	}, nil
}

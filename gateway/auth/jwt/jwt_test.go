package jwt_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/problem"
)

// verifier is of issuers that are reached by transport.
func verifier(tb testing.TB, transport http.RoundTripper, issuers ...jwt.Issuer) (*jwt.Verifier, *logtest.Log, *prometheus.Registry) {
	tb.Helper()
	log, registry := &logtest.Log{}, prometheus.NewRegistry()
	v, err := jwt.New(issuers, jwt.Options{
		Transport:  transport,
		Logger:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: registry,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v, log, registry
}

// refused is a failure unless a token is refused with a code.
func refused(t *testing.T, v *jwt.Verifier, token string, code problem.Code) {
	t.Helper()
	if p, err := v.Authenticate(t.Context(), token); problem.CodeOf(err) != code {
		t.Errorf("principal %v, error %v (%s); want %s", p, err, jwt.Reason(err), code)
	}
}

// taken is a failure unless a token is taken.
func taken(t *testing.T, v *jwt.Verifier, token string) *auth.Principal {
	t.Helper()
	p, err := v.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatalf("%v (%s)", err, jwt.Reason(err))
	}
	return p
}

func TestATokenIsItsSubject(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(t, issuer, issuer.Config())
	exp := time.Now().Add(5 * time.Minute).Truncate(time.Second)
	token := issuer.Token(map[string]any{"exp": exp.Unix(), "iat": exp.Add(-5 * time.Minute).Unix(), "groups": []string{"b", "a", "b", "admin", "Not a role"}})
	want := &auth.Principal{
		ID: "subject:https://id.test jane", Subject: "https://id.test jane", Tenant: jwttest.Tenant,
		Roles: []string{"a", "b"}, IssuedAt: exp.Add(-5 * time.Minute).UTC(), Until: exp.Add(30 * time.Second), NoAdmin: true,
	}
	for _, when := range []string{"verified", "remembered"} {
		if diff := cmp.Diff(want, taken(t, v, token)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", when, diff)
		}
	}
}

func TestGoodTokensAreTaken(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	for name, tc := range map[string]struct {
		header, claims map[string]any
		alg            jose.SignatureAlgorithm
	}{
		"RS256":                           {alg: jose.RS256},
		"RS384":                           {alg: jose.RS384},
		"RS512":                           {alg: jose.RS512},
		"PS256":                           {alg: jose.PS256},
		"PS384":                           {alg: jose.PS384},
		"PS512":                           {alg: jose.PS512},
		"ES256":                           {alg: jose.ES256},
		"ES384":                           {alg: jose.ES384},
		"ES512":                           {alg: jose.ES512},
		"EdDSA":                           {alg: jose.EdDSA},
		"no typ":                          {header: map[string]any{"typ": nil}},
		"an access token":                 {header: map[string]any{"typ": "at+jwt"}},
		"an access token, whole":          {header: map[string]any{"typ": "application/AT+JWT"}},
		"no kid":                          {header: map[string]any{"kid": nil}},
		"unknown members of the header":   {header: map[string]any{"x": map[string]any{"y": 1}}},
		"a key of its own, not looked at": {header: map[string]any{"jku": "https://thief.test/keys", "x5u": "https://thief.test/x"}},
		"several audiences":               {claims: map[string]any{"aud": []string{"other", jwttest.Audience}}},
		"no nbf and iat":                  {claims: map[string]any{"nbf": nil, "iat": nil}},
		"parts of seconds":                {claims: map[string]any{"exp": float64(now) + 300.5, "iat": float64(now) - 0.5}},
		"expired within the leeway":       {claims: map[string]any{"exp": now - 20}},
		"early within the leeway":         {claims: map[string]any{"nbf": now + 20, "iat": now + 20}},
		"roles in one text":               {claims: map[string]any{"groups": "viewer invoker"}},
		"no roles":                        {claims: map[string]any{"groups": []string{}}},
		"as many roles as may be":         {claims: map[string]any{"groups": strings.Fields(strings.Repeat("a b ", 500))}},
		"a subject with a space":          {claims: map[string]any{"sub": "jane doe"}},
		"a subject in other letters":      {claims: map[string]any{"sub": "Ζωή"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.alg == "" {
				tc.alg = jose.ES256
			}
			issuer := jwttest.New("https://id.test")
			key := jwttest.NewKey("k", tc.alg)
			issuer.SetKeys(jwttest.NewKey("other", tc.alg), key)
			config := issuer.Config()
			config.Algorithms, config.Leeway = []string{string(tc.alg)}, 5*time.Minute // the keys of all cases take seconds to make
			v, _, _ := verifier(t, issuer, config)
			taken(t, v, key.Sign(tc.header, issuer.Claims(tc.claims)))
		})
	}
}

// TestALeewayOfNothingIsNone holds times to the second where the issuer's clock may not
// be off.
func TestALeewayOfNothingIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := jwttest.New("https://id.test")
		config := issuer.Config()
		config.Leeway = 0
		v, _, _ := verifier(t, issuer, config)
		now := time.Now().Unix()
		taken(t, v, issuer.Token(map[string]any{"exp": now + 1, "nbf": now, "iat": now}))
		for name, claims := range map[string]map[string]any{
			"expired": {"exp": now, "nbf": now - 9, "iat": now - 9}, "not yet": {"exp": now + 9, "nbf": now + 1}, "issued later": {"exp": now + 9, "iat": now + 1},
		} {
			if _, err := v.Authenticate(t.Context(), issuer.Token(claims)); problem.CodeOf(err) != problem.Unauthenticated {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}

// TestASubjectIsWhatATokenMayBeOf holds that who can be named, as in a grant, is who can
// come with a token.
func TestASubjectIsWhatATokenMayBeOf(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(t, issuer, issuer.Config())
	for _, sub := range []string{
		"jane", "jane doe", "Ζωή", strings.Repeat("s", 255), strings.Repeat("s", 256), strings.Repeat("é", 128), "", " ", " jane", "jane ", "jane\n",
		"\u00a0jane", "jane\u2003", "ja\u2028ne", "ja\u200bne", "\ufffd",
	} {
		p, err := v.Authenticate(t.Context(), issuer.Token(map[string]any{"sub": sub}))
		if named := "https://id.test " + sub; auth.IsSubject(named) != (err == nil) || err == nil && p.Subject != named {
			t.Errorf("%q may be named: %v, but a token of it: %v", sub, auth.IsSubject(named), err)
		}
	}
	for _, named := range []string{"", "jane", " jane", "\u00a0 jane", strings.Repeat("i", 256) + " jane"} {
		if auth.IsSubject(named) {
			t.Errorf("%q may be named: no issuer is so", named)
		}
	}
}

func TestAttacksAreRefused(t *testing.T) {
	t.Parallel()
	issuer := jwttest.Start(t)
	issuer.Answer(nil)
	fresh, _, _ := verifier(t, nil, issuer.Config())
	warm, log, _ := verifier(t, nil, issuer.Config())
	good := issuer.Token(nil)
	taken(t, warm, good)
	attacks := issuer.Attacks()
	if len(attacks) < 200 {
		t.Errorf("only %d attacks", len(attacks))
	}
	names := map[string]bool{}
	for _, attack := range attacks {
		if names[attack.Name] && attack.Name != "padding" {
			t.Errorf("%q is there twice", attack.Name)
		}
		names[attack.Name] = true
		for _, v := range []*jwt.Verifier{fresh, warm} {
			p, err := v.Authenticate(t.Context(), attack.Token)
			if errors.Is(err, auth.ErrNotMine) {
				continue
			}
			if p != nil || problem.CodeOf(err) != problem.Unauthenticated {
				t.Errorf("%s: principal %+v, error %v", attack.Name, p, err)
				continue
			}
			switch err.Error() {
			case "the token is not valid", "the token is expired", "the token is not valid yet":
			default:
				t.Errorf("%s: the error says %q", attack.Name, err)
			}
		}
	}
	taken(t, warm, good)
	for _, secret := range []string{good[strings.LastIndex(good, "."):], "jane", "eyJ"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q of a token", secret)
		}
	}
	// Attacks name keys that are not there, all within one cooldown.
	if n := issuer.Fetches(); n != 2 {
		t.Errorf("the keys were fetched %d times by two verifiers", n)
	}
}

// The attacks are wrong in one thing each: what they are made from is taken.
func TestWhatAttacksAreMadeFromIsTaken(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(t, issuer, issuer.Config())
	for _, key := range issuer.Keys() {
		taken(t, v, key.Sign(nil, issuer.Claims(nil)))
		taken(t, v, key.SignText(`{"alg":"`+string(key.Alg)+`","kid":"`+key.ID+`"}`, string(`{"iss":"https://id.test","sub":"x","aud":"modelserve","org":"acme","groups":[],"exp":99999999999}`)))
	}
}

func TestOneIssuersKeysAreNotAnothers(t *testing.T) {
	t.Parallel()
	a, b := jwttest.New("https://a.test"), jwttest.New("https://b.test")
	hosts := transports{"a.test": a, "b.test": b}
	admin := b.Config()
	admin.Admin = true
	v, _, _ := verifier(t, hosts, a.Config(), admin)
	groups := map[string]any{"groups": []string{"admin", "viewer"}}
	if p := taken(t, v, a.Token(groups)); !cmp.Equal(p.Roles, []string{"viewer"}) {
		t.Errorf("roles %v of an issuer that may have no admins", p.Roles)
	}
	if p := taken(t, v, b.Token(groups)); !cmp.Equal(p.Roles, []string{"admin", "viewer"}) {
		t.Errorf("roles %v of one that may", p.Roles)
	}
	refused(t, v, a.Keys()[0].Sign(nil, b.Claims(nil)), problem.Unauthenticated)
	refused(t, v, b.Keys()[0].Sign(nil, a.Claims(nil)), problem.Unauthenticated)
}

// transports are by host.
type transports map[string]http.RoundTripper

func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	if t[r.URL.Host] == nil {
		return nil, errors.New("no such host")
	}
	return t[r.URL.Host].RoundTrip(r)
}

func TestWhatIsNoTokenIsLeftToOthers(t *testing.T) {
	t.Parallel()
	v, _, _ := verifier(t, nil)
	for name, tc := range map[string]struct {
		credential string
		mine       bool
	}{
		"a key":    {"ms_abc_" + strings.Repeat("A", 52), false},
		"nothing":  {"", false},
		"a token":  {"a.b.c", true},
		"as JSON":  {`{"payload":""}`, true},
		"password": {"hunter2", false},
	} {
		_, err := v.Authenticate(t.Context(), tc.credential)
		if errors.Is(err, auth.ErrNotMine) == tc.mine || tc.mine && problem.CodeOf(err) != problem.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallersGetTheReasonOnlyOfWhatTheyCanMend(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(t, issuer, issuer.Config())
	now := time.Now().Unix()
	thief := jwttest.NewKey("ec", jose.ES256)
	for name, tc := range map[string]struct{ token, want string }{
		"expired":        {issuer.Token(map[string]any{"exp": now - 60}), "the token is expired"},
		"early":          {issuer.Token(map[string]any{"nbf": now + 60}), "the token is not valid yet"},
		"no exp":         {issuer.Token(map[string]any{"exp": nil}), "the token is not valid"},
		"other audience": {issuer.Token(map[string]any{"aud": "other"}), "the token is not valid"},
		"forged":         {thief.Sign(nil, issuer.Claims(map[string]any{"exp": now - 60})), "the token is not valid"},
		"no tenant":      {issuer.Token(map[string]any{"org": nil}), "the token is not valid"},
	} {
		if _, err := v.Authenticate(t.Context(), tc.token); problem.CodeOf(err) != problem.Unauthenticated || err.Error() != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if reason := jwt.Reason(errors.New("another error")); reason != "" {
		t.Errorf("reason %q of another error", reason)
	}
}

func TestTheLogHasTheReason(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, log, registry := verifier(t, issuer, issuer.Config())
	_, err := v.Authenticate(t.Context(), issuer.Token(map[string]any{"org": nil}))
	if !strings.Contains(jwt.Reason(err), "no such key: org") || strings.Contains(problem.From(err).Detail, "org") || !strings.Contains(log.String(), "no such key: org") {
		t.Errorf("error %v, reason %q, log %s", err, jwt.Reason(err), log)
	}
	taken(t, v, issuer.Token(nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"modelserve_gateway_tokens_total cached": 0, "modelserve_gateway_tokens_total unmapped": 1, "modelserve_gateway_tokens_total verified": 1,
		"modelserve_gateway_issuer_fetches_total https://id.test good": 1, "modelserve_gateway_issuer_keys https://id.test": 2,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("metrics, -want +got:\n%s", diff)
	}
}

// FuzzToken holds that text is a token only as its issuer wrote it.
func FuzzToken(f *testing.F) {
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(f, issuer, issuer.Config())
	good := issuer.Token(map[string]any{"exp": time.Now().Add(240 * time.Hour).Unix()})
	for _, attack := range issuer.Attacks() {
		f.Add(attack.Token)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.Authenticate(t.Context(), text)
		switch {
		case err == nil && text != good:
			t.Errorf("%q is taken, as %+v", text, p)
		case err != nil && text == good:
			t.Error(err)
		case err != nil && !errors.Is(err, auth.ErrNotMine) && problem.CodeOf(err) != problem.Unauthenticated:
			t.Errorf("%q: %v", text, err)
		}
	})
}

// BenchmarkAuthenticate compares a token that is remembered with one that is verified.
func BenchmarkAuthenticate(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		issuer := jwttest.New("https://id.test")
		key := jwttest.NewKey("k", alg)
		issuer.SetKeys(key)
		config := issuer.Config()
		config.Algorithms = []string{string(alg)}
		v, _, _ := verifier(b, issuer, config)
		token := key.Sign(nil, issuer.Claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		for _, name := range []string{"cached", "verified"} {
			b.Run(name+"/"+string(alg), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if name == "verified" {
						v.Forget()
					}
					if _, err := v.Authenticate(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

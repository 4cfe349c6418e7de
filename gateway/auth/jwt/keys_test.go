package jwt_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/problem"
)

// each runs a case with time of its own, an issuer and its verifier. Tokens of
// hour end in an hour.
func each(t *testing.T, check func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := jwttest.New("https://id.test")
		v, _, _ := verifier(t, issuer, issuer.Config())
		check(t, issuer, v)
	})
}

// hours is a token good for ten hours.
func hours(issuer *jwttest.Issuer, sub string) string {
	return issuer.Token(map[string]any{"sub": sub, "exp": time.Now().Add(10 * time.Hour).Unix()})
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}
}

func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// slow answers when its request ends.
func slow(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestKeysThatRotateAreFetchedOnce(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		taken(t, v, hours(issuer, "before"))
		time.Sleep(10 * time.Second)
		issuer.SetKeys(jwttest.NewKey("new", jose.ES256))
		var group sync.WaitGroup
		for range 100 {
			token := hours(issuer, "after")
			group.Go(func() {
				if _, err := v.Authenticate(t.Context(), token); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := issuer.Fetches(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestAKeyReplacedUnderItsIDIsFetched(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		old := hours(issuer, "jane")
		taken(t, v, old)
		time.Sleep(10 * time.Second)
		issuer.SetKeys(jwttest.NewKey("ec", jose.ES256))
		taken(t, v, hours(issuer, "jane"))
		refused(t, v, old, problem.Unauthenticated) // although it was remembered
	})
}

func TestForgedKeyIDsFetchOncePerCooldown(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		good := hours(issuer, "jane")
		taken(t, v, good)
		thief := jwttest.NewKey("thief", jose.ES256)
		for range 10 {
			for range 1000 {
				refused(t, v, thief.Sign(map[string]any{"kid": rand.Text()}, issuer.Claims(nil)), problem.Unauthenticated)
			}
			time.Sleep(5 * time.Second)
		}
		if n := issuer.Fetches(); n != 5 { // at 0, 10, 20, 30 and 40 s
			t.Errorf("%d fetches in 50 s", n)
		}
		taken(t, v, good)
	})
}

func TestForgedSignaturesFetchOncePerCooldown(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		thief := jwttest.NewKey("ec", jose.ES256)
		for range 200 {
			refused(t, v, thief.Sign(nil, issuer.Claims(nil)), problem.Unauthenticated)
			time.Sleep(100 * time.Millisecond)
		}
		if n := issuer.Fetches(); n != 2 {
			t.Errorf("%d fetches in 20 s", n)
		}
	})
}

// hostile are answers in which no keys are.
func hostile() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"gone":         status(http.StatusNotFound),
		"failing":      status(http.StatusInternalServerError),
		"empty":        body(""),
		"no content":   status(http.StatusNoContent),
		"HTML":         body("<html>please log in</html>"),
		"no object":    body("[]"),
		"null":         body("null"),
		"no keys":      body(`{"error":"x"}`),
		"null keys":    body(`{"keys":null}`),
		"keys twice":   body(`{"keys":[],"keys":[]}`),
		"cut":          body(`{"keys":[{"kty":"EC"`),
		"101 keys":     body(`{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`),
		"huge":         body(`{"keys":[]}` + strings.Repeat(" ", 1<<20)),
		"slow":         slow,
		"elsewhere":    redirect("https://thief.test/keys"),
		"another port": redirect("https://id.test:8443/keys"),
		"plain HTTP":   redirect("http://id.test/keys"),
		"round":        redirect("/keys"),
		"a file":       redirect("file:///etc/passwd"),
	}
}

// redirect leads to a place where keys are.
func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() == to {
			_, _ = w.Write([]byte(`{"keys":[]}`))
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		issuer.Answer(redirect("/keys"))
		refused(t, v, issuer.Token(nil), problem.Unavailable)
		if n := issuer.Fetches(); n != 4 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestTheLastGoodKeysStayWhileTheIssuerIsBad(t *testing.T) {
	t.Parallel()
	for name, answer := range hostile() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				taken(t, v, hours(issuer, "first"))
				issuer.Answer(answer)
				for range 60 { // an hour
					time.Sleep(time.Minute)
					began := time.Now()
					taken(t, v, hours(issuer, "jane"))
					if waited := time.Since(began); waited != 0 {
						t.Errorf("a known key waited %s for the issuer", waited)
					}
				}
				before := issuer.Keys()
				issuer.SetKeys(jwttest.NewKey("new", jose.ES256))
				time.Sleep(time.Minute)
				refused(t, v, hours(issuer, "new"), problem.Unauthenticated)
				issuer.Answer(nil)
				time.Sleep(10 * time.Second)
				taken(t, v, hours(issuer, "new"))
				refused(t, v, before[0].Sign(nil, issuer.Claims(nil)), problem.Unauthenticated)
			})
		})
	}
}

func TestWithoutKeysTokensCannotBeChecked(t *testing.T) {
	t.Parallel()
	for name, answer := range hostile() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				issuer.Answer(answer)
				token := hours(issuer, "jane")
				_, err := v.Authenticate(t.Context(), token)
				if p := problem.From(err); p == nil || p.Code != problem.Unavailable || p.RetryAfter == 0 || p.Detail != "the token cannot be checked now" {
					t.Errorf("error %v", err)
				}
				issuer.Answer(nil)
				refused(t, v, token, problem.Unavailable) // within the cooldown
				time.Sleep(10 * time.Second)
				taken(t, v, token)
			})
		})
	}
}

func TestUnknownKeysWaitForOneFetchAndKnownOnesForNone(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		known := hours(issuer, "jane")
		taken(t, v, known)
		time.Sleep(10 * time.Second)
		issuer.Answer(slow)
		thief := jwttest.NewKey("thief", jose.ES256)
		began := time.Now()
		var group sync.WaitGroup
		var over atomic.Int64
		for range 2000 {
			group.Go(func() {
				refused(t, v, thief.Sign(nil, issuer.Claims(nil)), problem.Unauthenticated)
				over.Add(1)
			})
		}
		synctest.Wait()
		if n := over.Load(); n != 1000 {
			t.Errorf("%d of 2000 do not wait", n)
		}
		taken(t, v, known)
		taken(t, v, hours(issuer, "another"))
		if waited := time.Since(began); waited != 0 {
			t.Errorf("known keys waited %s", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Authenticate(ctx, thief.Sign(nil, issuer.Claims(map[string]any{"sub": "impatient"}))); problem.CodeOf(err) == "" {
			t.Error("a forged token is taken")
		}
		group.Wait()
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("unknown keys waited %s", waited)
		}
		if n := issuer.Fetches(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestACallerWhoGoesAwayEndsNoFetchOfOthers(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		open := make(chan struct{})
		issuer.Answer(func(w http.ResponseWriter, _ *http.Request) {
			<-open
			_, _ = w.Write(issuer.KeySet())
		})
		ctx, cancel := context.WithCancel(t.Context())
		token := hours(issuer, "jane")
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := v.Authenticate(ctx, token); problem.CodeOf(err) != problem.Cancelled {
				t.Errorf("error %v of who went away", err)
			}
		})
		synctest.Wait()
		group.Go(func() { taken(t, v, token) })
		cancel()
		synctest.Wait()
		close(open)
		group.Wait()
	})
}

// A set of none is what an issuer says that takes its keys back: unlike an answer
// that is none, it is believed.
func TestKeysThatAreTakenBackVerifyNothing(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no keys":          `{"keys":[]}`,
		"keys for others":  `{"keys":[{"kty":"EC","use":"enc","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"ec"}]}`,
		"keys unheard of":  `{"keys":[{"kty":"LWE","kid":"ec"},{},{"kty":1}]}`,
		"a shared secret":  `{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","kid":"ec","alg":"HS256"}]}`,
		"a key off curve":  `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","kid":"ec"}]}`,
		"exponent of one":  `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("w", 342) + `","e":"AQ","kid":"ec"}]}`,
		"modulus of zeros": `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("A", 342) + `","e":"AQAB","kid":"ec"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				token := hours(issuer, "jane")
				taken(t, v, token)
				issuer.Answer(body(answer))
				time.Sleep(15 * time.Minute)
				taken(t, v, token) // the fetch is behind its back
				synctest.Wait()
				refused(t, v, token, problem.Unauthenticated)
			})
		})
	}
}

func TestKeysThatNobodyUsedAreFetchedBeforeTheyAreUsed(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		token := hours(issuer, "jane")
		taken(t, v, token)
		issuer.SetKeys()
		time.Sleep(30 * time.Minute)
		refused(t, v, token, problem.Unauthenticated)
	})
}

func TestWeakAndForeignKeysVerifyNothing(t *testing.T) {
	weak := jwttest.Key{ID: "weak", Alg: jose.RS256, Private: jwttest.NewRSA(1024)}
	encrypts, other, leaked := jwttest.NewKey("encrypts", jose.ES256), jwttest.NewKey("other", jose.ES256), jwttest.NewKey("leaked", jose.ES256)
	encrypts.Use = "enc"
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: other.Private.Public(), KeyID: other.ID, Algorithm: "ES384"}, // is for another one
		{Key: leaked.Private, KeyID: leaked.ID},                            // anybody has it
	}}
	t.Parallel()
	for name, tc := range map[string]struct {
		key    jwttest.Key
		answer http.HandlerFunc
	}{
		"RSA of 1024 bits": {weak, nil},
		"for encryption":   {encrypts, nil},
		"another's alg":    {other, body(marshal(t, set))},
		"a private one":    {leaked, body(marshal(t, set))},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				issuer.SetKeys(append(issuer.Keys(), tc.key)...)
				issuer.Answer(tc.answer)
				refused(t, v, tc.key.Sign(nil, issuer.Claims(nil)), problem.Unauthenticated)
				refused(t, v, tc.key.Sign(map[string]any{"kid": nil}, issuer.Claims(nil)), problem.Unauthenticated)
			})
		})
	}
}

func marshal(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestATokenWithoutAKeyIDIsTriedWithTenKeys(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		var keys []jwttest.Key
		for n := range 11 {
			keys = append(keys, jwttest.NewKey(fmt.Sprint(n), jose.ES256))
		}
		issuer.SetKeys(keys...)
		without := map[string]any{"kid": nil}
		taken(t, v, keys[9].Sign(without, issuer.Claims(nil)))
		refused(t, v, keys[10].Sign(without, issuer.Claims(nil)), problem.Unauthenticated)
		taken(t, v, keys[10].Sign(nil, issuer.Claims(nil)))
	})
}

func TestKeysAreFetchedAsOftenAsTheirIssuerSays(t *testing.T) {
	t.Parallel()
	for control, want := range map[string]time.Duration{
		"": 15 * time.Minute, "max-age=300": 5 * time.Minute, "public, MAX-AGE=\"300\"": 5 * time.Minute, "max-age=1": time.Minute,
		"max-age=86400": 15 * time.Minute, "max-age=-1": 15 * time.Minute, "no-store": time.Minute, "max-age=600, no-cache": time.Minute, "max-age=99999999999999999999": 15 * time.Minute,
	} {
		t.Run(control, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				issuer.Answer(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Cache-Control", control)
					_, _ = w.Write(issuer.KeySet())
				})
				token := hours(issuer, "jane")
				began := time.Now()
				for issuer.Fetches() < 2 {
					taken(t, v, token)
					synctest.Wait()
					time.Sleep(time.Second)
				}
				if took := time.Since(began).Truncate(time.Minute); took != want {
					t.Errorf("again after %s, want %s", took, want)
				}
			})
		})
	}
}

func TestDiscoveryMustNameTheIssuer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		document string
		good     bool
	}{
		"its own":          {`{"issuer":"https://id.test","jwks_uri":"https://id.test/keys"}`, true},
		"another issuer":   {`{"issuer":"https://thief.test","jwks_uri":"https://id.test/keys"}`, false},
		"with a slash":     {`{"issuer":"https://id.test/","jwks_uri":"https://id.test/keys"}`, false},
		"no issuer":        {`{"jwks_uri":"https://id.test/keys"}`, false},
		"issuer twice":     {`{"issuer":"https://thief.test","issuer":"https://id.test","jwks_uri":"https://id.test/keys"}`, false},
		"no keys":          {`{"issuer":"https://id.test"}`, false},
		"keys in plain":    {`{"issuer":"https://id.test","jwks_uri":"http://id.test/keys"}`, false},
		"keys of loopback": {`{"issuer":"https://id.test","jwks_uri":"http://127.0.0.1/keys"}`, false},
		"keys of a file":   {`{"issuer":"https://id.test","jwks_uri":"file:///etc/keys"}`, false},
		"a path":           {`{"issuer":"https://id.test","jwks_uri":"/keys"}`, false},
		"no JSON":          {`x`, false},
		"huge":             {`{"issuer":"https://id.test","jwks_uri":"https://id.test/keys"}` + strings.Repeat(" ", 1<<20), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := jwttest.New("https://id.test")
			v, _, _ := verifier(t, discovery{issuer, tc.document}, issuer.Config())
			want := problem.Unavailable
			if tc.good {
				want = ""
			}
			refused(t, v, issuer.Token(nil), want)
		})
	}
}

// discovery answers with a document of its own.
type discovery struct {
	issuer   *jwttest.Issuer
	document string
}

func (d discovery) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.issuer.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/openid-configuration") {
		response.Body = readCloser{bytes.NewReader([]byte(d.document))}
	}
	return response, err
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func TestAFileOfKeysIsReadWhenItChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := jwttest.New("kubernetes/serviceaccount")
		config := issuer.Config()
		config.JWKSFile = filepath.Join(t.TempDir(), "keys.json")
		v, _, _ := verifier(t, issuer, config)
		put := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(config.JWKSFile+".new", text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(config.JWKSFile+".new", config.JWKSFile); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		old := hours(issuer, "jane")
		refused(t, v, old, problem.Unavailable)
		put(issuer.KeySet())
		taken(t, v, old)
		put([]byte(`{"keys":[`)) // half-written
		taken(t, v, old)
		put(bytes.Repeat([]byte(" "), 2<<20))
		taken(t, v, old)
		issuer.SetKeys(jwttest.NewKey("ec", jose.ES256))
		put(issuer.KeySet())
		refused(t, v, old, problem.Unauthenticated)
		taken(t, v, hours(issuer, "jane"))
		if err := os.Remove(config.JWKSFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		taken(t, v, hours(issuer, "after it is gone"))
		if err := syscall.Mkfifo(config.JWKSFile, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		taken(t, v, hours(issuer, "while it is a FIFO"))
		put([]byte(`{"keys":[]}`))
		refused(t, v, hours(issuer, "jane"), problem.Unauthenticated)
		if n := issuer.Fetches(); n != 0 {
			t.Errorf("%d fetches by HTTP", n)
		}
	})
}

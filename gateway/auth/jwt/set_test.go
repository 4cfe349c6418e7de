package jwt_test

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/problem"
)

func TestTokensEndOnTime(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		token := issuer.Token(map[string]any{"exp": time.Now().Add(20 * time.Second).Unix()})
		p := taken(t, v, token)
		time.Sleep(time.Until(p.Until) - time.Nanosecond)
		taken(t, v, token)
		time.Sleep(time.Nanosecond)
		_, err := v.Authenticate(t.Context(), token) // sooner than what is remembered
		if problem.CodeOf(err) != problem.Unauthenticated || err.Error() != "the token is expired" {
			t.Errorf("error %v", err)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		v.Fill(10_100, time.Now().Add(time.Minute))
		taken(t, v, hours(issuer, "jane"))
		if n := v.Remembered(); n != 10_000 {
			t.Errorf("%d tokens are remembered", n)
		}
		time.Sleep(time.Minute)
		taken(t, v, hours(issuer, "joe")) // makes room by some of what is spent
		if n := v.Remembered(); n > 9_980 {
			t.Errorf("%d tokens are remembered after a minute", n)
		}
	})
}

func TestRefusedTokensAreNotRemembered(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		for _, attack := range issuer.Attacks() {
			_, _ = v.Authenticate(t.Context(), attack.Token)
		}
		early := issuer.Token(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()})
		refused(t, v, early, problem.Unauthenticated)
		if n := v.Remembered(); n != 0 {
			t.Errorf("%d are", n)
		}
		time.Sleep(30 * time.Second) // a minute less the leeway
		taken(t, v, early)
	})
}

func TestAChangeOfIssuersIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change    func(*jwt.Issuer)
		good      bool
		refetched bool
	}{
		"nothing":        {change: func(*jwt.Issuer) {}, good: true},
		"more audiences": {change: func(i *jwt.Issuer) { i.Audiences = append(i.Audiences, "more") }, good: true},
		"other roles":    {change: func(i *jwt.Issuer) { i.Roles = "" }, good: true},
		"keys elsewhere": {change: func(i *jwt.Issuer) { i.JWKSURI = "https://id.test/keys" }, good: true, refetched: true},
		"no issuer":      {change: func(i *jwt.Issuer) { i.Issuer, i.JWKSURI = "https://other.test", "https://id.test/keys" }},
		"other audience": {change: func(i *jwt.Issuer) { i.Audiences = []string{"other"} }},
		"other alg":      {change: func(i *jwt.Issuer) { i.Algorithms = []string{"RS256"} }},
		"other tenant":   {change: func(i *jwt.Issuer) { i.Tenant = "claims.tenant" }},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
				token := hours(issuer, "jane")
				taken(t, v, token)
				config := issuer.Config()
				tc.change(&config)
				if err := v.Set([]jwt.Issuer{config}); err != nil {
					t.Fatal(err)
				}
				want, fetches := problem.Unauthenticated, 1
				if tc.good {
					want = ""
				}
				if tc.refetched {
					fetches = 2
				}
				refused(t, v, token, want)
				if n := issuer.Fetches(); n != fetches {
					t.Errorf("the keys were fetched %d times", n)
				}
			})
		})
	}
}

func TestAFaultChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		bad := issuer.Config()
		bad.Tenant = "claims."
		err := v.Set([]jwt.Issuer{bad})
		if err == nil || !strings.HasPrefix(err.Error(), "issuers[0].tenant: ") {
			t.Errorf("error %v", err)
		}
		taken(t, v, hours(issuer, "jane"))
	})
}

func TestIssuersChangeWhileTokensAreChecked(t *testing.T) {
	t.Parallel()
	issuer := jwttest.New("https://id.test")
	v, _, _ := verifier(t, issuer, issuer.Config())
	token := issuer.Token(nil)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				taken(t, v, token)
			}
		})
	}
	for n := range 100 {
		config := issuer.Config()
		config.Leeway = time.Duration(n) * time.Second
		if err := v.Set([]jwt.Issuer{config}); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	if n := issuer.Fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// drip answers at once, and never ends its body.
type drip struct{ issuer *jwttest.Issuer }

type endless struct{ ended <-chan struct{} }

func (e endless) Read([]byte) (int, error) {
	<-e.ended
	return 0, fmt.Errorf("the request ended")
}

func (endless) Close() error { return nil }

func (d drip) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.issuer.RoundTrip(r)
	if err == nil {
		response.Body = endless{r.Context().Done()}
	}
	return response, err
}

func TestABodyThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := jwttest.New("https://id.test")
		v, _, _ := verifier(t, drip{issuer}, issuer.Config())
		began := time.Now()
		refused(t, v, issuer.Token(nil), problem.Unavailable)
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("after %s", waited)
		}
	})
}

func TestHostileServersAreGivenUp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"huge headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 128<<10))
			_, _ = w.Write([]byte(`{"keys":[]}`))
		},
		"a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = fmt.Fprintf(z, `{"keys":[]%s}`, strings.Repeat(" ", 64<<20))
			_ = z.Close()
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"keys":[`))
		},
		"another loopback host": redirect("http://localhost:1/keys"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := jwttest.Start(t)
			issuer.Answer(answer)
			v, log, _ := verifier(t, nil, issuer.Config())
			refused(t, v, issuer.Token(nil), problem.Unavailable)
			if !strings.Contains(log.String(), "an issuer's keys cannot be fetched") {
				t.Errorf("the log has %s", log)
			}
		})
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	t.Parallel()
	issuer := jwttest.Start(t)
	issuer.Answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Redirect(w, r, "/keys?v=2", http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write(issuer.KeySet())
	})
	v, _, _ := verifier(t, nil, issuer.Config())
	taken(t, v, issuer.Token(nil))
}

func TestFailuresOfAnIssuerAreLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := jwttest.New("https://id.test")
		v, log, _ := verifier(t, issuer, issuer.Config())
		taken(t, v, hours(issuer, "jane"))
		issuer.Answer(status(http.StatusBadGateway))
		for range 100 {
			time.Sleep(time.Minute)
			taken(t, v, hours(issuer, "jane"))
		}
		issuer.Answer(nil)
		time.Sleep(time.Hour)
		taken(t, v, hours(issuer, "jane"))
		for text, want := range map[string]int{"cannot be fetched": 1, "fetched again": 1, "level=WARN": 1} {
			if n := strings.Count(log.String(), text); n != want {
				t.Errorf("%q is %d times in the log", text, n)
			}
		}
	})
}

func TestTheSameKeysInAnotherOrderChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		token := issuer.Keys()[0].Sign(nil, issuer.Claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		first := taken(t, v, token)
		keys := issuer.Keys()
		issuer.SetKeys(keys[1], keys[0])
		time.Sleep(10 * time.Second)
		refused(t, v, jwttest.NewKey("new", jose.ES256).Sign(nil, issuer.Claims(nil)), problem.Unauthenticated) // fetches
		if again := taken(t, v, token); again != first {
			t.Error("the token was verified again")
		}
	})
}

func TestCloseEndsAFetch(t *testing.T) {
	each(t, func(t *testing.T, issuer *jwttest.Issuer, v *jwt.Verifier) {
		issuer.Answer(slow)
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() { refused(t, v, hours(issuer, "jane"), problem.Unavailable) })
		synctest.Wait()
		v.Close()
		v.Close()
		group.Wait()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("after %s", waited)
		}
		time.Sleep(time.Minute)
		refused(t, v, hours(issuer, "jane"), problem.Unavailable)
	})
}

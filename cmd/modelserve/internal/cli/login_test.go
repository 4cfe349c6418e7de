package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/test/issuer"
)

// whoami is a platform that lists as its one key who calls, and names its issuer as
// the gateway's control API does.
func whoami(t *testing.T, config jwt.Issuer) *httptest.Server {
	t.Helper()
	v, err := jwt.New([]jwt.Issuer{config}, jwt.Options{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/login" {
			_ = json.NewEncoder(w).Encode(control.Logins{Issuers: []control.Login{{Issuer: config.Issuer, ClientID: config.Login.ClientID, Scopes: config.Login.Scopes}}})
			return
		}
		credential, err := auth.Credential(r.Header)
		if err != nil {
			problem.Write(w, err)
			return
		}
		p, err := auth.Chain{v}.Authenticate(r.Context(), credential)
		if err != nil {
			problem.Write(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []apiKey{{ID: "k", Name: p.Subject, Tenant: p.Tenant}}})
	}))
	t.Cleanup(server.Close)
	return server
}

// approver is a terminal beside which somebody does what it says, once.
type approver struct {
	real *issuer.Issuer
	mu   sync.Mutex
	text bytes.Buffer
	once sync.Once
	done chan error
}

func (a *approver) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text.Write(p)
	if found := regexp.MustCompile(`or open (\S+)\n`).FindStringSubmatch(a.text.String()); found != nil {
		a.once.Do(func() { go func() { a.done <- a.real.Approve(found[1], "jane") }() })
	}
	return len(p), nil
}

func TestALoginIsUsedAndRenewed(t *testing.T) {
	t.Parallel()
	real := issuer.Start(t, "../../../..")
	config := real.Config()
	platform := whoami(t, config)
	s := newShell(t)
	s.vars["HOME"], s.vars["MODELSERVE_SERVER"] = t.TempDir(), platform.URL
	s.fails(exitFailed, "modelserve login", "keys", "list")

	terminal := &approver{real: real, done: make(chan error, 1)}
	code := Run(t.Context(), []string{"login"}, Env{
		Out: terminal, Err: terminal, Vars: s.vars, Dir: s.dir,
	})
	if err := <-terminal.done; err != nil || code != exitOK {
		t.Fatalf("exit %d, %v\n%s", code, err, &terminal.text)
	}
	if out := s.must("keys", "list"); !strings.Contains(out, real.URL+" jane") || !strings.Contains(out, "acme") {
		t.Errorf("the platform sees %s", out)
	}

	path := filepath.Join(s.vars["HOME"], ".config", "modelserve", "token.json")
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir, path + ".lock": 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	before := ended(t, path)
	var group sync.WaitGroup
	for range 8 { // a refresh token that is used twice would end the login
		group.Go(func() { s.must("keys", "list") })
	}
	group.Wait()
	after, err := loginFile{path}.read()
	if err != nil || after[platform.URL].Token == before.Token || after[platform.URL].Refresh == before.Refresh || !after[platform.URL].good(time.Now()) {
		t.Errorf("after being renewed: %v", err)
	}

	s.fails(exitFailed, "expected a key", "keys", "list", "--key", "mine") // a key goes before it
	s.must("logout")
	s.fails(exitFailed, "modelserve login", "keys", "list")
}

// ended makes the logins of a file end now, and returns the one there is.
func ended(t *testing.T, path string) login {
	t.Helper()
	var one login
	err := loginFile{path}.change(func(all logins) error {
		for _, l := range all {
			l.Expires = time.Now().Add(time.Second) // it would end on the way
			one = *l
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func TestALoginThatEndedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}))
	defer server.Close()
	s := newShell(t)
	s.vars["XDG_CONFIG_HOME"], s.vars["MODELSERVE_SERVER"] = t.TempDir(), server.URL
	file := loginFile{filepath.Join(s.vars["XDG_CONFIG_HOME"], "modelserve", "token.json")}
	for _, refresh := range []string{"", "old"} {
		err := file.change(func(all logins) error {
			all[server.URL] = &login{Issuer: "https://id.test", TokenURL: server.URL, Token: "secret", Refresh: refresh, Expires: time.Now()}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.fails(exitFailed, "run `modelserve login`", "keys", "list")
	}
	if err := os.WriteFile(file.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailed, "it is damaged", "keys", "list")
}

func TestATokenGoesToItsPlatformAlone(t *testing.T) {
	t.Parallel()
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}))
	defer server.Close()
	s := newShell(t)
	s.vars["HOME"], s.vars["MODELSERVE_SERVER"] = t.TempDir(), server.URL
	file := loginFile{filepath.Join(s.vars["HOME"], ".config", "modelserve", "token.json")}
	if err := file.change(func(all logins) error { all["https://other.test"] = &login{Token: "secret"}; return nil }); err != nil {
		t.Fatal(err)
	}
	s.must("keys", "list")
	if len(got) != 1 || got[0] != "" {
		t.Errorf("another's server got %q", got)
	}
}

func TestLoginRefusesIssuersThatAreNone(t *testing.T) {
	t.Parallel()
	const good = `{"issuer":"URL","device_authorization_endpoint":"URL/device","token_endpoint":"URL/token"}`
	for name, tc := range map[string]struct{ metadata, device, want string }{
		"another issuer":        {`{"issuer":"https://other.test"}`, "", "another issuer"},
		"no device flow":        {`{"issuer":"URL","token_endpoint":"URL/token"}`, "", "no device flow"},
		"a plain endpoint":      {`{"issuer":"URL","device_authorization_endpoint":"http://other.test/device","token_endpoint":"URL/token"}`, "", "https://"},
		"no token endpoint":     {`{"issuer":"URL","device_authorization_endpoint":"URL/device"}`, "", "https://"},
		"no JSON":               {`x`, "", "not JSON"},
		"no answer of the flow": {good, `x`, "log in with"},
		"no address":            {good, `{"device_code":"d","user_code":"u"}`, "no address"},
		"an address that acts":  {good, `{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}`, "no address"},
		"an interval below 0":   {good, `{"device_code":"d","user_code":"u","verification_uri":"URL","interval":-5,"expires_in":-1}`, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var url string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text := tc.metadata
				if r.URL.Path == "/device" {
					text = tc.device
				}
				_, _ = fmt.Fprint(w, strings.ReplaceAll(text, "URL", url))
			}))
			defer server.Close()
			url = server.URL
			s := newShell(t)
			s.vars["HOME"] = t.TempDir()
			s.fails(exitFailed, tc.want, "login", "--issuer", url, "--client-id", "cli")
		})
	}
	s := newShell(t)
	s.fails(exitFailed, "HOME", "login", "--issuer", "https://id.test", "--client-id", "cli")
	s.vars["HOME"] = t.TempDir()
	s.fails(exitFailed, "https://", "login", "--issuer", "http://id.test", "--client-id", "cli")
}

func TestThePlatformNamesTheIssuer(t *testing.T) {
	t.Parallel()
	const (
		one = `{"issuer":"https://a.test","client_id":"cli","scopes":["openid","api"]}`
		two = `{"issuer":"https://b.test","client_id":"other","scopes":[]}`
	)
	standard := []string{"openid", "offline_access"}
	for name, tc := range map[string]struct {
		named string
		asked login
		want  login
		fault string
	}{
		"the only one":             {one, login{}, login{Issuer: "https://a.test", ClientID: "cli", Scopes: []string{"openid", "api"}}, ""},
		"the only one, by name":    {one, login{Issuer: "https://a.test"}, login{Issuer: "https://a.test", ClientID: "cli", Scopes: []string{"openid", "api"}}, ""},
		"one of several, by name":  {one + "," + two, login{Issuer: "https://b.test"}, login{Issuer: "https://b.test", ClientID: "other", Scopes: standard}, ""},
		"another client":           {one, login{ClientID: "mine"}, login{Issuer: "https://a.test", ClientID: "mine", Scopes: []string{"openid", "api"}}, ""},
		"other scopes":             {one, login{Scopes: []string{"x"}}, login{Issuer: "https://a.test", ClientID: "cli", Scopes: []string{"x"}}, ""},
		"not asked":                {"no JSON", login{Issuer: "https://c.test", ClientID: "c"}, login{Issuer: "https://c.test", ClientID: "c", Scopes: standard}, ""},
		"several":                  {one + "," + two, login{}, login{}, "choose with --issuer: https://a.test, https://b.test"},
		"none of these":            {one + "," + two, login{Issuer: "https://c.test"}, login{}, "expected one of https://a.test, https://b.test"},
		"none":                     {"", login{}, login{}, "names no issuer"},
		"none, by name":            {"", login{Issuer: "https://a.test"}, login{}, "names no issuer"},
		"no platform":              {"no JSON", login{}, login{}, "ask how to log in"},
		"an issuer in plain text":  {`{"issuer":"http://id.test","client_id":"cli"}`, login{}, login{}, "expected https://"},
		"text acting on terminals": {`{"issuer":"\u001b[2J","client_id":"cli"},` + two, login{}, login{}, "issuer: \uFFFD[2J, "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("a credential was sent")
				}
				_, _ = fmt.Fprintf(w, `{"issuers":[%s]}`, tc.named)
			}))
			defer server.Close()
			got, err := choose(t.Context(), server.URL, tc.asked)
			if tc.fault == "" && err != nil || tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)) {
				t.Fatalf("%v, want %q", err, tc.fault)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestALoginThatEndedIsNoObstacleToTheNext holds that the platform is asked without it.
func TestALoginThatEndedIsNoObstacleToTheNext(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuers":[]}`))
	}))
	defer server.Close()
	s := newShell(t)
	s.vars["XDG_CONFIG_HOME"], s.vars["MODELSERVE_SERVER"] = t.TempDir(), server.URL
	file := loginFile{filepath.Join(s.vars["XDG_CONFIG_HOME"], "modelserve", "token.json")}
	if err := file.change(func(all logins) error { all[server.URL] = &login{Token: "t", Expires: time.Now()}; return nil }); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailed, "names no issuer", "login")
}

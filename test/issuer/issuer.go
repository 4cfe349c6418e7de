// Package issuer runs an issuer of tokens that nobody here wrote, for tests: npm's
// oidc-provider, which test/clients/setup.sh brings. Nothing but tests imports it.
package issuer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/internal/logtest"
)

// Client is the one for people's command lines, without a secret.
const Client = "cli"

// Issuer is a running one.
type Issuer struct {
	URL string
}

// Start runs an issuer until the test ends. root is the repository's.
func Start(t *testing.T, root string) *Issuer {
	t.Helper()
	// The node that setup.sh has found or fetched.
	node, err := filepath.Abs(filepath.Join(root, ".deps/clients/node"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "issuer.mjs")
	cmd.Dir = filepath.Join(root, "test/clients/node")
	log := &logtest.Log{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the issuer: %v; test/clients/setup.sh brings what it needs", err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	t.Cleanup(func() {
		_ = in.Close() // its end
		<-drained
		_ = cmd.Wait() // it may be killed by the test's context
	})
	if err != nil {
		t.Fatalf("the issuer: %v\n%s", err, log)
	}
	return &Issuer{URL: strings.TrimSpace(line)}
}

// Config is what a gateway's file says of it.
func (i *Issuer) Config() jwt.Issuer {
	return jwt.Issuer{
		Issuer: i.URL, Audiences: []string{"modelserve"}, Tenant: "claims.org", Roles: "claims.groups",
		Algorithms: []string{"ES256"}, Leeway: 30 * time.Second, Login: &jwt.Login{ClientID: Client, Scopes: []string{"openid", "offline_access", "api"}},
	}
}

// JWKS is the issuer's key set (RFC 7517), as JSON.
func (i *Issuer) JWKS(t *testing.T) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+"/jwks", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	keys, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the issuer's keys: %s, %v", response.Status, err)
	}
	return string(keys)
}

// Machine is an access token of a program (RFC 6749, section 4.4): of the tenant acme,
// with the role invoker.
func (i *Issuer) Machine(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"api"}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("machine", "secret")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("the issuer answers %s, %v", response.Status, err)
	}
	return answer.AccessToken
}

// maxPages is how many pages a login has at most.
const maxPages = 12

// Approve does in a browser's place what a person does with the address that the
// device flow shows: logs in as login, and agrees.
func (i *Issuer) Approve(address, login string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	browser := &http.Client{Jar: jar}
	next := func() (*http.Response, error) { return browser.Get(address) }
	for range maxPages {
		response, err := next()
		if err != nil {
			return fmt.Errorf("approve: %w", err)
		}
		page, err := io.ReadAll(response.Body)
		_ = response.Body.Close() // it was read
		if err != nil {
			return fmt.Errorf("approve: %w", err)
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("approve: %s answers %s", response.Request.URL, response.Status)
		}
		if strings.Contains(string(page), "Sign-in Success") {
			return nil
		}
		action, form := read(string(page), login)
		to, err := response.Request.URL.Parse(action)
		if err != nil {
			return fmt.Errorf("approve: %w", err)
		}
		next = func() (*http.Response, error) { return browser.PostForm(to.String(), form) }
	}
	return fmt.Errorf("approve: no end after %d pages", maxPages)
}

// read is where a page's form goes, and what it holds once a person has filled it in.
func read(page, login string) (string, url.Values) {
	attribute := func(tag, name string) string {
		found := regexp.MustCompile(`\b` + name + `="([^"]*)"`).FindStringSubmatch(tag)
		if found == nil {
			return ""
		}
		return html.UnescapeString(found[1])
	}
	form := url.Values{}
	for _, tag := range regexp.MustCompile(`<input[^>]*>`).FindAllString(page, -1) {
		switch name := attribute(tag, "name"); name {
		case "":
		case "login", "password":
			form.Set(name, login)
		default:
			form.Set(name, attribute(tag, "value"))
		}
	}
	return attribute(regexp.MustCompile(`<form[^>]*>`).FindString(page), "action"), form
}

package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

// fakePlatform answers the control API as the gateway documents it.
func fakePlatform(t *testing.T, handle map[string]func(http.ResponseWriter, *http.Request)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer ms_test_key" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"status":401,"code":"unauthenticated","detail":"no key"}`)
			return
		}
		answer, ok := handle[r.Method+" "+r.URL.Path]
		if !ok {
			http.Error(w, "nothing here", http.StatusNotFound)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestKeys(t *testing.T) {
	t.Parallel()
	const key = `{"id":"k1","name":"ci","tenant":"default","scopes":["infer:*"],"roles":[],"status":"active","created_at":"2026-01-02T03:04:05Z"`
	var asked map[string]any
	var revoked []string
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"POST /v1/keys": func(w http.ResponseWriter, r *http.Request) {
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprint(w, key+`,"key":"ms_k1_secret"}`)
		},
		"GET /v1/keys": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "" {
				_, _ = fmt.Fprint(w, `{"keys":[`+key+`}],"next_cursor":"c2"}`)
				return
			}
			_, _ = fmt.Fprint(w, `{"keys":[{"id":"k0","name":"old","tenant":"a","scopes":["admin","models:read"],"status":"expired","created_at":"2025-01-02T03:04:05Z","expires_at":"2025-02-02T03:04:05Z"}]}`)
		},
		"DELETE /v1/keys/k1": func(w http.ResponseWriter, _ *http.Request) {
			revoked = append(revoked, "k1")
			w.WriteHeader(http.StatusNoContent)
		},
		"DELETE /v1/keys/gone": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{"status":404,"code":"not_found","detail":"no key \"gone\""}`)
		},
	})
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}

	s.wants("ms_k1_secret\n\nThis is the only time it is shown. Its id is k1; `modelserve keys revoke k1` ends it.\n",
		"keys", "create", "ci", "--scope", "infer:*", "--expires-in", "24h")
	if diff := cmp.Diff(map[string]any{"name": "ci", "scopes": []any{"infer:*"}, "expires_in": "24h0m0s"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	s.wants(`ID  NAME  TENANT   SCOPES             ROLES  STATUS   CREATED              EXPIRES              LAST USED
k1  ci    default  infer:*            -      active   2026-01-02 03:04:05  never                never
k0  old   a        admin,models:read  -      expired  2025-01-02 03:04:05  2025-02-02 03:04:05  never
`, "keys", "list")
	s.wants("revoked k1\n", "keys", "revoke", "k1")
	if len(revoked) != 1 {
		t.Errorf("revoked %v", revoked)
	}
	s.fails(exitFailed, `no key "gone"`, "keys", "revoke", "gone")
	s.fails(exitUsage, "--scope", "keys", "create", "ci")
	s.fails(exitUsage, "exclude each other", "keys", "create", "ci", "--scope", "admin", "--expires-in", "1h", "--expires-at", "2030-01-01T00:00:00Z")
	for _, short := range []string{"0s", "-1h", "1ns"} {
		s.fails(exitUsage, "--expires-in: expected a second or more", "keys", "create", "ci", "--scope", "admin", "--expires-in", short)
	}
	s.fails(exitUsage, "--expires-at: expected a time", "keys", "create", "ci", "--scope", "admin", "--expires-at", "tomorrow")

	s.vars["MODELSERVE_KEY"] = "ms_other"
	s.fails(exitFailed, "does not know this key", "keys", "list")
	delete(s.vars, "MODELSERVE_KEY")
	s.fails(exitFailed, "give a key with --key", "keys", "list")
	s.fails(exitFailed, "not as ModelServe does", "keys", "revoke", "nowhere", "--key", "ms_test_key")
	server.Close()
	s.fails(exitFailed, "start it with `make run`", "keys", "list")
}

// TestRevokeByName holds that a key may be ended by what people call it, where
// that means one.
func TestRevokeByName(t *testing.T) {
	t.Parallel()
	const list = `{"keys":[{"id":"k1","name":"ci","status":"active"},{"id":"k2","name":"two","status":"active"},{"id":"k3","name":"two","status":"active"},` +
		`{"id":"k4","name":"ci","status":"revoked"},{"id":"k5","name":"old","status":"expired"}]}`
	ended := make(chan string, 10)
	handlers := map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, list) },
	}
	for _, id := range []string{"k1", "k2"} {
		handlers["DELETE /v1/keys/"+id] = func(w http.ResponseWriter, _ *http.Request) {
			ended <- id
			w.WriteHeader(http.StatusNoContent)
		}
	}
	for _, none := range []string{"ci", "two", "old", "nobody"} {
		handlers["DELETE /v1/keys/"+none] = func(w http.ResponseWriter, _ *http.Request) {
			problem.Write(w, problem.New(problem.NotFound, "there is no key of this id"))
		}
	}
	server := fakePlatform(t, handlers)
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	s.wants("revoked k1, k2\n", "keys", "revoke", "ci", "k2")
	if first, second := <-ended, <-ended; first != "k1" || second != "k2" {
		t.Errorf("ended %s and %s", first, second)
	}
	s.fails(exitFailed, `2 active keys have the name "two": name the one to end by its id (k2, k3)`, "keys", "revoke", "two")
	for _, none := range []string{"old", "nobody"} {
		s.fails(exitFailed, `and no active key has the name "`+none+`"`, "keys", "revoke", none)
	}
	if len(ended) != 0 {
		t.Error("more were ended")
	}
}

func TestLocalKeyStaysLocal(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Authorization") }))
	t.Cleanup(server.Close)
	s := newShell(t).withPlatform()
	s.run("keys", "list", "--server", server.URL)
	if got := <-seen; got != "" {
		t.Errorf("another server was sent %q", got)
	}
}

// TestRevokeReportsWhatItRevoked, also where one of several is not to be found,
// and sends no secret.
func TestRevokeReportsWhatItRevoked(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	handlers := map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"keys":[]}`) },
	}
	for id, there := range map[string]bool{"k7": true, "k1": true, "k2": true, "nosuch": false, "none": false} {
		handlers["DELETE /v1/keys/"+id] = func(w http.ResponseWriter, _ *http.Request) {
			asked <- id
			if there {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"status":404,"code":"not_found","detail":"no key %s"}`, id)
		}
	}
	server := fakePlatform(t, handlers)
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	s.wants("revoked k7\n", "keys", "revoke", "ms_k7_"+strings.Repeat("S", 43))
	if id := <-asked; id != "k7" {
		t.Errorf("asked for %s", id)
	}
	r := s.run("keys", "revoke", "nosuch", "k1", "none", "k2")
	if r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "note: revoked k1, k2\n") ||
		!strings.Contains(r.err, "nosuch: no key nosuch") || !strings.Contains(r.err, "none: no key none") {
		t.Errorf("exit %d, says\n%s%s", r.code, r.out, r.err)
	}
}

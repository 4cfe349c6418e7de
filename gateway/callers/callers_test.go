package callers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/internal/env"
)

type handler = http.Handler

func request(method, path, credential, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+credential)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func admin() auth.KeySpec {
	return auth.KeySpec{Name: "n", Tenant: "acme", Scopes: []auth.Permission{auth.Admin}}
}

func TestBoundsAreMoreThanZero(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"MODELSERVE_TENANT_KEYS", "MODELSERVE_TENANT_ROLES", "MODELSERVE_TENANT_GRANTS", "MODELSERVE_AUDIT_ENTRIES", "MODELSERVE_AUDIT_AGE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			value := "0"
			if name == "MODELSERVE_AUDIT_AGE" {
				value = "0s"
			}
			var config callers.Config
			if err := env.ParseFrom(&config, map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestTheOperatorsKeyIsImportedOnce holds what a gateway does at each of its starts.
func TestTheOperatorsKeyIsImportedOnce(t *testing.T) {
	t.Parallel()
	store := openDatabase(t)
	elsewhere, err := auth.NewHasher(hashKey("elsewhere", 9))
	if err != nil {
		t.Fatal(err)
	}
	text, key, err := elsewhere.NewKey(admin(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // starts
		r := start(t, store, nil)
		if err := r.Import(t.Context(), text, admin()); err != nil {
			t.Fatal(err)
		}
		if !r.Good(text) {
			t.Error("the imported key is not good")
		}
	}
	if got := store.recorded(t, "acme", "key.create"); len(got) != 1 || got[0].Resource != "key:"+key.ID || got[0].Actor != "gateway" {
		t.Errorf("recorded %+v", got)
	}
	r := start(t, store, nil)
	if err := r.Import(t.Context(), text[:len(text)-1]+"x", admin()); err == nil || !strings.Contains(err.Error(), "same id") {
		t.Errorf("another secret of the same id: %v", err)
	}
	if err := r.Import(t.Context(), "ms_no", admin()); err == nil {
		t.Error("what is no key is imported")
	}
	r.revoke(t, key.ID)
	if err := r.Import(t.Context(), text, admin()); err != nil {
		t.Fatal(err)
	}
	if r.Good(text) || !strings.Contains(r.log.String(), "was revoked") {
		t.Errorf("a key that was revoked is good again, or nobody learns that it is not:\n%s", r.log.String())
	}
}

// TestGoodIsWhatIsStoredAndNotEnded holds Good to the keys that there are.
func TestGoodIsWhatIsStoredAndNotEnded(t *testing.T) {
	t.Parallel()
	r := start(t, openDatabase(t), nil)
	text, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	r.revoke(t, strings.Split(revoked, "_")[1])
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"a key":          {text, true},
		"another secret": {text[:len(text)-2] + "xx", false},
		"another id":     {strings.Replace(text, "ms_", "ms_x", 1), false},
		"no key":         {"x", false},
		"nothing":        {"", false},
		"revoked":        {revoked, false},
	} {
		if got := r.Good(tc.text); got != tc.want {
			t.Errorf("%s is good: %v", name, got)
		}
	}
}

// TestAMissingHashKeyIsReported holds that keys which cannot be checked any more do not
// keep the gateway from starting, and are in the log.
func TestAMissingHashKeyIsReported(t *testing.T) {
	t.Parallel()
	store := openDatabase(t)
	text, err := start(t, store, nil, hashKey("old", 1)).Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	both := start(t, store, nil, hashKey("new", 2), hashKey("old", 1))
	if !both.Good(text) || strings.Contains(both.log.String(), `"level":"ERROR"`) {
		t.Errorf("with both hash keys the key is not good:\n%s", both.log.String())
	}
	without := start(t, store, nil, hashKey("new", 2))
	if log := without.log.String(); without.Good(text) || !strings.Contains(log, `"hash_key":"old","keys":1`) {
		t.Errorf("without its hash key a key is good, or nobody learns that it is not:\n%s", log)
	}
	gateway := without.behind(t)
	if status, _ := call(gateway, "GET", "/v1/access?action=infer&resource=x", text, ""); status != 401 {
		t.Errorf("answered %d: an unknown id is with 401", status)
	}
	if status, body := call(gateway, "GET", "/readyz", "", ""); status != 200 || body["status"] != "ready" || !strings.Contains(fmt.Sprint(body["detail"]), "hash key") {
		t.Errorf("readyz: %d %v", status, body)
	}
	without.counts(t, "modelserve_gateway_keys_unchecked", 1)
	both.counts(t, "modelserve_gateway_keys_unchecked", 0)

	// one that another gateway makes later, with a key that came first there alone
	if _, err := start(t, store, nil, hashKey("newer", 3), hashKey("new", 2)).Create(t.Context(), admin()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is reported", func() bool { return strings.Contains(without.log.String(), `"hash_key":"newer","keys":1`) })
	without.counts(t, "modelserve_gateway_keys_unchecked", 2)
	if n := strings.Count(without.log.String(), `"hash_key":"old"`); n != 1 {
		t.Errorf("it is reported %d times", n)
	}
	without.revoke(t, strings.Split(text, "_")[1])
	without.counts(t, "modelserve_gateway_keys_unchecked", 1)
}

// TestWhatIsWiredAnswers holds a whole gateway to what it is given: keys, tokens,
// bounds, and the log of refusals.
func TestWhatIsWiredAnswers(t *testing.T) {
	t.Parallel()
	store, path, issuer := openDatabase(t), filepath.Join(t.TempDir(), "gateway.yaml"), jwttest.Start(t)
	write(t, path, fileOf(30)+"issuers:\n- {issuer: "+issuer.URL+", audiences: ["+jwttest.Audience+"], tenant: claims.org, roles: claims.groups}\n")
	r := start(t, store, map[string]string{"MODELSERVE_GATEWAY_FILE": path, "MODELSERVE_TENANT_KEYS": "2"})
	gateway := r.behind(t)
	key, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	token := issuer.Token(nil) // of an invoker of acme
	const newKey = `{"name": "n", "scopes": ["infer:x"]}`
	for _, step := range []struct {
		name, method, path, credential, body string
		want                                 int
	}{
		{"a key", "GET", "/v1/keys", key, "", 200},
		{"a token", "GET", "/v1/access?action=infer&resource=x", token, "", 200},
		{"a token without the right", "GET", "/v1/keys", token, "", 403},
		{"neither", "GET", "/v1/keys", "x", "", 401},
		{"a second key", "POST", "/v1/keys", key, newKey, 201},
		{"one more than may be", "POST", "/v1/keys", key, newKey, 409},
		{"the file", "GET", "/v1/gateway", key, "", 200},
		{"ready", "GET", "/readyz", "", "", 200},
	} {
		if status, body := call(gateway, step.method, step.path, step.credential, step.body); status != step.want {
			t.Errorf("%s: %d %v, want %d", step.name, status, body, step.want)
		}
	}
	eventually(t, "the refusal is in the tenant's chain", func() bool {
		entries, err := store.Entries(t.Context(), audit.Filter{Tenant: "acme", Outcome: audit.Refused, Limit: 10})
		return err == nil && len(entries) > 0
	})
}

// TestALostDatabaseIsReportedAtOnce holds that a gateway whose database's file was
// removed is not ready, acknowledges no revocation, and says why in its log.
func TestALostDatabaseIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	r := start(t, openAt(t, path), nil)
	gateway := r.behind(t)
	key, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	if status, body := call(gateway, "GET", "/readyz", "", ""); status != 200 {
		t.Fatalf("readyz answers %d %v", status, body)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if status, body := call(gateway, "GET", "/readyz", "", ""); status != 503 {
		t.Errorf("readyz answers %d %v", status, body)
	}
	if status, body := call(gateway, "DELETE", "/v1/keys/"+strings.Split(key, "_")[1], key, ""); status != 503 {
		t.Errorf("a revocation is answered %d %v", status, body)
	}
	if log := r.log.String(); !strings.Contains(log, path+" was removed while it was open") {
		t.Errorf("the log does not say what happened:\n%s", log)
	}
	if text := metrics(t, r); !strings.Contains(text, "modelserve_gateway_database_sound 0") {
		t.Errorf("metrics:\n%s", text)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if status, body := call(gateway, "GET", "/readyz", "", ""); status != 503 {
		t.Errorf("put back, without a start: readyz answers %d %v", status, body)
	}
}

// metrics is what a replica measures, as text.
func metrics(t *testing.T, r *replica) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.tel.MetricsServer().Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// TestNobodyIsKnownByWhatIsTooOld holds that without the database keys and tokens are
// refused as such that cannot be checked, after as long as the file says, and that the
// gateway recovers.
func TestNobodyIsKnownByWhatIsTooOld(t *testing.T) {
	t.Parallel()
	store, path, issuer := openDatabase(t), filepath.Join(t.TempDir(), "gateway.yaml"), jwttest.Start(t)
	write(t, path, fileOf(2)+"issuers:\n- {issuer: "+issuer.URL+", audiences: ["+jwttest.Audience+"], tenant: claims.org, roles: claims.groups}\n")
	r := start(t, store, map[string]string{"MODELSERVE_GATEWAY_FILE": path})
	gateway := r.behind(t)
	key, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	answered := func(want, ready int) {
		t.Helper()
		for _, credential := range []string{key, issuer.Token(nil)} {
			eventually(t, "a credential is answered", func() bool {
				status, _ := call(gateway, "GET", "/v1/access?action=infer&resource=x", credential, "")
				return status == want
			})
		}
		if status, body := call(gateway, "GET", "/readyz", "", ""); status != ready {
			t.Errorf("readyz answers %d %v, want %d", status, body, ready)
		}
	}
	answered(200, 200)
	store.away.Store(true)
	answered(503, 503)
	store.away.Store(false)
	answered(200, 200)
}

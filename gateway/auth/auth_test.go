package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/authtest"
	"github.com/modelserveai/modelserve/problem"
)

func spec(scopes ...auth.Scope) auth.KeySpec {
	return auth.KeySpec{Name: "n", Tenant: "default", Scopes: scopes}
}

func newKey(t *testing.T, s auth.KeyStore, spec auth.KeySpec) (string, *auth.Key) {
	t.Helper()
	text, key, err := auth.NewKey(spec, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return text, key
}

func TestRevokedKeysAreRefusedWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &authtest.Store{}
		text, key := newKey(t, s, spec(auth.InferAll))
		keys := auth.NewKeys(s)
		if _, err := keys.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if err := s.Revoke(t.Context(), key.ID, time.Now()); err != nil { // by another process
			t.Fatal(err)
		}
		time.Sleep(1900 * time.Millisecond)
		_, err := keys.Authenticate(t.Context(), text)
		if problem.CodeOf(err) != problem.Unauthenticated || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("error %v", err)
		}
	})
}

func TestKeysExpireOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &authtest.Store{}
		with := spec(auth.InferAll)
		with.ExpiresAt = time.Now().Add(300 * time.Millisecond)
		text, _ := newKey(t, s, with)
		keys := auth.NewKeys(s)
		if _, err := keys.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // sooner than what is remembered
		if _, err := keys.Authenticate(t.Context(), text); problem.CodeOf(err) != problem.Unauthenticated {
			t.Errorf("error %v", err)
		}
	})
}

func TestStoreIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &authtest.Store{}
		text, _ := newKey(t, s, spec(auth.InferAll))
		keys := auth.NewKeys(s)
		for range 3 {
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() {
					if _, err := keys.Authenticate(t.Context(), text); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			time.Sleep(time.Second)
		}
		if n := s.Gets(); n != 3 {
			t.Errorf("the store was asked %d times in three seconds", n)
		}
	})
}

func TestWithoutItsStoreNobodyIsAuthenticated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &authtest.Store{}
		text, _ := newKey(t, s, spec(auth.Admin))
		keys := auth.NewKeys(s)
		if _, err := keys.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		s.Fail(errors.New("disk I/O error at /secret/path"))
		time.Sleep(time.Second)
		_, err := keys.Authenticate(t.Context(), text)
		if problem.CodeOf(err) != problem.Unavailable || strings.Contains(err.Error(), "/secret/path") {
			t.Errorf("error %v", err)
		}
		s.Fail(nil)
		if _, err := keys.Authenticate(t.Context(), text); err != nil {
			t.Errorf("and back: %v", err)
		}
	})
}

func TestKeysAreNotConfused(t *testing.T) {
	t.Parallel()
	s := &authtest.Store{}
	a, keyA := newKey(t, s, spec(auth.Admin))
	b, keyB := newKey(t, s, spec(auth.Infer("iris")))
	secretA, secretB := a[len("ms_")+len(keyA.ID)+1:], b[len("ms_")+len(keyB.ID)+1:]
	keys := auth.NewKeys(s)
	for name, text := range map[string]string{
		"another's secret":   "ms_" + keyA.ID + "_" + secretB,
		"another's id":       "ms_" + keyB.ID + "_" + secretA,
		"unknown id":         "ms_nobody_" + secretA,
		"secret cut":         a[:len(a)-1],
		"secret longer":      a + "A",
		"lower case":         strings.ToLower(a),
		"no secret":          "ms_" + keyA.ID + "_",
		"no id":              "ms__" + secretA,
		"a part too many":    a + "_x",
		"prefix alone":       "ms_",
		"spaces":             a + " ",
		"NUL":                a + "\x00",
		"the hash itself":    fmt.Sprintf("ms_%s_%x", keyA.ID, keyA.Hash),
		"a very long secret": "ms_" + keyA.ID + "_" + strings.Repeat("A", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := keys.Authenticate(t.Context(), text)
			if problem.CodeOf(err) != problem.Unauthenticated {
				t.Errorf("principal %v, error %v", p, err)
			}
			if err != nil && strings.Contains(err.Error(), secretA[:8]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header http.Header
		want   string
		bad    string // part of the error
	}{
		"bearer":          {http.Header{"Authorization": {"Bearer k"}}, "k", ""},
		"any case":        {http.Header{"Authorization": {"bEARER  k "}}, "k", ""},
		"api key":         {http.Header{"X-Api-Key": {"k"}}, "k", ""},
		"both, the same":  {http.Header{"Authorization": {"Bearer k"}, "X-Api-Key": {"k"}}, "k", ""},
		"both, differing": {http.Header{"Authorization": {"Bearer k"}, "X-Api-Key": {"j"}}, "", "differ"},
		"twice":           {http.Header{"X-Api-Key": {"k", "j"}}, "", "differ"},
		"basic":           {http.Header{"Authorization": {"Basic a2V5"}}, "", "scheme"},
		"basic and a key": {http.Header{"Authorization": {"Basic a2V5"}, "X-Api-Key": {"k"}}, "", "scheme"},
		"empty bearer":    {http.Header{"Authorization": {"Bearer"}}, "", "empty"},
		"empty api key":   {http.Header{"X-Api-Key": {""}}, "", "empty"},
		"none":            {http.Header{}, "", "no credential"},
		"huge":            {http.Header{"X-Api-Key": {strings.Repeat("k", 20<<10)}}, "", "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := auth.Credential(tc.header)
			if got != tc.want || (tc.bad == "") != (err == nil) {
				t.Fatalf("%q, %v", got, err)
			}
			if err != nil && (problem.CodeOf(err) != problem.Unauthenticated || !strings.Contains(err.Error(), tc.bad)) {
				t.Errorf("error %v, want %q in it", err, tc.bad)
			}
		})
	}
}

func TestKeySpec(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good := func() auth.KeySpec { return spec(auth.InferAll, auth.Infer("a-b"), auth.KeysAdmin) }
	for name, tc := range map[string]struct {
		change func(*auth.KeySpec)
		field  string
	}{
		"good":          {func(*auth.KeySpec) {}, ""},
		"no name":       {func(s *auth.KeySpec) { s.Name = " " }, "name"},
		"long name":     {func(s *auth.KeySpec) { s.Name = strings.Repeat("é", 101) }, "name"},
		"control":       {func(s *auth.KeySpec) { s.Name = "a\nb" }, "name"},
		"tenant":        {func(s *auth.KeySpec) { s.Tenant = "A_B" }, "tenant"},
		"no scopes":     {func(s *auth.KeySpec) { s.Scopes = nil }, "scopes"},
		"unknown scope": {func(s *auth.KeySpec) { s.Scopes[1] = "root" }, "scopes[1]"},
		"scope's model": {func(s *auth.KeySpec) { s.Scopes[0] = "infer:../x" }, "scopes[0]"},
		"role":          {func(s *auth.KeySpec) { s.Roles = []string{"ok", ""} }, "roles[1]"},
		"expired":       {func(s *auth.KeySpec) { s.ExpiresAt = now }, "expires_at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good()
			tc.change(&s)
			var fields []problem.Field
			if p := problem.From(s.Check(now)); p != nil {
				fields = p.Fields
			}
			if tc.field == "" && len(fields) != 0 || tc.field != "" && (len(fields) != 1 || fields[0].Field != tc.field) {
				t.Errorf("fields %v, want %q", fields, tc.field)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	all := []auth.Scope{auth.InferAll, auth.Infer("a"), auth.Infer("b"), auth.ModelsRead, auth.ModelsWrite, auth.KeysAdmin, auth.Admin}
	got := map[auth.Scope][]auth.Scope{}
	for _, held := range all {
		for _, other := range all {
			if held.Covers(other) {
				got[held] = append(got[held], other)
			}
		}
	}
	want := map[auth.Scope][]auth.Scope{
		auth.InferAll: {auth.InferAll, auth.Infer("a"), auth.Infer("b")}, auth.Infer("a"): {auth.Infer("a")}, auth.Infer("b"): {auth.Infer("b")},
		auth.ModelsRead: {auth.ModelsRead}, auth.ModelsWrite: {auth.ModelsRead, auth.ModelsWrite}, auth.KeysAdmin: {auth.KeysAdmin}, auth.Admin: all,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAuthorizerDeniesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*auth.Principal{"nobody": nil, "no scopes": {}, "admin": {Scopes: []auth.Scope{auth.Admin}}} {
		err := auth.Scopes{}.Authorize(t.Context(), p, auth.Action{Verb: "fly", On: "iris"})
		if problem.CodeOf(err) != problem.PermissionDenied {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"", "ms_", "ms_a_b", "ms_abc_" + strings.Repeat("A", 52), "ms_a_" + strings.Repeat("é", 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := auth.ParseKey(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, "ms_"+parsed.ID+"_") || len(parsed.ID) > 32 || len(text) > 200 {
			t.Errorf("%q was taken with id %q", text, parsed.ID)
		}
	})
}

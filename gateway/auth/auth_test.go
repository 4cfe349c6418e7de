package auth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

func spec(scopes ...auth.Permission) auth.KeySpec {
	return auth.KeySpec{Name: "n", Tenant: "default", Scopes: scopes}
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
		"invisible":     {func(s *auth.KeySpec) { s.Name = "\u2800\u3164\u115f\ufe0f\u0301\u00a0\ue000\u0378" }, "name"},
		"seen":          {func(s *auth.KeySpec) { s.Name = "\u2800 é̈\U0001f600" }, ""},
		"lines":         {func(s *auth.KeySpec) { s.Name = "a\u2028b" }, "name"},
		"paragraphs":    {func(s *auth.KeySpec) { s.Description = "a\u2029b" }, "description"},
		"more lines":    {func(s *auth.KeySpec) { s.Description = "a\u2028b" }, "description"},
		"order":         {func(s *auth.KeySpec) { s.Description = "a\u202eb" }, "description"},
		"tenant":        {func(s *auth.KeySpec) { s.Tenant = "A_B" }, "tenant"},
		"no scopes":     {func(s *auth.KeySpec) { s.Scopes = nil }, "scopes"},
		"a role alone":  {func(s *auth.KeySpec) { s.Scopes, s.Roles = nil, []string{"viewer"} }, ""},
		"description":   {func(s *auth.KeySpec) { s.Description = strings.Repeat("x", 501) }, "description"},
		"a pattern":     {func(s *auth.KeySpec) { s.Scopes[0] = "infer:text-*" }, ""},
		"star inside":   {func(s *auth.KeySpec) { s.Scopes[0] = "infer:t*t" }, "scopes[0]"},
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
	all := []auth.Permission{auth.InferAll, auth.Infer("a"), auth.Infer("b"), auth.ModelsRead, auth.ModelsWrite, auth.KeysAdmin, auth.Admin}
	got := map[auth.Permission][]auth.Permission{}
	for _, held := range all {
		for _, other := range all {
			if held.Covers(other) {
				got[held] = append(got[held], other)
			}
		}
	}
	want := map[auth.Permission][]auth.Permission{
		auth.InferAll: {auth.InferAll, auth.Infer("a"), auth.Infer("b")}, auth.Infer("a"): {auth.Infer("a")}, auth.Infer("b"): {auth.Infer("b")},
		auth.ModelsRead: {auth.ModelsRead}, auth.ModelsWrite: {auth.ModelsRead, auth.ModelsWrite}, auth.KeysAdmin: {auth.KeysAdmin}, auth.Admin: all,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
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

package operation_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// FuzzBody holds that a body is either read or refused as the caller's fault, in
// words that are short, and that only JSON is read.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "\ufeff{}", `{"count":9,"share":0.5,"on":true,"at":"2027-01-31T12:00:00+01:00","nested":{"deep":["abc"]}}`,
		`{"count":1e999}`, `{"on":true,"on":true}`, `{"map":{"a":{"deep":[[]]}}}`, `{"at":"2027-06-30T23:59:60Z"}`, `{} {}`, strings.Repeat("[", 20000), "a=b",
	} {
		f.Add([]byte(seed), "application/json")
		f.Add([]byte(seed), "application/x-www-form-urlencoded")
	}
	server := newServer(f)
	f.Fuzz(func(t *testing.T, data []byte, media string) {
		r := httptest.NewRequest(http.MethodPost, "/things/a?must=1", strings.NewReader(string(data)))
		r.Header["Content-Type"] = []string{media}
		in, _, err := server.do(r)
		var p *problem.Error
		switch {
		case err == nil && in == nil:
			t.Fatal("neither read nor refused")
		case err == nil:
		case !errors.As(err, &p), p.Code.Row().Status >= 500, p.Detail == "", len(p.Detail) > 1000, len(p.Fields) > 20:
			t.Fatalf("%q: %v", data, err)
		}
	})
}

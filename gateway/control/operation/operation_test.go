package operation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

// everything is an input with a field of each kind.
type everything struct {
	Name    string    `path:"name" maxLength:"5"`
	Text    string    `query:"text"`
	Small   int       `query:"small" minimum:"1" default:"7"`
	Large   int64     `query:"large"`
	Dry     bool      `query:"dry"`
	From    time.Time `query:"from"`
	Labels  []string  `query:"label" maxItems:"2"`
	Kind    string    `query:"kind" enum:"a,b"`
	Must    string    `query:"must" required:"true"`
	Trigger string    `header:"X-Trigger"`
	Body    *body
}

type body struct {
	Count  int8              `json:"count,omitzero" maximum:"9"`
	Share  float64           `json:"share,omitzero"`
	On     bool              `json:"on,omitzero"`
	At     time.Time         `json:"at,omitzero"`
	Nested *nested           `json:"nested,omitempty"`
	Map    map[string]nested `json:"map,omitempty" maxProperties:"50"`
}

type nested struct {
	Deep []string `json:"deep" minItems:"1" maxItems:"2" maxLength:"3"`
}

// all is the whole of an everything that a test looks at.
type all struct {
	Name, Text, Kind, Must, Trigger string
	Small                           int
	Large                           int64
	Dry                             bool
	From                            string
	Labels                          []string
}

func document() *huma.OpenAPI {
	return &huma.OpenAPI{OpenAPI: "3.1.0", Info: &huma.Info{Title: "test", Version: "1"}, Components: &huma.Components{}}
}

type seen struct {
	Seen string `header:"X-Seen"`
}

// server serves one operation.
type server struct {
	mux *http.ServeMux
	got *everything // by its handler, last
	err error       // that was returned, last
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{mux: http.NewServeMux()}
	set := operation.NewSet(document(), byScopes{})
	operation.Add(set, operation.Operation{Method: "POST", Pattern: "/things/{name}", ID: "make", Summary: "Make", MaxBody: 1000},
		func(_ context.Context, _ *call.Call, in *everything) (*seen, error) {
			s.got = in
			return &seen{"yes"}, nil
		})
	endpoints, _, err := set.Finish()
	if err != nil {
		t.Fatal(err)
	}
	s.mux.HandleFunc(endpoints[0].Method+" "+endpoints[0].Pattern, func(w http.ResponseWriter, r *http.Request) {
		s.err = endpoints[0].Serve(&call.Call{}, w, r)
	})
	return s
}

// do serves a request and returns what the handler got of it.
func (s *server) do(r *http.Request) (*everything, *httptest.ResponseRecorder, error) {
	s.got, s.err = nil, nil
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return s.got, w, s.err
}

func served(t *testing.T, r *http.Request) (*everything, *httptest.ResponseRecorder, error) {
	t.Helper()
	return newServer(t).do(r)
}

func TestAnInputHasWhatCame(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/things/a%20b?text=x%26y&small=1&large=-9223372036854775808&dry=true&from=2027-01-31T12:00:00Z&label=p&label=q&kind=b&must=", strings.NewReader(
		`{"count":9,"share":0.5,"on":true,"at":"2027-01-31T12:00:00+01:00","nested":{"deep":["abc"]},"map":{"k":{"deep":["x"]}}}`))
	r.Header.Set("X-Trigger", "now")
	in, w, err := served(t, r)
	if err != nil || w.Code != http.StatusNoContent || w.Header().Get("X-Seen") != "yes" || w.Body.Len() != 0 {
		t.Fatal(w.Code, w.Body, err)
	}
	want := all{"a b", "x&y", "b", "", "now", 1, -9223372036854775808, true, "2027-01-31T12:00:00Z", []string{"p", "q"}}
	got := all{in.Name, in.Text, in.Kind, in.Must, in.Trigger, in.Small, in.Large, in.Dry, in.From.Format(time.RFC3339), in.Labels}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if in.Body.Count != 9 || in.Body.Nested.Deep[0] != "abc" || in.Body.Map["k"].Deep[0] != "x" {
		t.Errorf("%+v", in.Body)
	}
}

func TestWhatIsLeftOutIsItsDefault(t *testing.T) {
	t.Parallel()
	in, _, err := served(t, httptest.NewRequest(http.MethodPost, "/things/a?must=1", strings.NewReader("")))
	if err != nil || in.Small != 7 || in.Body != nil || in.Labels != nil {
		t.Errorf("%+v, %v", in, err)
	}
	in, _, err = served(t, httptest.NewRequest(http.MethodPost, "/things/a?must=1", strings.NewReader(`{"nested":null,"map":null,"at":null,"count":null}`)))
	if err != nil || in.Body == nil || in.Body.Nested != nil {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestFaultsNameFieldAndWhatWasExpected(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query, body string
		want        []problem.Field
	}{
		"required":         {"", "", []problem.Field{{Field: "must", Detail: "expected a value; it is required"}}},
		"no number":        {"must=&large=a", "", []problem.Field{{Field: "large", Detail: "expected a whole number"}}},
		"too great":        {"must=&large=9223372036854775808", "", []problem.Field{{Field: "large", Detail: "expected a whole number"}}},
		"too small":        {"must=&small=0", "", []problem.Field{{Field: "small", Detail: "expected at least 1"}}},
		"neither":          {"must=&dry=yes", "", []problem.Field{{Field: "dry", Detail: "expected true or false"}}},
		"no time":          {"must=&from=today", "", []problem.Field{{Field: "from", Detail: "expected a time such as 2027-01-31T12:00:00Z"}}},
		"too many":         {"must=&label=a&label=b&label=c", "", []problem.Field{{Field: "label", Detail: "expected at most 2 values"}}},
		"none of them":     {"must=&kind=c", "", []problem.Field{{Field: "kind", Detail: "expected one of a, b"}}},
		"unknown":          {"must=&other=c", "", []problem.Field{{Field: "other", Detail: "expected only the query parameters text, small, large, dry, from, label, kind, must"}}},
		"a small integer":  {"must=", `{"count":300}`, []problem.Field{{Field: "count", Detail: "expected at most 9"}}},
		"over the most":    {"must=", `{"count":10}`, []problem.Field{{Field: "count", Detail: "expected at most 9"}}},
		"a fraction":       {"must=", `{"count":1.5}`, []problem.Field{{Field: "count", Detail: "expected a whole number, at most 9"}}},
		"no fraction":      {"must=", `{"share":"x"}`, []problem.Field{{Field: "share", Detail: "expected a number"}}},
		"a huge fraction":  {"must=", `{"share":1e999}`, []problem.Field{{Field: "share", Detail: "expected a number"}}},
		"no truth":         {"must=", `{"on":1}`, []problem.Field{{Field: "on", Detail: "expected true or false"}}},
		"no list":          {"must=", `{"nested":{"deep":"x"}}`, []problem.Field{{Field: "nested.deep", Detail: "expected a list"}}},
		"no object":        {"must=", `{"nested":[]}`, []problem.Field{{Field: "nested", Detail: "expected an object"}}},
		"empty, inside":    {"must=", `{"nested":{"deep":[]}}`, []problem.Field{{Field: "nested.deep", Detail: "expected at least 1 value"}}},
		"too long, inside": {"must=", `{"map":{"k":{"deep":["a","abcd"]}}}`, []problem.Field{{Field: "map.k.deep[1]", Detail: "expected at most 3 characters"}}},
		"a late second":    {"must=", `{"at":"2027-06-30T23:59:60Z"}`, []problem.Field{{Field: "at", Detail: "expected a time such as 2027-01-31T12:00:00Z"}}},
		"too many, inside": {"must=", `{"map":{"k":{"deep":["abcd","abcd","abcd"]}}}`, []problem.Field{{Field: "map.k.deep", Detail: "expected at most 2 values"}}},
		"too many fields":  {"must=", `{"map":{` + manyFields(51) + `}}`, []problem.Field{{Field: "map", Detail: "expected at most 50 fields"}}},
		"unknown, inside":  {"must=", `{"map":{"k":{"deep":["a"],"more":1}}}`, []problem.Field{{Field: "map.k.more", Detail: "there is no such field"}}},
		"twice, inside":    {"must=", `{"map":{"k":{"deep":["a"],"deep":["a"]}}}`, []problem.Field{{Field: "map.k.deep", Detail: "expected once, got twice"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := served(t, httptest.NewRequest(http.MethodPost, "/things/a?"+tc.query, strings.NewReader(tc.body)))
			var p *problem.Error
			if !errors.As(err, &p) || p.Code != problem.InvalidArgument {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, p.Fields); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTheBoundOfABodyIsTheOperations holds that it is exact.
func TestTheBoundOfABodyIsTheOperations(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]problem.Code{1000: "", 1001: problem.PayloadTooLarge} {
		text := `{"on":true` + strings.Repeat(" ", length-len(`{"on":true}`)) + `}`
		_, _, err := served(t, httptest.NewRequest(http.MethodPost, "/things/a?must=1", strings.NewReader(text)))
		if problem.CodeOf(err) != want {
			t.Errorf("%d bytes: %v, want %q", length, err, want)
		}
	}
}

// manyFields are fields with a fault in each.
func manyFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"%d":{"deep":[]}`, i)
	}
	return strings.Join(fields, ",")
}

// TestManyFaultsAreBounded holds that a long list of wrong values is not answered
// by as long a one.
func TestManyFaultsAreBounded(t *testing.T) {
	t.Parallel()
	text := `{"map":{` + manyFields(40) + `}}`
	_, _, err := served(t, httptest.NewRequest(http.MethodPost, "/things/a?must=1", strings.NewReader(text)))
	var p *problem.Error
	if !errors.As(err, &p) || len(p.Fields) != 20 || !strings.Contains(p.Detail, "more)") {
		t.Errorf("%v", err)
	}
}

// TestMistakesOfTheCodeAreFoundWhenItStarts holds that an operation which could
// not work is none.
func TestMistakesOfTheCodeAreFoundWhenItStarts(t *testing.T) {
	t.Parallel()
	nothing := func(s *operation.Set, op operation.Operation) {
		operation.Add(s, op, func(context.Context, *call.Call, *struct {
			ID string `path:"id"`
		},
		) (*struct{}, error) {
			return nil, nil
		})
	}
	for name, add := range map[string]func(*operation.Set){
		"a path value that the pattern has not": func(s *operation.Set) {
			nothing(s, operation.Operation{Method: "GET", Pattern: "/things", ID: "a"})
		},
		"a list without a bound": func(s *operation.Set) {
			operation.Add(s, operation.Operation{Method: "POST", Pattern: "/things", ID: "a"}, func(context.Context, *call.Call, *struct {
				Body struct {
					Names []string `json:"names"`
				}
			},
			) (*struct{}, error) {
				return nil, nil
			})
		},
		"a map without a bound": func(s *operation.Set) {
			operation.Add(s, operation.Operation{Method: "POST", Pattern: "/things", ID: "a"}, func(context.Context, *call.Call, *struct {
				Body struct {
					Labels map[string]string `json:"labels,omitempty"`
				}
			},
			) (*struct{}, error) {
				return nil, nil
			})
		},
		"a field from nowhere": func(s *operation.Set) {
			operation.Add(s, operation.Operation{Method: "GET", Pattern: "/things", ID: "a"}, func(context.Context, *call.Call, *struct{ ID string }) (*struct{}, error) {
				return nil, nil
			})
		},
		"a type that is not read": func(s *operation.Set) {
			operation.Add(s, operation.Operation{Method: "GET", Pattern: "/things", ID: "a"}, func(context.Context, *call.Call, *struct {
				ID chan int `query:"id"`
			},
			) (*struct{}, error) {
				return nil, nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := operation.NewSet(document(), byScopes{})
			add(set)
			if _, _, err := set.Finish(); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

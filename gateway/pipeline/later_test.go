package pipeline_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/pipeline"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// transport is an http.RoundTripper of a handler.
type transport http.HandlerFunc

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t(w, r)
	return w.Result(), nil
}

// TestOnlyWhatPrefersItIsAnsweredLater holds which calls go to the service, and that its
// answer is found at the platform's own address.
func TestOnlyWhatPrefersItIsAnsweredLater(t *testing.T) {
	t.Parallel()
	bound := &route.Bound{Function: &route.Function{Name: "text-detect", Namespace: "default"}}
	for name, tc := range map[string]struct {
		call     call.Call
		method   string
		prefer   string
		public   string
		location string // "" goes to the function
	}{
		"an inference":            {call.Call{Host: "localhost:8080", Operation: "/v2/models/{model}/infer"}, "POST", "respond-async", "", "http://localhost:8080"},
		"among others":            {call.Call{Host: "h", Operation: "/v2/models/{model}/infer"}, "POST", "wait=3, Respond-Async; a=b", "", "http://h"},
		"a function":              {call.Call{Host: "text-detect.default.localhost:8080", Operation: "/", Bound: bound}, "POST", "respond-async", "", "http://localhost:8080"},
		"a tag of it":             {call.Call{Host: "canary-text-detect.default.models.test", Operation: "/", Bound: bound}, "POST", "respond-async", "https://api.models.test/", "https://api.models.test"},
		"without a namespace":     {call.Call{Host: "text-detect.models.test", Operation: "/", Bound: bound}, "POST", "respond-async", "", "http://models.test"},
		"that does not prefer it": {call.Call{Host: "h", Operation: "/v2/models/{model}/infer"}, "POST", "wait=3", "", ""},
		"that prefers another":    {call.Call{Host: "h", Operation: "/v2/models/{model}/infer"}, "POST", "respond-asynchronously", "", ""},
		"a GET":                   {call.Call{Host: "h", Operation: "/", Bound: bound}, "GET", "respond-async", "", ""},
		"loading":                 {call.Call{Host: "h", Operation: "/v2/repository/models/{model}/load"}, "POST", "respond-async", "", ""},
		"gRPC":                    {call.Call{Protocol: call.GRPC, Host: "h", Operation: "/v2/models/{model}/infer"}, "POST", "respond-async", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tc.call
			c.Path, c.Principal, c.Log = "/v2/models/iris/infer", &auth.Principal{Tenant: "acme"}, &call.Entry{}
			var order *calls.Order
			service := transport(func(w http.ResponseWriter, r *http.Request) {
				var err error
				if order, err = calls.ParseOrder(r.Header.Get("Modelserve-Call")); err != nil {
					t.Error(err)
				}
				body, _ := io.ReadAll(r.Body)
				if r.URL.String() != "http://pipelines/base/v1/calls" || string(body) != "in" || r.Header.Get("Modelserve-Tenant") != "acme" || r.Header.Get("Modelserve-Secret") != "hush" || r.Header.Get("Authorization") != "" {
					t.Errorf("%s %q %v", r.URL, body, r.Header)
				}
				w.Header().Set("Location", "/v1/executions/x")
				w.WriteHeader(http.StatusAccepted)
			})
			function := transport(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "now") })
			f := forward.New(function, false, pipeline.Later(service, &url.URL{Scheme: "http", Host: "pipelines", Path: "/base/"}, "hush", tc.public))
			r := httptest.NewRequestWithContext(t.Context(), tc.method, "/v2/models/iris/versions/2/infer?a=b", strings.NewReader("in"))
			r.Header.Set("Prefer", tc.prefer)
			r.Header.Set("Authorization", "Bearer ms_a_b")
			res, err := f.Forward(t.Context(), &c, &call.Target{URL: &url.URL{Scheme: "http", Host: "pool.default.svc"}, Repeatable: true}, r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			if tc.location == "" {
				if res.StatusCode != http.StatusOK || order != nil {
					t.Errorf("%d, %+v", res.StatusCode, order)
				}
				return
			}
			if res.StatusCode != http.StatusAccepted || res.Header.Get("Location") != tc.location+"/v1/executions/x" {
				t.Errorf("%d %s", res.StatusCode, res.Header.Get("Location"))
			}
			if used, ok := infer.ParseUsage(res.Header.Get(infer.CostHeader)); !ok || used != (infer.Usage{}) {
				t.Errorf("nothing ran yet, and it reports %q", res.Header.Get(infer.CostHeader))
			}
			want := calls.Order{Method: "POST", URL: "http://pool.default.svc/v2/models/iris/versions/2/infer?a=b", Path: "/v2/models/iris/infer", Repeatable: true}
			if tc.call.Bound != nil {
				want.Host = tc.call.Host
			}
			if *order != want {
				t.Errorf("%+v, want %+v", *order, want)
			}
		})
	}
}

// TestARefusalOfTheServiceIsTheCallers holds that the service's error is one of the
// gateway's, in whichever form that URL has errors.
func TestARefusalOfTheServiceIsTheCallers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		service transport
		code    problem.Code
	}{
		"full": {func(w http.ResponseWriter, _ *http.Request) {
			problem.Write(w, problem.New(problem.Overloaded, "as many as may").WithRetryAfter(10e9))
		}, problem.Overloaded},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }, problem.BadGateway},
	} {
		f := forward.New(transport(nil), false, pipeline.Later(tc.service, &url.URL{Scheme: "http", Host: "pipelines"}, "", ""))
		r := httptest.NewRequestWithContext(context.Background(), "POST", "/", strings.NewReader("in"))
		r.Header.Set("Prefer", "respond-async")
		res, err := f.Forward(t.Context(), &call.Call{Operation: "/", Log: &call.Entry{}}, &call.Target{URL: &url.URL{Scheme: "http", Host: "f"}}, r)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: %d", name, res.StatusCode)
			continue
		}
		if problem.CodeOf(err) != tc.code || tc.code == problem.Overloaded && problem.From(err).RetryAfter != 10e9 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

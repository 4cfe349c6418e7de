package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// withPolicies gives the world's models aliases: iris is in the pool, and
// text-detect@1 and text-recognize@2 have services of their own.
func withPolicies(_ *gateway.Config, d *gateway.Deps) {
	c, _ := d.Catalog.(*fakeCatalog)
	c.policies = map[string]model.Policy{
		"iris":        {Aliases: map[string]int{"stable": 2, "first": 1, "gone": 9}},
		"text-detect": {Aliases: map[string]int{"stable": 1, "next": 2}},
	}
}

// wanted is a way to say which version a call is for, and what comes of it.
type wanted struct {
	model, version, header, host string
	at                           string // function and version that are asked, as "pool 2"; "pool" is without one
	alias                        string
	code                         problem.Code
	field                        string
}

func wantedVersions() map[string]wanted {
	const detect = "text-detect.default.localhost"
	return map[string]wanted{
		"none, in the pool":            {model: "iris", at: "pool", alias: "stable"},
		"none, of a service":           {model: "text-detect", at: "text-detect 1", alias: "stable"},
		"none, nothing set":            {model: "text-recognize", at: "ocr 2"},
		"a number":                     {model: "iris", version: "3", at: "pool 3"},
		"an alias":                     {model: "iris", version: "first", at: "pool 1", alias: "first"},
		"stable":                       {model: "iris", version: "stable", at: "pool 2", alias: "stable"},
		"latest":                       {model: "iris", version: "latest", at: "pool 3", alias: "latest"},
		"latest, past the service":     {model: "text-detect", version: "latest", at: "pool 2", alias: "latest"},
		"an alias of a service":        {model: "text-detect", version: "stable", at: "text-detect 1", alias: "stable"},
		"by header":                    {model: "iris", header: "1", at: "pool 1"},
		"an alias by header":           {model: "text-detect", header: "next", at: "pool 2", alias: "next"},
		"both, the same":               {model: "iris", version: "first", header: "first", at: "pool 1", alias: "first"},
		"both, not the same":           {model: "iris", version: "2", header: "stable", code: problem.InvalidArgument, field: "X-Model-Version"},
		"no such alias":                {model: "iris", version: "beta", code: problem.ModelNotFound},
		"no such alias by header":      {model: "iris", header: "beta", code: problem.ModelNotFound},
		"an alias of what was deleted": {model: "iris", version: "gone", code: problem.ModelNotFound},
		"no such number by header":     {model: "iris", header: "8", code: problem.ModelNotFound},
		"no form":                      {model: "iris", version: "Stable", code: problem.InvalidArgument, field: "model_version"},
		"no form by header":            {model: "iris", header: "02", code: problem.InvalidArgument, field: "X-Model-Version"},
		"no model":                     {model: "nope", version: "stable", code: problem.ModelNotFound},
		"by host":                      {host: detect, model: "text-detect", at: "text-detect"},
		"by host, a number":            {host: detect, model: "text-detect", version: "2", at: "text-detect 2"}, // a revision of it may have it
		"by host, an alias":            {host: detect, model: "text-detect", version: "stable", at: "text-detect 1", alias: "stable"},
		"by host, latest":              {host: detect, model: "text-detect", header: "latest", at: "text-detect 1", alias: "latest"},
		"by host, an alias of another": {host: detect, model: "text-detect", version: "next", code: problem.ModelNotFound},
	}
}

func TestWhichVersionAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPolicies)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.serve(name, func(rw http.ResponseWriter, r *http.Request) {
			if h := r.Header.Get("X-Model-Version"); h != "" {
				t.Errorf("the function is asked for %q by header too", h)
			}
			parts := strings.Split(r.URL.Path, "/")
			asked := ""
			if len(parts) > 5 {
				asked = " " + parts[5]
			}
			_, _ = fmt.Fprint(rw, name+asked)
		})
	}
	for name, tc := range wantedVersions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := request{method: http.MethodPost, host: tc.host, path: "/v2/models/" + tc.model, key: w.admin, body: "hi", header: http.Header{}}
			if tc.version != "" {
				q.path += "/versions/" + tc.version
			}
			if tc.header != "" {
				q.header.Set("X-Model-Version", tc.header)
			}
			q.path += "/infer"
			got := w.do(q)
			if tc.code != "" {
				if got.code() != string(tc.code) || tc.field != "" && !strings.Contains(got.body, tc.field+": ") {
					t.Errorf("%d %s, want %s of %q", got.status, got.body, tc.code, tc.field)
				}
				return
			}
			if got.status != http.StatusOK || got.body != tc.at || got.header.Get("Modelserve-Alias") != tc.alias {
				t.Errorf("%d %s by %q, want %s by %q", got.status, got.body, got.header.Get("Modelserve-Alias"), tc.at, tc.alias)
			}
		})
	}
}

// TestWhatWasJustPublishedIsFound although the catalog has not noticed: by its
// number, and under a name that was none.
func TestWhatWasJustPublishedIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(rw, r.URL.Path) })
	w.catalog.coming = map[string][]int{"iris": {4, 3, 2, 1}, "fresh": {1}}
	for _, path := range []string{"/v2/models/iris/versions/4/infer", "/v2/models/fresh/infer"} {
		if got := w.do(request{method: http.MethodPost, path: path, key: w.admin, body: "hi"}); got.status != http.StatusOK || got.body != path {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestWhichVersionAnswersGRPC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPolicies)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.grpcFunction(name)
	}
	for name, tc := range wantedVersions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := with(t, "x-api-key", w.admin)
			if tc.header != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "x-model-version", tc.header)
			}
			in := &inferpb.ModelInferRequest{ModelName: tc.model, ModelVersion: tc.version, Id: "7"}
			var out inferpb.ModelInferResponse
			var header metadata.MD
			conn := w.dial(tc.host)
			err := conn.Invoke(ctx, service+"ModelInfer", in, &out, grpc.Header(&header))

			stream, failed := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
			if failed != nil {
				t.Fatal(failed)
			}
			var streamed inferpb.ModelStreamInferResponse
			if err := stream.SendMsg(in); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(&streamed); err != nil {
				t.Fatal(err)
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if tc.code != "" {
				if reason(t, err) != string(tc.code) || streamed.GetErrorMessage() == "" {
					t.Errorf("%v, in a stream %v; want %s", err, &streamed, tc.code)
				}
				return
			}
			for _, got := range []*inferpb.ModelInferResponse{&out, streamed.GetInferResponse()} {
				function, _, _ := strings.Cut(got.GetModelName(), "/")
				if at := strings.TrimSpace(function + " " + got.GetModelVersion()); err != nil || at != tc.at {
					t.Errorf("%q, %v, want %q", at, err, tc.at)
				}
			}
			if got := strings.Join(header.Get("modelserve-alias"), ","); got != tc.alias {
				t.Errorf("alias %q, want %q", got, tc.alias)
			}
		})
	}
}

// TestASplit holds that calls without a version are shared by weight, each
// where its version is served, and that what is reported of the model is of one
// version.
func TestASplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.catalog.policies = map[string]model.Policy{"text-recognize": {
		Aliases: map[string]int{"stable": 1},
		Split:   []model.Share{{Version: 2, Weight: 3}, {Version: 1, Weight: 1}, {Version: 7, Weight: 1000}}, // 7 was deleted
	}}
	w.echo("ocr")
	w.echo("pool")
	counts := map[string]int{}
	const calls = 400
	for range calls {
		got := w.do(request{method: http.MethodPost, path: "/v2/models/text-recognize/infer", key: w.admin, body: "hi"})
		if got.status != http.StatusOK || got.header.Get("Modelserve-Alias") != "" {
			t.Fatalf("%d %s %v", got.status, got.body, got.header)
		}
		counts[got.body]++
	}
	two, one := counts[`ocr POST /v2/models/text-recognize/versions/2/infer "hi"`], counts[`pool POST /v2/models/text-recognize/versions/1/infer "hi"`]
	if two+one != calls || one < calls/8 || one > calls*3/8 { // a quarter, and seven standard deviations
		t.Errorf("%v", counts)
	}
	for range 20 {
		if got := w.do(request{path: "/v2/models/text-recognize", key: w.admin}); !strings.Contains(got.body, `"version":"2"`) {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	got := w.do(request{method: http.MethodPost, path: "/v2/models/text-recognize/versions/stable/infer", key: w.admin, body: "hi"})
	if got.body != `pool POST /v2/models/text-recognize/versions/1/infer "hi"` {
		t.Errorf("past the split: %d %s", got.status, got.body)
	}
}

// TestURLsWithAVersionTakeAnAlias holds that every URL with a version takes one.
func TestURLsWithAVersionTakeAnAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPolicies)
	w.echo("pool")
	w.net.sleep("pool")
	for path, want := range map[string]string{
		"":         `"version":"1"`,
		"/ready":   `"ready":true`,
		"/stats":   `"version":"1"`,
		"/config":  "pool GET /v2/models/iris/versions/1/config",
		"?version": `"version":"1"`,
	} {
		got := w.do(request{path: "/v2/models/iris/versions/first" + path, key: w.admin})
		if got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s, want %s", path, got.status, got.body, want)
		}
	}
	if got := w.do(request{path: "/v2/models/iris", key: w.admin}); !strings.Contains(got.body, `"version":"2"`) {
		t.Errorf("without one it is that of stable: %s", got.body)
	}
}

// TestTheFunctionsAliasHeaderIsKept: only the pool knows which version answered.
func TestTheFunctionsAliasHeaderIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPolicies)
	w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Modelserve-Alias", "its-own")
		_, _ = fmt.Fprint(rw, "{}")
	})
	got := w.do(request{method: http.MethodPost, path: "/v2/models/iris/infer", key: w.admin, body: "hi"})
	if values := got.header.Values("Modelserve-Alias"); len(values) != 1 || values[0] != "its-own" {
		t.Errorf("%v", values)
	}
}

// TestALoadIsOfWhatWasJustPublished holds that a load asks anew what is
// published, as a push does that ends with one.
func TestALoadIsOfWhatWasJustPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("pool")
	w.catalog.mu.Lock()
	w.catalog.coming = map[string][]int{"iris": {4, 3}}
	w.catalog.mu.Unlock()
	if got := w.do(request{method: "POST", path: "/v2/repository/models/iris/load", key: w.admin}); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	w.catalog.mu.Lock()
	defer w.catalog.mu.Unlock()
	if len(w.catalog.models["iris"]) != 2 {
		t.Errorf("the catalog was not asked anew: %v", w.catalog.models["iris"])
	}
}

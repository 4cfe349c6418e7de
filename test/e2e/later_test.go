package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// answersLater makes each call twice, of which one is answered later: its result is what
// the other one is answered, in status, type and bytes.
func answersLater(t *testing.T, p *platform) {
	for _, call := range nativeCalls(t) {
		t.Run(call.function, func(t *testing.T) {
			t.Parallel()
			sameLater(t, p, request{host: p.Host(call.function), path: "/", body: testdata(t, call.file), header: map[string]string{"Content-Type": call.contentType}})
		})
	}
	input := infer.NewTensor("x", []int64{1, 3, 48, 192}, make([]float32, 3*48*192))
	encoded, err := infer.EncodeRequest(&infer.Request{ID: "7", Inputs: []infer.Tensor{input}, BinaryOutput: true}, func(*infer.Tensor) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	binary := map[string]string{"Content-Type": encoded.ContentType(), "Inference-Header-Content-Length": fmt.Sprint(encoded.HeaderLength())}
	for name, r := range map[string]request{
		"V2 with binary tensors": {path: "/v2/models/text-orient/infer", body: encoded.Bytes(), header: binary},
		"a bad input":            {host: p.Host("text-orient"), path: "/", body: []byte("no image"), header: map[string]string{"Content-Type": "image/png"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameLater(t, p, r)
		})
	}
	t.Run("what is refused before a run", func(t *testing.T) {
		t.Parallel()
		r := request{path: "/v2/models/nope/infer", body: []byte("{}"), header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}}
		if res := p.must(t, r); res.status != http.StatusNotFound || res.code() != "model_not_found" {
			t.Errorf("%d %s", res.status, res.body)
		}
	})
}

func sameLater(t *testing.T, p *platform, r request) {
	t.Helper()
	now := p.must(t, r)
	later := r
	later.header = map[string]string{"Prefer": "respond-async"}
	for name, value := range r.header {
		later.header[name] = value
	}
	accepted := p.must(t, later)
	at, err := url.Parse(accepted.header.Get("Location"))
	if accepted.status != http.StatusAccepted || err != nil || !at.IsAbs() || accepted.header.Get("Preference-Applied") != "respond-async" || !bytes.Contains(accepted.body, []byte(`"pipeline":null`)) {
		t.Fatalf("%d %v %s", accepted.status, accepted.header, accepted.body)
	}
	if r.host != "" && at.Host != strings.TrimPrefix(p.Domain, "default.") {
		t.Errorf("it is found at %s", at)
	}
	var result *response
	p.eventually(t, "the result is there", func() error {
		result = p.must(t, request{path: at.Path + "/result"})
		if result.status == http.StatusAccepted {
			return fmt.Errorf("%d %s", result.status, result.body)
		}
		return nil
	})
	// An error has the id of its own request.
	got, want := string(result.body), string(now.body)
	if now.status >= http.StatusBadRequest {
		got, want = strings.ReplaceAll(got, result.requestID(), ""), strings.ReplaceAll(want, now.requestID(), "")
	}
	if result.status != now.status || got != want {
		t.Errorf("%d %.300s, want %d %.300s", result.status, got, now.status, want)
	}
	for _, name := range []string{"Content-Type", "Modelserve-Model", "Modelserve-Device", "Inference-Header-Content-Length"} {
		if result.header.Get(name) != now.header.Get(name) {
			t.Errorf("%s: %q, want %q", name, result.header.Get(name), now.header.Get(name))
		}
	}
}

package calls_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/problem"
)

// TestTheVersionOfCallsIsADefinition holds that the pipeline of calls is one that parses,
// whose only step has the name that results are looked for by.
func TestTheVersionOfCallsIsADefinition(t *testing.T) {
	t.Parallel()
	v, err := calls.Version()
	if err != nil {
		t.Fatal(err)
	}
	d, err := definition.Parse(v.Canonical)
	if err != nil || len(d.Steps) != 1 || d.Steps[0].Name != calls.Step || d.Steps[0].URI == "" || v.Name != "" || v.Owner != "" || v.Digest != d.Digest() {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestHeadersOfACall holds which headers of a request come to its function.
func TestHeadersOfACall(t *testing.T) {
	t.Parallel()
	got := calls.KeptOfRequest(http.Header{
		"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}, "X-Mine": {"a", "b"}, "Ce-Type": {"t"}, "Inference-Header-Content-Length": {"7"},
		"Authorization": {"Bearer x"}, "X-Api-Key": {"x"}, "Cookie": {"x"}, "Prefer": {"respond-async"}, "Idempotency-Key": {"k"}, "Accept-Encoding": {"gzip"},
		"Connection": {"close, X-Hop"}, "X-Hop": {"x"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"5"},
		"Modelserve-Secret": {"hush"}, "Modelserve-Tenant": {"acme"}, "Modelserve-Call": {"{}"}, "Modelserve-Timeout": {"5"},
	})
	want := http.Header{
		"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}, "X-Mine": {"a", "b"}, "Ce-Type": {"t"}, "Inference-Header-Content-Length": {"7"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestARequestComesBack holds that a request is stored whole, and shown without where it
// goes.
func TestARequestComesBack(t *testing.T) {
	t.Parallel()
	r := &calls.Request{
		Order:  calls.Order{Method: "POST", URL: "http://pool.default.svc/v2/models/a/infer", Path: "/v2/models/a/infer", Repeatable: true},
		Header: http.Header{"X-Mine": {"<&>"}}, Body: &envelope.Claim{Ref: "s3://b/payloads/t/x/request-00", SHA256: strings.Repeat("0", 64), Size: 3, ContentType: "application/json"},
	}
	v, err := r.Value()
	if err != nil {
		t.Fatal(err)
	}
	back, err := calls.Of(v)
	if err != nil || cmp.Diff(r, back) != "" {
		t.Errorf("%v %s", err, cmp.Diff(r, back))
	}
	if got := back.Shown(); got != (calls.Shown{Method: "POST", Path: "/v2/models/a/infer", ContentType: "application/json", Size: 3}) {
		t.Errorf("%+v", got)
	}
	if _, err := calls.Of(envelope.Value{JSON: []byte(`{"method":"POST"}`)}); err == nil {
		t.Error("a request without a body")
	}
	r.Header.Set("X-Large", strings.Repeat("a", envelope.MaxInline))
	if _, err := r.Value(); problem.CodeOf(err) != problem.HeadersTooLarge {
		t.Error(err)
	}
}

// FuzzParseOrder holds that an order is of a URL that a call can be made to, or refused.
func FuzzParseOrder(f *testing.F) {
	f.Add(`{"method":"POST","url":"http://a/b?c=d","path":"/"}`)
	f.Add(`{"method":"POST","url":"http://a@b/","path":"/"}`)
	f.Add(`{"method":"","url":"gopher://a","path":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := calls.ParseOrder(text)
		if err != nil {
			if problem.CodeOf(err) != problem.MalformedBody {
				t.Error(err)
			}
			return
		}
		if to, err := url.Parse(o.URL); err != nil || to.Host == "" || to.User != nil || to.Scheme != "http" && to.Scheme != "https" {
			t.Errorf("%q", text)
		}
	})
}

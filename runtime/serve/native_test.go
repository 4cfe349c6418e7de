package serve_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	neturl "net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// secret is what the gateway's requests bring.
const secret = "what-only-the-gateway-and-functions-know"

// native serves the echo codec.
func native(t *testing.T, f *fake) string {
	t.Helper()
	return start(t, serve.Config{
		Backend: f, Repository: f, Function: "echo", Model: "double", Codec: echo{}, GatewaySecret: secret,
		Open: func(_ context.Context, tenant, field, ref string) (io.ReadCloser, error) {
			if ref != "s3://bucket/inputs/acme/a" || tenant != "acme" {
				return nil, problem.Invalid(field, "outside the inputs of tenant %q", tenant)
			}
			return io.NopCloser(strings.NewReader("from s3")), nil
		},
	}).URL + "/"
}

func TestNative(t *testing.T) {
	t.Parallel()
	f := newFake()
	url := native(t, f)
	for name, tc := range map[string]struct {
		contentType, body string
		want              answer
		code              problem.Code
	}{
		"answered":      {contentType: "Image/PNG; q=1", body: "abc", want: answer{ContentType: "image/png", Sum: 12, Body: "abc"}},
		"empty":         {want: answer{}},
		"a problem":     {body: "bad", code: problem.InvalidArgument},
		"a panic":       {body: "panic", code: problem.Internal},
		"not JSON":      {body: "unencodable", code: problem.Internal},
		"a wrong input": {body: "wrong name", code: problem.Internal},
		"too greedy":    {body: "greedy", code: problem.PayloadTooLarge},
		"not escaped ":  {body: "<&>", want: answer{Sum: 12, Body: "<&>"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte(tc.body), "Content-Type", tc.contentType)
			if tc.code != "" {
				e := got.failed(t, tc.code)
				if e.Detail == "" || got.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%v %s", got.header, got.body)
				}
				return
			}
			var a answer
			got.into(t, &a)
			if diff := cmp.Diff(tc.want, a); diff != "" {
				t.Error(diff)
			}
			if timing := got.header.Get("Server-Timing"); !strings.HasPrefix(timing, "queue;dur=2.000") {
				t.Errorf("Server-Timing %q is not the sum of two runs", timing)
			}
		})
	}
}

// TestACodecsMistakeIsNotItsCallers holds that what a model refuses of its own
// function is in the log, and not shown to a caller who sent nothing of it.
func TestACodecsMistakeIsNotItsCallers(t *testing.T) {
	t.Parallel()
	f := newFake()
	log := new(logtest.Log)
	url := start(t, serve.Config{
		Backend: f, Repository: f, Function: "echo", Model: "double", Codec: echo{}, Logger: slog.New(slog.NewTextHandler(log, nil)),
	}).URL + "/"
	got := send(t, http.MethodPost, url, []byte("wrong name"))
	if e := got.failed(t, problem.Internal); got.status != http.StatusInternalServerError || strings.Contains(string(got.body), "pixels") || e.RequestID == "" {
		t.Errorf("answered %d %s", got.status, got.body)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "the model refuses the inputs that the codec made") || !strings.Contains(text, "pixels") {
		t.Errorf("the log has %q", text)
	}
}

func TestNativeReleases(t *testing.T) {
	t.Parallel()
	f := newFake()
	url := native(t, f)
	for _, body := range []string{"abc", "panic", "bad"} {
		send(t, http.MethodPost, url, []byte(body))
	}
	if f.released.Load() != 2 || f.leases.Load() != 0 {
		t.Errorf("%d released, %d leases left", f.released.Load(), f.leases.Load())
	}
}

// TestQuotedHeadersOfEvents holds that a header's value that is a quoted string
// (RFC 7230, 3.2.6) is what it stands for, and that other quotes are themselves.
func TestQuotedHeadersOfEvents(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for name, tc := range map[string]struct{ sent, want string }{
		"quoted":             {`"a"`, "a"},
		"with an escape":     {`"a\"b"`, "a%22b"},
		"encoded inside":     {`"caf%C3%A9"`, "caf%C3%A9"},
		"a quote in it":      {`a"b`, "a%22b"},
		"two quoted":         {`"a" "b"`, "%22a%22%20%22b%22"},
		"only one quote":     {`"`, "%22"},
		"the last escaped":   {`"a\"`, `%22a\%22`},
		"quoted and nothing": {`""`, ""},
	} {
		got := send(t, http.MethodPost, url, []byte("abc"), "Ce-Specversion", `"1.0"`, "Ce-Id", "1", "Ce-Source", `"/tests"`, "Ce-Type", "t", "Ce-Subject", tc.sent)
		if subject := got.header.Get("Ce-Subject"); got.status != http.StatusOK || subject != tc.want {
			t.Errorf("%s: %d %q, want %q", name, got.status, subject, tc.want)
		}
	}
}

func TestCloudEventBinary(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	headers := []string{
		"Ce-Specversion", "1.0", "Ce-Id", "id%201", "Ce-Source", "/tests", "Ce-Type", "dev.modelserve.document.uploaded.v1",
		"Ce-Subject", "caf%C3%A9", "Ce-Executionid", "e-1", "Ce-Step", "detect", "Ce-Sequence", "4",
		"Ce-Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Ce-Knativeerrorcode", "500",
		"Content-Type", "image/png",
	}
	got := send(t, http.MethodPost, url, []byte("abc"), headers...)
	var a answer
	got.into(t, &a)
	if diff := cmp.Diff(answer{ContentType: "image/png", Sum: 12, Body: "abc"}, a); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Type": "dev.modelserve.echo.answered.v1", "Ce-Source": "/functions/echo",
		"Ce-Subject": "caf%C3%A9", "Ce-Executionid": "e-1", "Ce-Step": "detect", "Ce-Sequence": "4",
		"Ce-Traceparent":      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"Ce-Knativeerrorcode": "", "Content-Type": "application/json", "Modelserve-Model": "double@3;digest=sha256:abc",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
		}
	}
	again := send(t, http.MethodPost, url, []byte("abc"), headers...)
	if id := got.header.Get("Ce-Id"); id == "" || id != again.header.Get("Ce-Id") {
		t.Errorf("ids %q and %q", id, again.header.Get("Ce-Id"))
	}
}

// TestRefsAreOpenedForTheTenant holds that a native payload's ref is opened for
// the tenant that the gateway names, and for no other.
func TestRefsAreOpenedForTheTenant(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for name, tc := range map[string]struct {
		headers []string
		code    problem.Code
	}{
		"its own":                    {[]string{infer.TenantHeader, "acme", infer.SecretHeader, secret}, ""},
		"another's":                  {[]string{infer.TenantHeader, "other", infer.SecretHeader, secret}, problem.InvalidArgument},
		"nobody's":                   {[]string{infer.SecretHeader, secret}, problem.InvalidArgument},
		"its own, past the gateway":  {[]string{infer.TenantHeader, "acme"}, problem.InvalidArgument},
		"its own, by a guess":        {[]string{infer.TenantHeader, "acme", infer.SecretHeader, "a guess"}, problem.InvalidArgument},
		"its own, by an empty guess": {[]string{infer.TenantHeader, "acme", infer.SecretHeader, ""}, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte("ref s3://bucket/inputs/acme/a"), tc.headers...)
			if tc.code != "" {
				got.failed(t, tc.code)
				return
			}
			var a answer
			got.into(t, &a)
			if a.Body != "from s3" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestTheFieldOfARefIsNamed holds that an error of a ref names where it is.
func TestTheFieldOfARefIsNamed(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for name, tc := range map[string]struct {
		field, body string
		headers     []string
	}{
		"a payload's": {"ref", "ref s3://bucket/inputs/other/a", nil},
		"an event's": {
			"dataref", `{"specversion":"1.0","id":"1","source":"/tests","type":"t","datacontenttype":"image/png","dataref":"s3://bucket/inputs/other/a"}`,
			[]string{"Content-Type", "application/cloudevents+json"},
		},
		"an event's, in a header": {"dataref", "", []string{
			"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/tests", "Ce-Type", "t", "Ce-Dataref", "s3://bucket/inputs/other/a",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte(tc.body), append(tc.headers, infer.TenantHeader, "acme", infer.SecretHeader, secret)...)
			got.failed(t, problem.InvalidArgument)
			if !strings.Contains(string(got.body), `"field":"`+tc.field+`"`) {
				t.Errorf("answered %s, want the field %s", got.body, tc.field)
			}
		})
	}
}

// TestAttributesAsSDKsSendThem holds that a value that nobody percent-encoded is
// read as it is.
func TestAttributesAsSDKsSendThem(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for sent, want := range map[string]string{
		"100%":          "100%",
		"100% of it":    "100% of it",
		"%zz":           "%zz",
		"a%20b 50%":     "a b 50%",
		"caf%C3%A9":     "café",
		"café":          "café",
		"%ff":           "%ff",
		"%E2%82%AC%20x": "€ x",
	} {
		got := send(t, http.MethodPost, url, []byte("abc"), "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/tests", "Ce-Type", "t", "Ce-Subject", sent)
		back, err := neturl.PathUnescape(got.header.Get("Ce-Subject"))
		if err != nil || got.status != http.StatusOK || back != want {
			t.Errorf("%q: answered %d with %q, want %q (%s)", sent, got.status, back, want, got.body)
		}
	}
}

func TestCloudEventStructured(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	const head = `{"specversion":"1.0","id":"1","source":"/tests","type":"t","executionid":"e-1","traceparent":"00-a-b-01","sequence":4,`
	for name, tc := range map[string]struct {
		event string
		want  answer
	}{
		"json":    {head + `"data":{"image": "x"}}`, answer{ContentType: "application/json", Sum: 56, Body: `{"image": "x"}`}},
		"base64":  {head + `"datacontenttype":"image/png","data_base64":"` + base64.StdEncoding.EncodeToString([]byte("abc")) + `"}`, answer{ContentType: "image/png", Sum: 12, Body: "abc"}},
		"mark":    {"\ufeff" + head + `"data":{"image": "x"}}`, answer{ContentType: "application/json", Sum: 56, Body: `{"image": "x"}`}},
		"no text": {head + `"datacontenttype":"image/png","data":null,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte("abc")) + `"}`, answer{ContentType: "image/png", Sum: 12, Body: "abc"}},
		"text":    {head + `"datacontenttype":"text/plain","data":"abc"}`, answer{ContentType: "text/plain", Sum: 12, Body: "abc"}},
		"dataref": {head + `"datacontenttype":"image/png","dataref":"s3://bucket/inputs/acme/a"}`, answer{ContentType: "image/png", Sum: 28, Body: "from s3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte(tc.event), "Content-Type", "application/cloudevents+json; charset=utf-8", infer.TenantHeader, "acme", infer.SecretHeader, secret)
			var out map[string]json.RawMessage
			got.into(t, &out)
			var a answer
			if err := json.Unmarshal(out["data"], &a); err != nil {
				t.Fatalf("%v in %s", err, got.body)
			}
			if diff := cmp.Diff(tc.want, a); diff != "" {
				t.Error(diff)
			}
			for name, want := range map[string]string{
				"type": `"dev.modelserve.echo.answered.v1"`, "specversion": `"1.0"`, "executionid": `"e-1"`,
				"traceparent": `"00-a-b-01"`, "sequence": `4`, "dataref": "", "datacontenttype": `"application/json"`,
			} {
				if string(out[name]) != want {
					t.Errorf("%s: %s, want %s", name, out[name], want)
				}
			}
			if got.header.Get("Content-Type") != "application/cloudevents+json" {
				t.Errorf("Content-Type %q", got.header.Get("Content-Type"))
			}
		})
	}
}

func TestCloudEventRefuses(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	const structured = "application/cloudevents+json"
	for name, tc := range map[string]struct {
		body    string
		headers []string
		code    problem.Code
	}{
		"batch":                {`[]`, []string{"Content-Type", "application/cloudevents-batch+json"}, problem.UnsupportedMedia},
		"another format":       {`<x/>`, []string{"Content-Type", "application/cloudevents+xml"}, problem.UnsupportedMedia},
		"not JSON":             {`x`, []string{"Content-Type", structured}, problem.MalformedBody},
		"an array":             {`[]`, []string{"Content-Type", structured}, problem.MalformedBody},
		"duplicate":            {`{"id":"1","id":"2"}`, []string{"Content-Type", structured}, problem.MalformedBody},
		"too deep":             {`{"data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, []string{"Content-Type", structured}, problem.InvalidArgument},
		"nothing in it":        {`{}`, []string{"Content-Type", structured}, problem.InvalidArgument},
		"data twice":           {`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{},"data_base64":"YWJj"}`, []string{"Content-Type", structured}, problem.InvalidArgument},
		"data twice, first":    {`{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"YWJj","data":1}`, []string{"Content-Type", structured}, problem.InvalidArgument},
		"no id":                {`{"specversion":"1.0","source":"/a","type":"t"}`, []string{"Content-Type", structured}, problem.InvalidArgument},
		"old version":          {``, []string{"Ce-Specversion", "0.3", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t"}, problem.InvalidArgument},
		"no type":              {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a"}, problem.InvalidArgument},
		"bad time":             {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Time", "now"}, problem.InvalidArgument},
		"ref elsewhere":        {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Dataref", "s3://other/x", infer.TenantHeader, "acme", infer.SecretHeader, secret}, problem.InvalidArgument},
		"ref of another":       {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Dataref", "s3://bucket/inputs/acme/a", infer.TenantHeader, "other", infer.SecretHeader, secret}, problem.InvalidArgument},
		"ref past the gateway": {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Dataref", "s3://bucket/inputs/acme/a", infer.TenantHeader, "acme"}, problem.InvalidArgument},
		"ref of nobody":        {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Dataref", "s3://bucket/inputs/acme/a", infer.SecretHeader, secret}, problem.InvalidArgument},
		"ref by the event":     {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t", "Ce-Dataref", "s3://bucket/inputs/acme/a", "Ce-Tenant", "acme", infer.SecretHeader, secret}, problem.InvalidArgument},
		"no UTF-8":             {``, []string{"Ce-Specversion", "1.0", "Ce-Id", "\xff", "Ce-Source", "/a", "Ce-Type", "t"}, problem.InvalidArgument},
		"a codec's problem":    {`bad`, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t"}, problem.InvalidArgument},
		"a codec's panic":      {`panic`, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t"}, problem.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte(tc.body), tc.headers...)
			got.failed(t, tc.code)
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	f := newFake()
	for i, cfg := range []serve.Config{{}, {Backend: f}, {Repository: f}, {Backend: f, Repository: f, Codec: echo{}}} {
		if _, err := serve.New(cfg); err == nil {
			t.Errorf("%d: was let through", i)
		}
	}
}

// An answer to an event goes to the sink where there is one; nothing else does.
func TestCloudEventToASink(t *testing.T) {
	t.Parallel()
	f := newFake()
	var refuse atomic.Bool
	sent := make(chan event.Event, 1)
	url := start(t, serve.Config{
		Backend: f, Repository: f, Function: "echo", Model: "double", Codec: echo{},
		Sink: func(_ context.Context, answer event.Event) error {
			if refuse.Load() {
				return problem.New(problem.Unavailable, "the sink is away")
			}
			sent <- answer
			return nil
		},
	}).URL + "/"
	headers := []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/tests", "Ce-Type", "t", "Ce-Executionid", "e-1"}
	got := send(t, http.MethodPost, url, []byte("abc"), headers...)
	if got.status != http.StatusAccepted || len(got.body) > 0 || got.header.Get("Ce-Id") != "" || got.header.Get("Modelserve-Model") == "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	out := <-sent
	if out.Type() != "dev.modelserve.echo.answered.v1" || out.Extensions()["executionid"] != "e-1" || !strings.Contains(string(out.Data()), `"abc"`) {
		t.Errorf("%v", out)
	}
	refuse.Store(true)
	send(t, http.MethodPost, url, []byte("abc"), headers...).failed(t, problem.Unavailable)
	if got := send(t, http.MethodPost, url, []byte("abc")); got.status != http.StatusOK || !strings.Contains(string(got.body), `"abc"`) {
		t.Errorf("not an event: %d %s", got.status, got.body)
	}
}

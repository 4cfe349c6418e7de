package serve_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

const inferBody = `{"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2.5]}]}`

func TestInferJSON(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	for _, path := range []string{"/v2/models/double/infer", "/v2/models/double/versions/3/infer"} {
		got := send(t, http.MethodPost, ts.URL+path, []byte(inferBody), infer.TenantHeader, "acme")
		if got.status != http.StatusOK {
			t.Fatalf("%d: %s", got.status, got.body)
		}
		const want = `{"id":"7","model_name":"double","model_version":"3","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[2,5]}]}`
		if diff := cmp.Diff(want, string(got.body)); diff != "" {
			t.Error(diff)
		}
		for name, want := range map[string]string{
			"Content-Type":      "application/json",
			"Modelserve-Model":  "double@3;digest=sha256:abc",
			"Modelserve-Device": "cpu",
			"Server-Timing":     "queue;dur=1.000, batch;dur=0.000, infer;dur=2.000, load;dur=3.000",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
			}
		}
	}
	if f.tenant.Load() != "acme" || f.released.Load() != 2 || f.leases.Load() != 0 {
		t.Errorf("tenant %v, %d released, %d leases left", f.tenant.Load(), f.released.Load(), f.leases.Load())
	}
}

func TestInferBinary(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	body, err := infer.EncodeRequest(&infer.Request{
		Inputs:       []infer.Tensor{infer.NewBytes("s", []int64{1}, "odd"), infer.NewTensor("x", []int64{2, 2}, []float32{1, 2, 3, 4})},
		BinaryOutput: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", body.Bytes(), "Inference-Header-Content-Length", strconv.Itoa(body.HeaderLength()))
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %v: %s", got.status, got.header, got.body)
	}
	var header int
	if _, err := fmt.Sscan(got.header.Get("Inference-Header-Content-Length"), &header); err != nil {
		t.Fatal(err)
	}
	resp, err := infer.DecodeResponse(got.body, header, infer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	values, err := infer.Values[float32](&resp.Outputs[0])
	if diff := cmp.Diff([]float32{2, 4, 6, 8}, values); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func squeeze(t *testing.T, encoding string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if encoding == "deflate" {
		w = zlib.NewWriter(&out)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompression(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	values := make([]float32, 2000)
	body, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1000, 2}, values)}, BinaryOutput: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"gzip", "deflate"} {
		got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", squeeze(t, encoding, body.Bytes()),
			"Inference-Header-Content-Length", strconv.Itoa(body.HeaderLength()), "Content-Encoding", encoding, "Accept-Encoding", encoding)
		if got.status != http.StatusOK || got.header.Get("Content-Encoding") != encoding {
			t.Fatalf("%s: %d %v %s", encoding, got.status, got.header, got.body)
		}
		var r io.Reader
		if r, err = gzip.NewReader(bytes.NewReader(got.body)); encoding == "deflate" {
			r, err = zlib.NewReader(bytes.NewReader(got.body))
		}
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		var header int
		if _, err := fmt.Sscan(got.header.Get("Inference-Header-Content-Length"), &header); err != nil {
			t.Fatal(err)
		}
		if _, failed := infer.DecodeResponse(plain, header, infer.Limits{}); failed != nil || err != nil {
			t.Error(failed, err)
		}
	}
}

func TestInferRefuses(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 1 << 20}})
	bomb := squeeze(t, "gzip", make([]byte, 8<<20))
	zbomb := squeeze(t, "deflate", make([]byte, 8<<20))
	good := squeeze(t, "gzip", []byte(inferBody))
	for name, tc := range map[string]struct {
		path    string
		body    []byte
		headers []string
		code    problem.Code
		field   string
	}{
		"unknown model":        {path: "nope/infer", code: problem.ModelNotFound},
		"unknown version":      {path: "double/versions/9/infer", code: problem.ModelNotFound},
		"failed model":         {path: "bad/infer", code: problem.ModelUnavailable},
		"a path for a name":    {path: "..%2f..%2fetc%2fpasswd/infer", code: problem.InvalidArgument, field: "model_name"},
		"upper case":           {path: "Double/infer", code: problem.InvalidArgument, field: "model_name"},
		"version is no label":  {path: "double/versions/Latest/infer", code: problem.InvalidArgument, field: "model_version"},
		"version zero":         {path: "double/versions/01/infer", code: problem.InvalidArgument, field: "model_version"},
		"dots":                 {path: "../models/double/infer", code: problem.NotFound},
		"two slashes":          {path: "/double/infer", code: problem.NotFound},
		"malformed":            {body: []byte(`{`), code: problem.MalformedBody},
		"empty":                {body: []byte{}, code: problem.MalformedBody},
		"NaN":                  {body: []byte(strings.Replace(inferBody, "2.5", "NaN", 1)), code: problem.MalformedBody, field: "inputs[0].data[1]"},
		"data type":            {body: []byte(strings.Replace(inferBody, "FP32", "FP64", 1)), code: problem.InvalidArgument, field: "inputs[0].datatype"},
		"shape":                {body: []byte(strings.Replace(inferBody, "[1,2]", "[2,1]", 1)), code: problem.InvalidArgument, field: "inputs[0].shape"},
		"header not a number":  {headers: []string{"Inference-Header-Content-Length", "x"}, code: problem.InvalidArgument, field: "Inference-Header-Content-Length"},
		"header negative":      {headers: []string{"Inference-Header-Content-Length", "-1"}, code: problem.InvalidArgument, field: "Inference-Header-Content-Length"},
		"header past the body": {headers: []string{"Inference-Header-Content-Length", "1000000"}, code: problem.MalformedBody},
		"too large":            {body: make([]byte, 1<<20+1), code: problem.PayloadTooLarge},
		"gzip bomb":            {body: bomb, headers: []string{"Content-Encoding", "gzip"}, code: problem.PayloadTooLarge},
		"deflate bomb":         {body: zbomb, headers: []string{"Content-Encoding", "deflate"}, code: problem.PayloadTooLarge},
		"not gzip":             {headers: []string{"Content-Encoding", "gzip"}, code: problem.MalformedBody},
		"not deflate":          {headers: []string{"Content-Encoding", "deflate"}, code: problem.MalformedBody},
		"gzip cut short":       {body: good[:len(good)-4], headers: []string{"Content-Encoding", "gzip"}, code: problem.MalformedBody},
		"gzip of nothing":      {body: []byte{}, headers: []string{"Content-Encoding", "gzip"}, code: problem.MalformedBody},
		"deflate and more":     {body: append(squeeze(t, "deflate", []byte(inferBody)), 'x'), headers: []string{"Content-Encoding", "deflate"}, code: problem.MalformedBody},
		"brotli":               {headers: []string{"Content-Encoding", "br"}, code: problem.UnsupportedMedia},
		"twice encoded":        {headers: []string{"Content-Encoding", "gzip, gzip"}, code: problem.UnsupportedMedia},
		"panic":                {path: "panics/infer", code: problem.Internal},
		"unknown error":        {path: "broken/infer", code: problem.Internal},
		"timeout parameter":    {path: "slow/infer", body: []byte(strings.Replace(inferBody, `"id":"7"`, `"parameters":{"timeout":1000}`, 1)), code: problem.DeadlineExceeded},
		"timeout header":       {path: "slow/infer", headers: []string{infer.TimeoutHeader, "1"}, code: problem.DeadlineExceeded},
		"timeout not a number": {headers: []string{infer.TimeoutHeader, "1s"}, code: problem.InvalidArgument, field: infer.TimeoutHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.path == "" {
				tc.path = "double/infer"
			}
			if tc.body == nil {
				tc.body = []byte(inferBody)
			}
			got := send(t, http.MethodPost, ts.URL+"/v2/models/"+tc.path, tc.body, tc.headers...)
			e := got.failed(t, tc.code)
			if e.Error == "" || strings.Contains(e.Error, "secret") {
				t.Errorf("error %q", e.Error)
			}
			if tc.field != "" && (len(e.Errors) == 0 || e.Errors[0].Field != tc.field) {
				t.Errorf("errors %+v, want %s", e.Errors, tc.field)
			}
		})
	}
	t.Run("and answers the next", func(t *testing.T) {
		if got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", []byte(inferBody)); got.status != http.StatusOK {
			t.Errorf("%d: %s", got.status, got.body)
		}
	})
}

// raw writes a request's bytes to a server and returns the answer.
func raw(t *testing.T, ts string, request string, halfClose bool) reply {
	t.Helper()
	u, err := url.Parse(ts)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && halfClose {
		if err := tcp.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, body}
}

func TestBodiesUnlikeTheirHeaders(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{BodyTimeout: 50 * time.Millisecond}})
	const head = "POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
	t.Run("shorter than announced", func(t *testing.T) {
		t.Parallel()
		raw(t, ts.URL, head+inferBody, true).failed(t, problem.MalformedBody)
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		raw(t, ts.URL, head+inferBody, false).failed(t, problem.RequestTimeout)
	})
	t.Run("chunks cut short", func(t *testing.T) {
		t.Parallel()
		raw(t, ts.URL, "POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"inp", true).failed(t, problem.MalformedBody)
	})
	t.Run("longer than its header announces", func(t *testing.T) {
		t.Parallel()
		body := []byte(inferBody + "\x00\x00\x00\x00")
		send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", body,
			"Inference-Header-Content-Length", strconv.Itoa(len(inferBody))).failed(t, problem.MalformedBody)
	})
}

func TestMemoryBudget(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 20_000, Inflight: 240_000, InflightWait: time.Millisecond}})
	body := func(n int) []byte {
		return []byte(strings.Replace(inferBody, `"7"`, `"`+strings.Repeat("7", n)+`"`, 1))
	}
	// Four of 18,000 bytes, and as much for their ids, do not fit into the half of a
	// tenant: three run and wait, one is refused.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, ts.URL+"/v2/models/slow/infer", bytes.NewReader(body(18_000)))
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
	}
	for range 3 {
		<-f.started
	}
	got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", body(18_000))
	got.failed(t, problem.Overloaded)
	if got.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
	}
	cancel() // the clients leave: their runs end, and the memory is free
	for range 3 {
		<-done
	}
	for {
		if got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", body(18_000)); got.status == http.StatusOK {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the memory never came back")
		}
	}
}

func TestModelCalls(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Version: "1.2"})
	for name, tc := range map[string]struct {
		method, path, body string
		want               string
	}{
		"server":        {path: "/v2", want: `{"name":"modelserve","version":"1.2","extensions":["binary_tensor_data","model_repository","model_configuration","statistics","schedule_policy"]}`},
		"live":          {path: "/v2/health/live", want: `{"live":true}`},
		"ready":         {path: "/v2/health/ready", want: `{"ready":true}`},
		"healthz":       {path: "/healthz", want: `{"state":"ready"}`},
		"readyz":        {path: "/readyz", want: `{"state":"ready"}`},
		"metadata":      {path: "/v2/models/double", want: `{"name":"double","versions":["3","2"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]},{"name":"s","datatype":"BYTES","shape":[-1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,2]}],"parameters":{"device":"cpu","digest":"sha256:abc","version":"3"}}`},
		"model ready":   {path: "/v2/models/double/versions/3/ready", want: `{"name":"double","ready":true}`},
		"index":         {path: "/v2/repository/index", want: `[{"name":"bad","version":"1","state":"UNAVAILABLE","reason":"truncated"},{"name":"double","version":"3","state":"READY"}]`},
		"index, POST":   {method: http.MethodPost, path: "/v2/repository/index", body: `{"ready":true}`, want: `[{"name":"double","version":"3","state":"READY"}]`},
		"index, nobody": {method: http.MethodPost, path: "/v2/repository/index", want: `[{"name":"bad","version":"1","state":"UNAVAILABLE","reason":"truncated"},{"name":"double","version":"3","state":"READY"}]`},
		"load":          {method: http.MethodPost, path: "/v2/repository/models/double/load", body: `{}`, want: `{}`},
		"unload":        {method: http.MethodPost, path: "/v2/repository/models/double/unload", body: `{"parameters":{"unload_dependents":false}}`, want: `{}`},
		"config":        {path: "/v2/models/double/config", want: `{"name":"double","platform":"onnxruntime_onnx","backend":"onnxruntime","version_policy":{"all":{}},"max_batch_size":0,"input":[{"name":"x","data_type":"TYPE_FP32","dims":[-1,2]},{"name":"s","data_type":"TYPE_STRING","dims":[-1],"optional":true}],"output":[{"name":"y","data_type":"TYPE_FP32","dims":[-1,2]}],"instance_group":[{"name":"double","kind":"KIND_CPU","count":1}],"default_model_filename":"model.onnx","parameters":{"digest":{"string_value":"sha256:abc"}}}`},
		"stats":         {path: "/v2/models/double/stats", want: statsWant},
		"all stats":     {path: "/v2/models/stats", want: statsWant},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.method == "" {
				tc.method = http.MethodGet
			}
			got := send(t, tc.method, ts.URL+tc.path, []byte(tc.body))
			if got.status != http.StatusOK {
				t.Errorf("status %d", got.status)
			}
			if diff := cmp.Diff(tc.want+"\n", string(got.body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const statsWant = `{"model_stats":[{"name":"double","version":"3","last_inference":1700000000000,"inference_count":5,"execution_count":3,` +
	`"inference_stats":{"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0},"compute_infer":{"count":0,"ns":0},` +
	`"compute_input":{"count":0,"ns":0},"compute_output":{"count":0,"ns":0},"fail":{"count":0,"ns":0},"queue":{"count":0,"ns":0},"success":{"count":5,"ns":7}},` +
	`"response_stats":{},"batch_stats":[{"batch_size":2,"compute_input":{"count":0,"ns":0},"compute_infer":{"count":1,"ns":4},"compute_output":{"count":0,"ns":0}}],"memory_usage":[]}]}`

func TestCallsRefused(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	for name, tc := range map[string]struct {
		method, path, body string
		code               problem.Code
	}{
		"nothing there":       {http.MethodGet, "/nope", "", problem.NotFound},
		"nothing of a model":  {http.MethodGet, "/v2/models/double/foo", "", problem.NotFound},
		"a slash behind":      {http.MethodPost, "/v2/models/double/infer/", "", problem.NotFound},
		"nothing in v2":       {http.MethodGet, "/v2/nope", "", problem.NotFound},
		"method":              {http.MethodGet, "/v2/models/double/infer", "", problem.MethodNotAllowed},
		"method, root":        {http.MethodDelete, "/", "", problem.MethodNotAllowed},
		"no codec":            {http.MethodPost, "/", "x", problem.NotFound},
		"model":               {http.MethodGet, "/v2/models/nope", "", problem.ModelNotFound},
		"ready":               {http.MethodGet, "/v2/models/nope/ready", "", problem.ModelNotFound},
		"not ready":           {http.MethodGet, "/v2/models/bad/ready", "", problem.ModelUnavailable},
		"stats":               {http.MethodGet, "/v2/models/nope/stats", "", problem.ModelNotFound},
		"stats, name":         {http.MethodGet, "/v2/models/No/stats", "", problem.InvalidArgument},
		"load":                {http.MethodPost, "/v2/repository/models/nope/load", "", problem.ModelNotFound},
		"load, name":          {http.MethodPost, "/v2/repository/models/a%2Fb/load", "", problem.InvalidArgument},
		"load, parameters":    {http.MethodPost, "/v2/repository/models/double/load", `{"parameters":{"config":"{}"}}`, problem.Unimplemented},
		"load, body":          {http.MethodPost, "/v2/repository/models/double/load", `[`, problem.MalformedBody},
		"load, duplicate":     {http.MethodPost, "/v2/repository/models/double/load", `{"parameters":{},"parameters":{}}`, problem.MalformedBody},
		"load, large":         {http.MethodPost, "/v2/repository/models/double/load", strings.Repeat(" ", 1<<17), problem.PayloadTooLarge},
		"shared memory":       {http.MethodGet, "/v2/systemsharedmemory/status", "", problem.Unimplemented},
		"logging":             {http.MethodPost, "/v2/logging", "", problem.Unimplemented},
		"gRPC-Web":            {http.MethodPost, "/inference.GRPCInferenceService/ServerLive", "", problem.NotFound},
		"gRPC over HTTP/1.1":  {http.MethodPost, "/inference.GRPCInferenceService/ServerLive", "\x00\x00\x00\x00\x00", problem.UnsupportedMedia},
		"connect's own":       {http.MethodPost, "/inference.GRPCInferenceService/ServerLive", "{}", problem.NotFound},
		"a very long address": {http.MethodGet, "/v2/models/" + strings.Repeat("a", 4000), "", problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := []string{"Content-Type", "application/json"}
			switch name {
			case "gRPC-Web":
				headers[1] = "application/grpc-web+proto"
			case "gRPC over HTTP/1.1":
				headers[1] = "application/grpc"
			}
			got := send(t, tc.method, ts.URL+tc.path, []byte(tc.body), headers...)
			e := got.failed(t, tc.code)
			if strings.HasSuffix(tc.path, "infer/") && !strings.Contains(e.Error, "leave out the slash") {
				t.Errorf("the slash is not named: %s", got.body)
			}
			if inV2 := strings.HasPrefix(tc.path, "/v2"); inV2 != (e.Error != "") || inV2 == (e.Detail != "") {
				t.Errorf("not the form of its URL: %s", got.body)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFake()
	health := new(serve.Health)
	ts := start(t, serve.Config{Backend: f, Repository: f, Health: health})
	check := func(status int, want string) {
		t.Helper()
		got := send(t, http.MethodGet, ts.URL+"/readyz", nil)
		if got.status != status || string(got.body) != want+"\n" {
			t.Errorf("%d %s, want %d %s", got.status, got.body, status, want)
		}
		if got := send(t, http.MethodGet, ts.URL+"/v2/health/ready", nil); got.status != status {
			t.Errorf("V2 ready: %d", got.status)
		}
		if got := send(t, http.MethodGet, ts.URL+"/healthz", nil); got.status != http.StatusOK {
			t.Errorf("live: %d", got.status)
		}
	}
	check(200, `{"state":"ready"}`)
	health.Drain()
	check(503, `{"state":"draining","reason":"the process is stopping"}`)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFake()
	registry := prometheus.NewRegistry()
	ts := start(t, serve.Config{Backend: f, Repository: f, Registerer: registry})
	send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", []byte(inferBody))
	for i := range 5 {
		send(t, http.MethodPost, fmt.Sprintf("%s/v2/models/unknown-%d/infer", ts.URL, i), []byte(inferBody))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "modelserve_requests_total" {
				labels := make([]string, 0, len(m.GetLabel()))
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				got[strings.Join(labels, " ")] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{
		"code=ok model=double protocol=rest version=3":       1,
		"code=model_not_found model= protocol=rest version=": 5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := serve.New(serve.Config{Backend: f, Repository: f, Registerer: registry}); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func TestExemplars(t *testing.T) {
	t.Parallel()
	f := newFake()
	registry := prometheus.NewRegistry()
	server, err := serve.New(serve.Config{Backend: f, Repository: f, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	r := httptest.NewRequestWithContext(trace.ContextWithSpanContext(t.Context(), span), http.MethodPost, "/v2/models/double/infer", strings.NewReader(inferBody))
	server.ServeHTTP(httptest.NewRecorder(), r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "modelserve_request_duration_seconds" {
			continue
		}
		for _, bucket := range family.GetMetric()[0].GetHistogram().GetBucket() {
			if e := bucket.GetExemplar(); e != nil && e.GetLabel()[0].GetValue() == span.TraceID().String() {
				return
			}
		}
	}
	t.Error("no exemplar holds the trace's id")
}

func TestClientLeaves(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ts.URL+"/v2/models/slow/infer", strings.NewReader(inferBody))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	<-f.started
	cancel()
	if err := <-done; err == nil {
		t.Error("was answered")
	}
	ts.wait() // for the handler, which waits for the run
	if n := f.leases.Load(); n != 0 {
		t.Errorf("%d leases left", n)
	}
}

package gateway_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestTheLevelShowsWhoseFaultItIs holds that what is the caller's fault is a warning, by
// every protocol, and what is ours an error.
func TestTheLevelShowsWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail           error // the function's; nil is none
		model, key     string
		code           codes.Code
		level, problem string // of the log line
	}{
		"a bad request":        {problem.Invalid("inputs[0].shape", "expected [1,4]"), "iris", "admin", codes.InvalidArgument, "WARN", "invalid_argument"},
		"a name that is none":  {nil, "a/b", "admin", codes.InvalidArgument, "WARN", "invalid_argument"},
		"a model that is none": {nil, "nope", "admin", codes.NotFound, "WARN", "model_not_found"},
		"too large":            {problem.New(problem.PayloadTooLarge, "too many elements"), "iris", "admin", codes.ResourceExhausted, "WARN", "payload_too_large"},
		"no right to it":       {nil, "secret-model", "narrow", codes.PermissionDenied, "WARN", "permission_denied"},
		"the function's fault": {errors.New("a bug"), "iris", "admin", codes.Internal, "ERROR", "internal"},
		"it does not load":     {problem.New(problem.ModelUnavailable, "model.onnx: sha256 differs"), "iris", "admin", codes.Unavailable, "ERROR", "model_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			key := map[string]string{"admin": w.admin, "narrow": w.key(auth.Infer("iris"))}[tc.key]
			w.grpcFunction("pool").fail = tc.fail
			err := w.dial("").Invoke(with(t, "x-api-key", key), service+"ModelInfer",
				&inferpb.ModelInferRequest{ModelName: tc.model}, &inferpb.ModelInferResponse{})
			if status.Code(err) != tc.code {
				t.Errorf("answered %v, want %v", err, tc.code)
			}
			w.server.Close() // the line is written by then
			log := w.log.String()
			if !strings.Contains(log, `"level":"`+tc.level+`"`) || !strings.Contains(log, `"code":"`+tc.problem+`"`) {
				t.Errorf("want %s and %s in\n%s", tc.level, tc.problem, log)
			}
		})
	}
}

// TestAskingForWhatIsNotServedIsAWarning holds it of procedures and of extensions,
// the gateway's and those of functions.
func TestAskingForWhatIsNotServedIsAWarning(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(t *testing.T, w *world) error{
		"an unknown procedure": func(t *testing.T, w *world) error {
			return w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"TraceSetting",
				&inferpb.ModelInferRequest{}, &inferpb.ModelInferResponse{})
		},
		"an extension": func(t *testing.T, w *world) error {
			return w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"RepositoryModelLoad",
				&inferpb.RepositoryModelLoadRequest{ModelName: "iris", Parameters: map[string]*inferpb.ModelRepositoryParameter{"config": {}}},
				&inferpb.RepositoryModelLoadResponse{})
		},
		"the function's answer": func(t *testing.T, w *world) error {
			w.grpcFunction("pool").fail = problem.New(problem.Unimplemented, "sequences are not served")
			return w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer",
				&inferpb.ModelInferRequest{ModelName: "iris"}, &inferpb.ModelInferResponse{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := call(t, w); status.Code(err) != codes.Unimplemented {
				t.Errorf("answered %v", err)
			}
			w.server.Close() // the line is written by then
			if log := w.log.String(); !strings.Contains(log, `"level":"WARN"`) || strings.Contains(log, `"level":"ERROR"`) {
				t.Errorf("want a warning alone in\n%s", log)
			}
		})
	}
}

// TestAFunctionsErrorIsAWarningOrAnError holds that a line's level shows how
// a function answered, with the error's code and sentence where it is one of ours.
func TestAFunctionsErrorIsAWarningOrAnError(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		host, media, body string
		status            int
		level             string
		want, not         []string // of the line
	}{
		"a bad request": {
			"", "application/json", `{"error": "inputs: expected at least one", "code": "invalid_argument"}`, 400, "WARN",
			[]string{`"code":"invalid_argument"`, `"error":"inputs: expected at least one"`},
			nil,
		},
		"a fault": {"", "application/json", `{"error": "internal error", "code": "internal"}`, 500, "ERROR", []string{`"code":"internal"`}, nil},
		"a problem": {
			otherHost, "application/problem+json; charset=utf-8", `{"title": "x", "detail": "too many", "code": "overloaded"}`, 429, "WARN",
			[]string{`"code":"overloaded"`, `"error":"too many"`},
			nil,
		},
		"a key in it":       {"", "application/json", `{"error": "got ms_1_hush", "code": "invalid_argument"}`, 400, "WARN", []string{`"error":"got ms_…"`}, []string{"hush"}},
		"another's code":    {otherHost, "application/json", `{"error": "hush", "code": "theirs"}`, 404, "WARN", nil, []string{`"code"`, "hush"}},
		"another's text":    {otherHost, "text/plain", "hush", 404, "WARN", nil, []string{`"code"`, "hush"}},
		"another's fault":   {otherHost, "text/html", "hush", 502, "ERROR", nil, []string{`"code"`, "hush"}},
		"no JSON":           {"", "application/json", `{"error`, 400, "WARN", nil, []string{`"code"`}},
		"a code of another": {"", "application/json", `{"error": "hush", "code": "not_found"}`, 400, "WARN", nil, []string{`"code"`}},
		"no error":          {"", "application/json", `{"error": "hush", "code": "not_found"}`, 200, "INFO", nil, []string{`"code"`}},
		"one of much text":  {"", "application/json", `{"error": "` + strings.Repeat("x", 100000) + `", "code": "not_found"}`, 404, "WARN", nil, []string{`"code"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.host != "" {
				if err := w.routes.Replace([]route.Function{{Name: "hello", Namespace: "default", URL: "http://hello.default.svc.cluster.local"}}); err != nil {
					t.Fatal(err)
				}
			}
			q := request{method: "POST", host: tc.host, path: "/v2/models/iris/infer", key: w.admin, body: "{}"}
			function := "pool"
			if tc.host != "" {
				function, q.path = "hello", "/"
			}
			w.serve(function, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				rw.Header().Set("Content-Type", tc.media)
				rw.Header().Set("Content-Length", strconv.Itoa(len(tc.body)))
				rw.WriteHeader(tc.status)
				_, _ = io.WriteString(rw, tc.body)
			})
			if got := w.do(q); got.status != tc.status || got.body != tc.body {
				t.Errorf("answered %d %s", got.status, got.body)
			}
			w.server.Close() // the line is written by then
			log := w.log.String()
			for _, want := range append(tc.want, `"level":"`+tc.level+`"`) {
				if !strings.Contains(log, want) {
					t.Errorf("no %s in\n%s", want, log)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(log, not) {
					t.Errorf("%s in\n%s", not, log)
				}
			}
		})
	}
}

// TestNoPathIsInTheLog holds that what stands in a path that is refused goes
// to the caller alone.
func TestNoPathIsInTheLog(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/v2/models/ms_hush/infer", "/v2/models/hush!/infer", "/v2/models/a%2Fhush/infer",
		"/v1/hush%00", "/hush;x", "/x/../hush", "/hush%zz",
	} {
		w := newWorld(t)
		conn := w.raw()
		conn.send("POST %s HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path, w.admin)
		if answer, err := io.ReadAll(conn.conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
			t.Errorf("%s: %v\n%s", path, err, answer)
		}
		w.server.Close()
		if log := w.log.String(); strings.Contains(log, "hush") {
			t.Errorf("%s is in\n%s", path, log)
		}
	}
}

// TestARefusedCallNamesItsFunction holds that the function whose call was
// refused is in the log and in the metric.
func TestARefusedCallNamesItsFunction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(request{method: "POST", host: "ocr.default.localhost", path: "/", body: "x"})
	w.do(request{method: "POST", host: "ocr.default.localhost", path: "/", key: w.key(auth.Infer("iris")), body: "x"})
	w.server.Close()
	if n := strings.Count(w.log.String(), `"function":"ocr"`); n != 2 {
		t.Errorf("%d lines with the function:\n%s", n, w.log.String())
	}
	families, err := w.tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "modelserve_gateway_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			counted[labels["function"]+" "+labels["status"]] += m.GetCounter().GetValue()
		}
	}
	for _, code := range []string{"401", "404"} {
		if counted["ocr "+code] != 1 {
			t.Errorf("counted %v", counted)
		}
	}
}

// TestAccessLog holds what a line has of a request, and that there is one for
// each but probes.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Server-Timing", "queue;dur=1.000, infer;dur=2.000")
		rw.Header().Add("Server-Timing", "start;dur=3.000")
	})
	w.grpcFunction("ocr")
	w.do(request{method: "POST", path: "/v2/models/iris/infer?hush=1", key: w.admin, body: "hush"})
	w.do(request{method: "POST", path: "/v2/models/iris/versions/2/infer", key: w.key(auth.Infer("other")), body: "x"})
	if err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer",
		&inferpb.ModelInferRequest{ModelName: "text-recognize"}, &inferpb.ModelInferResponse{}); err != nil {
		t.Fatal(err)
	}
	w.do(request{path: "/healthz"})
	w.do(request{path: "/readyz"})
	w.server.Close()
	log := w.log.String()
	if n := strings.Count(log, `"msg":"request"`); n != 3 || strings.Contains(log, "hush") {
		t.Errorf("%d lines for 3 requests:\n%s", n, log)
	}
	// A line may come after its answer, and so after the next request's.
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, want := range [][]string{
		{`"status":"200"`, `"level":"INFO"`, `"tenant":"default"`, `"function":"pool"`, `"model":"iris"`, `"version":"3"`, `"timing":"queue;dur=1.000, infer;dur=2.000, start;dur=3.000"`, `"ms":`},
		{`"status":"403"`, `"level":"WARN"`, `"tenant":"default"`, `"model":"iris"`, `"version":"2"`},
		{`"status":"ok"`, `"level":"INFO"`, `"function":"ocr"`, `"model":"text-recognize"`, `"version":"2"`},
	} {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, want[0]) })
		if at < 0 {
			t.Errorf("no line with %s:\n%s", want[0], log)
			continue
		}
		for _, attribute := range want[1:] {
			if !strings.Contains(lines[at], attribute) {
				t.Errorf("no %s in %s", attribute, lines[at])
			}
		}
	}
}

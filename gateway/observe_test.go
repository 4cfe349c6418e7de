package gateway_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestWhatALevelSays holds that what is the caller's fault is a warning, by
// every protocol, and what is ours an error.
func TestWhatALevelSays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail        error // the function's; nil is none
		model, key  string
		code        codes.Code
		level, word string // of the log line
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
			if !strings.Contains(log, `"level":"`+tc.level+`"`) || !strings.Contains(log, `"code":"`+tc.word+`"`) {
				t.Errorf("want %s and %s in\n%s", tc.level, tc.word, log)
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
		"the function's word": func(t *testing.T, w *world) error {
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
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		if counted["ocr "+map[int]string{401: "401", 403: "403"}[code]] != 1 {
			t.Errorf("counted %v", counted)
		}
	}
}

// TestAccessLog holds what a line tells of a request, and that there is one for
// each but probes.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Server-Timing", "queue;dur=1.000, infer;dur=2.000")
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
		{`"status":"200"`, `"level":"INFO"`, `"tenant":"default"`, `"function":"pool"`, `"model":"iris"`, `"version":"3"`, `"timing":"queue;dur=1.000, infer;dur=2.000`, `"ms":`},
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

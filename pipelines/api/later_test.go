package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// order is what the gateway sends of a call to a function.
func order(t *testing.T, url, path string, repeatable bool) string {
	t.Helper()
	text, err := json.Marshal(calls.Order{Method: "POST", URL: url + path, Path: path, Repeatable: repeatable})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *service) later(order, body string, header ...string) contract.Execution {
	s.t.Helper()
	got := s.do("POST", contract.CallsPath, body, append([]string{contract.CallHeader, order}, header...)...)
	if got.status != http.StatusAccepted || got.header.Get("Preference-Applied") != "respond-async" {
		s.t.Fatalf("%d %s", got.status, got.body)
	}
	return read[contract.Execution](s.t, got)
}

// make makes the call of an execution once.
func (s *service) make(caller *calls.Caller, id string) {
	s.t.Helper()
	b := s.sent(id)
	value, record, failure := caller.Call(s.t.Context(), s.load(id).Execution, b.Epoch)
	s.decide(id, func(st *decide.State) (execution.Change, error) {
		answer := execution.Answer{Segment: b.Segment, Epoch: b.Epoch}
		if failure != nil {
			failure.Answer = answer
			return st.Version.Machine.Failed(st.Execution, st.Branches, *failure, said{}, st.Now)
		}
		record.Step, record.Epoch, record.StartedAt, record.FinishedAt = calls.Step, b.Epoch, st.Now, st.Now
		answer.Values, answer.Records = map[string]envelope.Value{calls.Step: value}, []envelope.Record{record}
		return st.Version.Machine.Answered(st.Execution, st.Branches, answer, said{value}, st.Now)
	})
}

// TestACallIsAnsweredLater holds that the function gets the request as it came, and that
// the result is its answer to the byte.
func TestACallIsAnsweredLater(t *testing.T) {
	t.Parallel()
	s := newService(t)
	var got *http.Request
	var body string
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Inference-Header-Content-Length", "2")
		w.Header().Set("Modelserve-Model", "iris@2;digest=sha256:aa")
		w.Header().Set("Modelserve-Cost", "rows=3, compute_ms=1.5")
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, "{}\x00\x01")
	}))
	t.Cleanup(function.Close)
	x := s.later(order(t, function.URL, "/v2/models/iris/versions/2/infer?a=b", true), "\x1f\x8bbytes", "Content-Type", "application/octet-stream",
		"Content-Encoding", "gzip", "Inference-Header-Content-Length", "7", "Prefer", "respond-async", "Accept-Encoding", "gzip", "X-Mine", "1")
	if x.Pipeline != nil || x.Status != contract.Queued || len(x.Steps) != 1 || x.Steps[0].Name != "call" || strings.Contains(string(x.Input), function.URL) {
		t.Errorf("%+v %s", x, x.Input)
	}
	if got := s.do("GET", "/v1/executions/"+x.ID+"/result", ""); got.status != http.StatusAccepted || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.begin(x.ID)
	s.make(calls.NewCaller(calls.Config{Secret: "hush", MaxAnswer: 1 << 20}, http.DefaultTransport, s.values), x.ID)
	if got == nil || got.RequestURI != "/v2/models/iris/versions/2/infer?a=b" || body != "\x1f\x8bbytes" {
		t.Fatalf("%v %q", got, body)
	}
	for name, want := range map[string]string{
		"Content-Encoding": "gzip", "Inference-Header-Content-Length": "7", "X-Mine": "1", "Accept-Encoding": "identity",
		"Modelserve-Tenant": "acme", "Modelserve-Secret": "hush", "Modelserve-Call": "", "Prefer": "", "X-Request-Id": x.ID,
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	result := s.do("GET", "/v1/executions/"+x.ID+"/result", "")
	if result.status != http.StatusOK || result.body != "{}\x00\x01" || result.header.Get("Content-Type") != "application/octet-stream" ||
		result.header.Get("Inference-Header-Content-Length") != "2" || result.header.Get("Modelserve-Model") != "iris@2;digest=sha256:aa" || result.header.Get("Set-Cookie")+result.header.Get("Modelserve-Cost") != "" {
		t.Errorf("%d %v %q", result.status, result.header, result.body)
	}
	shown := read[contract.Execution](t, s.do("GET", "/v1/executions/"+x.ID, ""))
	if shown.Status != contract.Succeeded || shown.Steps[0].Model != "iris@2;digest=sha256:aa" || shown.Steps[0].ComputeMS != 1.5 || !strings.Contains(string(shown.Output), `"status":200`) {
		t.Errorf("%+v %s", shown, shown.Output)
	}
	if list := read[contract.Executions](t, s.do("GET", "/v1/executions", "")); len(list.Executions) != 1 || list.Executions[0].Pipeline != nil {
		t.Errorf("%+v", list)
	}
	if got := s.as("globex").do("GET", "/v1/executions/"+x.ID+"/result", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("DELETE", "/v1/executions/"+x.ID, ""); got.status != http.StatusNoContent || len(s.objects.Keys()) != 0 {
		t.Errorf("%d %s, %v", got.status, got.body, s.objects.Keys())
	}
}

// TestACallThatFails holds which failures are tried again, that the result of one that
// failed is the function's last answer, and that it is a dead letter which can be
// replayed.
func TestACallThatFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		repeatable bool
		statuses   []int // of the function's answers; 0 breaks off
		status     contract.Status
		result     int
		calls      int32
	}{
		"a bad input":                       {true, []int{400}, contract.Failed, 400, 1},
		"well the second time":              {true, []int{500, 200}, contract.Succeeded, 200, 2},
		"never":                             {true, []int{500, 500, 502}, contract.Failed, 502, 3},
		"broken off, and well":              {true, []int{0, 200}, contract.Succeeded, 200, 2},
		"what may run once":                 {false, []int{500}, contract.Failed, 500, 1},
		"what may run once, and broke":      {false, []int{0}, contract.Failed, 502, 1},
		"what may run once, and was turned": {false, []int{503, 200}, contract.Succeeded, 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			var n atomic.Int32
			function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status := tc.statuses[min(int(n.Add(1)), len(tc.statuses))-1]
				if status == 0 {
					panic(http.ErrAbortHandler)
				}
				if status >= 400 {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(status)
					_, _ = io.WriteString(w, `{"error":"no `+http.StatusText(status)+`","code":"x"}`)
					return
				}
				_, _ = io.WriteString(w, "well")
			}))
			t.Cleanup(function.Close)
			caller := calls.NewCaller(calls.Config{MaxAnswer: 1 << 20}, &http.Transport{DisableKeepAlives: true}, s.values)
			x := s.later(order(t, function.URL, "/v2/models/iris/infer", tc.repeatable), "in")
			s.begin(x.ID)
			for range 5 {
				if s.load(x.ID).Execution.Status.Ended() {
					break
				}
				s.make(caller, x.ID)
			}
			shown := read[contract.Execution](t, s.do("GET", "/v1/executions/"+x.ID, ""))
			result := s.do("GET", "/v1/executions/"+x.ID+"/result", "")
			if shown.Status != tc.status || result.status != tc.result || n.Load() != tc.calls {
				t.Fatalf("%s, %d %s, after %d calls; %+v", shown.Status, result.status, result.body, n.Load(), shown.Error)
			}
			if tc.status == contract.Succeeded {
				return
			}
			if last := tc.statuses[len(tc.statuses)-1]; last != 0 && result.body != `{"error":"no `+http.StatusText(last)+`","code":"x"}` {
				t.Errorf("%s", result.body)
			}
			letters := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters", "")).DeadLetters
			if len(letters) != 1 || letters[0].Pipeline != nil || letters[0].Step != "call" {
				t.Fatalf("%+v", letters)
			}
			replay := s.do("POST", "/v1/dead-letters/"+letters[0].ID+"/replay", "")
			y := read[contract.Execution](t, replay)
			if replay.status != http.StatusAccepted || y.Pipeline != nil || y.ReplayOf != x.ID || cmp.Diff(shown.Input, y.Input) != "" {
				t.Fatalf("%d %s", replay.status, replay.body)
			}
			if got := s.do("DELETE", "/v1/executions/"+x.ID, ""); got.status != http.StatusNoContent {
				t.Errorf("%d %s", got.status, got.body)
			}
			tc.statuses[len(tc.statuses)-1] = 200
			s.begin(y.ID)
			s.make(caller, y.ID)
			if got := s.do("GET", "/v1/executions/"+y.ID+"/result", ""); got.status != http.StatusOK || got.body != "well" {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// TestCallsAreRefusedAtOnce holds what is not stored of a call, and its idempotency key.
func TestCallsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for name, text := range map[string]string{
		"no order": "", "no JSON": "{", "no URL": `{"method":"POST","path":"/"}`, "another scheme": `{"method":"POST","url":"file:///etc/passwd","path":"/"}`,
		"a user": `{"method":"POST","url":"http://a:b@c/","path":"/"}`,
	} {
		if got := s.do("POST", contract.CallsPath, "", contract.CallHeader, text); got.code() != problem.MalformedBody {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	o := order(t, "http://f", "/v2/models/a/infer", true)
	first := s.later(o, "a", "Idempotency-Key", "k")
	if again := s.later(o, "a", "Idempotency-Key", "k"); again.ID != first.ID {
		t.Error("another execution")
	}
	const function = `{"method":"POST","url":"http://f/","path":"/","repeatable":true,"host":"`
	s.later(function+`text-detect.default.localhost"}`, "a", "Idempotency-Key", "own")
	for name, got := range map[string]*answer{
		"another function": s.do("POST", contract.CallsPath, "a", contract.CallHeader, function+`content-detect.default.localhost"}`, "Idempotency-Key", "own"),
		"another body":     s.do("POST", contract.CallsPath, "b", contract.CallHeader, o, "Idempotency-Key", "k"),
		"another path":     s.do("POST", contract.CallsPath, "a", contract.CallHeader, order(t, "http://f", "/v2/models/b/infer", true), "Idempotency-Key", "k"),
	} {
		if got.code() != problem.KeyReused {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := s.do("POST", contract.CallsPath, "a", contract.CallHeader, o, "X-Large", strings.Repeat("a", 70<<10)); got.code() != problem.HeadersTooLarge {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/executions/"+first.ID+"/cancel", ""); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("GET", "/v1/executions/"+first.ID+"/result", ""); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
}

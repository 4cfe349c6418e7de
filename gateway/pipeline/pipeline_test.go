package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/pipeline"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/problem"
)

// stand is the gateway's side of pipelines, before a service that answers as it is asked
// to.
type stand struct {
	t       *testing.T
	mux     *http.ServeMux
	service func(http.ResponseWriter, *http.Request)

	mu       sync.Mutex
	holds    []auth.Permission
	unknown  bool // the caller's key was revoked
	asked    []*http.Request
	bodies   []string
	entries  []audit.Entry
	appended error
	away     bool // the service
}

func newStand(t *testing.T, holds ...auth.Permission) *stand {
	t.Helper()
	s := &stand{t: t, mux: http.NewServeMux(), holds: holds, service: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }}
	service, err := pipeline.New(pipeline.Deps{
		Service: s, URL: &url.URL{Scheme: "http", Host: "pipelines"}, Secret: "hush", Door: s, Functions: s, Audit: s,
		Proxy: forward.NewProxy(slog.New(slog.DiscardHandler)), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.add(service)
	return s
}

func (s *stand) add(service *pipeline.Service) {
	document := &huma.OpenAPI{Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)}}
	set := operation.NewSet(document, s)
	service.Add(set)
	endpoints, _, err := set.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range endpoints {
		s.mux.HandleFunc(e.Method+" "+e.Pattern, func(w http.ResponseWriter, r *http.Request) {
			c := &call.Call{
				Header: r.Header, Host: r.Host, Source: "192.0.2.7:4711", Principal: &auth.Principal{ID: "key:a", Tenant: "acme"}, Log: &call.Entry{},
			}
			if err := e.Serve(c, w, r); err != nil {
				problem.Write(w, err)
			}
		})
	}
}

// RoundTrip is the pipelines service.
func (s *stand) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.asked, s.bodies = append(s.asked, r), append(s.bodies, string(body))
	s.mu.Unlock()
	w := httptest.NewRecorder()
	s.service(w, r)
	if s.away {
		return nil, errors.New("connection refused")
	}
	return w.Result(), nil
}

func (s *stand) Identify(context.Context, *call.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown {
		return problem.New(problem.Unauthenticated, "the key is not known")
	}
	return nil
}

func (s *stand) Decide(_ context.Context, _ *call.Call, a auth.Action) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, held := range s.holds {
		for _, needed := range a.Permissions() {
			if held.Covers(needed) {
				return nil
			}
		}
	}
	return a.Denied()
}

func (s *stand) May(ctx context.Context, c *call.Call, a auth.Action) bool {
	return s.Decide(ctx, c, a) == nil
}

func (s *stand) Function(_ context.Context, name string) (definition.Function, error) {
	if name == "nope" {
		return definition.Function{}, definition.ErrNoFunction
	}
	return definition.Function{}, nil
}

func (s *stand) Append(_ context.Context, entries []audit.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.appended != nil {
		return s.appended
	}
	s.entries = append(s.entries, entries...)
	return nil
}

func (s *stand) do(ctx context.Context, method, path, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// every is each operation, what it needs and how the audit log names it.
var every = []struct {
	method, path string
	needs        auth.Permission
	action, on   string
}{
	{"GET", "/v1/pipelines", auth.PipelinesRead, "", ""},
	{"DELETE", "/v1/pipelines/read-document", auth.PipelinesWrite, "pipeline.delete", "pipeline:read-document"},
	{"GET", "/v1/pipelines/read-document", auth.PipelinesRead, "", ""},
	{"GET", "/v1/pipelines/read-document/versions", auth.PipelinesRead, "", ""},
	{"GET", "/v1/pipelines/read-document/versions/3", auth.PipelinesRead, "", ""},
	{"POST", "/v1/pipelines/read-document/versions/3/deprecate", auth.PipelinesWrite, "pipeline.deprecate", "pipeline:read-document@3"},
	{"POST", "/v1/pipelines/read-document/executions", auth.Run("read-document"), "", ""},
	{"POST", "/v1/pipelines/read-document/versions/3/executions", auth.Run("read-document"), "", ""},
	{"GET", "/v1/executions", auth.ExecutionsRead, "", ""},
	{"GET", "/v1/executions/x1", auth.ExecutionsRead, "", ""},
	{"GET", "/v1/executions/x1/events", auth.ExecutionsRead, "", ""},
	{"GET", "/v1/executions/x1/result", auth.ExecutionsRead, "", ""},
	{"DELETE", "/v1/executions/x1", auth.ExecutionsWrite, "execution.delete", "execution:x1"},
	{"POST", "/v1/executions/x1/cancel", auth.ExecutionsWrite, "execution.cancel", "execution:x1"},
	{"POST", "/v1/executions/x1/replay", auth.ExecutionsWrite, "execution.replay", "execution:x1"},
	{"GET", "/v1/dead-letters", auth.ExecutionsRead, "", ""},
	{"GET", "/v1/dead-letters/x1.a.0", auth.ExecutionsRead, "", ""},
	{"POST", "/v1/dead-letters/x1.a.0/replay", auth.ExecutionsWrite, "dead-letter.replay", "dead-letter:x1.a.0"},
	{"POST", "/v1/dead-letters/replay", auth.ExecutionsWrite, "dead-letter.replay", "dead-letters"},
	{"GET", "/v1/schedules", auth.SchedulesWrite, "", ""},
	{"GET", "/v1/schedules/nightly", auth.SchedulesWrite, "", ""},
	{"DELETE", "/v1/schedules/nightly", auth.SchedulesWrite, "schedule.delete", "schedule:nightly"},
	{"POST", "/v1/schedules/nightly/pause", auth.SchedulesWrite, "schedule.pause", "schedule:nightly"},
	{"POST", "/v1/schedules/nightly/resume", auth.SchedulesWrite, "schedule.resume", "schedule:nightly"},
	{"POST", "/v1/schedules/nightly/run", auth.SchedulesWrite, "schedule.run", "schedule:nightly"},
}

// roles are what the built-in roles hold of it.
var roles = map[string][]auth.Permission{
	"nobody":             nil,
	"viewer":             {auth.ModelsRead, auth.PipelinesRead, auth.ExecutionsRead, auth.UsageRead},
	"invoker":            {auth.InferAll, auth.RunAll, auth.EventsSend, auth.ExecutionsRead},
	"deployer":           {auth.InferAll, auth.RunAll, auth.EventsSend, auth.ModelsWrite, auth.PipelinesWrite, auth.ExecutionsWrite, auth.SchedulesWrite, auth.WebhooksWrite},
	"auditor":            {auth.AuditRead, auth.UsageRead},
	"admin":              {auth.Admin},
	"another's pipeline": {auth.Run("triage"), auth.Run("read-docu")},
	"its pipeline":       {auth.Run("read-*")},
}

// TestEveryOperationNeedsItsPermission holds, for every operation and role, who comes to
// the service and who is refused before it.
func TestEveryOperationNeedsItsPermission(t *testing.T) {
	t.Parallel()
	for role, holds := range roles {
		for _, op := range every {
			s := newStand(t, holds...)
			may := false
			for _, held := range holds {
				may = may || held.Covers(op.needs)
			}
			got := s.do(t.Context(), op.method, op.path, "", nil)
			switch {
			case may && (got.Code != http.StatusOK || len(s.asked) != 1):
				t.Errorf("%s: %s %s: %d, and the service was asked %d times", role, op.method, op.path, got.Code, len(s.asked))
			case !may && (got.Code != http.StatusForbidden || len(s.asked) != 0):
				t.Errorf("%s: %s %s: %d, and the service was asked %d times", role, op.method, op.path, got.Code, len(s.asked))
			}
			audited := may && op.action != ""
			if audited != (len(s.entries) == 1) {
				t.Errorf("%s: %s %s: the audit log has %v", role, op.method, op.path, s.entries)
			}
			if audited {
				e := s.entries[0]
				if e.Tenant != "acme" || e.Actor != "key:a" || e.Action != op.action || e.Resource != op.on || e.Outcome != audit.Done || e.Address != "192.0.2.7" {
					t.Errorf("%s %s: %+v", op.method, op.path, e)
				}
			}
		}
	}
}

// TestASchedulesPipelineIsDecidedHere holds that whoever makes a schedule may start its
// pipeline, and that a faulty one does not come to the service.
func TestASchedulesPipelineIsDecidedHere(t *testing.T) {
	t.Parallel()
	const good = `{"name": "nightly", "pipeline": "triage", "cron": "0 2 * * *"}`
	for name, tc := range map[string]struct {
		holds []auth.Permission
		text  string
		code  problem.Code
	}{
		"a deployer":          {roles["deployer"], good, ""},
		"of this pipeline":    {[]auth.Permission{auth.SchedulesWrite, auth.Run("triage")}, good, ""},
		"of another pipeline": {[]auth.Permission{auth.SchedulesWrite, auth.Run("read-document")}, good, problem.PermissionDenied},
		"without schedules":   {[]auth.Permission{auth.RunAll}, good, problem.PermissionDenied},
		"a line that is none": {roles["deployer"], `{"name": "nightly", "pipeline": "triage", "cron": "0 2 * *"}`, problem.InvalidArgument},
		"nothing":             {roles["deployer"], "", problem.InvalidArgument},
		"too much":            {roles["deployer"], strings.Repeat("#", 300<<10), problem.PayloadTooLarge},
		"as YAML":             {roles["deployer"], "name: nightly\npipeline: triage\ncron: 0 2 * * *\n", ""},
	} {
		s := newStand(t, tc.holds...)
		got := s.do(t.Context(), "POST", "/v1/schedules", tc.text, nil)
		if tc.code != "" {
			if len(s.asked) != 0 || !strings.Contains(got.Body.String(), `"code":"`+string(tc.code)+`"`) {
				t.Errorf("%s: %d %s, and the service was asked %d times", name, got.Code, got.Body, len(s.asked))
			}
			continue
		}
		if len(s.asked) != 1 || s.bodies[0] != tc.text || len(s.entries) != 1 || s.entries[0].Action != "schedule.create" || s.entries[0].Resource != "schedule:nightly" {
			t.Errorf("%s: %d %s, %q, %+v", name, got.Code, got.Body, s.bodies, s.entries)
		}
	}
}

const twoFunctions = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: read-document}
spec:
  steps:
    - {name: first, function: text-detect, input: input}
    - {name: second, function: %s, input: steps.first}
`

// TestRegisteringIsDecidedHere holds that nothing comes to the service of a definition
// whose author may not call its functions, or that is faulty, and that who may not call a
// function does not learn whether there is one.
func TestRegisteringIsDecidedHere(t *testing.T) {
	t.Parallel()
	good := fmt.Sprintf(twoFunctions, "text-orient")
	for name, tc := range map[string]struct {
		holds []auth.Permission
		text  string
		code  problem.Code
		says  string
	}{
		"a deployer":               {roles["deployer"], good, "", ""},
		"of these functions":       {[]auth.Permission{auth.PipelinesWrite, "infer:text-*"}, good, "", ""},
		"as JSON":                  {roles["deployer"], `{"apiVersion":"modelserve.dev/v1","kind":"Pipeline","metadata":{"name":"read-document"},"spec":{"steps":[{"name":"a","function":"b"}]}}`, "", ""},
		"without pipelines:write":  {[]auth.Permission{auth.InferAll, auth.PipelinesRead}, good, problem.PermissionDenied, "pipelines:write"},
		"without one function":     {[]auth.Permission{auth.PipelinesWrite, auth.Infer("text-detect")}, good, problem.PermissionDenied, "infer:text-orient"},
		"none that there is":       {roles["deployer"], fmt.Sprintf(twoFunctions, "nope"), problem.InvalidArgument, "spec.steps[1].function"},
		"none, and no right to it": {[]auth.Permission{auth.PipelinesWrite, auth.Infer("text-detect")}, fmt.Sprintf(twoFunctions, "nope"), problem.PermissionDenied, "infer:nope"},
		"no definition":            {roles["deployer"], "kind: Pipeline\nspec: {}\n", problem.InvalidArgument, "line 2"},
		"no YAML":                  {roles["deployer"], "{", problem.InvalidArgument, "errors"},
		"nothing":                  {roles["deployer"], "", problem.InvalidArgument, "errors"},
		"too much":                 {roles["deployer"], strings.Repeat("#", 300<<10), problem.PayloadTooLarge, ""},
	} {
		s := newStand(t, tc.holds...)
		s.service = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/pipelines/read-document/versions/1")
			w.WriteHeader(http.StatusCreated)
		}
		got := s.do(t.Context(), "POST", "/v1/pipelines", tc.text, http.Header{"Content-Type": {"application/yaml"}})
		if tc.code == "" {
			if got.Code != http.StatusCreated || len(s.bodies) != 1 || s.bodies[0] != tc.text {
				t.Errorf("%s: %d %s", name, got.Code, got.Body)
				continue
			}
			if e := s.entries[0]; e.Action != "pipeline.apply" || e.Resource != "pipeline:read-document" || e.Reason != "/v1/pipelines/read-document/versions/1" {
				t.Errorf("%s: %+v", name, e)
			}
			continue
		}
		if got.Code != tc.code.Row().Status || !strings.Contains(got.Body.String(), string(tc.code)) || !strings.Contains(got.Body.String(), tc.says) || len(s.asked) > 0 {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
}

// TestWhatFailedIsNotEntered holds that the audit log has changes that were made alone.
func TestWhatFailedIsNotEntered(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.Admin)
	s.service = func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(problem.Conflict, "executions of it have not ended"))
	}
	got := s.do(t.Context(), "DELETE", "/v1/pipelines/a", "", nil)
	if got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "have not ended") || len(s.entries) != 0 {
		t.Errorf("%d %s, %v", got.Code, got.Body, s.entries)
	}
}

// TestTheServiceGetsWhatTheGatewaySays holds which headers come to the service: what the
// gateway knows, and none of the caller's credentials.
func TestTheServiceGetsWhatTheGatewaySays(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.Admin)
	s.do(t.Context(), "POST", "/v1/pipelines/a/executions?label=a%3Db", `{"a":1}`, http.Header{
		"Authorization": {"Bearer ms_a_b"}, "X-Api-Key": {"ms_a_b"}, "Cookie": {"a=b"}, "Content-Type": {"application/json"},
		"Idempotency-Key": {"k"}, "Prefer": {"wait=3"}, "X-Case-Id": {"7"},
	})
	r := s.asked[0]
	want := http.Header{
		"Content-Type": {"application/json"}, "Idempotency-Key": {"k"}, "Prefer": {"wait=3"}, "X-Case-Id": {"7"},
		"Modelserve-Tenant": {"acme"}, "Modelserve-Secret": {"hush"},
	}
	for _, name := range []string{"Traceparent", "User-Agent"} {
		r.Header.Del(name)
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.URL.String() != "http://pipelines/v1/pipelines/a/executions?label=a%3Db" || s.bodies[0] != `{"a":1}` {
		t.Errorf("%s %s", r.URL, s.bodies[0])
	}
}

// TestTheServiceIsAway holds that a service that does not answer is a 503 that says so.
func TestTheServiceIsAway(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.Admin)
	s.away = true
	got := s.do(t.Context(), "GET", "/v1/executions", "", nil)
	if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") != "1" || !strings.Contains(got.Body.String(), "the pipelines service does not answer") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// TestWithoutPipelines holds that a gateway without the service says so.
func TestWithoutPipelines(t *testing.T) {
	t.Parallel()
	s := &stand{t: t, mux: http.NewServeMux()}
	s.add(nil)
	got := s.do(t.Context(), "GET", "/v1/executions", "", nil)
	if got.Code != http.StatusNotImplemented || !strings.Contains(got.Body.String(), "runs no pipelines") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if _, err := pipeline.New(pipeline.Deps{}); err == nil {
		t.Error("made of nothing")
	}
}

// TestAChangeIsEnteredWhoeverLeaves holds that a caller who is gone leaves no change
// without its entry, and that a database which is away for a moment does not either.
func TestAChangeIsEnteredWhoeverLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, auth.Admin)
		ctx, leave := context.WithCancel(t.Context())
		s.appended = errors.New("away")
		s.service = func(w http.ResponseWriter, r *http.Request) {
			leave()
			if r.Context().Err() != nil {
				t.Error("the change ended with its caller")
			}
			w.WriteHeader(http.StatusNoContent)
		}
		go func() {
			time.Sleep(time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.appended = nil
		}()
		s.do(ctx, "DELETE", "/v1/pipelines/a", "", nil)
		if len(s.entries) != 1 {
			t.Errorf("%v", s.entries)
		}
	})
}

// TestAStreamEndsWithItsRight holds that the events of an execution end within two
// seconds when their caller's key is revoked, or loses the permission.
func TestAStreamEndsWithItsRight(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*stand){
		"revoked":  func(s *stand) { s.unknown = true },
		"no right": func(s *stand) { s.holds = nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, auth.ExecutionsRead)
			began := time.Now()
			s.service = func(_ http.ResponseWriter, r *http.Request) {
				time.Sleep(10 * time.Second)
				s.mu.Lock()
				lose(s)
				s.mu.Unlock()
				<-r.Context().Done()
			}
			s.do(t.Context(), "GET", "/v1/executions/x/events", "", nil)
			if took := time.Since(began); took < 10*time.Second || took > 12*time.Second {
				t.Errorf("%s: the stream went on for %v", name, took)
			}
		})
	}
}

// FuzzPaths holds that no path comes to the service as another one, whatever names are.
func FuzzPaths(f *testing.F) {
	for _, name := range []string{"a", "..", "%2e%2e", "a%2Fb", "ä", "a b", strings.Repeat("a", 300), "*", "a*", "?", "%00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s := newStand(t, auth.RunAll, auth.ExecutionsRead)
		for _, path := range []string{"/v1/pipelines/" + url.PathEscape(name) + "/executions", "/v1/executions/" + url.PathEscape(name)} {
			method := "GET"
			if strings.HasSuffix(path, "/executions") {
				method = "POST"
			}
			r, err := http.NewRequestWithContext(t.Context(), method, "http://h"+path, http.NoBody)
			if err != nil {
				continue
			}
			before := len(s.asked)
			w := httptest.NewRecorder()
			s.mux.ServeHTTP(w, r)
			if len(s.asked) == before {
				continue
			}
			if got := s.asked[before].URL; got.EscapedPath() != path || got.Host != "pipelines" || got.RawQuery != "" {
				t.Errorf("%q became %s", path, got)
			}
			if method == "POST" && !auth.IsLabel(name) {
				t.Errorf("%q was started", name)
			}
		}
	})
}

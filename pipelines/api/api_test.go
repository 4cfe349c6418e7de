package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/api"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// TestOnlyTheGatewayIsAnswered holds that nobody chooses a tenant without the secret.
func TestOnlyTheGatewayIsAnswered(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for name, header := range map[string][]string{
		"no secret":      {"Modelserve-Secret", ""},
		"another secret": {"Modelserve-Secret", "", "Modelserve-Secret", "x" + secret[1:]},
		"no tenant":      {"Modelserve-Tenant", ""},
		"two tenants":    {"Modelserve-Tenant", "globex"},
		"no label":       {"Modelserve-Tenant", "", "Modelserve-Tenant", "a/../b"},
	} {
		if got := s.do("GET", "/v1/executions", "", header...); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := s.do("GET", "/v1/executions", ""); got.status != http.StatusOK || got.body != "{\"executions\":[]}\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if _, err := api.New(api.Config{}, api.Deps{}); err == nil {
		t.Error("made of nothing")
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := newService(t)
	got := s.do("POST", "/v1/pipelines", fmt.Sprintf(twoSteps, "a"), "Content-Type", "application/yaml")
	first := read[contract.Pipeline](t, got)
	if got.status != http.StatusCreated || got.header.Get("Location") != "/v1/pipelines/a/versions/1" || first.Version != 1 || !first.Default || first.Labels["team"] != "docs" || len(first.Definition) == 0 {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	again := s.do("POST", "/v1/pipelines", string(first.Definition), "Content-Type", "application/json")
	if second := read[contract.Pipeline](t, again); again.status != http.StatusOK || second.Version != 1 || second.Digest != first.Digest {
		t.Errorf("the canonical form again: %d %s", again.status, again.body)
	}
	other := strings.Replace(fmt.Sprintf(twoSteps, "a"), "priority: 2", "priority: 3", 1)
	if got := s.do("POST", "/v1/pipelines", other); got.status != http.StatusCreated || read[contract.Pipeline](t, got).Version != 2 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/pipelines", string(first.Definition)); got.status != http.StatusOK || !read[contract.Pipeline](t, got).Default {
		t.Errorf("an old one is the default again: %d %s", got.status, got.body)
	}
	versions := read[contract.Pipelines](t, s.do("GET", "/v1/pipelines/a/versions", ""))
	if len(versions.Pipelines) != 2 || versions.Pipelines[0].Version != 2 || versions.Pipelines[0].Default || versions.Pipelines[0].Definition != nil {
		t.Errorf("%+v", versions)
	}
	bad := s.do("POST", "/v1/pipelines", "kind: Pipeline\nspec: {steps: []}\n")
	if bad.status != http.StatusBadRequest || bad.code() != problem.InvalidArgument || !strings.Contains(bad.body, `"errors":[{"field":`) {
		t.Errorf("%d %s", bad.status, bad.body)
	}
	if got := s.do("POST", "/v1/pipelines", strings.Repeat(" ", 300<<10)); got.code() != problem.PayloadTooLarge {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestATenantHasSoManyPipelines holds the bounds on pipelines and versions, and that what
// is there already is none more.
func TestATenantHasSoManyPipelines(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, name := range []string{"a", "b", "c"} {
		s.register(name)
	}
	if got := s.do("POST", "/v1/pipelines", fmt.Sprintf(twoSteps, "d")); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.as("globex").register("d")
	for priority := 3; priority <= 4; priority++ {
		text := strings.Replace(fmt.Sprintf(twoSteps, "a"), "priority: 2", fmt.Sprintf("priority: %d", priority), 1)
		if got := s.do("POST", "/v1/pipelines", text); got.status != http.StatusCreated {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	text := strings.Replace(fmt.Sprintf(twoSteps, "a"), "priority: 2", "priority: 5", 1)
	if got := s.do("POST", "/v1/pipelines", text); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.register("a") // the first one again
}

func TestStart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	got := s.do("POST", "/v1/pipelines/a/executions?label=team=ops&label=b=c=d&priority=-3", `{"z": 1, "a": [1.0]}`,
		"Content-Type", "application/json", "X-Case-Id", "7", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	x := read[contract.Execution](t, got)
	if got.status != http.StatusAccepted || got.header.Get("Location") != "/v1/executions/"+x.ID {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	name := "a"
	want := contract.Execution{
		ID: x.ID, Pipeline: &name, Version: 1, Status: contract.Queued, Priority: -3, Input: json.RawMessage(`{"z":1,"a":[1.0]}`), CreatedAt: x.CreatedAt,
		Steps:  []contract.Step{{Name: "first", Status: contract.Queued}, {Name: "second", Status: contract.Queued}},
		Labels: map[string]string{"team": "ops", "b": "c=d"},
	}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	row := s.load(x.ID).Execution
	if row.Headers["X-Case-Id"] != "7" || !strings.HasPrefix(row.Traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-") {
		t.Errorf("%+v", row)
	}
	if shown := read[contract.Execution](t, s.do("GET", "/v1/executions/"+x.ID, "")); cmp.Diff(x, shown) != "" {
		t.Error(cmp.Diff(x, shown))
	}
	if got := s.do("POST", "/v1/pipelines/a/versions/1/executions", ""); got.status != http.StatusAccepted || string(read[contract.Execution](t, got).Input) != "null" {
		t.Errorf("without a body: %d %s", got.status, got.body)
	}
}

// TestInputs holds what becomes of each kind of body.
func TestInputs(t *testing.T) {
	t.Parallel()
	s := newService(t, func(c *config) { c.MaxBody = 1 << 20 })
	s.register("a")
	for name, tc := range map[string]struct {
		media, body string
		code        problem.Code
		input       string // "ref TYPE" where it is stored
	}{
		"JSON":                {"application/json", " [1, 2]\n", "", "[1,2]"},
		"JSON with a charset": {"application/json; charset=utf-8", `"ä"`, "", `"ä"`},
		"as curl -d sends it": {"application/x-www-form-urlencoded", `{"a":1}`, "", `{"a":1}`},
		"bytes as curl sends": {"application/x-www-form-urlencoded", "\x89PNG\r\n", "", "ref application/octet-stream"},
		"an image":            {"image/PNG", "\x89PNG", "", "ref image/png"},
		"text":                {"text/plain; charset=latin1", "ä", "", "ref text/plain"},
		"nothing of a type":   {"image/png", "", "", "ref image/png"},
		"without a type":      {"", "abc", "", "ref application/octet-stream"},
		"a strange type":      {"nonsense", "abc", "", "ref application/octet-stream"},
		"a ref of a caller":   {"application/json", `{"ref":"s3://models/inputs/acme/a.png"}`, "", `{"ref":"s3://models/inputs/acme/a.png"}`},
		"empty JSON":          {"application/json", "", problem.MalformedBody, ""},
		"half of JSON":        {"application/json", `{"a":`, problem.MalformedBody, ""},
		"two values":          {"application/json", `{}{}`, problem.MalformedBody, ""},
		"a name twice":        {"application/json", `{"a":1,"a":2}`, problem.MalformedBody, ""},
		"NaN":                 {"application/json", `{"a":NaN}`, problem.MalformedBody, ""},
		"a huge number":       {"application/json", `[1e999]`, problem.InvalidArgument, ""},
		"too deep":            {"application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100), problem.InvalidArgument, ""},
		"bad UTF-8":           {"application/json", "\"\xff\"", problem.MalformedBody, ""},
		"latin1":              {"application/json; charset=latin1", `"a"`, problem.UnsupportedMedia, ""},
		"a form":              {"application/x-www-form-urlencoded", "a=b&c=d", problem.UnsupportedMedia, ""},
		"a form of parts":     {"multipart/form-data; boundary=x", "--x--", problem.UnsupportedMedia, ""},
		"too large":           {"image/png", strings.Repeat("a", 1<<20+1), problem.PayloadTooLarge, ""},
		"large JSON":          {"application/json", `"` + strings.Repeat("a", 100<<10) + `"`, "", "large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.do("POST", "/v1/pipelines/a/executions", tc.body, "Content-Type", tc.media)
			if tc.code != "" {
				if got.code() != tc.code || got.status != tc.code.Row().Status {
					t.Errorf("%d %s, want %s", got.status, got.body, tc.code)
				}
				return
			}
			if got.status != http.StatusAccepted {
				t.Fatalf("%d %s", got.status, got.body)
			}
			x := read[contract.Execution](t, got)
			media, stored := strings.CutPrefix(tc.input, "ref ")
			switch {
			case stored:
				ref := read[contract.Ref](t, &answer{body: string(x.Input)})
				if ref.ContentType != media || ref.Size != int64(len(tc.body)) || !strings.HasPrefix(ref.Ref, "s3://models/payloads/acme/"+x.ID+"/input-") || ref.SHA256 != "" {
					t.Errorf("%s", x.Input)
				}
			case tc.input == "large":
				if claim := s.load(x.ID).Execution.Input.Claim; claim == nil || string(x.Input) != tc.body {
					t.Errorf("%v, shown with %d bytes", claim, len(x.Input))
				}
			case string(x.Input) != tc.input:
				t.Errorf("%s, want %s", x.Input, tc.input)
			}
		})
	}
	if got := s.do("POST", "/v1/pipelines/a/executions", "x", "Content-Encoding", "gzip"); got.code() != problem.UnsupportedMedia {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.send(t.Context(), "POST", "/v1/pipelines/a/executions", &cut{}, "Content-Type", "image/png"); got.code() != problem.MalformedBody {
		t.Errorf("a body that breaks off: %d %s", got.status, got.body)
	}
}

// cut is a body that breaks off.
type cut struct{ read bool }

func (c *cut) Read(p []byte) (int, error) {
	if c.read {
		return 0, errors.New("connection reset")
	}
	c.read = true
	return copy(p, "half"), nil
}

// TestParametersAreReadStrictly holds what is refused of the parameters and headers of
// every kind.
func TestParametersAreReadStrictly(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	long := strings.Repeat("a", 300)
	for _, path := range []string{
		"/v1/executions?limit=0", "/v1/executions?limit=201", "/v1/executions?limit=x", "/v1/executions?limit=", "/v1/executions?limit=1&limit=1", "/v1/executions?limit=%2B1",
		"/v1/executions?cursor=!", "/v1/executions?cursor=AAAA", "/v1/executions?cursor=" + long, "/v1/executions?Limit=1", "/v1/executions?more=1", "/v1/executions?a;b", "/v1/executions?%zz",
		"/v1/executions?status=done", "/v1/executions?status=", "/v1/executions?status=skipped", "/v1/executions?pipeline=A", "/v1/executions?pipeline=", "/v1/executions?label=a", "/v1/executions?label==b",
		"/v1/executions?label=a%00b=c", "/v1/executions?label=a=%00", "/v1/executions?label=a=" + long, "/v1/executions?label=" + long + "=a", "/v1/executions?label=a=b&label=a=c",
		"/v1/dead-letters?replayed=yes", "/v1/dead-letters?step=a%20b", "/v1/dead-letters?execution=../a", "/v1/pipelines?label=a=b", "/v1/pipelines/a?limit=1",
	} {
		if got := s.do("GET", path, ""); got.status != http.StatusBadRequest || got.code() != problem.InvalidArgument {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, query := range []string{
		"priority=11", "priority=-11", "priority=1.5", "priority=", "run_at=tomorrow", "run_at=", "run_at=9999-01-01T00:00:00Z", "run_at=20000h", "label=" + strings.Repeat("&label=a=b", 21), "from=a", "version=1",
	} {
		if got := s.do("POST", "/v1/pipelines/a/executions?"+query, "{}", "Content-Type", "application/json"); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	for _, header := range [][]string{
		{"Idempotency-Key", " "},
		{"Idempotency-Key", "a b"},
		{"Idempotency-Key", "ä"},
		{"Idempotency-Key", strings.Repeat("a", 256)},
		{"Idempotency-Key", "a", "Idempotency-Key", "a"},
		{"X-Case-Id", strings.Repeat("a", 2000)},
		{"X-Case-Id", "a", "X-Case-Id", "b"},
	} {
		if got := s.do("POST", "/v1/pipelines/a/executions", "{}", append(header, "Content-Type", "application/json")...); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", header, got.status, got.body)
		}
	}
	for _, path := range []string{"/v1/pipelines/a/versions/0", "/v1/pipelines/a/versions/01", "/v1/pipelines/a/versions/2", "/v1/pipelines/a/versions/x", "/v1/pipelines/a/versions/99999999999", "/v1/pipelines/b", "/v1/executions/none", "/v1/dead-letters/none", "/v1/nothing"} {
		if got := s.do("GET", path, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestWhatIsAnothersIsNotThere holds, for every operation on one thing, that another
// tenant's is answered as one that there is not, to the byte.
func TestWhatIsAnothersIsNotThere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	s.begin(x.ID)
	s.fail(x.ID)
	letter := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters", "")).DeadLetters[0]
	other := s.as("globex")
	for _, op := range []struct{ method, path string }{
		{"GET", "/v1/pipelines/{a}"},
		{"DELETE", "/v1/pipelines/{a}"},
		{"GET", "/v1/pipelines/{a}/versions/1"},
		{"POST", "/v1/pipelines/{a}/versions/1/deprecate"},
		{"POST", "/v1/pipelines/{a}/executions"},
		{"POST", "/v1/pipelines/{a}/versions/1/executions"},
		{"GET", "/v1/executions/{x}"},
		{"DELETE", "/v1/executions/{x}"},
		{"GET", "/v1/executions/{x}/events"},
		{"GET", "/v1/executions/{x}/result"},
		{"POST", "/v1/executions/{x}/cancel"},
		{"POST", "/v1/executions/{x}/replay"},
		{"GET", "/v1/dead-letters/{l}"},
		{"POST", "/v1/dead-letters/{l}/replay"},
	} {
		theirs := strings.NewReplacer("{a}", "a", "{x}", x.ID, "{l}", letter.ID).Replace(op.path)
		none := strings.NewReplacer("{a}", "none", "{x}", "none", "{l}", "none.a.0").Replace(op.path)
		got, want := other.do(op.method, theirs, ""), other.do(op.method, none, "")
		if got.status != http.StatusNotFound || got.body != want.body || cmp.Diff(got.header, want.header) != "" {
			t.Errorf("%s %s: %d %s, want %d %s", op.method, theirs, got.status, got.body, want.status, want.body)
		}
	}
	for _, path := range []string{"/v1/pipelines", "/v1/executions", "/v1/dead-letters", "/v1/executions?pipeline=a", "/v1/dead-letters?execution=" + x.ID, "/v1/executions?label=team=docs"} {
		if got := other.do("GET", path, ""); got.status != http.StatusOK || !strings.Contains(got.body, ":[]") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := other.do("POST", "/v1/dead-letters/replay", ""); got.status != http.StatusOK || got.body != "{\"replays\":[],\"more\":false}\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("GET", "/v1/executions/"+x.ID, ""); got.status != http.StatusOK || read[contract.Execution](t, got).Status != contract.Failed {
		t.Errorf("it was changed: %d %s", got.status, got.body)
	}
}

// TestIdempotencyKeys holds that a key is of a tenant and a pipeline, and of one body.
func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	s.register("b")
	s.as("globex").register("a")
	const path = "/v1/pipelines/a/executions"
	first := s.start(path, `{"a":1}`, "Idempotency-Key", "k")
	if again := s.start(path, `{"a":1}`, "Idempotency-Key", "k"); again.ID != first.ID {
		t.Errorf("another execution, %s", again.ID)
	}
	for name, got := range map[string]*answer{
		"another body": s.do("POST", path, `{"a":2}`, "Content-Type", "application/json", "Idempotency-Key", "k"),
		"another type": s.do("POST", path, `{"a":1}`, "Content-Type", "text/plain", "Idempotency-Key", "k"),
	} {
		if got.status != http.StatusUnprocessableEntity || got.code() != problem.KeyReused {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if other := s.start("/v1/pipelines/b/executions", `{"a":1}`, "Idempotency-Key", "k"); other.ID == first.ID {
		t.Error("a key is of all pipelines")
	}
	if other := s.as("globex").start(path, `{"a":1}`, "Idempotency-Key", "k"); other.ID == first.ID {
		t.Error("a key is of all tenants")
	}
	large := `"` + strings.Repeat("a", 100<<10) + `"`
	kept := s.start(path, large, "Idempotency-Key", "l")
	keys := s.objects.Keys()
	if again := s.start(path, large, "Idempotency-Key", "l"); again.ID != kept.ID || cmp.Diff(keys, s.objects.Keys()) != "" {
		t.Errorf("%s, %v", again.ID, s.objects.Keys())
	}
	s.begin(first.ID)
	s.fail(first.ID)
	if got := s.do("POST", path, `{"a":1}`, "Content-Type", "application/json", "Idempotency-Key", "k"); got.status != http.StatusOK || read[contract.Execution](t, got).Status != contract.Failed {
		t.Errorf("one that has ended: %d %s", got.status, got.body)
	}
}

// TestAKnownKeyIsAnsweredWhateverCameAfter holds that a start which is repeated gets its
// execution where another one would be refused.
func TestAKnownKeyIsAnsweredWhateverCameAfter(t *testing.T) {
	t.Parallel()
	s := newService(t, func(c *config) { c.MaxQueued = 2 })
	s.register("a")
	const path = "/v1/pipelines/a/executions"
	key := []string{"Content-Type", "application/json", "Idempotency-Key", "k"}
	first := s.start(path, "{}", key...)
	call := s.later(order(t, "http://iris.default.svc", "/v2/models/iris/infer", true), "{}", "Idempotency-Key", "k")
	again := func(when string) {
		t.Helper()
		if got := s.do("POST", path, "{}", key...); got.status != http.StatusAccepted || read[contract.Execution](t, got).ID != first.ID {
			t.Errorf("%s: %d %s", when, got.status, got.body)
		}
		if got := s.do("POST", path, "[]", key...); got.code() != problem.KeyReused {
			t.Errorf("%s, another body: %d %s", when, got.status, got.body)
		}
		if got := s.later(order(t, "http://iris.default.svc", "/v2/models/iris/infer", true), "{}", "Idempotency-Key", "k"); got.ID != call.ID {
			t.Errorf("%s: another call", when)
		}
	}
	if got := s.do("POST", path, "{}", "Content-Type", "application/json"); got.code() != problem.Overloaded {
		t.Fatalf("%d %s", got.status, got.body)
	}
	again("the queue is full")
	if got := s.do("POST", "/v1/pipelines/a/versions/1/deprecate", ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	again("the version is deprecated")
}

// TestTheStoreIsAway holds that nothing is half accepted, and that the caller may come
// again.
func TestTheStoreIsAway(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	s.store.away = true
	for _, op := range []struct{ path, body string }{{"/v1/pipelines/a/executions", "{}"}, {"/v1/pipelines", fmt.Sprintf(twoSteps, "b")}} {
		got := s.do("POST", op.path, op.body, "Content-Type", "application/json")
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", op.path, got.status, got.body)
		}
	}
	s.store.away = false
	if got := s.do("GET", "/v1/executions", ""); !strings.Contains(got.body, ":[]") {
		t.Error(got.body)
	}
	s.objects.Fail(errors.New("away"))
	if got := s.do("POST", "/v1/pipelines/a/executions", "x", "Content-Type", "image/png"); got.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.objects.Fail(nil)
	if got := s.do("GET", "/v1/executions", ""); !strings.Contains(got.body, ":[]") {
		t.Error(got.body)
	}
}

// TestATenantQueuesSoMany holds the bound on executions that wait to begin.
func TestATenantQueuesSoMany(t *testing.T) {
	t.Parallel()
	s := newService(t, func(c *config) { c.MaxQueued = 2 })
	s.register("a")
	s.as("globex").register("a")
	s.start("/v1/pipelines/a/executions", "{}")
	s.start("/v1/pipelines/a/executions", "{}")
	if got := s.do("POST", "/v1/pipelines/a/executions", "{}", "Content-Type", "application/json"); got.code() != problem.Overloaded || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.as("globex").start("/v1/pipelines/a/executions", "{}")
}

// TestPreferWait holds when a start is answered, and with which status.
func TestPreferWait(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	began := time.Now()
	got := s.do("POST", "/v1/pipelines/a/executions", "{}", "Content-Type", "application/json", "Prefer", "respond-async, wait=1")
	if took := time.Since(began); got.status != http.StatusAccepted || took < time.Second || got.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("%d after %v, %v", got.status, took, got.header)
	}
	done := make(chan *answer)
	ctx := t.Context()
	go func() {
		done <- s.send(ctx, "POST", "/v1/pipelines/a/executions?label=w=1", strings.NewReader("{}"), "Content-Type", "application/json", "Prefer", "wait=60")
	}()
	var id string
	for id == "" {
		for _, x := range read[contract.Executions](t, s.do("GET", "/v1/executions?label=w=1", "")).Executions {
			id = x.ID
		}
	}
	s.begin(id)
	s.succeed(id, `{"a":1}`)
	s.succeed(id, `[1]`)
	got = <-done
	if x := read[contract.Execution](t, got); got.status != http.StatusOK || x.Status != contract.Succeeded || string(x.Output) != "[1]" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, none := range []string{"wait", "wait=x", "wait=-1", "wait=0", "return=minimal"} {
		began := time.Now()
		got := s.do("POST", "/v1/pipelines/a/executions", "{}", "Content-Type", "application/json", "Prefer", none)
		if got.status != http.StatusAccepted || time.Since(began) > time.Second || got.header.Get("Preference-Applied") != "" {
			t.Errorf("%s: %d %v", none, got.status, got.header)
		}
	}
	began = time.Now() // no longer than the request has
	got = s.do("POST", "/v1/pipelines/a/executions", "{}", "Content-Type", "application/json", "Prefer", "wait=60", "Modelserve-Timeout", "300")
	if got.status != http.StatusAccepted || time.Since(began) > 5*time.Second {
		t.Errorf("%d after %v", got.status, time.Since(began))
	}
}

// TestListsArePages holds that pages are newest first, and that a cursor goes on.
func TestListsArePages(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	s.register("b")
	var want []string
	for i := range 5 {
		x := s.start(fmt.Sprintf("/v1/pipelines/a/executions?label=n=%d", i%2), "{}")
		want = append([]string{x.ID}, want...)
	}
	s.start("/v1/pipelines/b/executions", "{}")
	var got []string
	cursor := ""
	for pages := 0; ; pages++ {
		page := read[contract.Executions](t, s.do("GET", "/v1/executions?pipeline=a&limit=2&cursor="+cursor, ""))
		for _, x := range page.Executions {
			got = append(got, x.ID)
			if x.Input != nil {
				t.Error("a list has inputs")
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	// Those of one millisecond are in the order of their ids.
	if len(got) != 5 || len(cmp.Diff(sorted(want), sorted(got))) > 0 {
		t.Errorf("%v, want %v", got, want)
	}
	if page := read[contract.Executions](t, s.do("GET", "/v1/executions?label=n=1&label=team=docs&status=queued", "")); len(page.Executions) != 2 {
		t.Errorf("%+v", page)
	}
	if page := read[contract.Pipelines](t, s.do("GET", "/v1/pipelines?limit=1", "")); len(page.Pipelines) != 1 || page.NextCursor == "" || page.Pipelines[0].Definition != nil {
		t.Errorf("%+v", page)
	}
}

func sorted(ids []string) map[string]bool {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// TestShippedPipelinesAreEverybodys holds that every tenant sees and starts them, and
// that nobody changes them.
func TestShippedPipelinesAreEverybodys(t *testing.T) {
	t.Parallel()
	s := newService(t)
	shipped := fmt.Sprintf(twoSteps, "triage")
	v, created, err := newRegistry(s).Apply(t.Context(), "", []byte(shipped))
	if err != nil || !created || v.Number != 1 {
		t.Fatal(v, created, err)
	}
	p := read[contract.Pipeline](t, s.do("GET", "/v1/pipelines/triage", ""))
	if !p.Shared || p.Version != 1 {
		t.Errorf("%+v", p)
	}
	s.start("/v1/pipelines/triage/executions", "{}")
	for method, path := range map[string]string{"DELETE": "/v1/pipelines/triage", "POST": "/v1/pipelines/triage/versions/1/deprecate"} {
		if got := s.do(method, path, ""); got.code() != problem.Conflict {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	s.register("triage")
	if p := read[contract.Pipeline](t, s.do("GET", "/v1/pipelines/triage", "")); p.Shared {
		t.Errorf("%+v", p)
	}
	if p := read[contract.Pipeline](t, s.as("globex").do("GET", "/v1/pipelines/triage", "")); !p.Shared {
		t.Errorf("%+v", p)
	}
}

func TestDeprecateAndDelete(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	if got := s.do("DELETE", "/v1/pipelines/a", ""); got.code() != problem.Conflict {
		t.Errorf("while an execution runs: %d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/pipelines/a/versions/1/deprecate", ""); got.status != http.StatusOK || read[contract.Pipeline](t, got).DeprecatedAt == nil {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/pipelines/a/executions", "{}", "Content-Type", "application/json"); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	if p := s.register("a"); p.DeprecatedAt != nil {
		t.Errorf("%+v", p)
	}
	s.start("/v1/pipelines/a/executions?run_at=1h", "{}")
	for _, one := range read[contract.Executions](t, s.do("GET", "/v1/executions", "")).Executions {
		got := s.do("POST", "/v1/executions/"+one.ID+"/cancel", "")
		if c := read[contract.Execution](t, got); got.status != http.StatusOK || c.Status != contract.Cancelled || c.FinishedAt == nil {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := s.do("POST", "/v1/executions/"+one.ID+"/cancel", ""); got.status != http.StatusOK {
			t.Errorf("again: %d %s", got.status, got.body)
		}
	}
	if got := s.do("DELETE", "/v1/pipelines/a", ""); got.status != http.StatusNoContent {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("GET", "/v1/pipelines/a", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/executions/"+x.ID+"/replay", ""); got.status != http.StatusAccepted {
		t.Errorf("a replay of a deleted pipeline's: %d %s", got.status, got.body)
	}
}

var _ record.Store = (*broken)(nil)

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/problem"
)

// started is a start that the stand-in got.
type started struct {
	Body, ContentType, Query, Key, Prefer string
}

// pipelineService is a stand-in that runs pipelines: the body of an execution is its
// output, as lines of text; one that says "bad" fails.
type pipelineService struct {
	mu      sync.Mutex
	starts  []started
	asked   []string          // ids of which events were asked, with the last id seen
	refuse  map[string]int    // by body, how many starts are answered 503
	at      time.Time         // of all that happens
	bodies  map[string]string // of executions, by id
	pending bool              // no start is answered with the end
	breaks  bool              // the first connection for events breaks off
}

func (s *pipelineService) start(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts = append(s.starts, started{string(body), r.Header.Get("Content-Type"), r.URL.RawQuery, r.Header.Get("Idempotency-Key"), r.Header.Get("Prefer")})
	if s.refuse[string(body)] > 0 {
		s.refuse[string(body)]--
		problem.Write(w, problem.New(problem.Unavailable, "the database does not answer"))
		return
	}
	if s.bodies == nil {
		s.bodies = map[string]string{}
	}
	id := fmt.Sprintf("x%d", len(s.bodies)+1)
	s.bodies[id] = string(body)
	x := s.execution(id)
	if s.pending || r.Header.Get("Prefer") == "" {
		x.Status, x.Output, x.Error, x.FinishedAt = contract.Running, nil, nil, nil
		x.Steps[0].Status, x.Steps[0].FinishedAt = contract.Running, nil
		x.Steps[1] = contract.Step{Name: "recognize", Status: contract.Queued}
		w.WriteHeader(http.StatusAccepted)
	}
	_ = json.NewEncoder(w).Encode(x)
}

// execution is how one ends. Called with mu held.
func (s *pipelineService) execution(id string) *contract.Execution {
	name, began, ended := "read-document", s.at, s.at.Add(450*time.Millisecond)
	x := &contract.Execution{
		ID: id, Pipeline: &name, Version: 2, Status: contract.Succeeded, CreatedAt: s.at, StartedAt: &began, FinishedAt: &ended,
		Steps: []contract.Step{
			{Name: "detect", Status: contract.Succeeded, Attempts: 1, Model: "text-detect@1;digest=sha256:00", StartedAt: &began, FinishedAt: &ended},
			{Name: "recognize", Status: contract.Succeeded, Attempts: 1, StartedAt: &began, FinishedAt: &ended},
		},
	}
	if body := s.bodies[id]; strings.Contains(body, "bad") {
		x.Status, x.Error = contract.Failed, contract.FailureOf(problem.Invalid("image", "expected an image"))
		x.Steps[0].Status, x.Steps[0].Error, x.Steps[1] = contract.Failed, x.Error, contract.Step{Name: "recognize", Status: contract.Skipped}
	} else {
		x.Output, _ = json.Marshal(map[string]any{"lines": []map[string]string{{"text": "read " + body}, {"text": "twice\x1b"}}})
	}
	return x
}

// events sends what happened, from the id that was seen last on.
func (s *pipelineService) events(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := r.Header.Get("Last-Event-ID")
	s.asked = append(s.asked, id+" "+last)
	w.Header().Set("Content-Type", "text/event-stream")
	x := s.execution(id)
	all := []contract.Event{
		{ID: "1", Type: "dev.modelserve.execution.started.v1", Data: contract.EventData{Status: contract.Running}},
		{ID: "2", Type: "dev.modelserve.step.started.v1", Data: contract.EventData{Status: contract.Running, Step: "detect", Attempt: 1}},
		{ID: "3", Type: "dev.modelserve.step.succeeded.v1", Data: contract.EventData{Status: contract.Succeeded, Step: "detect", Attempt: 2, Model: "text-detect@1;digest=sha256:00"}},
		{ID: "4", Type: "dev.modelserve.execution." + string(x.Status) + ".v1", Data: contract.EventData{Status: x.Status, Error: x.Error}},
	}
	for _, e := range all {
		if e.ID <= last {
			continue
		}
		e.Time = s.at
		data, _ := json.Marshal(e)
		_, _ = fmt.Fprintf(w, ": a comment\n\nid: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Type, data)
		if s.breaks && e.ID == "2" {
			return
		}
	}
}

// withPipelines is a shell whose platform runs pipelines.
func withPipelines(t *testing.T, s *pipelineService) *shell {
	t.Helper()
	s.at = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	handlers := map[string]func(http.ResponseWriter, *http.Request){
		"POST /v1/pipelines/read-document/executions":            s.start,
		"POST /v1/pipelines/read-document/versions/2/executions": s.start,
	}
	for i := 1; i < 20; i++ {
		id := fmt.Sprintf("x%d", i)
		handlers["GET /v1/executions/"+id] = func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = json.NewEncoder(w).Encode(s.execution(id))
		}
		handlers["GET /v1/executions/"+id+"/events"] = func(w http.ResponseWriter, r *http.Request) { s.events(w, r, id) }
	}
	shell := newShell(t)
	shell.vars = map[string]string{"MODELSERVE_SERVER": fakePlatform(t, handlers).URL, "MODELSERVE_KEY": "ms_test_key"}
	return shell
}

func (s *shell) file(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const pngBytes = "\x89PNG\x0D\x0A\x1A\x0A"

func TestAPipelineRunsOnAFile(t *testing.T) {
	t.Parallel()
	service := &pipelineService{refuse: map[string]int{pngBytes: 2}}
	s := withPipelines(t, service)
	s.file("page.png", pngBytes)
	s.wants("read \ufffdPNG\ufffd\ufffd\ufffd\ufffd\ntwice\ufffd\n", "pipelines", "run", "read-document@2", "page.png", "--label", "case=1", "--priority", "-2", "--run-at", "10m")
	if len(service.starts) != 3 {
		t.Fatalf("%d starts, want one and twice again", len(service.starts))
	}
	first := service.starts[0]
	if first.Key == "" || first.ContentType != "image/png" || first.Query != "label=case%3D1&priority=-2&run_at=10m" || first.Prefer != "wait=20" {
		t.Errorf("the start is %+v", first)
	}
	for _, again := range service.starts[1:] {
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("it was sent again otherwise (-want +got):\n%s", diff)
		}
	}
}

func TestAPipelineRunsOnJSON(t *testing.T) {
	t.Parallel()
	service := &pipelineService{pending: true}
	s := withPipelines(t, service)
	s.wants("read {\"a\": 1}\ntwice\ufffd\n", "pipelines", "run", "read-document", "--input", `{"a": 1}`)
	s.file("in.json", `{"b": 2}`)
	s.wants("x2\n", "pipelines", "run", "read-document", "in.json", "--detach", "--idempotency-key", "k1")
	s.in = `{"c": 3}`
	s.must("pipelines", "run", "read-document", "-")
	for i, want := range []started{
		{Body: `{"a": 1}`, ContentType: "application/json", Prefer: "wait=20"},
		{Body: `{"b": 2}`, ContentType: "application/json", Key: "k1"},
		{Body: `{"c": 3}`, ContentType: "application/json", Prefer: "wait=20"},
	} {
		got := service.starts[i]
		if i != 1 {
			got.Key = ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("start %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestAFailureIsReportedWithItsReason(t *testing.T) {
	t.Parallel()
	s := withPipelines(t, &pipelineService{})
	s.file("page.png", "bad")
	s.fails(exitFailed, "x1 failed: image: expected an image (invalid_argument); `modelserve executions get x1` shows its steps", "pipelines", "run", "read-document", "page.png")
	r := s.run("pipelines", "run", "read-document", "page.png", "-o", "json")
	if r.code != exitFailed || !strings.Contains(r.out, `"status": "failed"`) {
		t.Errorf("as JSON: exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestOneFailureDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	service := &pipelineService{}
	s := withPipelines(t, service)
	for name, text := range map[string]string{"scans/a.png": "a", "scans/b.png": "bad", "scans/c.png": "", "scans/.hidden": "h", "scans/d.png": "d", "other.png": "o"} {
		s.file(name, text)
	}
	r := s.run("pipelines", "run", "read-document", "scans", "other.png", "--at-once", "2")
	if r.code != exitFailed {
		t.Errorf("exit %d", r.code)
	}
	const want = "==> scans/a.png <==\nread a\ntwice\ufffd\n\n==> scans/d.png <==\nread d\ntwice\ufffd\n\n==> other.png <==\nread o\ntwice\ufffd\n"
	if diff := cmp.Diff(want, r.out); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	for _, line := range []string{"scans/b.png: x", "image: expected an image", "scans/c.png: is empty", "modelserve: 2 of 5 failed"} {
		if !strings.Contains(r.err, line) {
			t.Errorf("want %q in\n%s", line, r.err)
		}
	}
	s.errTerminal = true
	r = s.run("pipelines", "run", "read-document", "scans", "other.png", "-o", "json")
	if !strings.Contains(r.err, "[##############################] 5/5") || !strings.Contains(r.err, "2 failed") {
		t.Errorf("there is no bar in\n%q", r.err)
	}
	var all struct {
		Executions []outcome `json:"executions"`
	}
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all.Executions) != 5 || all.Executions[4].Execution.Status != contract.Succeeded || all.Executions[2].Error == "" {
		t.Errorf("%v: %s", err, r.out)
	}
}

func TestRunIsAskedWrongly(t *testing.T) {
	t.Parallel()
	s := withPipelines(t, &pipelineService{})
	s.file("page.png", pngBytes)
	if err := os.Mkdir(filepath.Join(s.dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for want, arguments := range map[string][]string{
		"name a file":                    {"read-document"},
		"VERSION a number from 1 on":     {"read-document@x", "page.png"},
		"--input: expected JSON":         {"read-document", "--input", "{"},
		"--label: expected KEY=VALUE":    {"read-document", "page.png", "--label", "a"},
		"--priority: expected -10 to 10": {"read-document", "page.png", "--priority", "11"},
		"--run-at: expected a time":      {"read-document", "page.png", "--run-at", "soon"},
		"--at-once: expected 1 to 64":    {"read-document", "page.png", "--at-once", "0"},
		"these are 2":                    {"read-document", "page.png", "page.png", "--idempotency-key", "k"},
	} {
		s.fails(exitUsage, want, append([]string{"pipelines", "run"}, arguments...)...)
	}
	s.fails(exitFailed, "there is no file in empty", "pipelines", "run", "read-document", "empty")
	s.fails(exitFailed, "read none.png", "pipelines", "run", "read-document", "none.png")
}

func TestSeveralAreStartedWithoutWaiting(t *testing.T) {
	t.Parallel()
	s := withPipelines(t, &pipelineService{})
	s.file("a.png", "a")
	s.file("b.png", "b")
	s.wants("x1  a.png\nx2  b.png\n", "pipelines", "run", "read-document", "a.png", "b.png", "--detach", "--at-once", "1")
}

const readYAML = `apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: read}
spec:
  steps:
    - name: detect
      function: text-detect
  output: steps.detect
`

func TestPipelinesAreRegistered(t *testing.T) {
	t.Parallel()
	d, err := definition.Parse([]byte(readYAML))
	if err != nil {
		t.Fatal(err)
	}
	one := `{"name":"read","version":3,"digest":"` + d.Digest() + `","created_at":"2026-12-01T10:00:00Z","labels":{"a":"1"},"definition":` + string(d.Canonical()) + `}`
	s, all := standIn(t, map[string]string{
		"POST /v1/pipelines": one, "GET /v1/pipelines/read": one, "GET /v1/pipelines/read/versions/2": strings.Replace(one, d.Digest(), "sha256:0", 1),
		"GET /v1/pipelines":               `{"pipelines":[` + one + `,{"name":"triage","version":1,"digest":"sha256:0123456789abcdef","shared":true,"created_at":"2026-12-01T10:00:00Z"}]}`,
		"GET /v1/pipelines/read/versions": `{"pipelines":[{"name":"read","version":3,"default":true,"digest":"sha256:3","created_at":"2026-12-01T10:00:00Z"},{"name":"read","version":2,"digest":"sha256:2","created_at":"2026-11-01T10:00:00Z","deprecated_at":"2026-11-02T10:00:00Z"}]}`,
		"DELETE /v1/pipelines/read":       "",
	})
	s.file("read.yaml", readYAML)
	s.file("bad.yaml", strings.Replace(readYAML, "output", "outputs", 1))
	s.wants("read is version 3 already (sha256:…)\n", "pipelines", "apply", "read.yaml")
	wantsAsked(t, all, asked{"POST /v1/pipelines", readYAML})
	out := s.must("pipelines", "apply", "read.yaml", "--dry-run")
	if !strings.HasPrefix(out, "# read.yaml is good; it is version 3 of read already\n---\napiVersion: flows.knative.dev/v1\nkind: Sequence\n") ||
		!strings.Contains(out, "name: read-v3-s0-") || !strings.Contains(out, "name: text-detect\n") || !strings.Contains(out, "uri: /?") {
		t.Errorf("a dry run prints\n%s", out)
	}
	wantsAsked(t, all, asked{"GET /v1/pipelines/read", ""})
	r := s.run("pipelines", "apply", "bad.yaml", "read.yaml", "--dry-run")
	if r.code != exitFailed || !strings.Contains(r.err, "bad.yaml is no good pipeline:\n  bad.yaml: ") || !strings.Contains(r.err, "outputs") || !strings.HasPrefix(r.out, "# read.yaml is good") {
		t.Errorf("a bad file: %+v", r)
	}
	s.wants("NAME              VERSION  CREATED              LABELS  DIGEST\nread              3        2026-12-01 10:00:00  a=1     sha256:…\ntriage (shipped)  1        2026-12-01 10:00:00  -       sha256:…\n",
		"pipelines", "list")
	s.wants("VERSION  CREATED              DEFAULT  DEPRECATED           DIGEST\n3        2026-12-01 10:00:00  yes                           sha256:…\n2        2026-11-01 10:00:00           2026-11-02 10:00:00  sha256:…\n",
		"pipelines", "show", "read", "--versions")
	if out := s.must("pipelines", "show", "read@2"); !strings.HasPrefix(out, "# read version 3 of 2026-12-01 10:00:00, sha256:0\napiVersion: modelserve.dev/v1\n") {
		t.Errorf("show: %s", out)
	}
	s.wants("●  detect  text-detect\n", "pipelines", "show", "read", "--graph")
	s.fails(exitUsage, "confirm with --yes", "pipelines", "delete", "read")
	s.wants("deleted read\n", "pipelines", "delete", "read", "--yes")
	s.fails(exitUsage, "--versions goes without", "pipelines", "show", "read@2", "--versions")
	s.fails(exitFailed, "read none.yaml", "pipelines", "apply", "none.yaml")
}

func TestWatchMissesNothing(t *testing.T) {
	t.Parallel()
	service := &pipelineService{breaks: true, bodies: map[string]string{"x1": "page"}}
	s := withPipelines(t, service)
	s.wants("10:00:00.000  execution  started\n10:00:00.000  detect  started\n10:00:00.000  detect  succeeded  attempt 2  text-detect@1\n"+
		"10:00:00.000  execution  succeeded\nread page\ntwice\ufffd\n", "executions", "watch", "x1")
	if diff := cmp.Diff([]string{"x1 ", "x1 2"}, service.asked); diff != "" {
		t.Errorf("it came again (-want +got):\n%s", diff)
	}
	s.outTerminal = true
	out := s.must("executions", "watch", "x1")
	at := strings.LastIndex(out, "✓ read-document@2  x1  450 ms")
	if at < 0 || !strings.HasSuffix(strings.ReplaceAll(out[at:], "\r\x1b[K", ""),
		"├─ ✓ detect     succeeded 450 ms\n└─ ✓ recognize  succeeded 450 ms\nread page\ntwice\ufffd\n") {
		t.Errorf("the tree is\n%s", out)
	}
	s.outTerminal = false
	lines := strings.Split(strings.TrimSpace(s.must("executions", "watch", "x1", "-o", "json")), "\n")
	var e contract.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || len(lines) != 4 || e.Type != "dev.modelserve.execution.succeeded.v1" {
		t.Errorf("%v: %v", err, lines)
	}
	service.bodies["x1"] = "bad"
	if r := s.run("executions", "watch", "x1"); r.code != exitFailed || !strings.Contains(r.err, "x1 failed: image: expected an image") {
		t.Errorf("one that fails: exit %d: %s", r.code, r.err)
	}
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	var got []string
	lines := 0
	err := serverSent(strings.NewReader("\ufeff: hello\n\nid:7\ndata: a\ndata:b\nretry: 10\n\ndata\n\nid: 8\n\ndata: not whole\n"), func() { lines++ }, func(id, data string) error {
		got = append(got, id+"|"+data)
		return nil
	})
	if err != nil || lines != 12 {
		t.Errorf("%d lines, error %v", lines, err)
	}
	if diff := cmp.Diff([]string{"7|a\nb", "|"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestExecutionsHaveNoResultBeforeTheirEnd(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_KEY": "ms_test_key", "MODELSERVE_SERVER": fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/executions/x1/result": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/executions/x1")
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"id":"x1","status":"running","steps":[]}`)
		},
	}).URL}
	if r := s.run("executions", "get", "x1", "--result"); r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "it has not ended") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestExecutionsAreShown(t *testing.T) {
	t.Parallel()
	const (
		good = `{"id":"x1","pipeline":"read-document","version":2,"status":"succeeded","created_at":"2026-12-01T10:00:00Z","started_at":"2026-12-01T10:00:00Z","finished_at":"2026-12-01T10:00:01.5Z","labels":{"b":"2","a":"1"},
			"steps":[{"name":"each","status":"succeeded","attempts":4,"items":{"total":3,"succeeded":2,"failed":1},"model":"m@1;digest=x"}],"output":{"n":1},"replay_of":"x0","from":"each"}`
		late = `{"id":"x2","pipeline":null,"status":"failed","created_at":"2026-12-01T10:00:00Z","steps":[],"error":{"detail":"no\nmore","code":"internal","errors":[{"field":"f","detail":"d"}]}}`
	)
	s, all := standIn(t, map[string]string{
		"GET /v1/executions": `{"executions":[` + good + `,` + late + `]}`, "GET /v1/executions/x1": good, "GET /v1/executions/x2": late,
		"GET /v1/executions/x1/result":  `{"n":1}`,
		"POST /v1/executions/x1/cancel": good, "POST /v1/executions/x2/cancel": `{"id":"x2","status":"cancelled","steps":[]}`,
		"POST /v1/executions/x1/replay": `{"id":"x9","status":"queued","steps":[]}`,
		"DELETE /v1/executions/x1":      "",
	})
	s.wants(`ID  PIPELINE         STATUS     CREATED              TIME    LABELS   ERROR
x1  read-document@2  succeeded  2026-12-01 10:00:00  1.50 s  a=1,b=2
x2  -                failed     2026-12-01 10:00:00          -        no`+"\ufffd"+`more
`, "executions", "list", "--pipeline", "read-document", "--status", "failed", "--label", "a=1")
	wantsAsked(t, all, asked{"GET /v1/executions?label=a=1&limit=50&pipeline=read-document&status=failed", ""})
	s.wants(`execution  x1
pipeline   read-document@2
status     succeeded
created    2026-12-01 10:00:00
took       1.50 s
replay of  x0, from each
labels     a=1,b=2

STEP  STATUS                   ATTEMPTS  TIME  MODEL  ERROR
each  succeeded 2/3, 1 failed  4               m@1

{
  "n": 1
}
`, "executions", "get", "x1")
	if out := s.must("executions", "get", "x2"); !strings.Contains(out, "error: no\ufffdmore (internal)\n  f: d\n") {
		t.Errorf("got %s", out)
	}
	s.wants(`{"n":1}`, "executions", "get", "x1", "--result")
	*all = nil
	r := s.run("executions", "cancel", "x1", "x2")
	if r.code != exitFailed || r.out != "cancelled x2\n" || !strings.Contains(r.err, "x1: it had ended before: it succeeded") {
		t.Errorf("cancel: %+v", r)
	}
	s.wants("started x9; `modelserve executions watch x9` follows it\n", "executions", "replay", "x1", "--from", "each", "--version", "3")
	s.fails(exitUsage, "confirm with --yes", "executions", "delete", "x1")
	s.wants("deleted x1\n", "executions", "delete", "x1", "--yes")
	wantsAsked(t, all, asked{"POST /v1/executions/x1/cancel", ""}, asked{"POST /v1/executions/x2/cancel", ""},
		asked{"POST /v1/executions/x1/replay?from=each&version=3", ""}, asked{"DELETE /v1/executions/x1", ""})
	s.fails(exitFailed, "not as ModelServe does", "executions", "get", "x5")
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	const letter = `{"id":"d1","execution":"x1","pipeline":"read-document","version":2,"step":"each","item":3,"attempts":3,"created_at":"2026-12-01T10:00:00Z","error":{"detail":"too dark","code":"invalid_argument"}}`
	s, all := standIn(t, map[string]string{
		"GET /v1/dead-letters": `{"dead_letters":[` + letter + `]}`, "GET /v1/dead-letters/d1": letter,
		"POST /v1/dead-letters/d1/replay":                        `{"id":"x9","status":"queued","steps":[]}`,
		"POST /v1/dead-letters/replay":                           `{"replays":[{"dead_letter":"d1","execution":"x7"},{"dead_letter":"d2","error":{"detail":"it is gone","code":"not_found"}}],"more":false}`,
		"POST /v1/executions/x1/replay":                          `{"id":"x8","status":"queued","steps":[]}`,
		"POST /v1/pipelines/read-document/versions/2/executions": `{"id":"x10","status":"queued","steps":[]}`,
	})
	s.wants(`ID  PIPELINE         STEP     ATTEMPTS  CREATED              EXECUTION  REPLAYED BY  ERROR
d1  read-document@2  each[3]  3         2026-12-01 10:00:00  x1         -            too dark
`, "dead-letters", "list", "--step", "each")
	s.must("dead-letters", "list", "--all", "--limit", "0")
	wantsAsked(t, all, asked{"GET /v1/dead-letters?limit=50&replayed=false&step=each", ""}, asked{"GET /v1/dead-letters?limit=200", ""})
	if out := s.must("dead-letters", "show", "d1"); !strings.Contains(out, "step         each[3]\n") || !strings.Contains(out, "error: too dark (invalid_argument)") {
		t.Errorf("show: %s", out)
	}
	*all = nil
	s.wants("DEAD LETTER  EXECUTION  ERROR\nd1           x9\n", "dead-letters", "replay", "d1")
	s.must("dead-letters", "replay", "d1", "--from", "detect")
	s.must("dead-letters", "replay", "d1", "--from", "detect", "--input", `{"image": "x"}`)
	wantsAsked(t, all, asked{"POST /v1/dead-letters/d1/replay", ""},
		asked{"POST /v1/dead-letters/d1/replay?from=detect", ""}, asked{"POST /v1/dead-letters/d1/replay?from=detect", `{"image": "x"}`})
	r := s.run("dead-letters", "replay", "--pipeline", "read-document")
	if r.code != exitFailed || !strings.Contains(r.out, "d2           -          it is gone\n") || !strings.Contains(r.err, "1 of 2 could not be replayed") {
		t.Errorf("replay of many: %+v", r)
	}
	wantsAsked(t, all, asked{"POST /v1/dead-letters/replay?limit=200&pipeline=read-document", ""})
	for want, arguments := range map[string][]string{
		"name dead letters by their ids":      {},
		"by --pipeline":                       {"d1", "--all"},
		"go with ids":                         {"--all", "--from", "x"},
		"--version: expected a number from 1": {"d1", "--version", "-1"},
	} {
		s.fails(exitUsage, want, append([]string{"dead-letters", "replay"}, arguments...)...)
	}
}

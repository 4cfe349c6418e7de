package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/api"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
	"github.com/modelserveai/modelserve/problem"
)

const secret = "between the gateway and the service"

// service is the API over a database, without what runs executions: tests do that.
type service struct {
	t       testing.TB
	api     *api.API
	store   *broken
	decider *decide.Decider
	objects *valuestest.Objects
	hub     *live.Hub
	values  *values.Values
	tenant  string
}

// config is that of the API and of what starts executions for it.
type config struct {
	api.Config

	MaxQueued int
}

// broken is a store that can be away.
type broken struct {
	record.Store

	away bool
	meet *sync.WaitGroup // that those who are about to accept a replay wait for, once each
}

func (b *broken) Accept(ctx context.Context, a *record.Acceptance) (*record.Accepted, error) {
	if b.meet != nil && a.Replays != "" {
		b.meet.Done()
		b.meet.Wait()
	}
	if b.away {
		return nil, fmt.Errorf("accept: %w", record.ErrUnavailable)
	}
	return b.Store.Accept(ctx, a)
}

func (b *broken) Register(ctx context.Context, r record.Registration) (*record.Version, bool, error) {
	if b.away {
		return nil, false, fmt.Errorf("register: %w", record.ErrUnavailable)
	}
	return b.Store.Register(ctx, r)
}

func newService(t testing.TB, configure ...func(*config)) *service {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "pipelines.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return serviceOver(t, store, configure...)
}

// serviceOver is the API over a store that somebody else closes.
func serviceOver(t testing.TB, store record.Store, configure ...func(*config)) *service {
	t.Helper()
	s := &service{t: t, store: &broken{Store: store}, objects: valuestest.New(), tenant: "acme"}
	kept := values.New(s.objects, "models", 32<<20)
	s.values = kept
	var err error
	if s.decider, err = decide.New(decide.Config{ColdStart: time.Second, MaxValues: 1 << 20}, s.store, kept); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	s.hub = live.New(live.Config{Most: 10, PerTenant: 5, Poll: 50 * time.Millisecond}, nil, logger)
	s.decider.OnSaved(func(_ context.Context, saved *decide.Saved) { s.hub.Changed(saved.Execution.ID) })
	cfg := config{Config: api.Config{Secret: secret}}
	for _, c := range configure {
		c(&cfg)
	}
	s.api, err = api.New(cfg.Config, api.Deps{
		Starter: start.New(cfg.MaxQueued, start.Deps{Store: s.store, Decider: s.decider, Values: kept, Logger: logger}),
		Store:   s.store, Registry: registry.New(s.store, nil, registry.Bounds{Pipelines: 3, Versions: 3}), Decider: s.decider, Values: kept, Live: s.hub, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.api.Close)
	return s
}

// answer is one, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) code() problem.Code {
	var p struct {
		Code problem.Code `json:"code"`
	}
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

func read[T any](t testing.TB, a *answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v
}

func (s *service) do(method, path, body string, header ...string) *answer {
	s.t.Helper()
	return s.send(s.t.Context(), method, path, strings.NewReader(body), header...)
}

func (s *service) send(ctx context.Context, method, path string, body io.Reader, header ...string) *answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(ctx, method, path, body)
	r.Header.Set("Modelserve-Secret", secret)
	r.Header.Set("Modelserve-Tenant", s.tenant)
	r.Header.Set("X-Request-Id", "r1")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	got := &answer{w.Code, w.Header(), w.Body.String()}
	documented(s.t, method, path, got)
	return got
}

// as is the service for another tenant.
func (s *service) as(tenant string) *service {
	other := *s
	other.tenant = tenant
	return &other
}

const twoSteps = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: %s, labels: {team: docs}}
spec:
  steps:
    - {name: first, function: text-detect, input: input}
    - {name: second, function: text-recognize, input: steps.first, when: 'true'}
  output: steps.second
  headers: [X-Case-Id]
  priority: 2
`

func (s *service) register(name string) contract.Pipeline {
	s.t.Helper()
	got := s.do("POST", "/v1/pipelines", fmt.Sprintf(twoSteps, name))
	if got.status != http.StatusCreated && got.status != http.StatusOK {
		s.t.Fatalf("%d %s", got.status, got.body)
	}
	return read[contract.Pipeline](s.t, got)
}

func (s *service) start(path, input string, header ...string) contract.Execution {
	s.t.Helper()
	got := s.do("POST", path, input, append([]string{"Content-Type", "application/json"}, header...)...)
	if got.status != http.StatusAccepted {
		s.t.Fatalf("%d %s", got.status, got.body)
	}
	return read[contract.Execution](s.t, got)
}

// said is what the expressions of the test's pipelines are.
type said struct{ output envelope.Value }

func (said) When(string) (bool, error)         { return true, nil }
func (said) Items(string) (int, error)         { return 0, nil }
func (s said) Output() (envelope.Value, error) { return s.output, nil }
func (s *service) load(id string) *record.Loaded {
	s.t.Helper()
	loaded, err := s.store.Load(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return loaded
}

func (s *service) decide(id string, do func(*decide.State) (execution.Change, error)) {
	s.t.Helper()
	if err := s.decider.Decide(s.t.Context(), execution.Whole(id), do); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) begin(id string) {
	s.t.Helper()
	s.decide(id, func(st *decide.State) (execution.Change, error) {
		return st.Version.Machine.Begin(st.Execution, st.Branches, said{}, st.Now)
	})
}

// sent sends the branch that is due.
func (s *service) sent(id string) execution.Branch {
	s.t.Helper()
	var sent execution.Branch
	s.decide(id, func(st *decide.State) (execution.Change, error) {
		for _, b := range st.Branches {
			if b.What != execution.Send {
				continue
			}
			b.Due = st.Now
			if one, _, ok := st.Version.Machine.Send(st.Execution, b, st.Now); ok {
				sent = one
				return execution.Change{Changed: true, Put: []execution.Branch{one}}, nil
			}
		}
		return execution.Change{}, nil
	})
	return sent
}

// succeed has the step that is next answer, and the last one end the execution.
func (s *service) succeed(id, output string) {
	s.t.Helper()
	b := s.sent(id)
	s.decide(id, func(st *decide.State) (execution.Change, error) {
		name := st.Version.Plan.Step(b.Segment, b.Step).Name
		value := envelope.Value{JSON: json.RawMessage(output)}
		return st.Version.Machine.Answered(st.Execution, st.Branches, execution.Answer{
			Segment: b.Segment, Epoch: b.Epoch, Values: map[string]envelope.Value{name: value},
			Records: []envelope.Record{{Step: name, Epoch: b.Epoch, StartedAt: st.Now, FinishedAt: st.Now, Model: "m@1", Device: "cpu", ComputeMS: 1}},
		}, said{value}, st.Now)
	})
}

// fail has the step that is next fail for good.
func (s *service) fail(id string) {
	s.t.Helper()
	b := s.sent(id)
	s.decide(id, func(st *decide.State) (execution.Change, error) {
		name := st.Version.Plan.Step(b.Segment, b.Step).Name
		return st.Version.Machine.Failed(st.Execution, st.Branches, execution.Failure{
			Answer: execution.Answer{Segment: b.Segment, Epoch: b.Epoch}, Step: name, Status: 400,
			Problem: execution.Of(problem.Invalid("image", "expected an image")),
		}, said{}, st.Now)
	})
}

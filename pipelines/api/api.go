// Package api is the HTTP interface of the pipelines service: what is below
// /v1/pipelines, /v1/executions, /v1/dead-letters and /v1/schedules.
//
// It believes the tenant that the gateway names, in requests with the gateway's secret,
// and answers no others: who the caller is and what they may do the gateway has decided
// (package gateway/pipeline). What is another tenant's is not there. It runs nothing:
// executions that it accepts are begun by package dispatch.
package api

import (
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config bounds the API. Zero fields are their defaults.
type Config struct {
	Secret  string // of the gateway; required
	MaxBody int64  // bytes of the body that starts an execution; 32 MiB
	Memory  int64  // bytes that the bodies and values of all requests take, of which one tenant has at most half; 256 MiB
}

// Store is what the API needs of the record.
type Store interface {
	record.Executions
	record.Lookup
	record.Pipelines
	record.Versions
	record.Schedules
}

// Deps are what the API works with. All are required.
type Deps struct {
	Store    Store
	Registry *registry.Registry
	Decider  *decide.Decider
	Starter  *start.Starter
	Values   *values.Values
	Live     *live.Hub
	Logger   *slog.Logger
}

// API is the handler.
type API struct {
	cfg     Config
	deps    Deps
	memory  *memory.Account
	starter *start.Starter
	mux     *http.ServeMux

	closing sync.Once
	closed  chan struct{} // by Close: streams end
}

// memoryPatience is how long a request waits for memory that others have.
const memoryPatience = time.Second

// New makes an API.
func New(cfg Config, deps Deps) (*API, error) {
	if deps.Store == nil || deps.Registry == nil || deps.Decider == nil || deps.Starter == nil || deps.Values == nil || deps.Live == nil || deps.Logger == nil {
		return nil, errors.New("api: expected Deps.Store, Registry, Decider, Starter, Values, Live and Logger")
	}
	if cfg.Secret == "" {
		return nil, errors.New("api: expected Config.Secret: without it anybody is whoever they say")
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 32 << 20
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 256 << 20
	}
	a := &API{
		cfg: cfg, deps: deps, mux: http.NewServeMux(), closed: make(chan struct{}),
		starter: deps.Starter,
		// One of the largest bodies fits into the half that a tenant may have, with what it becomes.
		memory: memory.New(max(cfg.Memory, 2*perByte*cfg.MaxBody), memoryPatience),
	}
	a.routes()
	return a, nil
}

// Close ends the streams, whose clients come again elsewhere. Closing twice is safe.
func (a *API) Close() { a.closing.Do(func() { close(a.closed) }) }

// call is one request.
type call struct {
	*http.Request

	tenant string
	memory *memory.Call
	query  query
}

// handler answers a call, or returns an error before anything of the answer is written.
type handler func(w http.ResponseWriter, c *call) error

func (a *API) routes() {
	for pattern, of := range map[string]struct {
		serve  handler
		params []string
	}{
		"GET " + contract.PipelinesPath:     {a.listPipelines, pageParams()},
		"POST " + contract.PipelinesPath:    {a.register, nil},
		"GET " + contract.PipelinePath:      {a.showPipeline, nil},
		"DELETE " + contract.PipelinePath:   {a.deletePipeline, nil},
		"GET " + contract.VersionsPath:      {a.listVersions, pageParams()},
		"GET " + contract.VersionPath:       {a.showPipeline, nil},
		"POST " + contract.DeprecatePath:    {a.deprecate, nil},
		"POST " + contract.StartPath:        {a.start, startParams()},
		"POST " + contract.StartVersionPath: {a.start, startParams()},

		"GET " + contract.ExecutionsPath:   {a.listExecutions, pageParams(contract.ParamPipeline, contract.ParamStatus, contract.ParamLabel)},
		"GET " + contract.ExecutionPath:    {a.showExecution, nil},
		"DELETE " + contract.ExecutionPath: {a.eraseExecution, nil},
		"GET " + contract.EventsPath:       {a.events, nil},
		"GET " + contract.ResultPath:       {a.result, nil},
		"POST " + contract.CancelPath:      {a.cancel, nil},
		"POST " + contract.ReplayPath:      {a.replay, []string{contract.ParamFrom, contract.ParamVersion}},

		"GET " + contract.DeadLettersPath:        {a.listDeadLetters, pageParams(contract.ParamPipeline, contract.ParamStep, contract.ParamExecution, contract.ParamReplayed)},
		"GET " + contract.DeadLetterPath:         {a.showDeadLetter, nil},
		"POST " + contract.DeadLetterReplayPath:  {a.replayDeadLetter, []string{contract.ParamFrom, contract.ParamVersion}},
		"POST " + contract.DeadLettersReplayPath: {a.replayDeadLetters, []string{contract.ParamPipeline, contract.ParamStep, contract.ParamExecution, contract.ParamVersion, contract.ParamLimit, contract.ParamCursor}},

		"GET " + contract.SchedulesPath:       {a.listSchedules, pageParams()},
		"POST " + contract.SchedulesPath:      {a.createSchedule, nil},
		"GET " + contract.SchedulePath:        {a.showSchedule, nil},
		"DELETE " + contract.SchedulePath:     {a.deleteSchedule, nil},
		"POST " + contract.SchedulePausePath:  {a.pauseSchedule, nil},
		"POST " + contract.ScheduleResumePath: {a.resumeSchedule, nil},
		"POST " + contract.ScheduleRunPath:    {a.runSchedule, nil},

		"POST " + contract.CallsPath: {a.later, nil},
	} {
		a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, of.serve, of.params) })
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(problem.NotFound, "there is no such URL; /openapi.json lists them"))
	})
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := r.Header.Get(problem.RequestIDHeader); id != "" && w.Header().Get(problem.RequestIDHeader) == "" {
		w.Header().Set(problem.RequestIDHeader, id) // of the gateway, which has looked at it
		r = r.WithContext(telemetry.WithRequestID(r.Context(), id))
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(infer.SecretHeader)), []byte(a.cfg.Secret)) != 1 {
		problem.Write(w, problem.New(problem.Unauthenticated, "expected a request of the gateway, with its secret"))
		return
	}
	if tenant := r.Header.Values(infer.TenantHeader); len(tenant) != 1 || !envelope.IsTenant(tenant[0]) {
		problem.Write(w, problem.New(problem.Unauthenticated, "expected one %s with the name of a tenant", infer.TenantHeader))
		return
	}
	a.mux.ServeHTTP(w, r)
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, serve handler, params []string) {
	tenant := r.Header.Get(infer.TenantHeader)
	c := &call{Request: r, tenant: tenant, memory: a.memory.Open(tenant)}
	defer c.memory.End()
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler:
			panic(cause)
		default:
			a.deps.Logger.ErrorContext(r.Context(), "panic", "error", cause, "stack", string(debug.Stack()))
			panic(http.ErrAbortHandler)
		}
	}()
	var err error
	if c.query, err = parseQuery(r.URL.RawQuery, params); err == nil {
		err = serve(w, c)
	}
	if err = registry.Problem(err); err == nil {
		return
	}
	if problem.CodeOf(err).Ours() && r.Context().Err() == nil {
		a.deps.Logger.ErrorContext(r.Context(), "request", "method", r.Method, "route", r.Pattern, "error", err)
	}
	problem.Write(w, err)
}

// Package service runs the executions of pipelines over a store: it wires what begins
// and sends them (pipelines/dispatch), what takes their answers (pipelines/receive), who
// waits for them (pipelines/live) and their values (pipelines/values). The local platform
// and the service in a cluster are made of it.
//
// It has no API of its own (pipelines/api) and knows neither a database nor Kubernetes.
package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/outside"
	"github.com/modelserveai/modelserve/pipelines/planner"
	"github.com/modelserveai/modelserve/pipelines/receive"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/pipelines/values"
)

// Config is how executions run. Zero fields are their defaults.
type Config struct {
	Dispatch  dispatch.Config
	ColdStart time.Duration // how long a function may take from nothing to ready; 1 min
	MaxValue  int64         // bytes of one value, and of an answer of a URL; 32 MiB
	MaxWait   int           // callers that wait for executions at once; 4096
	MaxQueued int           // executions of a tenant that wait to begin; 10,000
	// Secret shows functions that a call which is answered later comes from the platform;
	// "" where Deps.Functions does.
	Secret string
	// Allow are networks that uri steps may call beside the public internet.
	Allow []netip.Prefix
}

// Deps are what the service works with. Notices, Charges and Functions may be nil; all
// else is required.
type Deps struct {
	// Functions reaches functions for calls that are answered later, and waits where one is
	// started for the call; without it they fail.
	Functions http.RoundTripper

	Store    record.Store
	Objects  values.Objects
	Bucket   string // that Objects are in
	Channels dispatch.Channels
	Signer   *ticket.Signer
	Tickets  *ticket.Verifier // of the signer's public key, and of those before it
	Notices  live.Notices
	Charges  receive.Charges // of what steps took; nil: nobody is charged
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Service runs executions.
type Service struct {
	decider  *decide.Decider
	values   *values.Values
	live     *live.Hub
	receiver *receive.Receiver
	outside  *outside.Client
	dispatch *dispatch.Dispatcher
	starter  *start.Starter
	planner  *planner.Planner

	work   sync.WaitGroup
	mu     sync.Mutex
	cancel context.CancelFunc // of what Start began; nil before it
}

// maxCall bounds how long one call of a URL may take; a step's timeout is earlier.
const maxCall = 24 * time.Hour

// New makes a Service, which does nothing before Start.
func New(cfg Config, deps Deps) (*Service, error) {
	if cfg.ColdStart == 0 {
		cfg.ColdStart = time.Minute
	}
	if cfg.MaxValue == 0 {
		cfg.MaxValue = 32 << 20
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 4096
	}
	s := &Service{
		values:  values.New(deps.Objects, deps.Bucket, cfg.MaxValue),
		live:    live.New(live.Config{Most: cfg.MaxWait, PerTenant: max(cfg.MaxWait/4, 1), Poll: time.Second}, deps.Notices, deps.Logger),
		outside: outside.New(outside.Config{Allow: cfg.Allow, MaxAnswer: cfg.MaxValue, Timeout: maxCall}),
	}
	var err error
	if s.decider, err = decide.New(decide.Config{ColdStart: cfg.ColdStart, MaxValues: int(cfg.MaxValue)}, deps.Store, s.values); err != nil {
		return nil, err
	}
	if s.receiver, err = receive.New(s.decider, deps.Tickets, deps.Charges, deps.Registry, deps.Logger); err != nil {
		return nil, err
	}
	var later dispatch.Calls
	if deps.Functions != nil {
		later = calls.NewCaller(calls.Config{Secret: cfg.Secret, MaxAnswer: cfg.MaxValue}, deps.Functions, s.values)
	}
	s.dispatch, err = dispatch.New(cfg.Dispatch, dispatch.Deps{
		Calls: later, Store: deps.Store, Decider: s.decider, Values: s.values, Channels: deps.Channels, Outside: s.outside,
		Charges: deps.Charges, Signer: deps.Signer, Registry: deps.Registry, Logger: deps.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.starter = start.New(cfg.MaxQueued, start.Deps{
		Store: deps.Store, Decider: s.decider, Values: s.values, Logger: deps.Logger, Accepted: s.Accepted,
	})
	if s.planner, err = planner.New(deps.Store, s.starter, deps.Registry, deps.Logger); err != nil {
		return nil, err
	}
	s.live.OnNotice(s.dispatch.Noticed)
	s.decider.OnSaved(func(_ context.Context, saved *decide.Saved) {
		if len(saved.Change.Events) > 0 {
			s.live.Changed(saved.Execution.ID)
		}
	})
	return s, nil
}

// Start begins the work. ctx bounds the start alone.
func (s *Service) Start(ctx context.Context) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := s.dispatch.Start(ctx); err != nil {
		cancel()
		return err
	}
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	s.planner.Start(ctx)
	s.work.Go(func() { s.live.Run(working) })
	s.work.Go(func() { s.receiver.Run(working) })
	return nil
}

// Stop begins nothing new, and waits for what is on its way until ctx ends; then it cuts
// that off, and it is sent again by whoever runs next. The Handler must be served until
// it returns. Stopping twice is safe.
func (s *Service) Stop(ctx context.Context) error {
	s.planner.Stop()
	err := s.dispatch.Stop(ctx)
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.work.Wait()
	s.outside.Close()
	return err
}

// Handler takes what comes back from the channels, below /events/.
func (s *Service) Handler() http.Handler { return s.receiver }

// Decider takes executions through what else becomes of them: a cancellation.
func (s *Service) Decider() *decide.Decider { return s.decider }

// Starter accepts executions.
func (s *Service) Starter() *start.Starter { return s.starter }

// Values keeps the inputs and outputs of executions.
func (s *Service) Values() *values.Values { return s.values }

// Live wakes who waits for executions.
func (s *Service) Live() *live.Hub { return s.live }

// Accepted reports that an execution was stored, so that it begins at once.
func (s *Service) Accepted(execution string) {
	s.live.Changed(execution)
	s.dispatch.Wake()
}

// Package planner starts the schedules that are due: it takes them from the record, asks
// package schedule what is to be done at their times, and package start to do it.
package planner

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/schedule"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/problem"
)

// Store is what a Planner needs of the record.
type Store interface {
	record.Planner

	// SaveSchedule stores the state of a schedule as it was loaded.
	SaveSchedule(ctx context.Context, s *record.Schedule) error
}

const (
	every  = time.Second      // between two looks at what is due
	atOnce = 100              // schedules that are taken at once
	starts = 8                // that are started at once
	hold   = 10 * time.Second // for which they are taken: less than a time may be late, so that another replica is not too late
)

// Planner starts what is due. Any number of replicas may run beside each other: each takes
// schedules that nobody has, and the key of a start is the schedule and its planned time,
// so that a time which was started by one that died then is not started again.
type Planner struct {
	store   Store
	starter *start.Starter
	logger  *slog.Logger
	fired   *prometheus.CounterVec
	late    prometheus.Histogram

	ended  sync.WaitGroup
	mu     sync.Mutex
	cancel context.CancelFunc
}

// New makes a Planner, which does nothing before Start.
func New(store Store, starter *start.Starter, registry prometheus.Registerer, logger *slog.Logger) (*Planner, error) {
	p := &Planner{
		store: store, starter: starter, logger: logger,
		fired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_schedules_total", Help: "Planned times of schedules, by what came of them: started, failed (the start was refused), missed (left out).",
		}, []string{"result"}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "modelserve_pipelines_schedule_delay_seconds", Help: "From when a schedule was due until its execution was stored.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 600},
		}),
	}
	for _, result := range []string{"started", "failed", "missed"} {
		p.fired.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{p.fired, p.late} {
		if err := registry.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // it says which
		}
	}
	return p, nil
}

// Start begins the work, until Stop.
func (p *Planner) Start(ctx context.Context) {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	p.ended.Go(func() { p.run(working) })
}

// Stop ends it. What was taken and not started comes again elsewhere. Stopping twice is
// safe.
func (p *Planner) Stop() {
	p.mu.Lock()
	if p.cancel != nil {
		p.cancel()
	}
	p.mu.Unlock()
	p.ended.Wait()
}

// run looks at what is due each second, at its beginning, as cron lines are of whole
// minutes.
func (p *Planner) run(ctx context.Context) {
	away := false
	for {
		now := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-time.After(now.Truncate(every).Add(every).Sub(now)):
		}
		err := p.turn(ctx)
		if err != nil && ctx.Err() == nil && !away {
			p.logger.ErrorContext(ctx, "schedules that are due could not be taken; they start late", "error", err)
		}
		away = err != nil
	}
}

// turn starts all that is due.
func (p *Planner) turn(ctx context.Context) error {
	for ctx.Err() == nil {
		due, now, err := p.store.DueSchedules(ctx, atOnce, hold)
		if err != nil {
			return err //nolint:wrapcheck // it says what
		}
		var started sync.WaitGroup
		places := make(chan struct{}, starts)
		for _, s := range due {
			places <- struct{}{}
			started.Go(func() {
				defer func() { <-places }()
				if err := p.fire(ctx, s, now); err != nil && ctx.Err() == nil {
					p.logger.WarnContext(ctx, "a schedule could not be gone on with; it comes again", "tenant", s.Tenant, "schedule", s.Name, "error", err)
				}
			})
		}
		started.Wait()
		if len(due) < atOnce {
			return nil
		}
	}
	return nil
}

// fire does what is due of a schedule. An error is that it comes again.
func (p *Planner) fire(ctx context.Context, s *record.Schedule, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	plan, err := schedule.Parse(s.Cron, s.TimeZone)
	if err != nil { // a zone that the program's database no longer has
		return p.paused(ctx, s, err)
	}
	due := plan.Due(schedule.Missed(s.Missed), s.Planned, now.Add(-s.Due.Sub(s.Planned)))
	result := "missed"
	if !due.Run.IsZero() {
		id, err := p.start(ctx, s, due.Run)
		switch {
		case err == nil:
			result, s.Last, s.LastExecution, s.LastError = "started", due.Run, id, ""
		case comesAgain(err):
			return err
		default:
			result, s.LastError = "failed", due.Run.UTC().Format(time.RFC3339)+": "+problem.From(err).Detail
			p.logger.WarnContext(ctx, "a schedule started nothing", "tenant", s.Tenant, "schedule", s.Name, "pipeline", s.Pipeline, "error", err)
		}
	}
	was := s.Due
	s.Planned = due.Next
	s.Due = schedule.Jittered(s.Tenant, s.Name, s.Planned, s.Jitter)
	if err := p.store.SaveSchedule(ctx, s); err != nil && !errors.Is(err, record.ErrConflict) {
		return err //nolint:wrapcheck // it says what
	}
	p.fired.WithLabelValues(result).Inc()
	if result == "started" {
		p.late.Observe(max(time.Since(was), 0).Seconds())
	}
	return nil
}

// start starts the execution of a planned time, or finds the one that was started.
func (p *Planner) start(ctx context.Context, s *record.Schedule, planned time.Time) (id string, err error) {
	v, err := p.starter.Version(ctx, s.Tenant, s.Pipeline, s.Version)
	if err != nil {
		return "", err //nolint:wrapcheck // a problem
	}
	if err := p.starter.Room(ctx, s.Tenant); err != nil {
		return "", err //nolint:wrapcheck // a problem
	}
	accepted, err := p.starter.Start(ctx, v, &start.Request{
		Tenant: s.Tenant, Input: &start.Input{JSON: s.Input}, Labels: start.OfSchedule(s.Name, v), Key: keyOf(s, planned),
	}, time.Now())
	if err != nil {
		return "", err //nolint:wrapcheck // a problem
	}
	return accepted.Execution.ID, nil
}

// keyOf is a planned time of a schedule. No caller's key has a NUL; one that is made anew
// under a name has other times.
func keyOf(s *record.Schedule, planned time.Time) *record.Key {
	return &record.Key{Text: "\x00schedule\x00" + s.Name + "\x00" + strconv.FormatInt(s.Created.UnixMilli(), 10) + "\x00" + strconv.FormatInt(planned.Unix(), 10)}
}

// comesAgain reports whether a start is worth another try soon.
func comesAgain(err error) bool {
	switch problem.CodeOf(err) {
	case problem.Unavailable, problem.Overloaded, problem.Internal, problem.Cancelled, problem.DeadlineExceeded:
		return true
	default:
		return false
	}
}

// paused stops a schedule whose times cannot be found any more.
func (p *Planner) paused(ctx context.Context, s *record.Schedule, why error) error {
	p.logger.ErrorContext(ctx, "a schedule was paused: its times cannot be found", "tenant", s.Tenant, "schedule", s.Name, "error", why)
	s.Paused, s.LastError = true, problem.From(why).Detail
	if err := p.store.SaveSchedule(ctx, s); err != nil && !errors.Is(err, record.ErrConflict) {
		return err //nolint:wrapcheck // it says what
	}
	return nil
}

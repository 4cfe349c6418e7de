package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/schedule"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/problem"
)

// createSchedule is POST /v1/schedules.
func (a *API) createSchedule(w http.ResponseWriter, c *call) error {
	text, err := c.readBody(c.Context(), schedule.MaxText)
	if err != nil {
		return err
	}
	d, err := schedule.ParseDefinition(text)
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	if _, err := a.starter.Version(c.Context(), c.tenant, d.Pipeline, d.Version); err != nil {
		if problem.CodeOf(err) == problem.NotFound {
			return problem.Invalid("pipeline", "expected a pipeline, and a version of it, that there is")
		}
		return err //nolint:wrapcheck // a problem
	}
	s := &record.Schedule{
		Tenant: c.tenant, Name: d.Name, Pipeline: d.Pipeline, Version: d.Version, Cron: d.Cron, TimeZone: d.TimeZone, Input: d.Input,
		Missed: string(d.Missed), Jitter: d.Jitter,
	}
	s.Paused = d.Paused
	planned(s, d.Plan, time.Now())
	switch err := a.deps.Store.AddSchedule(c.Context(), s); {
	case errors.Is(err, record.ErrConflict):
		return problem.New(problem.Conflict, "there is a schedule of this name: delete it first, or take another")
	case errors.Is(err, record.ErrFull):
		return problem.New(problem.Conflict, "there are %d schedules, as many as may be: delete one first", record.MaxSchedules)
	case err != nil:
		return err //nolint:wrapcheck // serve does
	}
	w.Header().Set("Location", contract.PathOf(contract.SchedulePath, s.Name))
	return writeJSON(w, http.StatusCreated, scheduleOf(s))
}

// planned sets when a schedule that is not paused comes next.
func planned(s *record.Schedule, plan *schedule.Plan, now time.Time) {
	s.Planned, s.Due = time.Time{}, time.Time{}
	if !s.Paused {
		s.Planned = plan.Next(now)
		s.Due = schedule.Jittered(s.Tenant, s.Name, s.Planned, s.Jitter)
	}
}

func (a *API) listSchedules(w http.ResponseWriter, c *call) error {
	limit, after, err := c.query.page()
	if err != nil {
		return err
	}
	page, err := a.deps.Store.Schedules(c.Context(), record.ScheduleQuery{Tenant: c.tenant, After: after, Limit: limit})
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	out := contract.Schedules{Schedules: make([]contract.Schedule, 0, len(page.Schedules)), NextCursor: page.Next.String()}
	for _, s := range page.Schedules {
		out.Schedules = append(out.Schedules, scheduleOf(s))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) showSchedule(w http.ResponseWriter, c *call) error {
	s, err := a.deps.Store.Schedule(c.Context(), c.tenant, c.PathValue("name"))
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	return writeJSON(w, http.StatusOK, scheduleOf(s))
}

func (a *API) deleteSchedule(w http.ResponseWriter, c *call) error {
	if err := a.deps.Store.DeleteSchedule(c.Context(), c.tenant, c.PathValue("name")); err != nil {
		return err //nolint:wrapcheck // serve does
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) pauseSchedule(w http.ResponseWriter, c *call) error { return a.setPaused(w, c, true) }

func (a *API) resumeSchedule(w http.ResponseWriter, c *call) error { return a.setPaused(w, c, false) }

// maxSaves bounds how often a change of a schedule is tried again that came between.
const maxSaves = 5

// setPaused pauses a schedule, or has it go on with the times that come from now on. One
// that is so already stays as it is.
func (a *API) setPaused(w http.ResponseWriter, c *call, paused bool) error {
	for try := 0; ; try++ {
		s, err := a.deps.Store.Schedule(c.Context(), c.tenant, c.PathValue("name"))
		if err != nil {
			return err //nolint:wrapcheck // serve does
		}
		if s.Paused != paused {
			plan, err := schedule.Parse(s.Cron, s.TimeZone)
			if err != nil {
				return err //nolint:wrapcheck // a problem
			}
			s.Paused = paused
			planned(s, plan, time.Now())
			err = a.deps.Store.SaveSchedule(c.Context(), s)
			if errors.Is(err, record.ErrConflict) && try < maxSaves {
				continue
			}
			if err != nil {
				return err //nolint:wrapcheck // serve does
			}
		}
		return writeJSON(w, http.StatusOK, scheduleOf(s))
	}
}

// runSchedule starts an execution now, as the schedule's next one is started. Nothing
// else of the schedule changes.
func (a *API) runSchedule(w http.ResponseWriter, c *call) error {
	ctx := c.Context()
	s, err := a.deps.Store.Schedule(ctx, c.tenant, c.PathValue("name"))
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	v, err := a.starter.Version(ctx, c.tenant, s.Pipeline, s.Version)
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	if err := a.starter.Room(ctx, c.tenant); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	accepted, err := a.starter.Start(ctx, v, &start.Request{
		Tenant: c.tenant, Input: &start.Input{JSON: s.Input}, Labels: start.OfSchedule(s.Name, v),
		Header: http.Header{"Traceparent": c.Header.Values("Traceparent")},
	}, time.Now())
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	return a.begun(w, c, accepted.Loaded, 0)
}

func scheduleOf(s *record.Schedule) contract.Schedule {
	zone := s.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	out := contract.Schedule{
		Name: s.Name, Pipeline: s.Pipeline, Version: s.Version, Cron: s.Cron, TimeZone: zone, Input: s.Input, Missed: s.Missed, Jitter: s.Jitter.String(),
		Paused: s.Paused, CreatedAt: s.Created, LastAt: timeOf(s.Last), LastExecution: s.LastExecution, LastError: s.LastError,
	}
	if !s.Paused {
		out.NextAt = timeOf(s.Planned)
	}
	return out
}

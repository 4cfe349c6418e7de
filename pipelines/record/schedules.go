package record

import (
	"context"
	"encoding/json"
	"time"
)

// MaxSchedules bounds the schedules of a tenant.
const MaxSchedules = 1000

// Schedule is a pipeline that starts by the clock. What there is of it beside its state
// never changes.
type Schedule struct {
	Tenant, Name string
	Pipeline     string // its name: the tenant's own, or one that is shipped
	Version      int    // 0 is the default, when it starts
	Cron         string
	TimeZone     string          // "" is UTC
	Input        json.RawMessage // compact
	Missed       string          // a schedule.Missed
	Jitter       time.Duration
	Created      time.Time

	ScheduleState

	Revision int64
}

// ScheduleState is what changes of a schedule.
type ScheduleState struct {
	Paused        bool
	Planned       time.Time // the next time of its cron line; zero where none follows
	Due           time.Time // when it is looked at for that: with its jitter; zero likewise
	Last          time.Time // the planned time that started last; zero is never
	LastExecution string    // which that started
	LastError     string    // why the time after that started nothing; ""
}

// Schedules keeps schedules.
type Schedules interface {
	// AddSchedule stores a new one, and sets Created and Revision. It returns ErrConflict
	// where the tenant has one of its name, and ErrFull where they have MaxSchedules.
	AddSchedule(ctx context.Context, s *Schedule) error

	// Schedule returns one of a tenant's, or ErrNotFound.
	Schedule(ctx context.Context, tenant, name string) (*Schedule, error)

	// Schedules returns a page of a tenant's, newest first.
	Schedules(ctx context.Context, q ScheduleQuery) (*SchedulePage, error)

	// SaveSchedule stores the state of a schedule as it was loaded, and sets Revision. It
	// returns ErrConflict where it has changed since, or is gone.
	SaveSchedule(ctx context.Context, s *Schedule) error

	// DeleteSchedule removes one of a tenant's, or returns ErrNotFound.
	DeleteSchedule(ctx context.Context, tenant, name string) error
}

// Planner takes schedules that are due. Any number of processes take from it.
type Planner interface {
	// DueSchedules takes schedules whose Due has come and that are not paused, those that
	// are due longest first, at most `most`, and returns the time by the database's clock.
	// They come again after hold, unless SaveSchedule moves them before.
	DueSchedules(ctx context.Context, most int, hold time.Duration) (due []*Schedule, now time.Time, err error)
}

// ScheduleQuery selects schedules.
type ScheduleQuery struct {
	Tenant string
	After  Cursor // its ID is a name
	Limit  int    // 1 to MaxPage
}

// SchedulePage is a page of schedules.
type SchedulePage struct {
	Schedules []*Schedule
	Next      Cursor
}

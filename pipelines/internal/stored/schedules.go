package stored

import (
	"time"

	"github.com/modelserveai/modelserve/pipelines/record"
)

// Schedule is a row of schedules.
type Schedule struct {
	Tenant        string
	Name          string
	Pipeline      string
	Version       int64
	Cron          string
	TimeZone      string
	Input         []byte
	Missed        string
	Jitter        int64
	CreatedAt     int64
	Revision      int64
	Paused        bool
	PlannedAt     int64
	DueAt         int64
	FreeAt        int64
	LastAt        int64
	LastExecution string
	LastError     string
}

// Of is the row's schedule.
func (r *Schedule) Of() *record.Schedule {
	return &record.Schedule{
		Tenant: r.Tenant, Name: r.Name, Pipeline: r.Pipeline, Version: int(r.Version), Cron: r.Cron, TimeZone: r.TimeZone, Input: r.Input,
		Missed: r.Missed, Jitter: time.Duration(r.Jitter) * time.Millisecond, Created: Time(r.CreatedAt), Revision: r.Revision,
		ScheduleState: record.ScheduleState{
			Paused: r.Paused, Planned: Time(r.PlannedAt), Due: Time(r.DueAt), Last: Time(r.LastAt), LastExecution: r.LastExecution, LastError: r.LastError,
		},
	}
}

// ScheduleOf is a schedule's row.
func ScheduleOf(s *record.Schedule) Schedule {
	input := s.Input
	if input == nil {
		input = []byte("null")
	}
	return Schedule{
		Tenant: s.Tenant, Name: s.Name, Pipeline: s.Pipeline, Version: int64(s.Version), Cron: s.Cron, TimeZone: s.TimeZone, Input: input,
		Missed: s.Missed, Jitter: s.Jitter.Milliseconds(), CreatedAt: Millis(s.Created), Revision: s.Revision,
		Paused: s.Paused, PlannedAt: Millis(s.Planned), DueAt: Millis(s.Due), LastAt: Millis(s.Last), LastExecution: s.LastExecution, LastError: s.LastError,
	}
}

// SchedulePage is a page of schedules, newest first, of which one more was read than it
// holds.
func SchedulePage(rows []Schedule, limit int) *record.SchedulePage {
	page := &record.SchedulePage{}
	for i := range rows {
		if i == limit {
			page.Next = record.Cursor{At: Time(rows[i-1].CreatedAt), ID: rows[i-1].Name}
			break
		}
		page.Schedules = append(page.Schedules, rows[i].Of())
	}
	return page
}

// Schedules are those of rows.
func Schedules(rows []Schedule) []*record.Schedule {
	all := make([]*record.Schedule, 0, len(rows))
	for i := range rows {
		all = append(all, rows[i].Of())
	}
	return all
}

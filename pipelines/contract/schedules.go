package contract

import (
	"encoding/json"
	"time"
)

// Schedule is a pipeline that starts by the clock.
type Schedule struct {
	Name          string          `json:"name" doc:"of the tenant, a DNS label"`
	Pipeline      string          `json:"pipeline"`
	Version       int             `json:"version,omitempty" doc:"absent: the default one, when it starts"`
	Cron          string          `json:"cron" doc:"minute, hour, day of month, month, day of week"`
	TimeZone      string          `json:"time_zone" doc:"of the IANA database"`
	Input         json.RawMessage `json:"input" doc:"of each execution"`
	Missed        string          `json:"missed" enum:"skip,one,all" doc:"what becomes of times at which nothing could be started: they are left out, the last of them runs late, or each does"`
	Jitter        string          `json:"jitter" doc:"each starts up to so much later"`
	Paused        bool            `json:"paused"`
	CreatedAt     time.Time       `json:"created_at"`
	NextAt        *time.Time      `json:"next_at,omitempty" doc:"the next planned time; absent where it is paused, or none follows"`
	LastAt        *time.Time      `json:"last_at,omitempty" doc:"the planned time that started last"`
	LastExecution string          `json:"last_execution,omitempty" doc:"which that started"`
	LastError     string          `json:"last_error,omitempty" doc:"the planned time after that, and why it started nothing"`
}

// Schedules is a page of schedules.
type Schedules struct {
	Schedules  []Schedule `json:"schedules" doc:"newest first"`
	NextCursor string     `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

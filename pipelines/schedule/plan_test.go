package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/schedule"
	"github.com/modelserveai/modelserve/problem"
)

func parse(t *testing.T, line, zone string) *schedule.Plan {
	t.Helper()
	p, err := schedule.Parse(line, zone)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNextTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, line, zone, after string
		want                    []string
	}{
		{"each weekday at six", "0 6 * * 1-5", "UTC", "2026-11-27T06:00:00Z", []string{"2026-11-30T06:00:00Z", "2026-12-01T06:00:00Z"}},
		{"a quarter of an hour", "*/15 * * * *", "", "2026-11-27T06:07:30Z", []string{"2026-11-27T06:15:00Z", "2026-11-27T06:30:00Z"}},
		{"seven is Sunday", "0 0 * * 7", "", "2026-11-27T00:00:00Z", []string{"2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"}},
		{"Friday to Sunday", "0 0 * * 5-7", "", "2026-11-26T00:00:00Z", []string{"2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z", "2026-12-04T00:00:00Z"}},
		{"every other day to Sunday", "0 0 * * 1-7/3", "", "2026-11-29T00:00:00Z", []string{"2026-11-30T00:00:00Z", "2026-12-03T00:00:00Z", "2026-12-06T00:00:00Z"}},
		{"names", "30 9 * DEC mon", "", "2026-11-27T00:00:00Z", []string{"2026-12-07T09:30:00Z"}},
		{"either day is enough", "0 0 13 * 5", "", "2026-11-07T00:00:00Z", []string{"2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"}},
		{"a day of leap years", "0 0 29 2 *", "", "2026-11-27T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"half hours of a zone", "0 9 * * *", "Asia/Kolkata", "2026-11-27T00:00:00Z", []string{"2026-11-27T03:30:00Z"}},

		{"a time that is skipped runs at the gap's end", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"several that are skipped are one", "*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"the gap's end is itself planned", "0,30 2-3 * * *", "America/New_York", "2026-03-08T06:59:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z"}},
		{"a time that comes twice runs once, at its first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"after the first of the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"between the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"each half hour through a doubled one", "*/30 * * * *", "Europe/Berlin", "2026-10-25T00:29:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"}},
		{"a gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:30:00Z"}},
		{"a day that a zone left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-30T10:00:00Z"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, now := parse(t, tt.line, tt.zone), at(t, tt.after)
			var got []string
			for range tt.want {
				now = p.Next(now)
				got = append(got, now.Format(time.RFC3339))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, zone, field string }{
		{"", "", "cron"},
		{"* * * *", "", "cron"},
		{"* * * * * *", "", "cron"},
		{"@daily", "", "cron"},
		{"@every 1s", "", "cron"},
		{"TZ=UTC 0 0 * * *", "", "cron"},
		{"CRON_TZ=UTC * * * *", "", "cron"},
		{"60 * * * *", "", "cron"},
		{"* 24 * * *", "", "cron"},
		{"* * 0 * *", "", "cron"},
		{"* * * 13 *", "", "cron"},
		{"* * * * 8", "", "cron"},
		{"* * * * 5-8", "", "cron"},
		{"5-1 * * * *", "", "cron"},
		{"*/0 * * * *", "", "cron"},
		{"1,,2 * * * *", "", "cron"},
		{", * * * *", "", "cron"},
		{"? * * * *", "", "cron"},
		{"-1 * * * *", "", "cron"},
		{"0 0 30 2 *", "", "cron"},
		{"0 0 31 4,6 *", "", "cron"},
		{"* * * * 1-7/0", "", "cron"},
		{"99999999999999999999 * * * *", "", "cron"},
		{"* * * * *", "Local", "time_zone"},
		{"* * * * *", "../etc/passwd", "time_zone"},
		{"* * * * *", "Mars/Olympus", "time_zone"},
		{"* * * * *", "+02:00", "time_zone"},
	} {
		t.Run(tt.line+" "+tt.zone, func(t *testing.T) {
			t.Parallel()
			_, err := schedule.Parse(tt.line, tt.zone)
			if got := problem.From(err); err == nil || got.Code != problem.InvalidArgument || len(got.Fields) != 1 || got.Fields[0].Field != tt.field {
				t.Errorf("got %v, want a fault of %s", err, tt.field)
			}
		})
	}
}

// TestNextIsMonotonic walks through a year in zones whose clocks change: each time follows
// the one before, and a wall clock that is not the plan's is the end of a gap.
func TestNextIsMonotonic(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/Sao_Paulo"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			p, end := parse(t, "7,37 * * * *", zone), at(t, "2027-01-01T00:00:00Z")
			location, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			for now := at(t, "2026-01-01T00:00:00Z"); now.Before(end); {
				next := p.Next(now)
				if !next.After(now) || next.Sub(now) > 3*time.Hour {
					t.Fatalf("after %v comes %v", now, next)
				}
				minute := next.In(location).Minute()
				start, _ := next.In(location).ZoneBounds()
				if minute != 7 && minute != 37 && !start.Equal(next) {
					t.Fatalf("%v is no planned time", next.In(location))
				}
				now = next
			}
		})
	}
}

func TestMissedTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		line         string
		missed       schedule.Missed
		planned, now string
		run, next    string // "" is none
	}{
		{"on time", "0 * * * *", schedule.Skip, "2026-11-27T06:00:00Z", "2026-11-27T06:00:00Z", "2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z"},
		{"a replica died at the turn of the minute", "* * * * *", schedule.Skip, "2026-11-27T06:00:00Z", "2026-11-27T06:00:59Z", "2026-11-27T06:00:00Z", "2026-11-27T06:01:00Z"},
		{"skip leaves out", "0 * * * *", schedule.Skip, "2026-11-27T06:00:00Z", "2026-11-27T08:30:00Z", "", "2026-11-27T09:00:00Z"},
		{"skip leaves out all but the one that is just due", "0 * * * *", schedule.Skip, "2026-11-27T06:00:00Z", "2026-11-27T08:00:30Z", "", "2026-11-27T08:00:00Z"},
		{"one runs the last", "0 * * * *", schedule.One, "2026-11-27T06:00:00Z", "2026-11-27T08:30:00Z", "2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z"},
		{"one runs the only", "0 * * * *", schedule.One, "2026-11-27T08:00:00Z", "2026-11-27T08:30:00Z", "2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z"},
		{"one runs the last of a year of minutes", "* * * * *", schedule.One, "2025-11-27T08:00:00Z", "2026-11-27T08:30:30Z", "2026-11-27T08:29:00Z", "2026-11-27T08:30:00Z"},
		{"one runs the last of ten years", "0 0 1 1 *", schedule.One, "2016-01-01T00:00:00Z", "2026-11-27T08:30:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"all runs each in turn", "0 * * * *", schedule.All, "2026-11-27T06:00:00Z", "2026-11-27T08:30:00Z", "2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z"},
		{"all runs the last thousand", "* * * * *", schedule.All, "2025-11-27T08:00:00Z", "2026-11-27T08:01:00Z", "2026-11-26T15:20:00Z", "2026-11-26T15:21:00Z"},
		{"a clock that went back", "0 * * * *", schedule.Skip, "2026-11-27T06:00:00Z", "2026-11-27T05:59:00Z", "2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := parse(t, tt.line, "").Due(tt.missed, at(t, tt.planned), at(t, tt.now))
			want := schedule.Due{Next: at(t, tt.next)}
			if tt.run != "" {
				want.Run = at(t, tt.run)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestJitterSpreads holds that schedules of the same minute are spread over their jitter,
// and each at the same place wherever it is asked.
func TestJitterSpreads(t *testing.T) {
	t.Parallel()
	planned, jitter := at(t, "2026-11-27T06:00:00Z"), 30*time.Second
	var buckets [10]int
	for i := range 1000 {
		name := "nightly-" + time.Duration(i).String()
		got := schedule.Jittered("default", name, planned, jitter)
		if !got.Equal(schedule.Jittered("default", name, planned, jitter)) || got.Before(planned) || !got.Before(planned.Add(jitter)) {
			t.Fatalf("%s at %v", name, got)
		}
		buckets[got.Sub(planned)/(jitter/10)]++
	}
	for i, n := range buckets {
		if n < 60 || n > 140 { // a hundred, and four deviations of it
			t.Errorf("tenth %d has %d of 1000", i, n)
		}
	}
	if got := schedule.Jittered("default", "x", planned, 0); !got.Equal(planned) {
		t.Errorf("without jitter at %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"0 6 * * 1-5", "*/15 * * * *", "0 0 29 2 *", "0 0 * * 5-7", "* * * * 1-7/2", "30 9 * dec mon", "TZ= * * * *", "0-59/7,3 1,2,3 * JAN-MAR *"} {
		f.Add(line, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, line, zone string) {
		p, err := schedule.Parse(line, zone)
		if err != nil {
			if len(problem.From(err).Fields) != 1 {
				t.Fatalf("%q in %q: %v names no field", line, zone, err)
			}
			return
		}
		now := time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC)
		for range 100 {
			next := p.Next(now)
			if next.IsZero() {
				return
			}
			if !next.After(now) {
				t.Fatalf("%q in %q: after %v comes %v", line, zone, now, next)
			}
			now = next
		}
	})
}

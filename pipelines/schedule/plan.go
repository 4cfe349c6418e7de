// Package schedule is when pipelines start by the clock: cron lines in a time zone, and
// what becomes of times that were missed.
//
// It is pure: it reads no clock, and neither stores nor starts anything.
package schedule

import (
	"errors"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // images have no zones of their own

	"github.com/robfig/cron/v3"

	"github.com/modelserveai/modelserve/problem"
)

// Plan is when a schedule runs: a cron line in a time zone. It is a value that never
// changes.
type Plan struct {
	line cron.Schedule // asked about wall clocks, as times of UTC
	zone *time.Location
}

// maxLine bounds a cron line, in bytes.
const maxLine = 256

// Parse reads a cron line of the five standard fields (minute, hour, day of month, month,
// day of week; POSIX crontab, with names of months and days, steps, and 7 for Sunday) and
// the name of a time zone of the IANA database; "" is UTC. A fault names the field `cron`
// or `time_zone`.
//
// Where day of month and day of week both are restricted, either is enough, as crontab
// has it.
func Parse(line, zone string) (*Plan, error) {
	location, err := parseZone(zone)
	if err != nil {
		return nil, err
	}
	if len(line) > maxLine {
		return nil, problem.Invalid("cron", "expected at most %d bytes", maxLine)
	}
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return nil, problem.Invalid("cron", "expected five fields (minute, hour, day of month, month, day of week), such as \"0 6 * * 1-5\", got %d", len(fields))
	}
	for i, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			if item == "" || strings.ContainsAny(item, "?=@") {
				return nil, problem.Invalid("cron", "the %s: expected *, numbers, ranges and steps such as 1-5 or */15, with commas between them, got %q", names[i], field)
			}
		}
	}
	fields[4] = sundays(fields[4])
	// A line of a single field each, so that a fault names its field.
	for i := range fields {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = fields[i]
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil {
			return nil, problem.Invalid("cron", "the %s: %v", names[i], err)
		}
	}
	parsed, err := parser.Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, problem.Invalid("cron", "%v", err)
	}
	p := &Plan{line: parsed, zone: location}
	if p.line.Next(epoch).IsZero() {
		return nil, problem.Invalid("cron", "no day is like that: the day of month is in none of the months")
	}
	return p, nil
}

var (
	parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	names  = [...]string{"minute", "hour", "day of month", "month", "day of week"}
	epoch  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // four years follow with each day of the calendar
)

func parseZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	location, err := time.LoadLocation(name)
	if err != nil || name == "Local" || len(name) > 64 { // Local is whatever the machine has
		return nil, problem.Invalid("time_zone", "expected the name of a zone in the IANA database, such as Europe/Berlin or UTC")
	}
	return location, nil
}

// sundays writes 7 as 0: crontab knows both, the library one.
func sundays(field string) string {
	items := strings.Split(field, ",")
	for i, item := range items {
		span, step, stepped := strings.Cut(item, "/")
		from, to, ranged := strings.Cut(span, "-")
		switch {
		case !ranged && from == "7":
			items[i] = "0" + item[1:]
		case ranged && to == "7" && !stepped:
			items[i] = from + "-6,0"
			if from == "7" {
				items[i] = "0"
			}
		case ranged && to == "7":
			items[i] = days(from, step, item)
		}
	}
	return strings.Join(items, ",")
}

// days writes FROM-7/STEP as a list; what is no such range stays as it is, for the
// library's fault.
func days(from, step, item string) string {
	first, err := strconv.Atoi(from)
	by, err2 := strconv.Atoi(step)
	if errors.Join(err, err2) != nil || first < 0 || first > 7 || by < 1 {
		return item
	}
	var list []string
	for day := first; day <= 7; day += by {
		list = append(list, strconv.Itoa(day%7))
	}
	return strings.Join(list, ",")
}

// Next is the first time after another that the schedule runs, of whole minutes but
// where a zone's clock changes at other seconds. Times are of the wall clock: one that
// the clock skips, as when daylight saving begins, is at the end of the gap, and several
// in it are one; one that comes twice, as when it ends, is at its first.
//
// It is zero where none follows: a zone's year after 9999.
func (p *Plan) Next(after time.Time) time.Time {
	wall := wallClock(after.In(p.zone))
	for range maxSteps {
		if wall = p.line.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if at := p.instant(wall); at.After(after) {
			return at.UTC()
		}
	}
	return time.Time{}
}

// maxSteps bounds how many wall clocks Next looks at: those of a day that came twice,
// which is the most that a zone has ever gone back.
const maxSteps = 25 * 60

// wallClock is what a clock shows, as a time of UTC.
func wallClock(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is when the zone's clock shows a time for the first time, or goes past it.
func (p *Plan) instant(wall time.Time) time.Time {
	guess := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, p.zone)
	start, end := guess.ZoneBounds()
	for _, change := range []time.Time{start, end} {
		if change.IsZero() {
			continue
		}
		_, before := change.Add(-time.Second).Zone()
		_, since := change.Zone()
		shown := func(offset int) time.Time { return change.UTC().Add(time.Duration(offset) * time.Second) }
		switch {
		case !wall.Before(shown(before)) && wall.Before(shown(since)): // skipped
			return change
		case !wall.Before(shown(since)) && wall.Before(shown(before)): // shown twice
			return wall.Add(-time.Duration(before) * time.Second)
		}
	}
	return guess
}

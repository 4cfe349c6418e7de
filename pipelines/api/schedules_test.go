package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

func (s *service) makeSchedule(body string) contract.Schedule {
	s.t.Helper()
	got := s.do("POST", "/v1/schedules", body, "Content-Type", "application/json")
	if got.status != http.StatusCreated {
		s.t.Fatalf("%d %s", got.status, got.body)
	}
	made := read[contract.Schedule](s.t, got)
	if got.header.Get("Location") != "/v1/schedules/"+made.Name {
		s.t.Errorf("%v", got.header)
	}
	return made
}

// TestSchedules holds what callers see of a schedule, from when it is made until it is
// deleted, and that other tenants see none of it.
func TestSchedules(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	made := s.makeSchedule(`{"name": "nightly", "pipeline": "a", "cron": "0 2 * * *", "time_zone": "Europe/Berlin", "input": {"q": 1}, "jitter": "30s"}`)
	if made.NextAt == nil || time.Until(*made.NextAt) > 25*time.Hour || made.Missed != "skip" || made.Jitter != "30s" || made.Version != 0 || made.LastAt != nil || string(made.Input) != `{"q":1}` {
		t.Errorf("%+v", made)
	}
	s.makeSchedule(`{"name": "once", "pipeline": "a", "version": 1, "cron": "0 2 1 1 *", "paused": true}`)
	const path = "/v1/schedules/nightly"
	if got := s.do("POST", "/v1/schedules", `{"name": "nightly", "pipeline": "a", "cron": "* * * * *"}`, "Content-Type", "application/json"); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	if all := read[contract.Schedules](t, s.do("GET", "/v1/schedules?limit=1", "")); len(all.Schedules) != 1 || all.NextCursor == "" {
		t.Errorf("%+v", all)
	}
	if all := read[contract.Schedules](t, s.as("globex").do("GET", "/v1/schedules", "")); len(all.Schedules) != 0 {
		t.Errorf("%+v", all)
	}
	for _, of := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/pause"}, {"POST", "/resume"}, {"POST", "/run"}} {
		if got := s.as("globex").do(of[0], path+of[1], ""); got.code() != problem.NotFound {
			t.Errorf("%s %s: %d %s", of[0], of[1], got.status, got.body)
		}
	}
	if paused := read[contract.Schedule](t, s.do("POST", path+"/pause", "")); !paused.Paused || paused.NextAt != nil {
		t.Errorf("%+v", paused)
	}
	if again := s.do("POST", path+"/pause", ""); again.status != http.StatusOK {
		t.Errorf("%d %s", again.status, again.body)
	}
	if on := read[contract.Schedule](t, s.do("POST", path+"/resume", "")); on.Paused || on.NextAt == nil || !on.NextAt.Equal(*made.NextAt) {
		t.Errorf("%+v", on)
	}
	ran := s.do("POST", path+"/run", "")
	x := read[contract.Execution](t, ran)
	if ran.status != http.StatusAccepted || string(x.Input) != `{"q":1}` || x.Labels["schedule"] != "nightly" || ran.header.Get("Location") != "/v1/executions/"+x.ID {
		t.Errorf("%d %s", ran.status, ran.body)
	}
	if shown := read[contract.Schedule](t, s.do("GET", path, "")); shown.LastAt != nil || !shown.NextAt.Equal(*made.NextAt) {
		t.Errorf("%+v", shown)
	}
	if got := s.do("DELETE", path, ""); got.status != http.StatusNoContent {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("GET", path, ""); got.code() != problem.NotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestSchedulesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	s.as("globex").register("theirs")
	for body, field := range map[string]string{
		`{"name": "n", "pipeline": "theirs", "cron": "* * * * *"}`:                          "pipeline",
		`{"name": "n", "pipeline": "a", "version": 2, "cron": "* * * * *"}`:                 "pipeline",
		`{"name": "n", "pipeline": "a", "cron": "* * * * 9"}`:                               "cron",
		`{"name": "n", "pipeline": "a", "cron": "* * * * *", "time_zone": "Berlin"}`:        "time_zone",
		`{"name": "n", "pipeline": "a", "cron": "* * * * *", "missed": "never"}`:            "missed",
		`{"name": "../n", "pipeline": "a", "cron": "* * * * *"}`:                            "name",
		`{"name": "n", "pipeline": "a", "cron": "* * * * *", "webhook": "http://10.0.0.1"}`: "webhook",
	} {
		got := s.do("POST", "/v1/schedules", body, "Content-Type", "application/json")
		if got.code() != problem.InvalidArgument || !strings.Contains(got.body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := s.do("POST", "/v1/pipelines/a/versions/1/deprecate", ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/v1/schedules", `{"name": "n", "pipeline": "a", "cron": "* * * * *"}`, "Content-Type", "application/json"); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	if all := read[contract.Schedules](t, s.do("GET", "/v1/schedules", "")); len(all.Schedules) != 0 {
		t.Errorf("%+v", all)
	}
}

package cli

import (
	"strings"
	"testing"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	const one = `{"name":"nightly","pipeline":"triage","version":2,"cron":"0 2 * * *","time_zone":"Europe/Berlin","input":null,"missed":"skip","jitter":"30s","paused":false,` +
		`"created_at":"2026-12-01T10:00:00Z","next_at":"2026-12-02T01:00:00Z","last_at":"2026-12-01T01:00:00Z","last_execution":"x1"}`
	const paused = `{"name":"weekly","pipeline":"triage","cron":"0 2 * * 7","time_zone":"UTC","input":null,"missed":"all","jitter":"0s","paused":true,"created_at":"2026-12-01T10:00:00Z","last_error":"gone"}`
	s, all := standIn(t, map[string]string{
		"GET /v1/schedules": `{"schedules":[` + one + `,` + paused + `]}`, "GET /v1/schedules/nightly": one, "POST /v1/schedules": one, "DELETE /v1/schedules/nightly": "",
		"POST /v1/schedules/nightly/pause": paused, "POST /v1/schedules/nightly/resume": one, "POST /v1/schedules/nightly/run": `{"id":"x9","status":"queued","steps":[]}`,
	})
	s.wants(`NAME     PIPELINE  CRON       TIME ZONE      NEXT                 LAST                 EXECUTION  ERROR
nightly  triage@2  0 2 * * *  Europe/Berlin  2026-12-02 01:00:00  2026-12-01 01:00:00  x1
weekly   triage    0 2 * * 7  UTC            paused               -                    -          gone
`, "schedules", "list")
	if out := s.must("schedules", "show", "nightly"); !strings.Contains(out, "cron       0 2 * * * Europe/Berlin\n") || !strings.Contains(out, "next       2026-12-02 01:00:00\n") {
		t.Errorf("show: %s", out)
	}
	*all = nil
	s.must("schedules", "create", "nightly", "--pipeline", "triage", "--version", "2", "--cron", "0 2 * * *", "--time-zone", "Europe/Berlin", "--jitter", "30s", "--input", `{"a": 1}`)
	wantsAsked(t, all, asked{"POST /v1/schedules", `{"cron":"0 2 * * *","input":{"a":1},"jitter":"30s","missed":"skip","name":"nightly","paused":false,"pipeline":"triage","time_zone":"Europe/Berlin","version":2}`})
	s.wants("weekly paused\n", "schedules", "pause", "nightly")
	s.wants("nightly goes on: next at 2026-12-02 01:00:00\n", "schedules", "resume", "nightly")
	s.wants("x9\n", "schedules", "run", "nightly")
	s.wants("deleted nightly\n", "schedules", "delete", "nightly")
	s.fails(exitUsage, "expected --pipeline and --cron", "schedules", "create", "n")
}

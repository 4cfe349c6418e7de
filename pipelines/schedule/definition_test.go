package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/schedule"
	"github.com/modelserveai/modelserve/problem"
)

func TestADefinition(t *testing.T) {
	t.Parallel()
	d, err := schedule.ParseDefinition([]byte(`{"name": "nightly", "pipeline": "triage", "version": 2, "cron": "0 2 * * 7", "time_zone": "Europe/Berlin",
		"input": {"a": [1, 9007199254740993, 0.1], "b": "ü"}, "missed": "one", "jitter": "1m30s", "paused": true}`))
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "nightly" || d.Pipeline != "triage" || d.Version != 2 || d.Missed != schedule.One || d.Jitter != 90*time.Second || !d.Paused || d.Plan == nil {
		t.Errorf("%+v", d)
	}
	if want := `{"a":[1,9007199254740993,0.1],"b":"ü"}`; string(d.Input) != want {
		t.Errorf("input %s, want %s", d.Input, want)
	}
	d, err = schedule.ParseDefinition([]byte("name: n\npipeline: p\ncron: '*/5 * * * *'\n"))
	if err != nil || d.Missed != schedule.Skip || d.Jitter != 0 || d.Version != 0 || d.Input != nil {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDefinitionsThatAreNone(t *testing.T) {
	t.Parallel()
	const rest = `"pipeline": "p", "cron": "* * * * *"`
	for _, tt := range []struct{ text, field string }{
		{``, "body"},
		{`[]`, "body"},
		{`{`, "body"},
		{`{"name": "n", "pipeline": "p"}`, "cron"},
		{`{"name": "N", ` + rest + `}`, "name"},
		{`{"name": "n", ` + rest + `, "more": 1}`, "more"},
		{`{"name": "n", "pipeline": "p", "cron": "61 * * * *"}`, "cron"},
		{`{"name": "n", "pipeline": "p", "cron": 5}`, "cron"},
		{`{"name": "n", ` + rest + `, "time_zone": "Local"}`, "time_zone"},
		{`{"name": "n", ` + rest + `, "jitter": "25h"}`, "jitter"},
		{`{"name": "n", ` + rest + `, "jitter": "-1s"}`, "jitter"},
		{`{"name": "n", ` + rest + `, "jitter": 5}`, "jitter"},
		{`{"name": "n", ` + rest + `, "missed": "some"}`, "missed"},
		{`{"name": "n", ` + rest + `, "version": 0}`, "version"},
		{`{"name": "n", ` + rest + `, "paused": "yes"}`, "paused"},
		{`{"name": "n", ` + rest + `, "input": "` + strings.Repeat("a", 65<<10) + `"}`, "input"},
		{`{"name": "n", "name": "m", ` + rest + `}`, "name"},
	} {
		_, err := schedule.ParseDefinition([]byte(tt.text))
		got := problem.From(err)
		if err == nil || got.Code != problem.InvalidArgument || len(got.Fields) == 0 || got.Fields[0].Field != tt.field {
			t.Errorf("%.80s: %+v, want a fault of %s", tt.text, got, tt.field)
		}
	}
}

func FuzzDefinition(f *testing.F) {
	f.Add([]byte(`{"name": "n", "pipeline": "p", "cron": "* * * * *", "jitter": "1s", "input": [1e400]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := schedule.ParseDefinition(text); err == nil && (d.Plan == nil || d.Name == "" || d.Pipeline == "") {
			t.Errorf("%q: %+v", text, d)
		}
	})
}

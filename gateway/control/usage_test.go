package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/problem"
)

// dayOf is a day as it is written.
func dayOf(text string) usage.Day {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err) // of a test
	}
	return usage.DayOf(at)
}

// metered has used some of acme's and of others', on several days.
func (a *api) metered() {
	a.t.Helper()
	f := &usage.Flush{Replica: "r", Sequence: 1}
	for i, row := range []struct{ tenant, model, day string }{
		{"acme", "iris", "2026-01-30"},
		{"acme", "iris", "2026-01-31"},
		{"acme", "", "2026-01-31"},
		{"acme", "iris", "2026-02-01"},
		{"acme", "churn", "2026-02-01"},
		{"other", "iris", "2026-02-01"},
		{usage.Others, "", "2026-02-01"},
	} {
		n := int64(1) << i
		f.Sums = append(f.Sums, usage.Row{
			Key:    usage.Key{Tenant: row.tenant, Model: row.model, Day: dayOf(row.day)},
			Counts: usage.Counts{Requests: n, Errors: n / 2, Rows: 8 * n, Compute: 1500 * n, BytesIn: 100 * n, BytesOut: 10 * n},
		})
	}
	if _, err := a.usage.AddUsage(context.Background(), f); err != nil {
		a.t.Fatal(err)
	}
}

// used are the rows of an answer, each as its names and requests.
func used(fields map[string]any) (rows []string) {
	for _, item := range list(fields, "usage") {
		row, _ := item.(map[string]any)
		var names []string
		for _, name := range []string{"day", "tenant", "model"} {
			if is, ok := row[name]; ok {
				names = append(names, fmt.Sprintf("%q", is))
			}
		}
		rows = append(rows, fmt.Sprint(strings.Join(names, " "), ": ", row["requests"]))
	}
	return rows
}

const (
	jan30 = `"2026-01-30" "acme" "iris": 1`
	jan31 = `"2026-01-31" "acme" "iris": 2`
	none  = `"2026-01-31" "acme" "": 4`
	feb1  = `"2026-02-01" "acme" "iris": 8`
	churn = `"2026-02-01" "acme" "churn": 16`
)

func TestUsageIsListed(t *testing.T) {
	t.Parallel()
	all := "from=2026-01-01&to=2026-03-01"
	for name, tc := range map[string]struct {
		query string
		want  []string
	}{
		"all":                         {all, []string{churn, feb1, none, jan31, jan30}},
		"from a day on":               {"from=2026-01-31&to=2026-03-01", []string{churn, feb1, none, jan31}},
		"before a day":                {"from=2026-01-01&to=2026-01-31", []string{jan30}},
		"a day":                       {"from=2026-01-31&to=2026-02-01", []string{none, jan31}},
		"from a time of a day":        {"from=2026-01-31T23:59:59.9Z&to=2026-02-01", []string{none, jan31}},
		"before a time of a day":      {"from=2026-01-31&to=2026-02-01T00:00:00.1Z", []string{churn, feb1, none, jan31}},
		"before a day's beginning":    {"from=2026-01-31&to=2026-02-01T00:00:00Z", []string{none, jan31}},
		"of times elsewhere":          {"from=2026-02-01T00:30:00%2B01:00&to=2026-01-31T23:00:00-01:00", []string{none, jan31}},
		"the month of the last day":   {"to=2026-02-01", []string{none, jan31, jan30}},
		"the month of the last, more": {"to=2026-02-02", []string{churn, feb1}},
		"no days":                     {"from=2026-02-01&to=2026-02-01", nil},
		"days of none":                {"from=2026-02-01&to=2026-01-01", nil},
		"long ago":                    {"from=0000-01-01&to=0001-01-01T00:00:00Z", nil},
		"in the end of days":          {"from=9999-12-31&to=9999-12-31T23:59:59Z", nil},
		"by tenant":                   {all + "&by=tenant", []string{`"acme": 31`}},
		"by model":                    {all + "&by=model", []string{`"": 4`, `"churn": 16`, `"iris": 11`}},
		"by day":                      {all + "&by=day", []string{`"2026-02-01": 24`, `"2026-01-31": 6`, `"2026-01-30": 1`}},
		"by model and tenant":         {all + "&by=model,tenant", []string{`"acme" "": 4`, `"acme" "churn": 16`, `"acme" "iris": 11`}},
		"by day and tenant":           {all + "&by=day,tenant", []string{`"2026-02-01" "acme": 24`, `"2026-01-31" "acme": 6`, `"2026-01-30" "acme": 1`}},
		"by all":                      {all + "&by=model,day,tenant", []string{churn, feb1, none, jan31, jan30}},
		"of oneself":                  {all + "&by=tenant&tenant=acme", []string{`"acme": 31`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.metered()
			a.as("acme", auth.UsageRead)
			if diff := cmp.Diff(tc.want, used(a.wants(200, "GET", "/v1/usage?"+tc.query, ""))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var got []string
			for cursor := ""; ; {
				page := a.wants(200, "GET", "/v1/usage?limit=1&"+tc.query+"&cursor="+cursor, "")
				got = append(got, used(page)...)
				if cursor = text(page, "next_cursor"); cursor == "" {
					break
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("by pages: -want +got:\n%s", diff)
			}
		})
	}
}

// TestWhatARowOfUsageHas holds its numbers, and that a list without rows is one.
func TestWhatARowOfUsageHas(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.metered()
	a.as("acme", auth.UsageRead)
	want := `{"usage":[{"tenant":"acme","model":"iris","day":"2026-01-30","requests":1,"errors":0,"rows":8,"compute_ms":1.5,"bytes_in":100,"bytes_out":10}]}` + "\n"
	if got := a.do(request{path: "/v1/usage?from=2026-01-30&to=2026-01-31"}); got.body != want {
		t.Errorf("%s, want %s", got.body, want)
	}
	if got := a.do(request{path: "/v1/usage?from=2020-01-30&to=2020-01-31"}); got.body != `{"usage":[]}`+"\n" {
		t.Errorf("without rows: %s", got.body)
	}
}

// TestUsageOfThisMonth holds which days there are where none are asked for.
func TestUsageOfThisMonth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.metered()
		a.as("acme", auth.UsageRead)
		for _, step := range []struct {
			now  string
			want []string
		}{
			{"2026-01-30T12:00:00Z", []string{jan30}},
			{"2026-01-31T23:59:59Z", []string{none, jan31, jan30}},
			{"2026-02-01T00:00:00Z", []string{churn, feb1}},
			{"2026-02-28T00:00:00Z", []string{churn, feb1}},
			{"2026-03-01T00:00:00Z", nil},
		} {
			now, err := time.Parse(time.RFC3339, step.now)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(now))
			if diff := cmp.Diff(step.want, used(a.wants(200, "GET", "/v1/usage", ""))); diff != "" {
				t.Errorf("at %s: -want +got:\n%s", step.now, diff)
			}
		}
	})
}

func TestUsageOfOthersIsForAdmins(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.metered()
	const all = "/v1/usage?from=2026-01-01&to=2026-03-01&by=tenant"
	a.as("acme", auth.UsageRead)
	a.wants(403, "GET", all+"&tenant=other", "")
	a.wants(403, "GET", all+"&tenant=nobody", "")
	if got := a.wants(400, "GET", all+"&tenant=ACME", ""); !strings.Contains(fmt.Sprint(got), "expected a DNS label") {
		t.Errorf("it does not say how tenants are named: %v", got)
	}
	for _, scopes := range [][]auth.Permission{{auth.InferAll}, {auth.AuditRead, auth.ModelsRead, auth.KeysAdmin, auth.RolesAdmin}} {
		a.as("acme", scopes...)
		if got := a.do(request{path: all}); got.status != http.StatusForbidden || !strings.Contains(got.body, "usage:read") {
			t.Errorf("with %v: %d %s", scopes, got.status, got.body)
		}
	}
	a.as("default", auth.Admin)
	for query, want := range map[string][]string{
		"":              {`"_other": 64`, `"acme": 31`, `"other": 32`},
		"&tenant=acme":  {`"acme": 31`},
		"&tenant=none":  nil,
		"&tenant=other": {`"other": 32`},
	} {
		if diff := cmp.Diff(want, used(a.wants(200, "GET", all+query, ""))); diff != "" {
			t.Errorf("%q: -want +got:\n%s", query, diff)
		}
	}
	models := used(a.wants(200, "GET", "/v1/usage?from=2026-01-01&to=2026-03-01&by=model", ""))
	if diff := cmp.Diff([]string{`"": 68`, `"churn": 16`, `"iris": 43`}, models); diff != "" {
		t.Errorf("of all tenants: -want +got:\n%s", diff)
	}
}

func TestWrongQueriesOfUsageAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.metered()
	a.as("acme", auth.UsageRead)
	next := text(a.wants(200, "GET", "/v1/usage?limit=1&from=2026-01-01&to=2026-03-01", ""), "next_cursor")
	for query, field := range map[string]string{
		"from=yesterday":            "from",
		"from=2026-02-29":           "from",
		"from=2026-1-1":             "from",
		"from=20260101":             "from",
		"from=2026-01-01T00:00":     "from",
		"from=2026-01-01 00:00:00Z": "from",
		"from=2026-01-01t00:00:00z": "from",
		"to=":                       "to",
		"to=2026-06-30T23:59:60Z":   "to",
		"to=10000-01-01":            "to",
		"to=2026-01-01&to=2026":     "to",
		"by=":                       "by",
		"by=key":                    "by",
		"by=day,day":                "by",
		"by=day,":                   "by",
		"by=day, model":             "by",
		"by=tenant,model,day,model": "by",
		"by=day&by=model":           "by",
		"limit=201":                 "limit",
		"cursor=!":                  "cursor",
		"cursor=MTIz":               "cursor",
		"cursor=eC95L3o":            "cursor",
		"by=day&cursor=" + next:     "cursor",
		"key=k1":                    "key",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := a.do(request{path: "/v1/usage?" + values.Encode()})
		if got.status != http.StatusBadRequest || !cmp.Equal(names(got.problem(t)), []string{field}) {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
}

func TestUsageThatCannotBeRead(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.as("acme", auth.UsageRead)
	a.usage.Fail(fmt.Errorf("%w: hidden", rights.ErrAway))
	got := a.do(request{path: "/v1/usage"})
	if got.problem(t).Code != problem.Unavailable || got.header.Get("Retry-After") != "1" || strings.Contains(got.body, "hidden") {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	a.usage.Fail(errors.New("hidden"))
	if got := a.do(request{path: "/v1/usage"}); got.problem(t).Code != problem.Internal || strings.Contains(got.body, "hidden") {
		t.Errorf("%d %s", got.status, got.body)
	}
	uncounted := newAPI(t, func(d *control.Deps) { d.Usage = nil })
	uncounted.wants(404, "GET", "/v1/usage", "")
}

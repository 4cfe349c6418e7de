package control

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/problem"
)

// Usage is what tenants used: a usage.Recorder.
type Usage interface {
	// Usage returns a page.
	Usage(ctx context.Context, q *usage.Query) ([]usage.Row, error)
}

func (a *API) addUsage(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/usage", ID: "listUsage", Tag: "usage",
		Summary: "List what was used, newest day first; an admin sees every tenant's",
		Needs:   auth.DoReadUsage, Codes: []problem.Code{problem.NotFound},
	}, a.listUsage)
}

// when is a day, or a time, as it is asked for.
type when string

// Schema implements huma.SchemaProvider.
func (when) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeString, Format: "date"},
		{Type: huma.TypeString, Format: "date-time", Pattern: operation.TimePattern},
	}}
}

// time is the day's beginning, or the time.
func (w when) time(field string) (time.Time, error) {
	at, err := time.Parse(time.DateOnly, string(w))
	if err != nil {
		at, err = time.Parse(time.RFC3339, string(w))
	}
	if err != nil {
		return at, problem.Invalid(field, "expected a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
	}
	return at, nil
}

type listUsageInput struct {
	page

	From   when   `query:"from" doc:"a day such as 2027-01-31, in UTC, or a time such as 2027-01-31T12:00:00Z: usage of days from then on; left out, from the first of the month that the days end in"`
	To     when   `query:"to" doc:"a day such as 2027-02-01, in UTC, or a time such as 2027-01-31T12:00:00Z: usage of days that begin before it; left out, up to today"`
	By     string `query:"by" default:"tenant,model,day" pattern:"^(tenant(,model(,day)?|,day(,model)?)?|model(,tenant(,day)?|,day(,tenant)?)?|day(,tenant(,model)?|,model(,tenant)?)?)$" doc:"tenant, model and day, or some of them, each once, with commas between: what is summed for itself"`
	Tenant string `query:"tenant" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"whose usage; the caller's own, or of an admin every tenant's, where it is left out. That of another is for admins"`
}

// UsageSum is what calls came to. Those that were refused with 401, 403 and 429 are not
// counted. It lacks the names of what it is a sum over.
type UsageSum struct {
	Tenant    string  `json:"tenant,omitempty" doc:"_other where there were too many to count each"`
	Model     *string `json:"model,omitzero" doc:"that calls came to, or the function where it has none or several; empty for calls that came to none"`
	Day       string  `json:"day,omitempty" format:"date" doc:"on which the calls ended, in UTC"`
	Requests  int64   `json:"requests" doc:"that were answered, or broke off; of streams, messages"`
	Errors    int64   `json:"errors" doc:"those of them that were answered with an error, or broke off"`
	Rows      int64   `json:"rows" doc:"of the batch axis"`
	ComputeMS float64 `json:"compute_ms" doc:"of models' runs, each call's part; of a call that ended without a report, its time under way"`
	BytesIn   int64   `json:"bytes_in" doc:"of bodies and messages as they came"`
	BytesOut  int64   `json:"bytes_out" doc:"of answers"`
}

// UsageList is a page of usage.
type UsageList struct {
	Usage []UsageSum `json:"usage"`
	Next  string     `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listUsageOutput struct{ Body UsageList }

func (a *API) listUsage(ctx context.Context, c *call.Call, in *listUsageInput) (*listUsageOutput, error) {
	q, err := in.query(time.Now())
	if err != nil {
		return nil, err
	}
	if q.Tenant == "" || q.Tenant != c.Principal.Tenant {
		switch admin := a.isAdmin(ctx, c); {
		case !admin && q.Tenant != "":
			return nil, a.refuse(ctx, c, auth.Action{Verb: auth.DoAnything})
		case !admin:
			q.Tenant = c.Principal.Tenant
		}
	}
	if a.deps.Usage == nil {
		return nil, problem.New(problem.NotFound, "this gateway counts no usage")
	}
	found, err := a.deps.Usage.Usage(ctx, q)
	if err != nil {
		return nil, whyRead(ctx, err)
	}
	out := &listUsageOutput{}
	for i, row := range found {
		if i == in.Limit {
			out.Body.Next = formatUsage(found[i-1].Key)
			break
		}
		out.Body.Usage = append(out.Body.Usage, viewOfUsage(row, q.By))
	}
	return out, nil
}

// query is what is asked for, now.
func (in *listUsageInput) query(now time.Time) (*usage.Query, error) {
	q := &usage.Query{Tenant: in.Tenant, To: usage.DayOf(now) + 1, Limit: in.Limit + 1} // one more shows whether there is a next page
	for name := range strings.SplitSeq(in.By, ",") {
		q.By.Tenant, q.By.Model, q.By.Day = q.By.Tenant || name == "tenant", q.By.Model || name == "model", q.By.Day || name == "day"
	}
	if in.To != "" {
		to, err := in.To.time("to")
		if err != nil {
			return nil, err
		}
		q.To = usage.DayOf(to.Add(-1)) + 1 // the first day that does not begin before it
	}
	last := (q.To - 1).Start()
	q.From = usage.DayOf(time.Date(last.Year(), last.Month(), 1, 0, 0, 0, 0, time.UTC))
	if in.From != "" {
		from, err := in.From.time("from")
		if err != nil {
			return nil, err
		}
		q.From = usage.DayOf(from)
	}
	return q, in.after(q)
}

// after puts in a query where its page begins.
func (in *listUsageInput) after(q *usage.Query) error {
	if in.Cursor == "" {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	parts := strings.SplitN(string(text), "/", 3)
	if err != nil || len(parts) < 3 {
		return errCursor()
	}
	day, err := strconv.ParseInt(parts[0], 10, 32)
	q.After = &usage.Key{Tenant: parts[1], Model: parts[2], Day: usage.Day(day)}
	if err != nil || q.By.Of(*q.After) != *q.After {
		return errCursor()
	}
	return nil
}

func formatUsage(k usage.Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(int64(k.Day), 10) + "/" + k.Tenant + "/" + k.Model))
}

func viewOfUsage(row usage.Row, by usage.By) UsageSum {
	view := UsageSum{
		Tenant: row.Tenant, Requests: row.Requests, Errors: row.Errors, Rows: row.Rows, ComputeMS: float64(row.Compute) / 1000,
		BytesIn: row.BytesIn, BytesOut: row.BytesOut,
	}
	if by.Model {
		view.Model = &row.Model
	}
	if by.Day {
		view.Day = row.Day.String()
	}
	return view
}

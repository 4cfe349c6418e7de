package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// TestNoCallerHasAPlan holds that what only the pipelines service sends never gets
// from a caller to a function: a plan, and the attributes of an execution's events.
func TestNoCallerHasAPlan(t *testing.T) {
	t.Parallel()
	const structured = "application/cloudevents+json; charset=utf-8"
	event := func(more string) string {
		return `{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"ticket":1,"step":["tenant"]}` + more + `}`
	}
	for name, tc := range map[string]struct {
		path    string
		header  http.Header
		body    string
		refused string // what the answer names; "" is none
		query   string // that the function sees
	}{
		"a plan":                         {path: "/?plan=1&a=b&sig=2", query: "a=b&sig=2"},
		"a plan alone":                   {path: "/?plan=1"},
		"escaped":                        {path: "/?pl%61n=1&plan&a=%20", query: "a=%20"},
		"what only looks so":             {path: "/?plans=1&a=plan", query: "plans=1&a=plan"},
		"a ticket, native":               {path: "/", header: http.Header{"Ce-Ticket": {"t"}, "Ce-Tenant": {"other"}, "Ce-Executionid": {"e"}}},
		"an event":                       {path: "/", header: http.Header{"Ce-Specversion": {"1.0"}, "Ce-Subject": {"s"}}},
		"an event with a ticket":         {path: "/", header: http.Header{"Ce-Specversion": {"1.0"}, "Ce-Ticket": {"t"}}, refused: "Ce-Ticket"},
		"an event with an empty one":     {path: "/?plan=1", header: http.Header{"Ce-Specversion": {"1.0"}, "Ce-Ticket": {""}}, refused: "Ce-Ticket"},
		"an event with a step":           {path: "/", header: http.Header{"Ce-Specversion": {"1.0"}, "Ce-Step": {"t"}}, refused: "Ce-Step"},
		"a structured event":             {path: "/", header: http.Header{"Content-Type": {structured}}, body: event("")},
		"a structured one with a ticket": {path: "/", header: http.Header{"Content-Type": {structured}}, body: event(`,"ticket":"t"`), refused: "ticket"},
		"with capitals":                  {path: "/", header: http.Header{"Content-Type": {structured}}, body: event(`,"Tenant":"t"`), refused: "Tenant"},
		"with escapes":                   {path: "/", header: http.Header{"Content-Type": {structured}}, body: event(`,"\u0065x\u0065cutionid":"t"`), refused: "executionid"},
		"behind a large text": {
			path: "/", header: http.Header{"Content-Type": {structured}},
			body: event(`,"text":"` + strings.Repeat(`\"x\\`, 50_000) + `","a":[{"ticket":1}],"attempt":1`), refused: "attempt",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.echo("text-detect")
			header := tc.header.Clone()
			if header == nil {
				header = http.Header{}
			}
			header.Set("Authorization", "Bearer "+w.admin)
			body := tc.body
			if body == "" {
				body = "x"
			}
			got := w.do(request{method: "POST", host: "text-detect.default.localhost", path: tc.path, header: header, body: body})
			if tc.refused != "" {
				if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, string(problem.Reserved)) || !strings.Contains(got.body, tc.refused+": ") {
					t.Errorf("%d %s", got.status, got.body)
				}
				return
			}
			if got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			at := w.net.last()
			if at.URL.RawQuery != tc.query {
				t.Errorf("the function sees %q, want %q", at.URL.RawQuery, tc.query)
			}
			for name := range at.Header {
				if strings.HasPrefix(name, "Ce-") && name != "Ce-Specversion" && name != "Ce-Subject" {
					t.Errorf("the function sees %s", name)
				}
			}
		})
	}
}

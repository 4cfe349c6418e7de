package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/outside"
)

func TestHeadersTravelAsExtensions(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"X-Case-Id": "xcaseid", "Tenant": "", "Ticket": "", "Data-SHA256": "", "Id": "", "Type": "", "---": "", "Traceparent": "", "X_1": "x1",
	} {
		if got := extensionOf(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	for value, want := range map[string]string{
		"plain": "plain", "a b": "a%20b", `"50%"`: "%2250%25%22", "é": "%C3%A9", "a\r\nb": "a%0D%0Ab",
	} {
		if got := encoded(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestWhatAFailingURLSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer outside.Answer
		want   execution.Failure
	}{
		"a status": {outside.Answer{Status: 500}, execution.Failure{Status: 500}},
		"a pause":  {outside.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, execution.Failure{Status: 429, RetryAfter: 7 * time.Second}},
		"a pause that is over": {
			outside.Answer{Status: 503, Header: http.Header{"Retry-After": {"Thu, 01 Jan 1970 00:00:00 GMT"}}}, execution.Failure{Status: 503},
		},
		"no pause": {outside.Answer{Status: 503, Header: http.Header{"Retry-After": {"-1"}}}, execution.Failure{Status: 503}},
		"a problem": {
			outside.Answer{Status: 400, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(`{"title":"Bad","detail":"no q","code":"no_q"}`)},
			execution.Failure{Status: 400, Problem: execution.Problem{Title: "Bad", Detail: "no q", Code: "no_q"}},
		},
		"what only says so": {
			outside.Answer{Status: 400, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(`<html>`)},
			execution.Failure{Status: 400, Problem: execution.Problem{Title: "Bad Request", Detail: "the step's URL answered: <html>"}},
		},
		"a status that is none": {
			outside.Answer{Status: 400, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(`{"detail":"no q","status":-5}`)},
			execution.Failure{Status: 400, Problem: execution.Problem{Detail: "no q"}},
		},
		"what the platform alone says": {
			outside.Answer{Status: 400, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(`{"detail":"no","code":"event_damaged"}`)},
			execution.Failure{Status: 400, Problem: execution.Problem{Detail: "no"}},
		},
		"a text": {
			outside.Answer{Status: 422, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: []byte(`{"error": "no q"}` + "\n" + strings.Repeat(" ", 9000))},
			execution.Failure{Status: 422, Problem: execution.Problem{Title: "Unprocessable Entity", Detail: `the step's URL answered: {"error": "no q"}`}},
		},
		"a long text": {
			outside.Answer{Status: 422, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(strings.Repeat("a", 9000))},
			execution.Failure{Status: 422, Problem: execution.Problem{Title: "Unprocessable Entity", Detail: "the step's URL answered: " + strings.Repeat("a", maxSaid)}},
		},
		"no text": {
			outside.Answer{Status: 422, Header: http.Header{"Content-Type": {"image/png"}}, Body: []byte("\x89PNG")}, execution.Failure{Status: 422},
		},
		"a redirect": {
			outside.Answer{Status: 302, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte(`<a>`)},
			execution.Failure{Status: 302, Problem: execution.Problem{Title: "Found", Detail: "the step's URL answered with a redirect, which is not followed: name the URL where it leads"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := refused(&c.answer)
			if got.Status != c.want.Status || got.RetryAfter != c.want.RetryAfter || got.Problem != c.want.Problem {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

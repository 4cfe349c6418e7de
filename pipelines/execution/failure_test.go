package execution_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/problem"
)

// Every status has a verdict, of a step and of what lies between.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const retry, broke, dead = execution.Retry, execution.Break, execution.Dead
	for _, row := range []struct {
		statuses        []int
		step, transport execution.Verdict
	}{
		{[]int{0}, broke, broke},
		{[]int{200, 202, 204}, broke, broke},
		{[]int{100, 301, 302, 307, 304}, dead, dead},
		{[]int{400, 401, 403, 405, 409, 410, 413, 415, 422, 423, 425, 431, 451, 499}, dead, dead},
		{[]int{404}, dead, broke},
		{[]int{408, 429}, retry, retry},
		{[]int{500, 501, 502, 503, 504, 507, 508, 511, 599}, retry, broke},
		{[]int{-1, 600, 999, 1000}, dead, dead},
	} {
		for _, status := range row.statuses {
			got := []execution.Verdict{
				(&execution.Failure{Status: status, Problem: execution.Problem{Code: "x"}}).Verdict(),
				(&execution.Failure{Status: status, Transport: true}).Verdict(),
			}
			if diff := gocmp.Diff([]execution.Verdict{row.step, row.transport}, got); diff != "" {
				t.Errorf("%d: %s", status, diff)
			}
			damaged := execution.Failure{Status: status, Problem: execution.Problem{Code: execution.EventDamaged}}
			if status >= 0 && status < 1000 && damaged.Verdict() != broke {
				t.Errorf("%d of a damaged event is %s", status, damaged.Verdict())
			}
		}
	}
}

// Every code of the platform has a verdict that follows from what it means.
func TestVerdictsOfCodes(t *testing.T) {
	t.Parallel()
	want := map[problem.Code]execution.Verdict{
		problem.BadGateway: execution.Break, problem.EventDamaged: execution.Break,
		problem.Overloaded: execution.Retry, problem.RateLimited: execution.Retry, problem.QuotaExceeded: execution.Retry,
		problem.RequestTimeout: execution.Retry,
	}
	for _, code := range problem.Codes() {
		f := execution.Failure{Status: code.Row().Status, Problem: execution.Problem{Code: string(code)}}
		verdict, ok := want[code]
		switch {
		case ok:
		case f.Status >= 500:
			verdict = execution.Retry
		default:
			verdict = execution.Dead
		}
		if got := f.Verdict(); got != verdict {
			t.Errorf("%s, %d: %s, want %s", code, f.Status, got, verdict)
		}
	}
}

// The pause doubles, to thirty seconds at most, and half of it is chance.
func TestPauses(t *testing.T) {
	t.Parallel()
	for _, random := range []float64{0, 0.5, 0.999} {
		r := newRig(t, step("a"))
		r.m = execution.New(plan.Of(r.d), execution.Options{Random: func() float64 { return random }})
		r.d.Steps[0].Retry.Attempts = 10
		r.d.Timeout = time.Hour
		r.begin()
		whole := time.Second
		for i := range 9 {
			r.send().failed(0, 0, 1+i, "", broken)
			_, branches := r.s.load("x")
			due := branches[1].Due
			want := whole/2 + time.Duration(random*float64(whole/2))
			if got := due.Sub(r.clock()); got != want {
				t.Errorf("after failure %d with %g: %s, want %s", i+1, random, got, want)
			}
			r.now = due.Sub(epoch)
			whole = min(2*whole, 30*time.Second)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", execution.MaxDetail)
	for _, test := range []struct {
		name string
		f    execution.Failure
		want execution.Problem
	}{
		{"its own", refused, execution.Problem{Status: 422, Detail: "no", Code: "invalid_argument"}},
		{"none, with a status", execution.Failure{Status: 404}, execution.Problem{Title: "Not Found", Status: 404, Detail: "the step failed and gave no reason"}},
		{"no answer", execution.Failure{}, execution.Of(problem.New(problem.BadGateway, "the connection to the step broke before it answered"))},
		{"an answer that is none", execution.Failure{Status: 202}, execution.Of(problem.New(problem.BadGateway, "the step answered with what is not an answer to its event"))},
		{"too long, and not text", execution.Failure{Status: 400, Problem: execution.Problem{Title: "a\x00b\xff", Detail: "x" + long}}, execution.Problem{
			Title: "a\uFFFDb\uFFFD", Status: 400, Detail: "x" + strings.Repeat("é", execution.MaxDetail/2-1),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, step("a"))
			r.d.Steps[0].Retry.Attempts = 1
			r.begin().send()
			for i := range execution.MaxBreaks + 1 {
				r.failed(0, 0, i+1, "", test.f).wait(30 * time.Second).send()
			}
			if diff := gocmp.Diff(&test.want, r.s.rows["x"].x.Error); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := execution.Of(errors.New("/etc/secret")); strings.Contains(got.Detail, "secret") || got.Code != "internal" {
		t.Errorf("an error that is nobody's to see becomes %+v", got)
	}
}

// What is noted of late answers is bounded, whatever comes.
func TestLateAnswersAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, step("a"))
	r.begin().send()
	for i := range 3 * execution.MaxLate {
		r.failed(0, 0, 2+i, "", execution.Failure{Step: strings.Repeat("s", 5000)})
	}
	row := r.s.rows["x"]
	if len(row.late) != execution.MaxLate || row.x.Revision != int64(2+execution.MaxLate) {
		t.Errorf("%d late answers are noted in %d revisions", len(row.late), row.x.Revision)
	}
	if n := len(row.late[0].Step); n > execution.MaxDetail {
		t.Errorf("a step's name of %d bytes", n)
	}
	if r.answered(0, 0, 1, "a"); row.x.Status != execution.Succeeded {
		t.Errorf("afterwards it is %s", row.x.Status)
	}
}

func ExampleFailure_Verdict() {
	f := execution.Failure{Status: 429, RetryAfter: time.Minute}
	fmt.Println(f.Verdict())
	// Output: retry
}

package execution_test

import (
	"errors"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

var (
	refused = execution.Failure{Step: "a", Status: 422, Problem: execution.Problem{Code: "invalid_argument", Detail: "no"}}
	busy    = execution.Failure{Step: "a", Status: 429, RetryAfter: 20 * time.Second}
	died    = execution.Failure{Step: "a", Status: 502, Transport: true}
	broken  = execution.Failure{Step: "a", Status: 500, Problem: execution.Problem{Code: "internal", Status: 500, Detail: "?"}}
)

func of(f execution.Failure, step string) execution.Failure { f.Step = step; return f }

func TestTransitions(t *testing.T) {
	t.Parallel()
	chain := []definition.Step{step("a"), step("b after a")}
	for _, test := range []struct {
		name  string
		steps []definition.Step
		do    func(r *rig)
		want  string
	}{
		{"begin", chain, func(r *rig) { r.wait(time.Second).begin() }, `running: a running, b queued
0.0 step 0 epoch 0, 0+0: send at 1s`},
		{"begin twice", chain, func(r *rig) { r.begin().begin() }, `running: a running, b queued
0.0 step 0 epoch 0, 0+0: send at 0s`},
		{"a chain has a lease of all its steps", chain, func(r *rig) { r.begin().send() }, `running: a running, b queued
0.0 step 0 epoch 1, 0+0: lease at 1m5s`},
		{"a chain answers", chain, func(r *rig) { r.begin().send().answered(0, 0, 1, "a b") }, `succeeded: a succeeded 1+0, b succeeded 1+0
value a.0 epoch 1
value b.0 epoch 1`},
		{"an answer of an epoch that is over", chain, func(r *rig) {
			r.begin().send().failed(0, 0, 1, "", broken).wait(time.Second).send().answered(0, 0, 1, "a b")
		}, `running: a running 1+0, b queued
0.0 step 0 epoch 2, 1+0: lease at 1m6s
late 0.0 epoch 1 `},
		{"an answer while it is to be sent again", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "", broken).answered(0, 0, 1, "a b") }, `running: a running 1+0, b queued
0.0 step 0 epoch 1, 1+0: send at 750ms
late 0.0 epoch 1 `},
		{"an answer of no branch", chain, func(r *rig) { r.begin().send().answered(5, 0, 1, "a b").failed(0, 9, 1, "", broken) }, `running: a running, b queued
0.0 step 0 epoch 1, 0+0: lease at 1m5s
late 5.0 epoch 1 
late 0.9 epoch 1 a`},
		{"an answer after the end", chain, func(r *rig) {
			r.begin().send().answered(0, 0, 1, "a b").answered(0, 0, 1, "a b").failed(0, 0, 1, "a", of(broken, "b"))
		}, `succeeded: a succeeded 1+0, b succeeded 1+0
value a.0 epoch 1
value b.0 epoch 1
late 0.0 epoch 1 
late 0.0 epoch 1 b`},
		{"a channel that takes no event is no failure", chain, func(r *rig) {
			r.begin()
			for epoch := 1; epoch <= 20; epoch++ {
				r.send().refused(0, 0, epoch).wait(time.Second)
			}
			r.refused(0, 0, 20) // it is to be sent
		}, `running: a running, b queued
0.0 step 0 epoch 20, 0+0: send at 20s`},
		{"a refusal of an epoch that is over", chain, func(r *rig) { r.begin().send().refused(0, 0, 1).wait(time.Second).send().refused(0, 0, 1) }, `running: a running, b queued
0.0 step 0 epoch 2, 0+0: lease at 1m6s`},
		{"an answer without the output of a step", chain, func(r *rig) { r.begin().send().answered(0, 0, 1, "b") }, `running: a running 0+1, b queued
0.0 step 0 epoch 1, 0+1: send at 750ms`},
		{"a later step of a chain fails", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "a", of(broken, "b")) }, `running: a succeeded 1+0, b running 1+0
0.0 step 1 epoch 1, 1+0: send at 750ms
value a.0 epoch 1`},
		{"and answers when it is tried again alone", chain, func(r *rig) {
			r.begin().send().failed(0, 0, 1, "a", of(broken, "b")).wait(time.Second).send().answered(0, 0, 2, "b")
		}, `succeeded: a succeeded 1+0, b succeeded 2+0
value a.0 epoch 1
value b.0 epoch 2`},
		{"a later step fails without the outputs before it", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "", of(broken, "b")) }, `running: a running 0+1, b queued
0.0 step 0 epoch 1, 0+1: send at 750ms`},
		{"a damaged event runs again what produced it", chain, func(r *rig) {
			r.begin().send().failed(0, 0, 1, "a", execution.Failure{Step: "b", Status: 400, Problem: execution.Problem{Code: execution.EventDamaged}})
		}, `running: a running 0+1, b queued
0.0 step 0 epoch 1, 0+1: send at 750ms`},
		{"a step that is not known fails", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "a", of(broken, "")) }, `running: a running 1+0, b queued
0.0 step 0 epoch 1, 1+0: send at 750ms`},
		{"a step that is not known breaks", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "a", of(died, "")) }, `running: a running 0+1, b queued
0.0 step 0 epoch 1, 0+1: send at 750ms`},
		{"a later step breaks", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "a", of(died, "b")) }, `running: a succeeded 1+0, b running 0+1
0.0 step 1 epoch 1, 0+1: send at 750ms
value a.0 epoch 1`},
		{"attempts are used up", chain, func(r *rig) {
			r.begin().send().failed(0, 0, 1, "", broken).wait(time.Second).send().failed(0, 0, 2, "", broken).wait(2*time.Second).send().failed(0, 0, 3, "", broken)
		}, `failed: a failed 3+0, b cancelled
dead a.0 epoch 3, 3+0: 500 internal
error 500 internal`},
		{"a refused input is dead at once", chain, func(r *rig) { r.begin().send().failed(0, 0, 1, "a", of(refused, "b")) }, `failed: a succeeded 1+0, b failed 1+0
value a.0 epoch 1
dead b.0 epoch 1, 1+0: 422 invalid_argument
error 422 invalid_argument`},
		{"breaks are counted apart, and bounded", chain[:1], func(r *rig) {
			r.begin().send().failed(0, 0, 1, "", broken)
			for i := range execution.MaxBreaks {
				r.wait(30*time.Second).send().failed(0, 0, 2+i, "", died)
			}
		}, `running: a running 1+5
0.0 step 0 epoch 6, 1+5: send at 2m42s`},
		{"and then dead", chain[:1], func(r *rig) {
			r.begin().send()
			for i := range execution.MaxBreaks + 1 {
				r.failed(0, 0, 1+i, "", died).wait(30 * time.Second).send()
			}
		}, `failed: a failed 0+5
dead a.0 epoch 6, 0+5: 502 
error 502 `},
		{"Retry-After is kept", chain[:1], func(r *rig) { r.begin().send().failed(0, 0, 1, "", busy) }, `running: a running 1+0
0.0 step 0 epoch 1, 1+0: send at 21s`},
		{"nothing is waited for past the deadline", chain[:1], func(r *rig) {
			r.begin().send().failed(0, 0, 1, "", execution.Failure{Step: "a", Status: 429, RetryAfter: time.Hour})
		}, `failed: a failed 1+0
dead a.0 epoch 1, 1+0: 429 
error 429 `},
		{"a lease runs out", chain, func(r *rig) { r.begin().send().wait(65*time.Second).expired(0, 0, 1) }, `running: a running 0+1, b queued
0.0 step 0 epoch 1, 0+1: send at 1m5.75s`},
		{"a lease has not run out", chain, func(r *rig) { r.begin().send().wait(64*time.Second).expired(0, 0, 1) }, `running: a running, b queued
0.0 step 0 epoch 1, 0+0: lease at 1m5s`},
		{"a lease that is over runs out", chain, func(r *rig) { r.begin().send().answered(0, 0, 1, "a b").wait(time.Hour).expired(0, 0, 1) }, `succeeded: a succeeded 1+0, b succeeded 1+0
value a.0 epoch 1
value b.0 epoch 1`},
		{"a tap shows progress", chain, func(r *rig) { r.begin().send().wait(time.Second).seen(1, "a").seen(1, "a").seen(9, "a").seen(1, "b") }, `running: a succeeded 1+0, b running
0.0 step 0 epoch 1, 0+0: lease at 36s`},
		{"which was lost", chain, func(r *rig) {
			r.begin().send().wait(time.Second).seen(1, "a").wait(time.Minute).expired(0, 0, 1).wait(time.Second).send().failed(0, 0, 2, "", refused)
		}, `failed: a failed 1+1, b cancelled
dead a.0 epoch 2, 1+1: 422 invalid_argument
error 422 invalid_argument`},
		{"a join waits for all", []definition.Step{step("a"), step("b after a"), step("c after a"), step("d after b c")}, func(r *rig) {
			r.begin().send().answered(0, 0, 1, "a").send().answered(1, 0, 1, "b")
		}, `running: a succeeded 1+0, b succeeded 1+0, c running, d queued
2.0 step 0 epoch 1, 0+0: lease at 35s
value a.0 epoch 1
value b.0 epoch 1`},
		{"a failure ends the other branches", []definition.Step{step("a"), step("b after a"), step("c after a"), step("d after b c")}, func(r *rig) {
			r.begin().send().answered(0, 0, 1, "a").send().failed(1, 0, 1, "", of(refused, "b"))
		}, `failed: a succeeded 1+0, b failed 1+0, c cancelled, d cancelled
value a.0 epoch 1
dead b.0 epoch 1, 1+0: 422 invalid_argument
error 422 invalid_argument`},
		{"a condition that is false", []definition.Step{step("a", when), step("b after a")}, func(r *rig) {
			r.e.when = map[string]error{"a": errSkip}
			r.begin()
		}, `running: a skipped, b running
1.0 step 0 epoch 0, 0+0: send at 0s`},
		{"a condition that fails", []definition.Step{step("a", when), step("b after a")}, func(r *rig) {
			r.e.when = map[string]error{"a": problem.Invalid("when", "no such key")}
			r.begin()
		}, `failed: a failed, b cancelled
dead a.0 epoch 0, 0+0: 400 invalid_argument
error 400 invalid_argument`},
		{"the output fails", chain[:1], func(r *rig) {
			r.e.output = problem.Invalid("output", "no such key")
			r.begin().send().answered(0, 0, 1, "a")
		}, `failed: a succeeded 1+0
value a.0 epoch 1
error 400 invalid_argument`},
		{"cancelled before it begins", chain, func(r *rig) { r.cancel().begin().cancel() }, `cancelled: a cancelled, b cancelled`},
		{"cancelled while it runs", chain, func(r *rig) { r.begin().send().cancel().send().failed(0, 0, 1, "", broken).wait(time.Hour).timeOut() }, `cancelled: a cancelled, b cancelled
late 0.0 epoch 1 a`},
		{"cancelled after its end", chain[:1], func(r *rig) { r.begin().send().answered(0, 0, 1, "a").cancel() }, `succeeded: a succeeded 1+0
value a.0 epoch 1`},
		{"timed out too early", chain[:1], func(r *rig) { r.timeOut().begin().wait(5*time.Minute - 1).timeOut() }, `running: a running
0.0 step 0 epoch 0, 0+0: send at 0s`},
		{"timed out", chain[:1], func(r *rig) { r.begin().wait(5 * time.Minute).send().timeOut() }, `failed: a cancelled
error 504 deadline_exceeded`},
		{"what is outside has no cold start", []definition.Step{step("a", outside)}, func(r *rig) { r.begin().send() }, `running: a running
0.0 step 0 epoch 1, 0+0: lease at 15s`},
		{"a lease ends with the execution", chain, func(r *rig) { r.wait(time.Minute).begin().wait(4*time.Minute + 50*time.Second).send() }, `running: a running, b queued
0.0 step 0 epoch 1, 0+0: lease at 6m5s`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, test.steps...)
			test.do(r)
			if diff := gocmp.Diff(test.want, r.String()); diff != "" || r.err != nil {
				t.Errorf("%v %s", r.err, diff)
			}
		})
	}
}

func TestForEach(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		join  definition.Join
		items int
		do    func(r *rig)
		want  string
	}{
		{"no more at once than may be", definition.All, 3, func(*rig) {}, `running: a running, b queued
0.0 step 0 epoch 1, 0+0: lease at 35s
0.1 step 0 epoch 1, 0+0: lease at 35s`},
		{"the next item when one has answered", definition.All, 3, func(r *rig) { r.answered(0, 1, 1, "a") }, `running: a running 1+0, b queued
0.0 step 0 epoch 1, 0+0: lease at 35s
0.2 step 0 epoch 0, 0+0: send at 0s
value a.1 epoch 1`},
		{"all", definition.All, 2, func(r *rig) {
			r.failed(0, 0, 1, "", broken).answered(0, 1, 1, "a").wait(time.Second).send().answered(0, 0, 2, "a")
		}, `running: a succeeded 2+0, b running
1.0 step 0 epoch 0, 0+0: send at 1s
value a.0 epoch 2
value a.1 epoch 1`},
		{"all, and one is dead", definition.All, 3, func(r *rig) { r.answered(0, 1, 1, "a").failed(0, 0, 1, "", refused) }, `failed: a failed 1+0, b cancelled
value a.1 epoch 1
dead a.0 epoch 1, 1+0: 422 invalid_argument
error 422 invalid_argument`},
		{"any: the first, and no more of the rest", definition.Any, 3, func(r *rig) { r.answered(0, 1, 1, "a").answered(0, 0, 1, "a") }, `running: a succeeded 1+0, b running
1.0 step 0 epoch 0, 0+0: send at 0s
value a.1 epoch 1
late 0.0 epoch 1 `},
		{"any: the next where one is dead", definition.Any, 3, func(r *rig) { r.failed(0, 0, 1, "", refused) }, `running: a running 1+0, b queued
0.1 step 0 epoch 1, 0+0: lease at 35s
0.2 step 0 epoch 0, 0+0: send at 0s
dead a.0 epoch 1, 1+0: 422 invalid_argument`},
		{"any: all are dead", definition.Any, 2, func(r *rig) { r.failed(0, 0, 1, "", refused).failed(0, 1, 1, "", refused) }, `failed: a failed 1+0, b cancelled
dead a.0 epoch 1, 1+0: 422 invalid_argument
dead a.1 epoch 1, 1+0: 422 invalid_argument
error 422 invalid_argument`},
		{"best effort", definition.BestEffort, 3, func(r *rig) {
			r.failed(0, 0, 1, "", refused).answered(0, 1, 1, "a").send().failed(0, 2, 1, "", refused)
		}, `running: a succeeded 1+0, b running
1.0 step 0 epoch 0, 0+0: send at 0s
value a.1 epoch 1
dead a.0 epoch 1, 1+0: 422 invalid_argument
dead a.2 epoch 1, 1+0: 422 invalid_argument`},
		{"none of all", definition.All, 0, func(*rig) {}, `running: a succeeded, b running
1.0 step 0 epoch 1, 0+0: lease at 35s`},
		{"none of any", definition.Any, 0, func(*rig) {}, `running: a skipped, b running
1.0 step 0 epoch 1, 0+0: lease at 35s`},
		{"none of best effort", definition.BestEffort, 0, func(*rig) {}, `running: a succeeded, b running
1.0 step 0 epoch 1, 0+0: lease at 35s`},
		{"too many", definition.BestEffort, 5, func(*rig) {}, `failed: a failed, b cancelled
dead a.0 epoch 0, 0+0: 400 invalid_argument
error 400 invalid_argument`},
		{"cancelled", definition.All, 3, func(r *rig) { r.answered(0, 1, 1, "a").cancel() }, `cancelled: a cancelled 1+0, b cancelled
value a.1 epoch 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, step("a", each(test.join)), step("b after a"))
			r.e.items = test.items
			test.do(r.begin().send())
			if diff := gocmp.Diff(test.want, r.String()); diff != "" || r.err != nil {
				t.Errorf("%v %s", r.err, diff)
			}
		})
	}
}

func TestWhatCannotBeFetchedChangesNothing(t *testing.T) {
	t.Parallel()
	lost := problem.New(problem.Unavailable, "the store does not answer")
	for name, test := range map[string]struct {
		step definition.Step
		e    said
	}{
		"condition": {step("b after a", when), said{when: map[string]error{"b": lost}}},
		"items":     {step("b after a", each(definition.All)), said{err: lost}},
		"no reason": {step("b after a", when), said{when: map[string]error{"b": errors.New("?")}}},
		"leaving":   {step("b after a", when), said{when: map[string]error{"b": problem.New(problem.Cancelled, "?")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, step("a"), test.step)
			r.begin().send()
			before := r.String()
			r.e = test.e
			if r.answered(0, 0, 1, "a"); r.err == nil {
				t.Error("no error")
			}
			if diff := gocmp.Diff(before, r.String()); diff != "" {
				t.Error(diff)
			}
			r.e = said{}
			if r.answered(0, 0, 1, "a"); r.err != nil {
				t.Error(r.err)
			}
		})
	}
}

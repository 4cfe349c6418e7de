package dispatch

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// charged is what was charged.
type charged []charge.Took

// Charge implements Charges.
func (c *charged) Charge(t charge.Took) { *c = append(*c, t) }

// TestCallsAreChargedAsTheyAreMade holds what a call that is answered later is charged at
// each attempt: what its function reported, and nothing where none answered.
func TestCallsAreChargedAsTheyAreMade(t *testing.T) {
	t.Parallel()
	ran := envelope.Record{Model: "churn@2;digest=sha256:0", Rows: 4, ComputeMS: 2.5, Size: 10}
	refused := func(code problem.Code) *execution.Failure {
		p := execution.Of(problem.New(code, "no"))
		return &execution.Failure{Status: p.Status, Problem: p}
	}
	decider, err := decide.New(decide.Config{MaxValues: 1 << 20}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	version, err := decider.Version(t.Context(), record.VersionID{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		branch  execution.Branch
		record  envelope.Record
		failure *execution.Failure
		over    bool // it is not tried again
		want    charged
	}{
		"answered":             {execution.Branch{}, ran, nil, true, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"failed, and is again": {execution.Branch{Attempts: 1}, ran, refused(problem.ModelFailed), false, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"failed at last":       {execution.Branch{Attempts: 2}, ran, refused(problem.ModelFailed), true, charged{{Tenant: "acme", Model: "churn", Failed: true, Rows: 4, ComputeMS: 2.5}}},
		"broke off":            {execution.Branch{Breaks: 1}, ran, &execution.Failure{Transport: true}, false, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"broke off at last":    {execution.Branch{Breaks: execution.MaxBreaks}, ran, &execution.Failure{Transport: true}, true, charged{{Tenant: "acme", Model: "churn", Failed: true, Rows: 4, ComputeMS: 2.5}}},
		"refused":              {execution.Branch{}, envelope.Record{Size: 10}, refused(problem.RateLimited), false, nil},
		"not reached":          {execution.Branch{}, envelope.Record{}, refused(problem.BadGateway), false, nil},
		"an error of no code":  {execution.Branch{}, envelope.Record{Size: 10}, &execution.Failure{Status: 418}, true, charged{{Tenant: "acme", Failed: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for of, counted := range map[string]bool{"": true, "another": !tc.over} { // when it was accepted, but for a replay's
				want := slices.Clone(tc.want)
				for i := range want {
					want[i].Counted = counted
				}
				var got charged
				d := &Dispatcher{Deps: Deps{Charges: &got}}
				m := &message{tenant: "acme", version: version, branch: tc.branch, execution: &execution.Execution{ReplayOf: of}}
				d.charge(m, tc.record, tc.failure)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("replay of %q: -want +got:\n%s", of, diff)
				}
				(&Dispatcher{}).charge(m, tc.record, tc.failure) // nobody is charged
			}
		})
	}
}

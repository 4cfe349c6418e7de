package dispatch

import (
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
		want    charged
	}{
		"answered":             {execution.Branch{}, ran, nil, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"failed, and is again": {execution.Branch{Attempts: 1}, ran, refused(problem.ModelFailed), charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"failed at last":       {execution.Branch{Attempts: 2}, ran, refused(problem.ModelFailed), charged{{Tenant: "acme", Model: "churn", Failed: true, Rows: 4, ComputeMS: 2.5}}},
		"broke off":            {execution.Branch{Breaks: 1}, ran, &execution.Failure{Transport: true}, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"broke off at last":    {execution.Branch{Breaks: execution.MaxBreaks}, ran, &execution.Failure{Transport: true}, charged{{Tenant: "acme", Model: "churn", Failed: true, Rows: 4, ComputeMS: 2.5}}},
		"refused":              {execution.Branch{}, envelope.Record{Size: 10}, refused(problem.RateLimited), nil},
		"not reached":          {execution.Branch{}, envelope.Record{}, refused(problem.BadGateway), nil},
		"an error of no code":  {execution.Branch{}, envelope.Record{Size: 10}, &execution.Failure{Status: 418}, charged{{Tenant: "acme", Failed: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range tc.want { // when it was accepted
				tc.want[i].Counted = true
			}
			var got charged
			d := &Dispatcher{Deps: Deps{Charges: &got}}
			m := &message{tenant: "acme", version: version, branch: tc.branch}
			d.charge(m, tc.record, tc.failure)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			(&Dispatcher{}).charge(m, tc.record, tc.failure) // nobody is charged
		})
	}
}

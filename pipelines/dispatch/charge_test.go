package dispatch

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/execution"
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
		return &execution.Failure{Problem: execution.Of(problem.New(code, "no"))}
	}
	for name, tc := range map[string]struct {
		record  envelope.Record
		failure *execution.Failure
		want    charged
	}{
		"answered":            {ran, nil, charged{{Tenant: "acme", Model: "churn", Rows: 4, ComputeMS: 2.5}}},
		"failed":              {ran, refused(problem.ModelFailed), charged{{Tenant: "acme", Model: "churn", Failed: true, Rows: 4, ComputeMS: 2.5}}},
		"refused":             {envelope.Record{Size: 10}, refused(problem.RateLimited), nil},
		"not reached":         {envelope.Record{}, refused(problem.BadGateway), nil},
		"an error of no code": {envelope.Record{Size: 10}, &execution.Failure{Status: 418}, charged{{Tenant: "acme", Failed: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got charged
			d := &Dispatcher{Deps: Deps{Charges: &got}}
			d.charge(&message{tenant: "acme"}, tc.record, tc.failure)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			(&Dispatcher{}).charge(&message{tenant: "acme"}, tc.record, tc.failure) // nobody is charged
		})
	}
}

package meter_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/meter"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// counted is what was counted, in words.
type counted []string

func (c *counted) Add(tenant, model string, _ time.Time, n usage.Counts) {
	*c = append(*c, fmt.Sprintf("usage of %s, %q: %+v", tenant, model, n))
}

func (c *counted) Charge(tenant, model string, used infer.Usage) {
	*c = append(*c, fmt.Sprintf("limits of %s, %q: %d rows, %v", tenant, model, used.Rows, used.Compute))
}

func TestAStepIsChargedInUsageAndLimits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		took charge.Took
		want counted
	}{
		"a model of another name than its function's": {
			charge.Took{Tenant: "acme", Function: "read", Model: "lines", Rows: 3, ComputeMS: 1.5},
			counted{`usage of acme, "lines": {Requests:1 Errors:0 Rows:3 Compute:1500 BytesIn:0 BytesOut:0}`, `limits of acme, "read": 3 rows, 1.5ms`},
		},
		"a failure, of a function alone": {
			charge.Took{Tenant: "acme", Function: "read", Failed: true},
			counted{`usage of acme, "read": {Requests:1 Errors:1 Rows:0 Compute:0 BytesIn:0 BytesOut:0}`, `limits of acme, "read": 0 rows, 0s`},
		},
		"a call that was counted when it was accepted": {
			charge.Took{Tenant: "acme", Model: "lines", Counted: true, Failed: true, Rows: 2},
			counted{`usage of acme, "lines": {Requests:0 Errors:1 Rows:2 Compute:0 BytesIn:0 BytesOut:0}`, `limits of acme, "lines": 2 rows, 0s`},
		},
		"an execution that is gone": {
			charge.Took{Tenant: "acme", Model: "lines", Rows: 1},
			counted{`usage of acme, "lines": {Requests:1 Errors:0 Rows:1 Compute:0 BytesIn:0 BytesOut:0}`, `limits of acme, "lines": 1 rows, 0s`},
		},
		"more than can be": {
			charge.Took{Tenant: "acme", Model: "lines", Rows: -1, ComputeMS: math.Inf(1)},
			counted{`usage of acme, "lines": {Requests:1 Errors:0 Rows:-1 Compute:86400000000 BytesIn:0 BytesOut:0}`, `limits of acme, "lines": 0 rows, 24h0m0s`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got counted
			meter.New(&got, &got).Charge(tc.took)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var alone counted
			meter.New(&alone, nil).Charge(tc.took)
			if diff := cmp.Diff(tc.want[:1], alone); diff != "" {
				t.Errorf("without limits, -want +got:\n%s", diff)
			}
		})
	}
}

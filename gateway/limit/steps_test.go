package limit_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestWhatRanWithoutACallIsCharged holds that a step is charged of what its tenant and
// its model may have, that the next call finds that, and that limits which ask for what
// only calls have are not charged.
func TestWhatRanWithoutACallIsCharged(t *testing.T) {
	t.Parallel()
	bucket := func(r limit.Rule) limit.Rule { r.Name, r.Rate, r.Burst = "a", 1e-6, 10; return r }
	quota := func(r limit.Rule) limit.Rule { r.Name, r.Quota, r.Period = "a", 10, limit.Month; return r }
	tenant := []limit.By{limit.ByTenant}
	for name, tc := range map[string]struct {
		rule limit.Rule
		want problem.Code // of the next call; "" admits it
	}{
		"rows of a bucket":            {bucket(limit.Rule{Cost: limit.Rows, Per: tenant}), problem.RateLimited},
		"compute of a bucket":         {bucket(limit.Rule{Cost: limit.Compute, Per: tenant}), problem.RateLimited},
		"rows of a quota":             {quota(limit.Rule{Cost: limit.Rows, Per: []limit.By{limit.ByTenant, limit.ByModel}}), problem.QuotaExceeded},
		"its own model's":             {bucket(limit.Rule{Cost: limit.Rows, Match: limit.Match{Model: "chu*", Tenant: "acme"}}), problem.RateLimited},
		"another model's":             {bucket(limit.Rule{Cost: limit.Rows, Per: tenant, Match: limit.Match{Model: "iris"}}), ""},
		"another tenant's":            {bucket(limit.Rule{Cost: limit.Rows, Match: limit.Match{Tenant: "other"}}), ""},
		"each key's":                  {bucket(limit.Rule{Cost: limit.Rows, Per: []limit.By{limit.ByKey}}), ""},
		"each address'":               {quota(limit.Rule{Cost: limit.Rows, Per: []limit.By{limit.ByAddress}}), ""},
		"a route's":                   {bucket(limit.Rule{Cost: limit.Rows, Match: limit.Match{Route: "/v2/*"}}), ""},
		"requests, which are calls":   {bucket(limit.Rule{Cost: limit.Requests, Per: tenant}), ""},
		"places, which are calls'":    {limit.Rule{Name: "a", Concurrency: 1, Per: tenant}, ""},
		"elements, which none report": {bucket(limit.Rule{Cost: limit.Elements, Per: tenant}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "redis://"+miniredis.RunT(t).Addr(), limit.Closed, tc.rule)
			r.Charge("acme", "churn", infer.Usage{Rows: 12, Compute: 12 * time.Millisecond})
			if tc.want != "" {
				r.refused(t, of("acme"), tc.want)
			} else if _, err := r.admit(t, of("acme"), infer.Usage{}); err != nil {
				t.Error(err)
			}
			if _, err := r.admit(t, of("third"), infer.Usage{}); err != nil && tc.rule.Per != nil {
				t.Errorf("another tenant: %v", err)
			}
		})
	}
}

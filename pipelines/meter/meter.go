// Package meter charges tenants for the steps of pipelines as the gateway does for calls:
// in its usage, and of those of its limits that are in the same process.
//
// It decides about no execution, and refuses nobody: the next call does.
package meter

import (
	"cmp"
	"math"
	"time"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Usage sums what tenants used (gateway/usage).
type Usage interface {
	Add(tenant, model string, at time.Time, c usage.Counts)
}

// Limits are charged what ran without a call of its own (gateway/limit).
type Limits interface {
	Charge(tenant, model string, used infer.Usage)
}

var _ Limits = (*limit.Limiter)(nil)

// Meter charges. It is safe for concurrent use.
type Meter struct {
	usage  Usage
	limits Limits
}

// New makes a Meter; limits may be nil.
func New(u Usage, limits Limits) *Meter { return &Meter{u, limits} }

// Charge charges a tenant what a step took: a request of its model, or of its function
// where none is known to have run, unless that was counted before. It waits for nothing.
func (m *Meter) Charge(t charge.Took) {
	compute := computeOf(t.ComputeMS)
	counts := usage.Counts{Rows: t.Rows, Compute: compute.Microseconds()}
	if !t.Counted {
		counts.Requests = 1
	}
	if t.Failed {
		counts.Errors = 1
	}
	m.usage.Add(t.Tenant, cmp.Or(t.Model, t.Function), time.Now(), counts)
	if m.limits != nil {
		m.limits.Charge(t.Tenant, cmp.Or(t.Function, t.Model), infer.Usage{Rows: max(t.Rows, 0), Compute: compute})
	}
}

// mostCompute is the most that one step can have taken: more is a fault of what reports
// it, and must not use up a tenant's quota for good.
const mostCompute = 24 * time.Hour

func computeOf(ms float64) time.Duration {
	if math.IsNaN(ms) || ms <= 0 {
		return 0
	}
	return time.Duration(min(ms, float64(mostCompute/time.Millisecond)) * float64(time.Millisecond))
}

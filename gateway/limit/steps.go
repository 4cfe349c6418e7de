package limit

import (
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Charge charges a tenant for what ran without a call of its own: a step of a pipeline,
// of a model or function. It is charged of the rules that ask for nothing but tenant and
// model and whose cost is known after a run; others are of calls. It waits for nothing
// and refuses nothing: what is owed then, the next call finds.
func (l *Limiter) Charge(tenant, model string, used infer.Usage) {
	uses := l.plan.Load().uses(&Subject{Tenant: tenant, Model: model, Known: func() bool { return true }})
	g := &Grant{of: l, uses: slices.DeleteFunc(uses, func(u use) bool {
		return u.Cost == Requests || u.kind == Places || u.isOfCalls()
	})}
	g.charge(used)
}

// isOfCalls reports whether a rule asks for what only a call has.
func (r *rule) isOfCalls() bool {
	m := &r.Match
	return m.Key != "" || m.Route != "" || m.Path != "" ||
		slices.ContainsFunc(r.Per, func(by By) bool { return by == ByKey || by == ByRoute || by == ByAddress })
}

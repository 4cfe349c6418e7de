package receive

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

// Charges charges tenants for the steps that ran.
type Charges interface {
	// Charge waits for nothing.
	Charge(t charge.Took)
}

// charge charges for the steps that an event shows to have run. Those whose outputs the
// change recorded are charged by that commit, once; others, of an answer that came too
// late or was of no use, when they are seen first here. s and change are nil where the
// execution is gone. What of that cannot be found out is not charged.
func (r *Receiver) charge(ctx context.Context, a *arrival, s *decide.State, change *execution.Change) {
	var others []envelope.Record
	if a.envelope != nil {
		for i := range a.envelope.Records {
			record := &a.envelope.Records[i]
			switch {
			case record.Epoch != a.ticket.Epoch:
			case recorded(change, record):
				r.charges.Charge(a.took(s, record))
			default:
				others = append(others, *record)
			}
		}
	}
	if len(others) > 0 && s != nil {
		before, err := s.Recorded(ctx, a.ticket.Item, a.ticket.Epoch, names(others))
		if err != nil {
			r.logger.DebugContext(ctx, "a late answer was not charged", "execution", a.ticket.Execution, "error", err)
			return
		}
		others = slices.DeleteFunc(others, func(o envelope.Record) bool { return before[o.Step] })
	}
	for i := range others {
		if r.charged.first(a.ran(others[i].Step)) {
			r.charges.Charge(a.took(s, &others[i]))
		}
	}
	if f := a.failed; f != nil && f.step.Name != "" && !charge.Free(f.code) && r.charged.first(a.ran(f.step.Name)) {
		r.charges.Charge(charge.Took{
			Tenant: a.ticket.Tenant, Function: functionOf(s, f.step.Name), Failed: true, Rows: f.step.Rows, ComputeMS: f.step.ComputeMS,
		})
	}
}

// recorded reports whether a change keeps the output of a record's step.
func recorded(change *execution.Change, of *envelope.Record) bool {
	return change != nil && slices.ContainsFunc(change.Values, func(v execution.StepValue) bool { return v.Step == of.Step })
}

func names(records []envelope.Record) []string {
	all := make([]string, 0, len(records))
	for i := range records {
		all = append(all, records[i].Step)
	}
	return all
}

// took is what a step's record says.
func (a *arrival) took(s *decide.State, record *envelope.Record) charge.Took {
	model, _, _ := strings.Cut(record.Model, "@")
	return charge.Took{Tenant: a.ticket.Tenant, Function: functionOf(s, record.Step), Model: model, Rows: record.Rows, ComputeMS: record.ComputeMS}
}

func functionOf(s *decide.State, step string) string {
	if s == nil {
		return ""
	}
	if of := s.Version.Definition.Step(step); of != nil {
		return of.Function
	}
	return ""
}

// ran names one run of a step.
type ran struct {
	branch execution.BranchID
	epoch  int
	step   string
}

func (a *arrival) ran(step string) ran { return ran{a.branch(), a.ticket.Epoch, step} }

// mostCharged bounds the runs that are remembered, twice.
const mostCharged = 8192

// charged remembers runs of which no row shows that they were charged, the latest ones.
type charged struct {
	mu          sync.Mutex
	now, before map[ran]bool
}

// first reports whether a run was not seen before.
func (c *charged) first(of ran) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[of] || c.before[of] {
		return false
	}
	if len(c.now) >= mostCharged {
		c.before, c.now = c.now, nil
	}
	if c.now == nil {
		c.now = map[ran]bool{}
	}
	c.now[of] = true
	return true
}

// nobody charges nobody.
type nobody struct{}

// Charge implements Charges.
func (nobody) Charge(charge.Took) {}

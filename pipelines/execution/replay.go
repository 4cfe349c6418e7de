package execution

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/problem"
)

// Replay makes x, whose own fields are set, a queued execution that runs of again.
// From a step, what does not come after it is taken from of's values as recorded,
// of the machine's version, which may be another than of's; with from "" everything
// runs again. What ran beside the step and has no recorded output runs again too. The
// error is a problem: there is no such step, a step before it has no recorded output, or of
// cannot be read.
//
// Claim checks among the values still lie with of: who keeps x past it copies them.
func (m *Machine) Replay(x, of *Execution, values []StepValue, from string, now time.Time) (Change, error) {
	if of.Damage != nil {
		return Change{}, problem.New(problem.Conflict, "what is stored of execution %s cannot be read, its input among it: start another", of.ID)
	}
	change := m.Accept(x, now)
	x.ReplayOf, x.From = of.ID, from
	if from == "" {
		return change, nil
	}
	steps := m.plan.Definition.Steps
	at := slices.IndexFunc(steps, func(s definition.Step) bool { return s.Name == from })
	if at < 0 {
		return Change{}, problem.Invalid("from", "the pipeline has no step %q", from)
	}
	recorded := make(map[string][]StepValue, len(steps))
	for _, v := range values {
		recorded[v.Step] = append(recorded[v.Step], v)
	}
	before := m.before(at)
	for i, segment := range m.plan.Segments {
		s := &x.Segments[i]
		for _, step := range segment.Steps {
			ready := !slices.ContainsFunc(m.plan.Needs[step], func(need int) bool { return !x.Steps[need].Status.Ended() })
			old := of.Step(steps[step].Name)
			taken := step != at && ready && m.taken(step, old, recorded[steps[step].Name])
			if !taken {
				if before[step] {
					return Change{}, problem.New(problem.Conflict, "step %q, which %q needs, has no recorded output: replay from an earlier step", steps[step].Name, from)
				}
				break
			}
			outputs := recorded[old.Name]
			slices.SortFunc(outputs, func(a, b StepValue) int { return a.Item - b.Item })
			change.Values = append(change.Values, outputs...)
			x.Steps[step] = *old
			if step == segment.Steps[len(segment.Steps)-1] {
				s.Status, s.Next = old.Status, old.Items
				if old.Join != "" {
					s.Done = len(outputs)
				}
				if old.Join == definition.BestEffort {
					s.Failed = old.Items - len(outputs)
				}
			}
		}
	}
	return change, nil
}

// taken reports whether a step's recorded output can be taken as it is.
func (m *Machine) taken(step int, old *Step, outputs []StepValue) bool {
	var join definition.Join
	if each := m.plan.Definition.Steps[step].ForEach; each != nil {
		join = each.Join
	}
	switch {
	case old == nil || old.Join != join:
		return false
	case old.Status == Skipped:
		return true
	case old.Status != Succeeded:
		return false
	case join == definition.All:
		return len(outputs) == old.Items
	case join == definition.BestEffort:
		return len(outputs) <= old.Items
	default:
		return len(outputs) == 1
	}
}

// before are the steps that a step needs, and that these need.
func (m *Machine) before(step int) map[int]bool {
	all := map[int]bool{}
	for left := slices.Clone(m.plan.Needs[step]); len(left) > 0; left = left[1:] {
		if !all[left[0]] {
			all[left[0]] = true
			left = append(left, m.plan.Needs[left[0]]...)
		}
	}
	return all
}

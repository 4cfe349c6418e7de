package plan

import (
	"fmt"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/definition"
)

// Ticket is what a function does at a step, as its address has it signed and the step's
// event carries it. model reports whether its function is a published model, which takes
// and answers V2 JSON.
func Ticket(s *definition.Step, model bool) ticket.Plan {
	p := ticket.Plan{Step: s.Name, Function: s.Function, Input: s.Input, TimeoutMS: s.Timeout.Milliseconds()}
	if model {
		p.Model = s.Function
	}
	return p
}

// Forks are the segments that begin together: groups of two or more, each in ascending
// order, that need the same segments, and of which every one runs always and is ours. A
// group in which one does not is none.
func (p *Plan) Forks() [][]int {
	var forks [][]int
	of := map[string]int{} // the index in all, by what is needed
	var all [][]int
	for i, s := range p.Segments {
		key := fmt.Sprint(s.Needs)
		at, ok := of[key]
		if !ok {
			at = len(all)
			of[key] = at
			all = append(all, nil)
		}
		all[at] = append(all[at], i)
	}
	for _, group := range all {
		if len(group) > 1 && p.always(group) {
			forks = append(forks, group)
		}
	}
	return forks
}

// always reports whether segments are all plain steps of ours.
func (p *Plan) always(segments []int) bool {
	for _, i := range segments {
		if !plain(p.Step(i, 0)) {
			return false
		}
	}
	return true
}

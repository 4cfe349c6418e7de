// Package plan cuts a pipeline's graph into segments: what runs from channel to
// function to channel by itself, and what the pipelines service decides in between.
//
// It is pure: a definition in, a plan out. How a plan becomes Knative's objects is
// package compile's, how it runs package execution's.
package plan

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/pipelines/definition"
)

// MaxChain bounds the timeouts of a segment's steps taken together. A channel in memory
// gives up fifteen minutes after an event came to it, and its POST returns after the
// last step of the chain: five minutes of that are left to cold starts.
const MaxChain = 10 * time.Minute

// Plan is how a definition runs.
type Plan struct {
	Definition *definition.Definition

	// Needs are, of each step, the steps that it waits for, as indices of
	// Definition.Steps in ascending order, without those that others of them wait for
	// already: the graph transitively reduced.
	Needs [][]int

	// Segments are in topological order: one comes after all that it needs.
	Segments []Segment
}

// Segment is a run of steps that nothing of ours comes between.
type Segment struct {
	// Steps are indices of Definition.Steps, in the order in which they run. There is
	// one where it has a condition, repeats, or is outside.
	Steps []int
	// Needs are the indices of the segments that must have ended, in ascending order.
	Needs []int
	// Outside is set where the step is not a function of ours (uri): the service calls
	// it, and there is no Knative object of it.
	Outside bool
}

// Position is where a step is in a plan.
type Position struct {
	Segment int // index of Plan.Segments
	Step    int // index of Segment.Steps
}

// Of is the plan of a definition. Equal definitions have equal plans.
//
// The definition is one that definition.Parse accepts. Of another one, needs of steps
// that are not there and needs that go round in a circle are left out.
func Of(d *definition.Definition) *Plan {
	order, needs := ordered(d)
	reduce(order, needs)
	dependents := make([]int, len(needs))
	for _, list := range needs {
		for _, need := range list {
			dependents[need]++
		}
	}
	p := &Plan{Definition: d, Needs: needs}
	segmentOf := make([]int, len(needs))
	lasts := make([]time.Duration, len(needs)) // of each step, the timeouts of its segment up to it
	for _, i := range order {
		step := &d.Steps[i]
		lasts[i] = step.Timeout
		if list := needs[i]; len(list) == 1 && plain(step) {
			before := list[0]
			total := lasts[before] + step.Timeout
			if dependents[before] == 1 && plain(&d.Steps[before]) && total <= MaxChain {
				segmentOf[i], lasts[i] = segmentOf[before], total
				s := &p.Segments[segmentOf[i]]
				s.Steps = append(s.Steps, i)
				continue
			}
		}
		segmentOf[i] = len(p.Segments)
		s := Segment{Steps: []int{i}, Outside: outside(step)}
		for _, need := range needs[i] {
			s.Needs = append(s.Needs, segmentOf[need])
		}
		slices.Sort(s.Needs)
		p.Segments = append(p.Segments, s)
	}
	return p
}

// Find is where a step is; ok is false where there is none of this name.
func (p *Plan) Find(step string) (position Position, ok bool) {
	for i, s := range p.Segments {
		for j, index := range s.Steps {
			if p.Definition.Steps[index].Name == step {
				return Position{i, j}, true
			}
		}
	}
	return Position{}, false
}

// Step is a step of a segment, by their indices.
func (p *Plan) Step(segment, step int) *definition.Step {
	return &p.Definition.Steps[p.Segments[segment].Steps[step]]
}

// plain reports whether a step may be one of several in a segment.
func plain(s *definition.Step) bool {
	return s.When == "" && s.ForEach == nil && !outside(s)
}

func outside(s *definition.Step) bool { return s.URI != "" }

// ordered is the order of steps in which each comes after all that it needs, else as they
// are written, and what each needs, by index.
func ordered(d *definition.Definition) (order []int, needs [][]int) {
	index := make(map[string]int, len(d.Steps))
	for i, s := range d.Steps {
		index[s.Name] = i
	}
	needs = make([][]int, len(d.Steps))
	for i, s := range d.Steps {
		for _, name := range s.Needs {
			if need, ok := index[name]; ok && need != i {
				needs[i] = append(needs[i], need)
			}
		}
		slices.Sort(needs[i])
		needs[i] = slices.Compact(needs[i])
	}
	place := make([]int, len(needs)) // of a step in order, from 1; 0 is none yet
	for len(order) < len(needs) {
		next := -1
		for i := range needs {
			ready := place[i] == 0 && !slices.ContainsFunc(needs[i], func(need int) bool { return place[need] == 0 })
			if ready {
				next = i
				break
			}
		}
		if next < 0 { // a circle: the first of it goes before what it needs
			next = slices.Index(place, 0)
		}
		order = append(order, next)
		place[next] = len(order)
	}
	for i := range needs {
		needs[i] = slices.DeleteFunc(needs[i], func(need int) bool { return place[need] > place[i] })
	}
	return order, needs
}

// reduce takes out of needs what follows from the others, the steps being in order.
func reduce(order []int, needs [][]int) {
	before := make([][]bool, len(needs)) // of each step, all that end before it begins
	for _, i := range order {
		before[i] = make([]bool, len(needs))
		for _, need := range needs[i] {
			for j, is := range before[need] {
				before[i][j] = before[i][j] || is
			}
		}
		needs[i] = slices.DeleteFunc(needs[i], func(need int) bool { return before[i][need] })
		for _, need := range needs[i] {
			before[i][need] = true
		}
	}
}

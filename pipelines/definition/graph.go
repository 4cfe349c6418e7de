package definition

import (
	"fmt"
	"slices"
	"strings"
)

// graph holds the steps to each other: each name once, needs that there are, no cycle,
// and what the output is where none is written.
func (p *parser) graph(d *Definition) {
	seen := map[string]int{}
	for i := range d.Steps {
		if first, twice := seen[d.Steps[i].Name]; twice {
			p.fault(stepPath(i)+".name", "expected a name that no other step has: steps[%d] has it", first)
			continue
		}
		seen[d.Steps[i].Name] = i
	}
	for i := range d.Steps {
		for j, need := range d.Steps[i].Needs {
			if _, ok := seen[need]; !ok {
				p.fault(fmt.Sprintf("%s.needs[%d]", stepPath(i), j), "there is no step %s", need)
			}
		}
	}
	if p.faults != nil {
		return
	}
	if at, cycle := d.cycle(seen); cycle != nil {
		p.fault(stepPath(at)+".needs", "expected steps that do not wait for each other: %s", strings.Join(cycle, " needs "))
		return
	}
	if d.Output == "" {
		switch ends := d.ends(); len(ends) {
		case 1:
			d.Output = Read(ends[0])
		default:
			p.fault("spec.output", "it is missing: %s are steps that no other needs", strings.Join(ends, ", "))
		}
	}
}

// cycle is a cycle of needs, its first name again at its end, and a step in it.
func (d *Definition) cycle(index map[string]int) (at int, names []string) {
	const open, done = 1, 2
	state := make([]int, len(d.Steps))
	var path []int
	var visit func(i int) bool
	visit = func(i int) bool {
		switch state[i] {
		case done:
			return false
		case open:
			path = append(path[slices.Index(path, i):], i)
			return true
		}
		state[i] = open
		path = append(path, i)
		for _, need := range d.Steps[i].Needs {
			if visit(index[need]) {
				return true
			}
		}
		path = path[:len(path)-1]
		state[i] = done
		return false
	}
	for i := range d.Steps {
		if visit(i) {
			for _, step := range path {
				names = append(names, d.Steps[step].Name)
			}
			return path[0], names
		}
	}
	return 0, nil
}

// ends are the steps that no other needs.
func (d *Definition) ends() []string {
	needed := map[string]bool{}
	for i := range d.Steps {
		for _, need := range d.Steps[i].Needs {
			needed[need] = true
		}
	}
	var out []string
	for i := range d.Steps {
		if !needed[d.Steps[i].Name] {
			out = append(out, d.Steps[i].Name)
		}
	}
	return out
}

// Before are the steps that have ended when a step begins: what it needs, and what
// those need.
func (d *Definition) Before(step string) map[string]bool {
	out := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		s := d.Step(name)
		if s == nil {
			return
		}
		for _, need := range s.Needs {
			if !out[need] {
				out[need] = true
				visit(need)
			}
		}
	}
	visit(step)
	return out
}

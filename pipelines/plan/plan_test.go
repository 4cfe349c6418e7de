package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// step is a plain step of a function; its needs are separated by spaces.
func step(name, needs string, changes ...func(*definition.Step)) definition.Step {
	s := definition.Step{Name: name, Function: "f", Needs: strings.Fields(needs), Timeout: 30 * time.Second}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func when(s *definition.Step)    { s.When = "true" }
func forEach(s *definition.Step) { s.ForEach = &definition.ForEach{Items: "input", Max: 10, AtOnce: 2} }
func uri(s *definition.Step)     { s.Function, s.URI = "", "https://example.com/" }
func long(s *definition.Step)    { s.Timeout = 5 * time.Minute }

// text is a plan's segments by the names of their steps: "a-b<0,1>" are a and b, after
// segments 0 and 1.
func text(p *plan.Plan) []string {
	var all []string
	for _, s := range p.Segments {
		var names []string
		for _, i := range s.Steps {
			names = append(names, p.Definition.Steps[i].Name)
		}
		line := strings.Join(names, "-")
		if len(s.Needs) > 0 {
			line += "<" + strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Needs), " ", ","), "[]") + ">"
		}
		if s.Outside {
			line += "!"
		}
		all = append(all, line)
	}
	return all
}

func TestSegments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		steps []definition.Step
		want  []string
	}{
		"one step":                       {[]definition.Step{step("a", "")}, []string{"a"}},
		"a line is one":                  {[]definition.Step{step("a", ""), step("b", "a"), step("c", "b")}, []string{"a-b-c"}},
		"a fork and a join":              {[]definition.Step{step("a", ""), step("b", "a"), step("c", "a"), step("d", "b c")}, []string{"a", "b<0>", "c<0>", "d<1,2>"}},
		"branches that are lines":        {[]definition.Step{step("a", ""), step("b", "a"), step("c", "a"), step("d", "b"), step("e", "d c"), step("f", "e")}, []string{"a", "b-d<0>", "c<0>", "e-f<1,2>"}},
		"what follows from others":       {[]definition.Step{step("a", ""), step("b", "a"), step("c", "a b"), step("d", "a b c")}, []string{"a-b-c-d"}},
		"two beginnings":                 {[]definition.Step{step("a", ""), step("b", ""), step("c", "a b")}, []string{"a", "b", "c<0,1>"}},
		"two pipelines side by side":     {[]definition.Step{step("a", ""), step("b", ""), step("c", "a"), step("d", "b")}, []string{"a-c", "b-d"}},
		"written from the end":           {[]definition.Step{step("c", "b"), step("b", "a"), step("a", "")}, []string{"a-b-c"}},
		"a condition is alone":           {[]definition.Step{step("a", ""), step("b", "a", when), step("c", "b"), step("d", "c")}, []string{"a", "b<0>", "c-d<1>"}},
		"what repeats is alone":          {[]definition.Step{step("a", "", forEach), step("b", "a"), step("c", "b")}, []string{"a", "b-c<0>"}},
		"what is outside is alone":       {[]definition.Step{step("a", ""), step("b", "a", uri), step("c", "b", uri)}, []string{"a", "b<0>!", "c<1>!"}},
		"a chain that would take long":   {[]definition.Step{step("a", "", long), step("b", "a", long), step("c", "b"), step("d", "c")}, []string{"a-b", "c-d<0>"}},
		"a need that is not there":       {[]definition.Step{step("a", "x"), step("b", "a b")}, []string{"a-b"}},
		"a circle, which is never there": {[]definition.Step{step("a", "c"), step("b", "a"), step("c", "b")}, []string{"a-b-c"}},
		"none":                           {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := plan.Of(&definition.Definition{Name: "p", Steps: tc.steps})
			if diff := cmp.Diff(tc.want, text(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	p := plan.Of(&definition.Definition{Steps: []definition.Step{step("a", ""), step("b", "a", when), step("c", "b"), step("d", "c")}})
	for name, want := range map[string]plan.Position{"a": {0, 0}, "b": {1, 0}, "c": {2, 0}, "d": {2, 1}} {
		got, ok := p.Find(name)
		if !ok || got != want || p.Step(got.Segment, got.Step).Name != name {
			t.Errorf("%s is at %v, %v, want %v", name, got, ok, want)
		}
	}
	if got, ok := p.Find("e"); ok {
		t.Errorf("e is at %v", got)
	}
}

// TestAnyGraph holds of random graphs that every step is in one segment, that segments
// keep the order of every need, that they are in order, reduced and as long as can be,
// and that the plan depends on nothing but the definition.
func TestAnyGraph(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		d := random(rand.New(rand.NewPCG(seed, 17)))
		p := plan.Of(d)
		if diff := cmp.Diff(p.Segments, plan.Of(d).Segments); diff != "" {
			t.Fatalf("seed %d: the same definition has another plan: %s", seed, diff)
		}
		if fault := check(d, p); fault != "" {
			t.Fatalf("seed %d: %s\n%s", seed, fault, strings.Join(text(p), " "))
		}
	}
}

// random is a definition of up to twenty steps, written in any order.
func random(r *rand.Rand) *definition.Definition {
	n := 1 + r.IntN(20)
	density := r.Float64() * r.Float64()
	steps := make([]definition.Step, n)
	for i := range steps {
		var needs []string
		for j := range i {
			if r.Float64() < density || j == i-1 && r.IntN(2) == 0 {
				needs = append(needs, fmt.Sprintf("s%d", j))
			}
		}
		r.Shuffle(len(needs), func(i, j int) { needs[i], needs[j] = needs[j], needs[i] })
		steps[i] = step(fmt.Sprintf("s%d", i), strings.Join(needs, " "))
		if kind := r.IntN(20); kind < 4 {
			[]func(*definition.Step){when, forEach, uri, long}[kind](&steps[i])
		}
	}
	r.Shuffle(n, func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	return &definition.Definition{Name: "p", Steps: steps}
}

func check(d *definition.Definition, p *plan.Plan) string {
	at := map[string]plan.Position{}
	for i, s := range p.Segments {
		for j, index := range s.Steps {
			name := d.Steps[index].Name
			if _, twice := at[name]; twice {
				return name + " is in two segments"
			}
			at[name] = plan.Position{Segment: i, Step: j}
		}
		if len(s.Steps) == 0 || !slices.IsSorted(s.Needs) || len(slices.Compact(slices.Clone(s.Needs))) != len(s.Needs) {
			return fmt.Sprintf("segment %d is empty, or its needs are not in order", i)
		}
		if slices.ContainsFunc(s.Needs, func(need int) bool { return need >= i }) {
			return fmt.Sprintf("segment %d comes before one that it needs", i)
		}
	}
	if len(at) != len(d.Steps) {
		return fmt.Sprintf("%d of %d steps are in segments", len(at), len(d.Steps))
	}
	before := segmentsBefore(p)
	needed := map[string]int{} // by how many steps, of the reduced graph
	for _, s := range d.Steps {
		for _, need := range s.Needs {
			a, b := at[need], at[s.Name]
			if a.Segment == b.Segment && a.Step >= b.Step || a.Segment != b.Segment && !before[b.Segment][a.Segment] {
				return s.Name + " may run before " + need
			}
		}
	}
	for i, list := range p.Needs {
		for _, need := range list {
			needed[d.Steps[need].Name]++
			if !slices.Contains(d.Steps[i].Needs, d.Steps[need].Name) {
				return "a need that nobody wrote"
			}
		}
	}
	for i, s := range p.Segments { // each need once, and none that follows from another
		for _, need := range s.Needs {
			if slices.ContainsFunc(s.Needs, func(other int) bool { return before[other][need] }) {
				return fmt.Sprintf("segment %d needs %d twice", i, need)
			}
		}
		var total time.Duration
		for _, index := range s.Steps {
			total += d.Steps[index].Timeout
		}
		if len(s.Steps) > 1 && total > plan.MaxChain {
			return fmt.Sprintf("segment %d takes %v", i, total)
		}
		if fault := alone(d, p, needed, i); fault != "" {
			return fault
		}
	}
	return ""
}

// alone checks that a segment is as short as its steps want, and that it could not
// continue the one before it.
func alone(d *definition.Definition, p *plan.Plan, needed map[string]int, segment int) string {
	s := p.Segments[segment]
	special := func(i int) bool { return d.Steps[i].When != "" || d.Steps[i].ForEach != nil || d.Steps[i].URI != "" }
	if slices.ContainsFunc(s.Steps, special) && len(s.Steps) > 1 {
		return fmt.Sprintf("segment %d is not one step alone", segment)
	}
	if s.Outside != (d.Steps[s.Steps[0]].URI != "") {
		return fmt.Sprintf("segment %d is outside, or is not", segment)
	}
	if len(s.Needs) != 1 || special(s.Steps[0]) {
		return ""
	}
	before := p.Segments[s.Needs[0]]
	total := d.Steps[s.Steps[0]].Timeout
	for _, i := range before.Steps {
		total += d.Steps[i].Timeout
	}
	last := before.Steps[len(before.Steps)-1]
	if !special(last) && needed[d.Steps[last].Name] == 1 && total <= plan.MaxChain {
		return fmt.Sprintf("segment %d could continue %d", segment, s.Needs[0])
	}
	return ""
}

// segmentsBefore are, of each segment, all that end before it begins.
func segmentsBefore(p *plan.Plan) []map[int]bool {
	all := make([]map[int]bool, len(p.Segments))
	for i, s := range p.Segments {
		all[i] = map[int]bool{}
		for _, need := range s.Needs {
			all[i][need] = true
			for other := range all[need] {
				all[i][other] = true
			}
		}
	}
	return all
}

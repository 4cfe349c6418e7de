// Package drawing draws a pipeline's graph: as a Mermaid flowchart for pages, and as
// lines of text for a terminal. Both show the plan, so which steps run by themselves one
// after the other, and mark what depends, repeats, or is not ours.
package drawing

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// maxNote is how much of an expression or URL is shown, in characters.
const maxNote = 60

// notes are what is special about a step, each in a few words.
func notes(s *definition.Step) []string {
	var all []string
	if s.When != "" {
		all = append(all, "when "+short(s.When))
	}
	if f := s.ForEach; f != nil {
		all = append(all, fmt.Sprintf("for each of %s, %d at once, %s", short(f.Items), f.AtOnce, f.Join))
	}
	return all
}

// runs is what a step calls.
func runs(s *definition.Step) string {
	if s.URI != "" {
		return short(s.URI)
	}
	return s.Function
}

// short is a text on one line, cut where it is long.
func short(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxNote {
		return string(runes[:maxNote-1]) + "…"
	}
	return text
}

// dependents are, of each step, the steps that wait for it, in the order in which they
// run.
func dependents(p *plan.Plan) [][]int {
	all := make([][]int, len(p.Needs))
	for _, i := range order(p) {
		for _, need := range p.Needs[i] {
			all[need] = append(all[need], i)
		}
	}
	return all
}

// order is every step after all that it waits for.
func order(p *plan.Plan) []int {
	var all []int
	for _, s := range p.Segments {
		all = append(all, s.Steps...)
	}
	return all
}

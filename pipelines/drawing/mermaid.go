package drawing

import (
	"fmt"
	"strings"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// Mermaid is the graph as a flowchart in Mermaid's language. A step that runs always is
// a box, one with a condition a hexagon, one that repeats a box with double sides, one
// that is not ours a rounded one; steps that are one Sequence are in a frame.
func Mermaid(p *plan.Plan) string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for i, s := range p.Segments {
		indent := "  "
		if len(s.Steps) > 1 {
			fmt.Fprintf(&b, "  subgraph g%d[\"sequence %d\"]\n", i, i)
			indent = "    "
		}
		for _, index := range s.Steps {
			fmt.Fprintf(&b, "%ss%d%s\n", indent, index, node(&p.Definition.Steps[index]))
		}
		if len(s.Steps) > 1 {
			b.WriteString("  end\n")
		}
	}
	after := dependents(p)
	for _, i := range order(p) {
		for _, next := range after[i] {
			fmt.Fprintf(&b, "  s%d --> s%d\n", i, next)
		}
	}
	return b.String()
}

// node is a step's shape with what is in it.
func node(s *definition.Step) string {
	left, right := `["`, `"]`
	switch {
	case s.ForEach != nil:
		left, right = `[["`, `"]]`
	case s.When != "":
		left, right = `{{"`, `"}}`
	case s.URI != "":
		left, right = `(["`, `"])`
	}
	lines := append([]string{s.Name, runs(s)}, notes(s)...)
	for i, line := range lines {
		lines[i] = entities().Replace(line)
	}
	return left + strings.Join(lines, "<br/>") + right
}

// entities writes what has a meaning in Mermaid's texts, or in the HTML that they
// become, as Mermaid's entities.
func entities() *strings.Replacer {
	return strings.NewReplacer(
		"#", "#35;", "&", "#amp;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\\", "#92;",
	)
}

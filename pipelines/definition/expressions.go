package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"

	"github.com/modelserveai/modelserve/eventing/expr"
)

// text is one expression of a definition.
type text struct {
	path string
	cel  string
	step int  // whose it is; -1 is the definition's
	item bool // it may read item and index
	is   want // what it must be
}

// want is what an expression must be.
type want int

const (
	anything want = iota
	boolean
	list
)

// texts are the expressions of a definition.
func (d *Definition) texts() []text {
	var out []text
	for i := range d.Steps {
		s, path := &d.Steps[i], stepPath(i)
		if s.When != "" {
			out = append(out, text{path + ".when", s.When, i, false, boolean})
		}
		if s.ForEach != nil {
			out = append(out, text{path + ".forEach.items", s.ForEach.Items, i, false, list})
		}
		out = append(out, text{path + ".input", s.Input, i, s.ForEach != nil, anything})
	}
	return append(out, text{"spec.output", d.Output, -1, false, anything})
}

// expressions holds every expression to the language, and to what there is to read.
func (p *parser) expressions(d *Definition) {
	compiler, err := expr.NewCompiler(expr.Limits{})
	if err != nil {
		p.fault("", "%v", err)
		return
	}
	for _, t := range d.texts() {
		compiled, err := compiler.Compile(t.cel)
		var known *expr.Error
		switch {
		case errors.As(err, &known):
			detail := "expected CEL: " + known.Error() + hint(d, t.cel)
			p.faults = append(p.faults, Fault{Path: t.path, Line: p.document.LineWithin(t.path, known.Line), Detail: detail})
			continue
		case err != nil:
			p.fault(t.path, "%v", err)
			continue
		}
		p.reads(d, &t, compiled.Reads())
		switch got := compiled.Type(); {
		case t.is == boolean && got.Kind() != cel.BoolKind && got.Kind() != cel.DynKind:
			p.fault(t.path, "expected an expression that is true or false, got one that is %s", got)
		case t.is == list && got.Kind() != cel.ListKind && got.Kind() != cel.DynKind:
			p.fault(t.path, "expected an expression that is a list, got one that is %s", got)
		}
	}
}

// hint is what is often meant, where a name with a hyphen is read with a dot.
func hint(d *Definition, text string) string {
	for i := range d.Steps {
		if name := d.Steps[i].Name; strings.Contains(name, "-") && strings.Contains(text, "steps."+name) {
			return fmt.Sprintf(": steps.%s is a subtraction, %s reads the step", name, Read(name))
		}
	}
	return ""
}

// reads holds what an expression reads to what there is when it is evaluated.
func (p *parser) reads(d *Definition, t *text, reads []string) {
	var before map[string]bool
	if t.step >= 0 {
		before = d.Before(d.Steps[t.step].Name)
	}
	for _, read := range reads {
		name, isStep := strings.CutPrefix(read, "steps.")
		switch {
		case !isStep:
			if slices.Contains([]string{"item", "index"}, read) && !t.item {
				p.fault(t.path, "%s is only there in the input of a step with forEach", read)
			}
		case d.Step(name) == nil:
			p.fault(t.path, "there is no step %s%s", name, hint(d, t.cel))
		case t.step >= 0 && d.Steps[t.step].Name == name:
			p.fault(t.path, "a step cannot read its own output")
		case t.step >= 0 && !before[name]:
			p.fault(t.path, "step %s may not have ended by then: add it to needs", name)
		}
	}
}

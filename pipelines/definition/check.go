package definition

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/eventing/expr"
)

// Check holds the definition to the functions that its steps call: whether there are
// such, and whether their schemas have what expressions read of their outputs and give
// as their inputs. What a schema leaves open is left open. The error is Faults, or what
// Functions returned.
func (d *Definition) Check(ctx context.Context, functions Functions) error {
	c := checker{parser: parser{document: d.document}, inputs: map[string]*shape{}, outputs: map[string]*shape{}}
	known := map[string]*Function{}
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.Function == "" {
			continue
		}
		f, asked := known[s.Function]
		if !asked {
			found, err := functions.Function(ctx, s.Function)
			switch {
			case errors.Is(err, ErrNoFunction):
			case err != nil:
				return fmt.Errorf("find function %s of step %s: %w", s.Function, s.Name, err)
			default:
				f = &found
			}
			known[s.Function] = f
		}
		if f == nil {
			c.fault(stepPath(i)+".function", "there is no function or published model of this name that you may call")
			continue
		}
		if err := c.step(i, s, f); err != nil {
			return fmt.Errorf("function %s of step %s: %w", s.Function, s.Name, err)
		}
	}
	if err := c.texts(d); err != nil {
		return err
	}
	if c.faults != nil {
		return c.faults.Shown()
	}
	return nil
}

// checker knows the shapes of what steps take and answer.
type checker struct {
	parser
	inputs, outputs map[string]*shape // by step
}

func (c *checker) step(i int, s *Step, f *Function) error {
	if path := stepPath(i) + ".timeout"; f.Timeout > 0 && s.Timeout > f.Timeout && c.document.Has(path) {
		c.fault(path, "expected at most the function's own, %s", duration(f.Timeout))
	}
	input, err := shapeOf(f.Input)
	if err != nil {
		return err
	}
	output, err := shapeOf(f.Output)
	if err != nil {
		return err
	}
	c.inputs[s.Name] = input
	if e := s.ForEach; e != nil {
		switch e.Join {
		case Any:
		case BestEffort:
			output = arrayOf(output.orNull())
		case All:
			output = arrayOf(output)
		}
	}
	if s.When != "" {
		output = output.orNull()
	}
	c.outputs[s.Name] = output
	return nil
}

// texts hold every expression to the shapes.
func (c *checker) texts(d *Definition) error {
	compiler, err := expr.NewCompiler(expr.Limits{})
	if err != nil {
		return err
	}
	var items *shape // of the step whose texts come
	for _, t := range d.texts() {
		compiled, err := compiler.Compile(t.cel)
		if err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		tree := compiled.Tree()
		found := false
		in := inference{steps: c.outputs, fault: func(at int64, detail string) {
			found = true
			line := tree.SourceInfo().GetStartLocation(at).Line()
			c.faults = append(c.faults, Fault{Path: t.path, Line: c.document.LineWithin(t.path, line), Detail: detail})
		}}
		names := map[string]*shape{}
		if t.item {
			names["item"] = items
		}
		got := in.of(tree.Expr(), names)
		items = nil
		if found || t.step < 0 {
			continue
		}
		step := &d.Steps[t.step]
		switch t.is {
		case boolean:
			c.want(&t, got, scalar("boolean"), "")
		case list:
			c.want(&t, got, arrayOf(nil), "")
			if got != nil && got.kind == "array" {
				items = got.items
			}
		case anything:
			c.want(&t, got, c.inputs[step.Name], step.Function+" takes another input: ")
		}
	}
	return nil
}

func (c *checker) want(t *text, got, want *shape, of string) {
	if reason := refused(got, want, ""); reason != "" {
		c.fault(t.path, "%s%s", of, reason)
	}
}

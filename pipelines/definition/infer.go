package definition

import (
	"fmt"
	"maps"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// inference walks through an expression with the shapes of what it reads, and reports
// the fields that are never there.
type inference struct {
	steps map[string]*shape
	fault func(at int64, detail string)
}

// of is the shape of an expression's value; names are those of macros.
func (in *inference) of(e ast.Expr, names map[string]*shape) *shape {
	switch e.Kind() {
	case ast.IdentKind:
		if e.AsIdent() == "index" {
			return scalar("integer")
		}
		return names[e.AsIdent()]
	case ast.LiteralKind:
		return literal(e)
	case ast.ListKind:
		return in.list(e.AsList(), names)
	case ast.MapKind:
		return in.object(e.AsMap(), names)
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			if !isSteps(s.Operand()) {
				in.of(s.Operand(), names)
			}
			return scalar("boolean")
		}
		return in.field(e.ID(), s.Operand(), s.FieldName(), names)
	case ast.CallKind:
		return in.call(e, names)
	case ast.ComprehensionKind:
		return in.comprehension(e.AsComprehension(), names)
	case ast.StructKind, ast.UnspecifiedExprKind:
	}
	return nil
}

func isSteps(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == "steps" }

func literal(e ast.Expr) *shape {
	switch v := e.AsLiteral().(type) {
	case types.Null:
		return scalar("null")
	case types.Bool:
		return scalar("boolean")
	case types.Int, types.Uint:
		return scalar("integer")
	case types.Double:
		return scalar("number")
	case types.String:
		text := string(v)
		return &shape{kind: "string", text: &text}
	case types.Bytes:
		return scalar("string")
	default:
		return nil
	}
}

func (in *inference) list(l ast.ListExpr, names map[string]*shape) *shape {
	out := &shape{kind: "array", empty: len(l.Elements()) == 0}
	for i, element := range l.Elements() {
		one := in.of(element, names)
		if i == 0 {
			out.items = one
		} else {
			out.items = join(out.items, one)
		}
	}
	return out
}

func (in *inference) object(m ast.MapExpr, names map[string]*shape) *shape {
	out := &shape{kind: "object", members: map[string]*shape{}, closed: true, literal: true}
	for _, entry := range m.Entries() {
		value := in.of(entry.AsMapEntry().Value(), names)
		key := entry.AsMapEntry().Key()
		if name, ok := constant(key); ok {
			out.members[name] = value
			out.required = append(out.required, name)
			continue
		}
		in.of(key, names)
		out.closed = false
	}
	return out
}

// constant is the string that an expression is.
func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// field is a member of what the operand is.
func (in *inference) field(at int64, operand ast.Expr, name string, names map[string]*shape) *shape {
	if isSteps(operand) {
		return in.steps[name]
	}
	return in.member(at, in.of(operand, names), name)
}

func (in *inference) member(at int64, of *shape, name string) *shape {
	switch {
	case of == nil:
		return nil
	case of.kind == "":
		return nil
	case of.kind != "object":
		in.fault(at, fmt.Sprintf("there is no field %s: it is read of %s", name, of.name()))
		return nil
	}
	member, ok := of.members[name]
	if !ok && of.closed {
		in.fault(at, fmt.Sprintf("there is no field %s: expected one of %s", name, choices(of)))
	}
	return member
}

func (in *inference) call(e ast.Expr, names map[string]*shape) *shape {
	c := e.AsCall()
	args := c.Args()
	if c.FunctionName() == operators.Index && len(args) == 2 {
		if name, ok := constant(args[1]); ok {
			return in.field(e.ID(), args[0], name, names)
		}
	}
	shapes := make([]*shape, 0, len(args)+1)
	if c.IsMemberFunction() {
		shapes = append(shapes, in.of(c.Target(), names))
	}
	for _, arg := range args {
		shapes = append(shapes, in.of(arg, names))
	}
	return result(c.FunctionName(), shapes)
}

// result is the shape of what a function returns; args are never none.
func result(function string, args []*shape) *shape {
	if len(args) == 0 {
		return nil
	}
	first := args[0]
	isArray := first != nil && first.kind == "array"
	switch function {
	case operators.Index:
		if isArray {
			return first.items
		}
	case operators.Conditional:
		return join(args[1], args[2])
	case operators.Add:
		if isArray || first != nil && isNumber(first.kind) && args[1] != nil && isNumber(args[1].kind) {
			return join(first, args[1])
		}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.In, "contains", "startsWith", "endsWith", "matches":
		return scalar("boolean")
	case "size", "int", "indexOf", "lastIndexOf":
		return scalar("integer")
	case "double":
		return scalar("number")
	case "string", "join", "lowerAscii", "upperAscii", "trim", "replace", "substring", "charAt":
		return scalar("string")
	case "split":
		return arrayOf(scalar("string"))
	case "lists.range":
		return arrayOf(scalar("integer"))
	case "slice", "reverse", "distinct", "sort":
		if isArray {
			return arrayOf(first.items)
		}
	case "flatten":
		if isArray && first.items != nil && first.items.kind == "array" {
			return arrayOf(first.items.items)
		}
	case "dyn":
		return first
	}
	return nil
}

func (in *inference) comprehension(c ast.ComprehensionExpr, names map[string]*shape) *shape {
	over := in.of(c.IterRange(), names)
	inner := maps.Clone(names)
	if inner == nil {
		inner = map[string]*shape{}
	}
	inner[c.IterVar()] = nil
	switch {
	case over != nil && over.kind == "array":
		inner[c.IterVar()] = over.items
	case over != nil && over.kind == "object":
		inner[c.IterVar()] = scalar("string")
	}
	inner[c.AccuVar()] = in.of(c.AccuInit(), names)
	in.of(c.LoopCondition(), inner)
	inner[c.AccuVar()] = in.of(c.LoopStep(), inner)
	return in.of(c.Result(), inner)
}

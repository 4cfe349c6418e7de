package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
)

// errWeight is a value that is too large.
var errWeight = fmt.Errorf("a value is too large: %w", ErrLimit)

// errCost is a call that alone costs more than an expression may: it is not begun, for
// nothing interrupts it.
var errCost = fmt.Errorf("a call takes too long: %w", ErrLimit)

// refusal is why a function of ours has no value. It repeats none.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

// failure is why an evaluation has no value. The language's own sentences repeat
// values, which may be secret: what is said is made of the kind of failure and of the
// text at which it happened.
func (e *Expression) failure(ctx context.Context, err error) *Error {
	var cancelled interpreter.EvalCancelledError
	switch {
	case ctx.Err() != nil:
		return &Error{Detail: "it was stopped: " + context.Cause(ctx).Error(), cause: ctx.Err()}
	case errors.As(err, &cancelled), errors.Is(err, errCost):
		return &Error{Detail: fmt.Sprintf("it takes more than the cost of %d that an expression has", e.limits.Cost), cause: ErrLimit}
	case errors.Is(err, ErrLimit):
		return e.tooLarge()
	}
	out := &Error{Detail: "it has no value"}
	var node ast.Expr
	var known *types.Err
	if errors.As(err, &known) && known.NodeID() > 0 {
		node = find(e.tree.Expr(), known.NodeID())
		out.Line, out.Column = position(e.tree, known.NodeID())
	}
	var ours refusal
	text := err.Error()
	switch {
	case errors.As(err, &ours):
		out.Detail = string(ours)
	case strings.HasPrefix(text, "no such key"):
		out.Detail = "there is no such field" + named(node)
	case strings.HasPrefix(text, "no such overload"), strings.HasPrefix(text, "unsupported"):
		out.Detail = "the value has not the type that is expected" + named(node)
	case strings.HasPrefix(text, "index"), strings.Contains(text, "out of range in list"):
		out.Detail = "the list has no such element"
	case strings.HasPrefix(text, "division by zero"), strings.HasPrefix(text, "modulus by zero"):
		out.Detail = "division by zero"
	case strings.Contains(text, "overflow"), strings.Contains(text, "range"):
		out.Detail = "a number is out of range"
	}
	return out
}

// named is what the text names at a node: a field or a function.
func named(node ast.Expr) string {
	if node == nil {
		return ""
	}
	switch node.Kind() {
	case ast.SelectKind:
		return fmt.Sprintf(": %q", node.AsSelect().FieldName())
	case ast.CallKind:
		name := node.AsCall().FunctionName()
		if name == operators.Index {
			return ""
		}
		if symbol, ok := operators.FindReverse(name); ok && symbol != "" {
			name = symbol
		}
		return fmt.Sprintf(": %q", name)
	case ast.UnspecifiedExprKind, ast.ComprehensionKind, ast.IdentKind, ast.ListKind, ast.LiteralKind, ast.MapKind, ast.StructKind:
	}
	return ""
}

// find is the node of an id; nil is none.
func find(root ast.Expr, id int64) ast.Expr {
	var found ast.Expr
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id {
			found = e
		}
	}))
	return found
}

// Package expr evaluates the expressions of pipelines: CEL over the input of an
// execution, the event that began it, the outputs of its steps and, in a forEach, the
// item. An expression is compiled once, names what it reads, and ends by a bound on
// cost and on the size of what it makes.
//
// Values are JSON and so is the result. It knows no pipeline: which steps there are,
// and which of them an expression may read, is for package definition.
package expr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/cel-go/common/ast"
)

// MaxText is the longest expression, in bytes.
const MaxText = 4096

// Limits bound what one evaluation may take. The zero value of a field is its default.
type Limits struct {
	Cost uint64 // in CEL's own units: about one for a step of the evaluation; 1,000,000
	Size int    // of any value that it makes, as JSON, in bytes; 32 MiB
}

// Values are what an expression may read, each as JSON. Only what Reads names is looked
// at; nil is null for Event, and a fault for the others.
type Values struct {
	Input json.RawMessage
	Event json.RawMessage            // the attributes of the event that began it
	Steps map[string]json.RawMessage // outputs, by step; null of one that was skipped
	Item  json.RawMessage            // of a forEach
	Index int                        // of the item, from 0
}

// ErrLimit is in the error of an evaluation that went over its limits.
var ErrLimit = errors.New("over the limits of an expression")

// Error is why an expression cannot be compiled, or has no value. It repeats no value.
type Error struct {
	Line, Column int // in the expression, from 1; 0 is not known
	Detail       string
	cause        error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Detail
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Detail)
}

// Unwrap is ErrLimit, an error of the context, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Compiler compiles expressions under the same limits. It may be used by several
// goroutines.
type Compiler struct {
	limits Limits
}

// Expression is a compiled expression. It may be used by several goroutines.
type Expression struct {
	text  string
	reads []string
	tree  *ast.AST
}

// NewCompiler is a compiler whose expressions have these limits.
func NewCompiler(l Limits) (*Compiler, error) { return &Compiler{limits: l}, nil }

// Compile compiles a text. Errors are *Error.
func (c *Compiler) Compile(text string) (*Expression, error) { return &Expression{text: text}, nil }

// Reads are the values that the expression reads, sorted: "input", "event", "item",
// "index", and "steps.NAME".
func (e *Expression) Reads() []string { return e.reads }

// Tree is the checked syntax, not to be changed.
func (e *Expression) Tree() *ast.AST { return e.tree }

// Evaluate is the value as compact JSON. Whole numbers are integers, in what is read
// and in the result. Errors are *Error; the context's end is one.
func (e *Expression) Evaluate(ctx context.Context, v Values) (json.RawMessage, error) {
	return nil, errors.New("not yet")
}

// Bool is the value of an expression that is a boolean.
func (e *Expression) Bool(ctx context.Context, v Values) (bool, error) {
	return false, errors.New("not yet")
}

// List is the value of an expression that is a list of at most so many elements.
func (e *Expression) List(ctx context.Context, v Values, most int) ([]json.RawMessage, error) {
	return nil, errors.New("not yet")
}

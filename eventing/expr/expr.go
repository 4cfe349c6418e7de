// Package expr evaluates the expressions of pipelines: CEL over the input of an
// execution, the event that began it, the outputs of its steps and, in a forEach, the
// item. An expression is compiled once, names what it reads, and ends by a bound on
// cost and on the size of what it makes.
//
// The language is CEL's core with its macros; of its extensions there are, for strings,
// charAt, indexOf, join, lastIndexOf, lowerAscii, replace, split, substring, trim and
// upperAscii, and for lists distinct, flatten, lists.range, reverse, slice and sort.
// Whole numbers of JSON are integers, and integers meet other numbers in + - * /, for a
// score of exactly 1 is written as 1: 1 / 2 is 0, and 1 / 2.0 is 0.5.
//
// Values are JSON and so is the result. It knows no pipeline: which steps there are,
// and which of them an expression may read, is for package definition.
package expr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// MaxText is the longest expression, in bytes.
const MaxText = 4096

// The limits where none are given.
const (
	defaultCost = 1_000_000
	defaultSize = 32 << 20 // bytes
)

// Limits bound what one evaluation may take. The zero value of a field is its default.
type Limits struct {
	Cost uint64 // about one for each step of the evaluation, and for each 10 bytes that it looks at; 1,000,000
	Size int    // of any value that it makes, about as JSON, in bytes; 32 MiB
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

// Expression is a compiled expression. It may be used by several goroutines.
type Expression struct {
	limits  Limits
	reads   []string
	tree    *ast.AST
	program cel.Program
}

// Reads are the values that the expression reads, sorted: "event", "index", "input",
// "item" and "steps.NAME".
func (e *Expression) Reads() []string { return slices.Clone(e.reads) }

// Tree is the checked syntax, not to be changed.
func (e *Expression) Tree() *ast.AST { return e.tree }

// Type is the type of the value as far as the text shows it; cel.DynType is any.
func (e *Expression) Type() *cel.Type { return e.tree.GetType(e.tree.Expr().ID()) }

// Evaluate is the value as compact JSON, the names of objects sorted. Whole numbers are
// integers, in what is read and in the result; integers that need more than 64 bits
// are read as the nearest floating-point number. Errors are *Error; the context's end
// is one.
func (e *Expression) Evaluate(ctx context.Context, v Values) (json.RawMessage, error) {
	value, err := e.value(ctx, v)
	if err != nil {
		return nil, err
	}
	return e.encode(value)
}

// Bool is the value of an expression that is a boolean. Errors are as of Evaluate.
func (e *Expression) Bool(ctx context.Context, v Values) (bool, error) {
	value, err := e.value(ctx, v)
	if err != nil {
		return false, err
	}
	b, ok := value.(types.Bool)
	if !ok {
		return false, &Error{Detail: "expected true or false, got " + kindOf(value)}
	}
	return bool(b), nil
}

// List are the elements of the value of an expression that is a list, each as JSON. A
// list of more than most is ErrLimit. Errors are as of Evaluate.
func (e *Expression) List(ctx context.Context, v Values, most int) ([]json.RawMessage, error) {
	value, err := e.value(ctx, v)
	if err != nil {
		return nil, err
	}
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, &Error{Detail: "expected a list, got " + kindOf(value)}
	}
	n := length(list)
	if n > most {
		return nil, &Error{Detail: fmt.Sprintf("expected at most %d items, got %d", most, n), cause: ErrLimit}
	}
	out := make([]json.RawMessage, n)
	rest := e.limits.Size
	for i := range n {
		if out[i], err = e.encode(list.Get(types.Int(i))); err != nil {
			return nil, err
		}
		if rest -= len(out[i]); rest < 0 {
			return nil, e.tooLarge()
		}
	}
	return out, nil
}

// value evaluates.
func (e *Expression) value(ctx context.Context, v Values) (ref.Val, error) {
	variables, err := e.variables(v)
	if err != nil {
		return nil, err
	}
	value, _, err := e.program.ContextEval(ctx, variables)
	if err != nil {
		return nil, e.failure(ctx, err)
	}
	return value, nil
}

// variables are the values that the expression reads.
func (e *Expression) variables(v Values) (map[string]any, error) {
	out := map[string]any{}
	steps := map[ref.Val]ref.Val{}
	for _, name := range e.reads {
		var text json.RawMessage
		step, isStep := stepOf(name)
		switch {
		case isStep:
			text = v.Steps[step]
		case name == "index":
			out[name] = types.Int(v.Index)
			continue
		case name == "input":
			text = v.Input
		case name == "item":
			text = v.Item
		case v.Event == nil:
			out[name] = types.NullValue
			continue
		default:
			text = v.Event
		}
		if text == nil {
			return nil, &Error{Detail: name + " has no value"}
		}
		value, err := decode(text)
		if err != nil {
			out := &Error{Detail: fmt.Sprintf("%s is not JSON that an expression can read: %v", name, err)}
			if errors.Is(err, ErrLimit) {
				out.cause = ErrLimit
			}
			return nil, out
		}
		if isStep {
			steps[types.String(step)] = value
		} else {
			out[name] = value
		}
	}
	if len(steps) > 0 {
		out["steps"] = newMapping(types.NewRefValMap(types.DefaultTypeAdapter, steps))
	}
	return out, nil
}

func (e *Expression) encode(value ref.Val) (json.RawMessage, error) {
	out, err := encode(value, e.limits.Size)
	switch {
	case errors.Is(err, ErrLimit):
		return nil, e.tooLarge()
	case err != nil:
		return nil, &Error{Detail: err.Error()}
	}
	return out, nil
}

func (e *Expression) tooLarge() *Error {
	return &Error{Detail: fmt.Sprintf("it makes a value of more than %d bytes", e.limits.Size), cause: ErrLimit}
}

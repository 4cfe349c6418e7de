package expr

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// checkEvery is after how many rounds of a macro the context is looked at.
const checkEvery = 100

// maxLevels is how deep lists, objects and macros of a text lie in each other. The
// checker's work grows with more than the square of it: 30 take 40 ms, 200 take 15 s.
const maxLevels = 32

// Compiler compiles expressions under the same limits. It may be used by several
// goroutines.
type Compiler struct {
	limits Limits
	env    *cel.Env
}

// NewCompiler is a compiler whose expressions have these limits.
func NewCompiler(l Limits) (*Compiler, error) {
	if l.Cost == 0 {
		l.Cost = defaultCost
	}
	if l.Size <= 0 {
		l.Size = defaultSize
	}
	replaced := env.NewLibrarySubset().AddExcludedFunctions(
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide),
		env.NewFunction("matches"),
	)
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(replaced)),
		cel.Variable("input", cel.DynType),
		cel.Variable("event", cel.DynType),
		cel.Variable("steps", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("item", cel.DynType),
		cel.Variable("index", cel.IntType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	}
	library := library{most: l.Size, cost: int(min(l.Cost, math.MaxInt))}
	e, err := cel.NewCustomEnv(append(options, library.functions()...)...)
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	return &Compiler{limits: l, env: e}, nil
}

// Compile compiles a text. Errors are *Error, and name what is wrong with the text.
func (c *Compiler) Compile(text string) (*Expression, error) {
	switch {
	case len(text) > MaxText:
		return nil, &Error{Detail: fmt.Sprintf("expected at most %d bytes", MaxText)}
	case strings.TrimSpace(text) == "":
		return nil, &Error{Detail: "expected an expression in CEL, got nothing"}
	case !utf8.ValidString(text):
		return nil, &Error{Detail: "expected an expression in UTF-8"}
	}
	parsed, issues := c.env.Parse(text)
	if issues.Err() != nil {
		return nil, compileError(issues)
	}
	if levels(parsed.NativeRep().Expr()) > maxLevels {
		return nil, &Error{Detail: fmt.Sprintf("expected at most %d lists, objects and macros within each other", maxLevels)}
	}
	if reason := patterns(parsed.NativeRep().Expr()); reason != "" {
		return nil, &Error{Detail: reason}
	}
	checked, issues := c.env.Check(parsed)
	if issues.Err() != nil {
		return nil, compileError(issues)
	}
	r := reader{tree: checked.NativeRep(), reads: map[string]bool{}}
	r.visit(r.tree.Expr())
	if r.fault != nil {
		return nil, r.fault
	}
	program, err := c.env.Program(checked,
		cel.CostLimit(c.limits.Cost), cel.CostTracking(costs{}), cel.InterruptCheckFrequency(checkEvery),
		cel.CustomDecoratorV2(weigher(c.limits.Size)))
	if err != nil {
		return nil, &Error{Detail: "expected an expression that can run: " + err.Error()}
	}
	e := &Expression{limits: c.limits, tree: r.tree, program: program}
	for name := range r.reads {
		e.reads = append(e.reads, name)
	}
	slices.Sort(e.reads)
	return e, nil
}

// patterns is why the regular expressions of a text are refused, of those that are literals:
// checking and planning compile them, whatever they become; "" is for no reason.
func patterns(e ast.Expr) (reason string) {
	total := 0
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if reason != "" || e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "matches" {
			return
		}
		for _, arg := range e.AsCall().Args() {
			if arg.Kind() != ast.LiteralKind {
				continue
			}
			pattern, ok := arg.AsLiteral().(types.String)
			if !ok {
				continue
			}
			if len(pattern) > maxPattern {
				reason = "expected a regular expression of at most 1000 bytes"
				return
			}
			if total = sum(total, patternSize(string(pattern))); total > maxProgram {
				reason = "expected regular expressions of at most 10000 instructions together: with fewer, or smaller, counted repetitions"
				return
			}
		}
	}))
	return reason
}

// levels is how deep lists, objects and macros lie in each other.
func levels(e ast.Expr) int {
	deepest, own := 0, 1
	below := func(parts ...ast.Expr) {
		for _, part := range parts {
			deepest = max(deepest, levels(part))
		}
	}
	switch e.Kind() {
	case ast.CallKind:
		own = 0
		below(e.AsCall().Args()...)
		if e.AsCall().IsMemberFunction() {
			below(e.AsCall().Target())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		below(c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result())
	case ast.ListKind:
		below(e.AsList().Elements()...)
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			below(entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.SelectKind:
		own = 0
		below(e.AsSelect().Operand())
	case ast.IdentKind, ast.LiteralKind, ast.StructKind, ast.UnspecifiedExprKind:
	}
	return own + deepest
}

// compileError is the first that is wrong with a text.
func compileError(issues *cel.Issues) *Error {
	all := issues.Errors()
	if len(all) == 0 {
		return &Error{Detail: issues.Err().Error()}
	}
	first := all[0]
	detail := strings.ReplaceAll(first.Message, " (in container '')", "")
	detail, _, _ = strings.Cut(detail, "\n")
	const most = 300
	if runes := []rune(detail); len(runes) > most {
		detail = string(runes[:most]) + "…"
	}
	e := &Error{Detail: detail}
	if l := first.Location; l != nil && l.Line() > 0 {
		e.Line, e.Column = l.Line(), l.Column()+1
	}
	return e
}

// reader finds what an expression reads.
type reader struct {
	tree  *ast.AST
	reads map[string]bool
	fault *Error
}

// variables are the names that an expression reads by.
func variables() []string { return []string{"event", "index", "input", "item", "steps"} }

// stepOf is the step of a name as "steps.detect".
func stepOf(read string) (string, bool) { return strings.CutPrefix(read, "steps.") }

func (r *reader) refuse(at ast.Expr, format string, args ...any) {
	if r.fault == nil {
		r.fault = &Error{Detail: fmt.Sprintf(format, args...)}
		r.fault.Line, r.fault.Column = position(r.tree, at.ID())
	}
}

// position is where a node of the tree begins in the text; 0 is not known.
func position(tree *ast.AST, id int64) (line, column int) {
	at := tree.SourceInfo().GetStartLocation(id)
	if at.Line() <= 0 {
		return 0, 0
	}
	return at.Line(), at.Column() + 1
}

func (r *reader) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		switch name := e.AsIdent(); {
		case name == "steps":
			r.refuse(e, "steps itself cannot be read: expected steps.NAME or steps[\"NAME\"]")
		case slices.Contains(variables(), name):
			r.reads[name] = true
		}
	case ast.SelectKind:
		s := e.AsSelect()
		if !r.step(s.Operand(), s.FieldName()) {
			r.visit(s.Operand())
		}
	case ast.CallKind:
		r.call(e.AsCall())
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			r.visit(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			r.visit(entry.AsMapEntry().Key())
			r.visit(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		r.refuse(e, "expected JSON values: {\"name\": value}")
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, name := range []string{c.IterVar(), c.IterVar2(), c.AccuVar()} {
			if slices.Contains(variables(), name) {
				r.refuse(e, "expected another name than %s for the elements: it is what the expression reads", name)
			}
		}
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			r.visit(part)
		}
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

func (r *reader) call(c ast.CallExpr) {
	args := c.Args()
	if c.FunctionName() == operators.Index && len(args) == 2 && args[1].Kind() == ast.LiteralKind {
		if name, ok := args[1].AsLiteral().(types.String); ok && r.step(args[0], string(name)) {
			return
		}
	}
	if c.IsMemberFunction() {
		r.visit(c.Target())
	}
	for _, arg := range args {
		r.visit(arg)
	}
}

// step notes that a step is read, where the operand is `steps`.
func (r *reader) step(operand ast.Expr, name string) bool {
	if operand.Kind() != ast.IdentKind || operand.AsIdent() != "steps" {
		return false
	}
	r.reads["steps."+name] = true
	return true
}

// errNumber is a number that JSON cannot express.
var errNumber = errors.New("it makes a number that JSON cannot express: NaN or infinite")

package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// The bounds of an expression. A token of 16 KiB has 4,000 groups at most; to look at
// each costs less than maxCost.
const (
	maxExpression = 4096 // characters
	maxCost       = 50_000
	maxRoles      = 100
)

// kind is what an expression's value may be. A type that only a run shows is one of
// them, and then checked.
type kind struct {
	name  string
	types []*cel.Type
}

func tenantKind() kind { return kind{"a string", []*cel.Type{cel.StringType, cel.DynType}} }

func rolesKind() kind {
	return kind{"strings", []*cel.Type{cel.StringType, cel.DynType, cel.ListType(cel.StringType), cel.ListType(cel.DynType)}}
}

// compile makes a program of an expression over `claims`, whose value is of a
// kind. Texts in it that could only fail when it runs, as regular expressions, are
// errors here.
func compile(expression string, is kind) (cel.Program, error) {
	env, err := cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("expected an expression in CEL over claims: %w", err)
	}
	if out := ast.OutputType(); !slices.ContainsFunc(is.types, out.IsExactType) {
		return nil, fmt.Errorf("expected an expression that is %s, got %s", is.name, out)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("expected an expression that can run: %w", err)
	}
	return program, nil
}

// mapping says which tenant and which roles a token's claims mean.
type mapping struct {
	tenant cel.Program
	roles  cel.Program // nil is no roles
	admin  bool        // whether they may be `admin`
}

func newMapping(i *Issuer) (mapping, error) {
	m := mapping{admin: i.Admin}
	var err error
	if m.tenant, err = compile(i.Tenant, tenantKind()); err != nil {
		return m, fmt.Errorf("tenant of %s: %w", i.Issuer, err)
	}
	if i.Roles == "" {
		return m, nil
	}
	if m.roles, err = compile(i.Roles, rolesKind()); err != nil {
		return m, fmt.Errorf("roles of %s: %w", i.Issuer, err)
	}
	return m, nil
}

// tenantOf is a DNS label, or an error for the log.
func (m *mapping) tenantOf(claims map[string]any) (string, error) {
	value, err := run(m.tenant, claims)
	if err != nil {
		return "", fmt.Errorf("tenant: %w", err)
	}
	name, ok := value.Value().(string)
	if !ok || !auth.IsLabel(name) {
		return "", errors.New("tenant: the expression's value is no DNS label")
	}
	return name, nil
}

// rolesOf are in order, each once. What cannot be a role's name, as an address, is
// left out.
func (m *mapping) rolesOf(claims map[string]any) ([]string, error) {
	if m.roles == nil {
		return nil, nil
	}
	value, err := run(m.roles, claims)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	names, err := texts(value)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !auth.IsLabel(name) || name == adminRole && !m.admin })
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxRoles {
		return nil, fmt.Errorf("roles: the expression's value has %d, expected at most %d", len(names), maxRoles)
	}
	return slices.Clip(names), nil
}

func run(program cel.Program, claims map[string]any) (ref.Val, error) {
	value, _, err := program.Eval(map[string]any{"claims": claims})
	if err != nil {
		return nil, fmt.Errorf("run the expression: %w", err)
	}
	return value, nil
}

// texts are the strings of a list, or of one string with spaces between them, as
// OAuth's `scope` is.
func texts(value ref.Val) ([]string, error) {
	if text, ok := value.Value().(string); ok {
		return strings.Fields(text), nil
	}
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, errors.New("the expression's value is neither a string nor a list of strings")
	}
	var found []string
	for next := list.Iterator(); next.HasNext().Value() == true; {
		text, ok := next.Next().Value().(string)
		if !ok {
			return nil, errors.New("the expression's value is a list of other things than strings")
		}
		found = append(found, text)
	}
	return found, nil
}

package operation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/modelserveai/modelserve/problem"
)

// documentURL names the document to the compiler of its schemas. Nothing is
// fetched from there.
const documentURL = "https://modelserve.dev/openapi.json"

// checks are the schemas of a document, to hold values to.
type checks struct {
	compiler *jsonschema.Compiler
	document any
}

func newChecks(document []byte) (*checks, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	c := &checks{compiler: jsonschema.NewCompiler(), document: parsed}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(documentURL, parsed); err != nil {
		return nil, fmt.Errorf("read the document's schemas: %w", err)
	}
	return c, nil
}

// at compiles the schema at a JSON pointer, which bounds what it is for.
func (c *checks) at(pointer string) (*check, error) {
	schema, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	if err := bounded(schema, map[*jsonschema.Schema]bool{}); err != nil {
		return nil, err
	}
	return &check{schema, c.document}, nil
}

const isRequired = "expected a value; it is required"

// check holds values to one schema.
type check struct {
	schema   *jsonschema.Schema
	document any
}

// of reports what is wrong with a value: each field once. The tokens lead to it.
func (c *check) of(value any, tokens ...string) []problem.Field {
	if faults := oversized(c.schema, value, tokens); len(faults) > 0 {
		return faults
	}
	err := c.schema.Validate(value)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return []problem.Field{{Field: problem.Path(slices.Values(tokens)), Detail: "expected another value"}}
	}
	return c.leaves(invalid, tokens)
}

// leaves are the faults that a ValidationError is made of, each as what was
// expected: what came is not repeated.
func (c *check) leaves(e *jsonschema.ValidationError, tokens []string) (faults []problem.Field) {
	at := slices.Concat(tokens, e.InstanceLocation)
	add := func(at []string, detail string) {
		faults = append(faults, problem.Field{Field: problem.Path(slices.Values(at)), Detail: detail})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		detail := isRequired
		if rule := c.lookUp(e.SchemaURL); rule["type"] == nil && rule["description"] != nil { // it is about more fields than this one
			detail = "expected " + expected(e.ErrorKind, rule)
		}
		for _, name := range k.Missing {
			add(slices.Concat(at, []string{name}), detail)
		}
		return faults
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			add(slices.Concat(at, []string{name}), "there is no such field")
		}
		return faults
	case *kind.AnyOf:
		if one := unlessNull(e); one != nil {
			return c.leaves(one, tokens)
		}
	case *kind.OneOf, *kind.Not:
	default:
		for _, cause := range e.Causes {
			faults = append(faults, c.leaves(cause, tokens)...)
		}
		if len(e.Causes) > 0 {
			return faults
		}
	}
	add(at, "expected "+expected(e.ErrorKind, c.lookUp(e.SchemaURL)))
	return faults
}

// unlessNull is why the one alternative failed that there is beside null, which
// stands for what is left out.
func unlessNull(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	others := slices.DeleteFunc(slices.Clone(e.Causes), func(cause *jsonschema.ValidationError) bool {
		k, ok := cause.ErrorKind.(*kind.Type)
		return ok && slices.Equal(k.Want, []string{"null"})
	})
	if len(others) != 1 || len(others) == len(e.Causes) {
		return nil
	}
	return others[0]
}

// lookUp finds a schema of the document by the URL that an error gives.
func (c *check) lookUp(schemaURL string) map[string]any {
	_, fragment, _ := strings.Cut(schemaURL, "#")
	if plain, err := url.PathUnescape(fragment); err == nil {
		fragment = plain
	}
	at := c.document
	for token := range strings.SplitSeq(strings.TrimPrefix(fragment, "/"), "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch part := at.(type) {
		case map[string]any:
			at = part[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(part) {
				return nil
			}
			at = part[i]
		default:
			return nil
		}
	}
	schema, _ := at.(map[string]any)
	return schema
}

// labelPattern is the part of patterns by which names are DNS labels: descriptions say
// what is named.
const labelPattern = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

// expected describes what a schema asks for where a value does not fit: by the
// schema's own description where it has one.
func expected(k jsonschema.ErrorKind, schema map[string]any) string {
	least, most := schema["minimum"], schema["maximum"]
	switch k := k.(type) {
	case *kind.Type, *kind.Minimum, *kind.Maximum:
		_, wrongType := k.(*kind.Type)
		switch {
		case least != nil && most != nil:
			return fmt.Sprintf("%v to %v", least, most)
		case wrongType && least != nil:
			return fmt.Sprintf("%s, at least %v", typeWord(schema), least)
		case wrongType && most != nil:
			return fmt.Sprintf("%s, at most %v", typeWord(schema), most)
		case least != nil:
			return fmt.Sprintf("at least %v", least)
		case most != nil:
			return fmt.Sprintf("at most %v", most)
		}
		return typeWord(schema)
	case *kind.Enum:
		return "one of " + list(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("at least %s", plural(k.Want, "character"))
	case *kind.MaxLength:
		return fmt.Sprintf("at most %s", plural(k.Want, "character"))
	case *kind.MinItems:
		return fmt.Sprintf("at least %s", plural(k.Want, "value"))
	case *kind.MaxItems:
		return fmt.Sprintf("at most %s", plural(k.Want, "value"))
	case *kind.UniqueItems:
		return "each value once"
	}
	if k, ok := k.(*kind.Pattern); ok && strings.Contains(k.Want, labelPattern) {
		return "a DNS label (a-z, 0-9 and -, at most 63)"
	}
	if text, _ := schema["description"].(string); text != "" {
		return text
	}
	switch k := k.(type) {
	case *kind.Format:
		if k.Want == "date-time" {
			return aTime
		}
		return "a value of the format " + k.Want
	case *kind.Pattern:
		return "what matches " + k.Want
	default:
		return "another value"
	}
}

func typeWord(schema map[string]any) string {
	words := map[string]string{
		"string": "a string", "array": "a list", "object": "an object", "boolean": "true or false",
		"integer": "a whole number", "number": "a number",
	}
	types, ok := schema["type"].([]any)
	if !ok {
		types = []any{schema["type"]}
	}
	for _, t := range types {
		if word := words[fmt.Sprint(t)]; word != "" {
			return word
		}
	}
	return "another type"
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func list(values []any) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ", ")
}

// maxFaults bounds the faults of one answer.
const maxFaults = 20

// refused is the error for what is wrong with an input: by field, each once; nil
// for nothing.
func refused(faults []problem.Field) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b problem.Field) int { return cmp.Compare(a.Field, b.Field) })
	faults = slices.CompactFunc(faults, func(a, b problem.Field) bool { return a.Field == b.Field })
	err := problem.Invalid(faults[0].Field, "%s", faults[0].Detail)
	if len(faults) > 1 {
		err.Detail = fmt.Sprintf("%s (and %d more)", err.Detail, len(faults)-1)
	}
	err.Fields = faults[:min(len(faults), maxFaults)]
	return err
}

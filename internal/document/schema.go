package document

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Check holds the document to a JSON Schema. Patterned says what a text is that a
// pattern of the schema is for. Names of members (propertyNames) are left to whoever
// reads on: the library does not keep where they are.
func (d *Document) Check(schema []byte, patterned func(pattern string) string) Faults {
	compiled, err := compile(schema)
	if err != nil {
		return Faults{{Detail: err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(d.Value); !errors.As(err, &invalid) {
		return nil
	}
	var faults Faults
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		if _, ofName := e.ErrorKind.(*kind.PropertyNames); ofName {
			return
		}
		for _, cause := range e.Causes {
			visit(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		faults = append(faults, d.faultsOf(e, patterned)...)
	}
	visit(invalid)
	return faults
}

func compile(schema []byte) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("document.json", document); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	return compiler.Compile("document.json")
}

// faultsOf are the faults that one violation of the schema is.
func (d *Document) faultsOf(e *jsonschema.ValidationError, patterned func(string) string) Faults {
	path := ""
	for _, part := range e.InstanceLocation {
		if _, err := strconv.Atoi(part); err == nil && path != "" {
			path += "[" + part + "]"
		} else {
			path = Join(path, part)
		}
	}
	one := func(format string, args ...any) Faults {
		return Faults{{path, d.lines[path], fmt.Sprintf(format, args...)}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var out Faults
		for _, name := range k.Properties {
			at := Join(path, name)
			out = append(out, Fault{at, d.lines[at], "there is no such field"})
		}
		return out
	case *kind.Required:
		var out Faults
		for _, name := range k.Missing {
			out = append(out, Fault{Join(path, name), d.lines[path], "it is missing"})
		}
		return out
	case *kind.Const:
		return one("expected %v", k.Want)
	case *kind.Enum:
		return one("expected one of %s", list(k.Want))
	case *kind.Type:
		return one("expected %s", strings.Join(k.Want, " or "))
	case *kind.Pattern:
		return one("expected %s", patterned(k.Want))
	case *kind.Minimum:
		return one("expected at least %s", k.Want.RatString())
	case *kind.Maximum:
		return one("expected at most %s", k.Want.RatString())
	case *kind.MinItems:
		return one("expected at least %d", k.Want)
	case *kind.MaxItems:
		return one("expected at most %d", k.Want)
	case *kind.MinProperties:
		return one("expected at least %d", k.Want)
	case *kind.MaxProperties:
		return one("expected at most %d", k.Want)
	case *kind.MinLength:
		return one("expected at least %d characters", k.Want)
	case *kind.MaxLength:
		return one("expected at most %d characters", k.Want)
	case *kind.UniqueItems:
		return one("expected each once")
	default:
		return one("expected another value")
	}
}

func list(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

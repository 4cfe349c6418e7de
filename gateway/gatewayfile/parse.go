package gatewayfile

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v3"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of the file.
func Schema() []byte { return slices.Clone(schema) }

// Parse reads a file, YAML or JSON. The error is Faults: all that is wrong, as far as
// people read on.
func Parse(data []byte) (*File, error) {
	root, faults := document(data)
	if faults != nil {
		return nil, shown(faults)
	}
	t := &tree{lines: map[string]int{}}
	value := t.value(root, "", 0)
	if t.faults != nil {
		return nil, shown(append(t.faults, unfinished(data)...))
	}
	t.faults = t.check(value)
	text, err := json.Marshal(value)
	if err != nil {
		return nil, Faults{{Detail: "expected YAML that JSON can express"}}
	}
	var f form
	if err := json.Unmarshal(text, &f); err != nil && t.faults == nil { // else what could be read is looked at
		return nil, Faults{{Detail: "expected a gateway's file: " + err.Error()}}
	}
	file, faults := f.file(func(path string) int { return t.lines[path] }, t.faults)
	if faults = append(faults, unfinished(data)...); faults != nil {
		return nil, shown(faults)
	}
	return file, nil
}

// The bounds of what is shown of a bad file.
const (
	maxFaults = 20
	maxShown  = 500 // characters of a path, and of a detail
)

// shown are the first faults by line, and how many more there are.
func shown(f Faults) Faults {
	slices.SortStableFunc(f, func(a, b Fault) int { return a.Line - b.Line })
	more := len(f) - maxFaults
	f = f[:min(len(f), maxFaults)]
	for i := range f {
		f[i].Path, f[i].Detail = printable(f[i].Path), printable(f[i].Detail)
	}
	if more > 0 {
		f = append(f, Fault{Detail: fmt.Sprintf("and %d more", more)})
	}
	return f
}

// printable is text as a terminal may have it, and no longer than people read.
func printable(text string) string {
	runes := []rune(text[:min(len(text), maxShown*utf8.UTFMax)])
	for i, r := range runes {
		if r != '\n' && !unicode.IsPrint(r) {
			runes[i] = unicode.ReplacementChar
		}
	}
	if len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return string(runes)
}

// unfinished is the fault of a file that may be the beginning of one: YAML that is cut
// off often parses still, and says something else. An object of JSON that is cut off
// does not.
func unfinished(data []byte) Faults {
	if bytes.HasSuffix(data, []byte("\n")) || bytes.HasPrefix(data, []byte("{")) && json.Valid(data) {
		return nil
	}
	return Faults{{
		Line:   1 + bytes.Count(data, []byte("\n")),
		Detail: "the file may be half written: expected a newline at the end of its last line",
	}}
}

// document is the one document of a file.
func document(data []byte) (*yaml.Node, Faults) {
	if len(data) > maxFile {
		return nil, Faults{{Detail: fmt.Sprintf("expected at most %d bytes", maxFile)}}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var node, more yaml.Node
	err := decoder.Decode(&node)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(node.Content) == 1 && node.Content[0].Tag == "!!null":
		return nil, Faults{{Detail: "the file is empty: expected apiVersion, kind, and what is decided; a file that is gone means the defaults"}}
	case err != nil:
		return nil, Faults{syntax(err)}
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, Faults{{Line: more.Line, Detail: "expected one document"}}
	}
	return node.Content[0], nil
}

// syntax is the fault of a file that is no YAML.
func syntax(err error) Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, detail, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return Fault{Line: line, Detail: "expected YAML: " + detail}
			}
		}
	}
	return Fault{Detail: "expected YAML: " + text}
}

// tree is a document as values, with the line of each path.
type tree struct {
	lines  map[string]int
	faults Faults
}

// maxDepth bounds how deep values lie in each other.
const maxDepth = 32

func (t *tree) fault(path string, line int, format string, args ...any) {
	t.faults = append(t.faults, Fault{path, line, fmt.Sprintf(format, args...)})
}

func (t *tree) value(n *yaml.Node, path string, depth int) any {
	t.lines[path] = n.Line
	if depth > maxDepth {
		t.fault(path, n.Line, "expected at most %d levels", maxDepth)
		return nil
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		t.fault(path, n.Line, "expected no anchors and aliases")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return t.mapping(n, path, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, child := range n.Content {
			list = append(list, t.value(child, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return list
	default:
		return t.scalar(n, path)
	}
}

func (t *tree) mapping(n *yaml.Node, path string, depth int) any {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode || name.Tag != "!!str" {
			t.fault(path, name.Line, "expected names that are text")
			continue
		}
		at := join(path, name.Value)
		if _, twice := out[name.Value]; twice {
			t.fault(at, name.Line, "it is there twice")
			continue
		}
		out[name.Value] = t.value(n.Content[i+1], at, depth+1)
		t.lines[at] = name.Line
	}
	return out
}

func (t *tree) scalar(n *yaml.Node, path string) any {
	var v any
	if err := n.Decode(&v); err != nil {
		t.fault(path, n.Line, "expected text, a number or a boolean")
		return nil
	}
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.fault(path, n.Line, "expected a number that JSON can express")
		}
		return v
	case nil, string, bool, int:
		return v
	default: // a date, or binary data
		t.fault(path, n.Line, "expected text, a number or a boolean: put it in quotes")
		return nil
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// check holds a document to the schema.
func (t *tree) check(value any) Faults {
	compiled, err := compile()
	if err != nil {
		return Faults{{Detail: err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(value); !errors.As(err, &invalid) {
		return nil
	}
	var faults Faults
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			visit(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		faults = append(faults, t.faultsOf(e)...)
	}
	visit(invalid)
	return faults
}

func compile() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("gateway.json", document); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	return compiler.Compile("gateway.json")
}

// faultsOf are the faults that one violation of the schema is. Values are not
// repeated: some are secret.
func (t *tree) faultsOf(e *jsonschema.ValidationError) Faults {
	path := ""
	for _, part := range e.InstanceLocation {
		if _, err := strconv.Atoi(part); err == nil && path != "" {
			path += "[" + part + "]"
		} else {
			path = join(path, part)
		}
	}
	one := func(format string, args ...any) Faults {
		return Faults{{path, t.lines[path], fmt.Sprintf(format, args...)}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var out Faults
		for _, name := range k.Properties {
			at := join(path, name)
			out = append(out, Fault{at, t.lines[at], "there is no such field"})
		}
		return out
	case *kind.Required:
		var out Faults
		for _, name := range k.Missing {
			out = append(out, Fault{join(path, name), t.lines[path], "it is missing"})
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

// patterned is what a text is that a pattern of the schema is for.
func patterned(pattern string) string {
	switch {
	case strings.Contains(pattern, "/(s|"):
		return "so many a second, minute or hour, as 100/s"
	case strings.Contains(pattern, "/(day|"):
		return "so many a day or month, as 1000000/month"
	case strings.Contains(pattern, "ms|s|"):
		return "a duration such as 30s"
	case strings.HasPrefix(pattern, "^[a-z0-9]"):
		return "a DNS label: a-z, 0-9 and hyphens within, at most 63"
	default:
		return "a name, or the beginning of names with a * behind it"
	}
}

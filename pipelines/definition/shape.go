package definition

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// shape is what is known of a value without having it; nil is nothing. It knows less
// than a JSON Schema, and is never wrong: what it does not express is not known.
type shape struct {
	kind     string            // of JSON: object, array, string, number, integer, boolean, null; "" where either has it
	null     bool              // it may be null as well
	items    *shape            // of an array
	empty    bool              // an array without elements
	members  map[string]*shape // of an object
	required []string          // members that are always there
	closed   bool              // an object without other members
	literal  bool              // an object that an expression makes: every member is there
	either   []*shape
	text     *string  // the string that it is
	choice   []string // the strings that it may be; nil is any
}

func scalar(kind string) *shape { return &shape{kind: kind} }

func arrayOf(items *shape) *shape { return &shape{kind: "array", items: items} }

// orNull is the shape of a value that may be null.
func (s *shape) orNull() *shape {
	if s == nil {
		return nil
	}
	out := *s
	out.null = true
	return &out
}

// names is what it is, as readers of JSON say.
func (s *shape) name() string {
	switch s.kind {
	case "":
		names := make([]string, len(s.either))
		for i, one := range s.either {
			names[i] = one.name()
		}
		return strings.Join(names, " or ")
	case "array":
		return "a list"
	case "object", "integer":
		return "an " + s.kind
	case "null":
		return "null"
	default:
		return "a " + s.kind
	}
}

// join is the shape of a value that is one or the other.
func join(a, b *shape) *shape {
	switch {
	case a == nil || b == nil:
		return nil
	case a.kind == "null":
		return b.orNull()
	case b.kind == "null":
		return a.orNull()
	case a.kind == "array" && b.kind == "array":
		out := arrayOf(nil)
		switch {
		case a.empty:
			*out = *b
		case b.empty:
			*out = *a
		default:
			out.items = join(a.items, b.items)
		}
		out.null = a.null || b.null
		return out
	case a.kind != b.kind || a.kind == "object" || a.kind == "":
		return nil
	default:
		return &shape{kind: a.kind, null: a.null || b.null}
	}
}

// maxShape bounds how deep a schema is read; below, nothing is known.
const maxShape = 20

// shapeOf reads a JSON Schema; nil where there is none.
func shapeOf(schema []byte) (*shape, error) {
	if schema == nil {
		return nil, nil //nolint:nilnil // nothing is known
	}
	var root any
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	r := schemaReader{root}
	return r.shape(root, 0), nil
}

type schemaReader struct{ root any }

func (r *schemaReader) shape(schema any, depth int) *shape {
	s, ok := schema.(map[string]any)
	if !ok || depth > maxShape {
		return nil
	}
	if ref, ok := s["$ref"].(string); ok {
		return r.shape(r.referred(ref), depth+1)
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		if list, ok := s[word].([]any); ok {
			out := &shape{}
			for _, one := range list {
				alternative := r.shape(one, depth+1)
				if alternative == nil {
					return nil
				}
				out.either = append(out.either, alternative)
			}
			return out
		}
	}
	out := &shape{}
	switch kinds := s["type"].(type) {
	case string:
		out.kind = kinds
	case []any:
		for _, one := range kinds {
			if kind, _ := one.(string); kind == "null" {
				out.null = true
			} else if out.kind == "" {
				out.kind = kind
			} else {
				return nil
			}
		}
	}
	if out.kind == "" {
		return nil
	}
	out.choice = choice(s)
	if items, ok := s["items"]; ok {
		out.items = r.shape(items, depth+1)
	}
	if out.kind == "object" {
		r.object(out, s, depth)
	}
	return out
}

// choice are the strings that a schema allows; nil is any.
func choice(s map[string]any) []string {
	list, ok := s["enum"].([]any)
	if one, only := s["const"]; only {
		list, ok = []any{one}, true
	}
	if !ok {
		return nil
	}
	out := []string{}
	for _, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil
		}
		out = append(out, text)
	}
	return out
}

func (r *schemaReader) object(out *shape, s map[string]any, depth int) {
	out.members = map[string]*shape{}
	if members, ok := s["properties"].(map[string]any); ok {
		for name, schema := range members {
			out.members[name] = r.shape(schema, depth+1)
		}
	}
	out.closed = s["additionalProperties"] == false && s["patternProperties"] == nil
	if required, ok := s["required"].([]any); ok {
		for _, one := range required {
			if name, ok := one.(string); ok {
				out.required = append(out.required, name)
			}
		}
	}
}

// referred is what a reference within the schema leads to; nil is elsewhere.
func (r *schemaReader) referred(ref string) any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := r.root
	for part := range strings.SplitSeq(path, "/") {
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			at = v[i]
		default:
			return nil
		}
	}
	return at
}

// refused is why a value of a shape is never what is wanted, and where in it; "" is
// that it may be.
func refused(value, want *shape, path string) string {
	switch {
	case value == nil || want == nil || want.null && value.kind == "null":
		return ""
	case want.kind == "":
		first := ""
		for _, one := range want.either {
			reason := refused(value, one, path)
			if reason == "" {
				return ""
			}
			if first == "" || value.kind == one.kind { // the alternative that was meant
				first = reason
			}
		}
		if slices.ContainsFunc(want.either, func(one *shape) bool { return one.kind == value.kind }) {
			return first
		}
		return fmt.Sprintf("%sexpected %s, got %s", within(path), want.name(), value.name())
	case value.kind == "":
		for _, one := range value.either {
			if refused(one, want, path) == "" {
				return ""
			}
		}
		return fmt.Sprintf("%sexpected %s, got %s", within(path), want.name(), value.name())
	}
	numbers := isNumber(value.kind) && isNumber(want.kind)
	switch {
	case value.kind != want.kind && !numbers:
		return fmt.Sprintf("%sexpected %s, got %s", within(path), want.name(), value.name())
	case value.text != nil && want.choice != nil && !slices.Contains(want.choice, *value.text):
		return within(path) + "expected one of " + strings.Join(want.choice, ", ")
	case value.kind == "array" && !value.empty:
		return refused(value.items, want.items, path+"[]")
	case value.kind == "object":
		return refusedMembers(value, want, path)
	}
	return ""
}

func isNumber(kind string) bool { return kind == "number" || kind == "integer" }

func within(path string) string {
	if path == "" {
		return ""
	}
	return strings.TrimPrefix(path, ".") + ": "
}

func refusedMembers(value, want *shape, path string) string {
	for _, name := range want.required {
		if _, has := value.members[name]; !has && value.closed {
			return within(path+"."+name) + "it is missing"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(value.members)) {
		member, known := want.members[name]
		if !known && want.closed && (value.literal || slices.Contains(value.required, name)) {
			return within(path+"."+name) + "there is no such field: expected " + choices(want)
		}
		if reason := refused(value.members[name], member, path+"."+name); reason != "" {
			return reason
		}
	}
	return ""
}

// choices are the members that an object may have.
func choices(s *shape) string {
	names := slices.Sorted(maps.Keys(s.members))
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

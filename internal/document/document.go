// Package document reads what people write for the platform, YAML or JSON: one
// document, held to a JSON Schema, with every fault by path and line. It repeats no
// values, for some are secret.
//
// What a document means is for whoever reads it.
package document

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Fault is one thing that is wrong with a document.
type Fault struct {
	Path   string `json:"path"`   // "issuers[0].leeway"; "" is the document
	Line   int    `json:"line"`   // from 1; 0 is not known
	Detail string `json:"detail"` // what was expected
}

// String is the fault as people read it.
func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	return b.String() + f.Detail
}

// Faults are all that is wrong with a document, by line.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "; ")
}

// The bounds of what is shown of a bad document.
const (
	maxFaults = 20
	maxShown  = 500 // characters of a path, and of a detail
)

// Shown are the first faults by line, as a terminal may have them, and how many more
// there are.
func (f Faults) Shown() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(last(a.Path), last(b.Path)))
	})
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

// last is a path for sorting: what is of the whole document comes behind.
func last(path string) string { return cmp.Or(path, string(unicode.MaxRune)) }

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

// Document is what was read.
type Document struct {
	Value  any // of maps by string, slices, strings, numbers, booleans and nil
	lines  map[string]int
	blocks map[string]bool
	faults Faults
}

// maxDepth bounds how deep values lie in each other.
const maxDepth = 32

// Read reads the one document of a text of at most so many bytes; empty is the fault of
// a text in which nothing is. Anchors and aliases are faults, and so is what JSON cannot
// express. Where the text is no document at all, there is none beside the faults.
func Read(data []byte, most int, empty string) (*Document, Faults) {
	if len(data) > most {
		return nil, Faults{{Detail: fmt.Sprintf("expected at most %d bytes", most)}}
	}
	root, faults := parse(data, empty)
	if faults != nil {
		return nil, faults
	}
	d := &Document{lines: map[string]int{}, blocks: map[string]bool{}}
	d.Value = d.value(root, "", 0)
	return d, d.faults
}

// Line is where the value of a path is, or of the nearest around it.
func (d *Document) Line(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return d.lines[""]
}

// LineWithin is the line of a string's nth line, from 1, where its form shows it: a
// literal block of YAML has its lines as they are. Else it is the line of the path.
func (d *Document) LineWithin(path string, n int) int {
	if d.blocks[path] && n > 0 {
		return d.Line(path) + n
	}
	return d.Line(path)
}

func parse(data []byte, empty string) (*yaml.Node, Faults) {
	if root, ok := parseJSON(data); ok {
		return root, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var node, more yaml.Node
	err := decoder.Decode(&node)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(node.Content) == 1 && node.Content[0].Tag == "!!null":
		return nil, Faults{{Detail: empty}}
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

func (d *Document) fault(path string, line int, format string, args ...any) {
	d.faults = append(d.faults, Fault{path, line, fmt.Sprintf(format, args...)})
}

func (d *Document) value(n *yaml.Node, path string, depth int) any {
	d.lines[path] = n.Line
	if depth > maxDepth {
		d.fault(path, n.Line, "expected at most %d levels", maxDepth)
		return nil
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		d.fault(path, n.Line, "expected no anchors and aliases")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.mapping(n, path, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, child := range n.Content {
			list = append(list, d.value(child, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return list
	default:
		d.blocks[path] = n.Style&yaml.LiteralStyle != 0
		return d.scalar(n, path)
	}
}

func (d *Document) mapping(n *yaml.Node, path string, depth int) any {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode || name.Tag != "!!str" {
			d.fault(path, name.Line, "expected names that are text")
			continue
		}
		at := Join(path, name.Value)
		if _, twice := out[name.Value]; twice {
			d.fault(at, name.Line, "it is there twice")
			continue
		}
		out[name.Value] = d.value(n.Content[i+1], at, depth+1)
		d.lines[at] = name.Line
	}
	return out
}

func (d *Document) scalar(n *yaml.Node, path string) any {
	var v any
	if err := n.Decode(&v); err != nil {
		d.fault(path, n.Line, "expected text, a number or a boolean")
		return nil
	}
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			d.fault(path, n.Line, "expected a number that JSON can express")
		}
		return v
	case nil, string, bool, int:
		return v
	default: // a date, or binary data
		d.fault(path, n.Line, "expected text, a number or a boolean: put it in quotes")
		return nil
	}
}

// Join is the path of a member.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Has reports whether there is something at a path.
func (d *Document) Has(path string) bool {
	_, ok := d.lines[path]
	return ok
}

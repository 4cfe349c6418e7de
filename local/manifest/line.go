package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// typeFault matches the errors of Go's and Kubernetes' JSON about a value of the
// wrong type, which are in terms of Go.
var typeFault = regexp.MustCompile(`^json: cannot unmarshal (\S+)(?: \S+)? into Go (?:struct field \w*\.(\S+)|value) of type (\S+)`) //nolint:gochecknoglobals // compiled once, and constant

// inYAMLTerms rewrites a fault of a decoder in the terms of YAML.
func inYAMLTerms(err error) error {
	found := typeFault.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	field := found[2]
	if field == "" {
		return fmt.Errorf("expected a Kubernetes object, got %s", kindOf(found[1]))
	}
	return fmt.Errorf("%s: expected %s, got %s", embedded.ReplaceAllString(field, "."), wanted(found[3]), kindOf(found[1]))
}

// embedded is the name of a Go type in a path, which YAML does not have.
var embedded = regexp.MustCompile(`\.[A-Z]\w*\.`) //nolint:gochecknoglobals // compiled once, and constant

// kindOf names a kind of JSON value.
func kindOf(value string) string {
	switch value {
	case "string":
		return "a text"
	case "number":
		return "a number"
	case "bool":
		return "true or false"
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	default:
		return value
	}
}

// wanted names what a Go type takes.
func wanted(goType string) string {
	goType = strings.TrimLeft(goType, "*")
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "an integer"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a text, in quotes where it looks like a number"
	case strings.HasPrefix(goType, "map["), strings.HasPrefix(goType, "struct"):
		return "a mapping"
	default: // a type of Kubernetes' own, most of which are mappings or names
		return "another kind of value"
	}
}

// fieldPath is a path as faults have it, such as
// spec.template.spec.containers[0].image.
var fieldPath = regexp.MustCompile(`\b(?:apiVersion|kind|metadata|spec|data|stringData)(?:\.[\w/-]+|\[\d+\]|\["[^"]+"\])+`) //nolint:gochecknoglobals // compiled once, and constant

// topField is a field of the object itself, as a fault begins with it.
var topField = regexp.MustCompile(`(?:^|: )(apiVersion|kind|metadata|spec|data|stringData): `) //nolint:gochecknoglobals // compiled once, and constant

// pathToken is one step of it.
var pathToken = regexp.MustCompile(`\.?([\w/-]+)|\[(\d+)\]|\["([^"]+)"\]`) //nolint:gochecknoglobals // compiled once, and constant

// at is the document's file with the line of the field that a fault names, or
// where its object begins; the file alone where neither is known.
func (d document) at(fault string) string {
	text := d.text
	if text == nil {
		text, _ = readBounded(d.file) // a folder, or one that is gone, has no lines
	}
	root := d.find(text)
	if root == nil {
		return d.file
	}
	line := root.Line
	paths := fieldPath.FindAllString(fault, -1)
	if found := topField.FindStringSubmatch(fault); found != nil {
		paths = append(paths, found[1])
	}
	for _, path := range paths {
		if found := follow(root, path, fault); found > 0 {
			line = found
			break
		}
	}
	return d.file + ":" + strconv.Itoa(line)
}

// find is the YAML of this object in its file: the only one, or that of its
// kind and name.
func (d document) find(text []byte) *yaml.Node {
	var all []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		if decoder.Decode(&n) != nil {
			break
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			all = append(all, n.Content[0])
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	var mine struct {
		Kind     any            `yaml:"kind"`
		Metadata map[string]any `yaml:"metadata"`
	}
	if yaml.Unmarshal(d.json, &mine) != nil { // JSON is YAML
		return nil
	}
	for _, n := range all {
		var its struct {
			Kind     any            `yaml:"kind"`
			Metadata map[string]any `yaml:"metadata"`
		}
		if n.Decode(&its) == nil && its.Kind == mine.Kind && its.Metadata["name"] == mine.Metadata["name"] {
			return n
		}
	}
	return nil
}

// follow walks a path as far as it goes, and returns the line where it ends; 0
// where it does not even begin.
func follow(root *yaml.Node, path, fault string) int {
	node, line := root, 0
	for _, token := range pathToken.FindAllStringSubmatch(path, -1) {
		key, index := token[1]+token[3], token[2]
		if node.Kind == yaml.SequenceNode && index == "" { // a decoder's path has no indexes
			node = likely(node, key, fault)
		}
		var next *yaml.Node
		switch {
		case node == nil:
			return line
		case index != "" && node.Kind == yaml.SequenceNode:
			if i, err := strconv.Atoi(index); err == nil && i < len(node.Content) {
				next = node.Content[i]
				line = next.Line
			}
		case node.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == key {
					next, line = node.Content[i+1], node.Content[i].Line
				}
			}
		}
		if next == nil {
			return line
		}
		node = next
	}
	return line
}

// likely is the element of a list that has the key, the first whose value is
// what the fault reports if one is.
func likely(list *yaml.Node, key, fault string) *yaml.Node {
	var first *yaml.Node
	for _, element := range list.Content {
		for i := 0; i+1 < len(element.Content) && element.Kind == yaml.MappingNode; i += 2 {
			if element.Content[i].Value != key {
				continue
			}
			if first == nil {
				first = element
			}
			value := element.Content[i+1]
			kind := map[string]string{"!!int": "number", "!!float": "number", "!!str": "string", "!!bool": "bool", "!!map": "object", "!!seq": "array"}[value.Tag]
			if strings.HasSuffix(fault, "got "+kindOf(kind)) {
				return element
			}
		}
	}
	return first
}

// yamlLine matches a YAML reader's error with a line.
var yamlLine = regexp.MustCompile(`^(?:error converting YAML to JSON: )?yaml: (?:unmarshal errors:\s*)?line (\d+): (.*)$`) //nolint:gochecknoglobals // compiled once, and constant

// syntax is the error of a part of a file's YAML, which begins after so many lines.
func syntax(file string, before int, part []byte, err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		if line, bad := strconv.Atoi(found[1]); bad == nil {
			if strings.HasPrefix(found[2], "did not find expected") { // its parser counts from 0, its scanner from 1
				line++
			}
			line = min(line, 1+bytes.Count(bytes.TrimSpace(part), []byte("\n"))) // the end of what it has is beyond that
			return fmt.Errorf("%s:%d: not YAML: %s", file, before+line, found[2])
		}
	}
	return fmt.Errorf("%s: not YAML: %s", file, strings.TrimPrefix(strings.TrimPrefix(text, "error converting YAML to JSON: "), "yaml: "))
}

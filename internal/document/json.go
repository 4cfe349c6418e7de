package document

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// parseJSON reads an object of JSON, which is not always YAML: it may be indented by
// tabs, and has other escapes. What is no JSON may be YAML still.
func parseJSON(data []byte) (*yaml.Node, bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || !json.Valid(data) {
		return nil, false
	}
	r := reader{data: data, line: 1, decoder: jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))}
	return r.node(0)
}

type reader struct {
	data    []byte
	decoder *jsontext.Decoder
	at      int // the byte that line is of
	line    int
}

// node is the next value; false is one that YAML's reader is to refuse.
func (r *reader) node(depth int) (*yaml.Node, bool) {
	token, err := r.decoder.ReadToken()
	if err != nil || depth > 2*maxDepth {
		return nil, false
	}
	end := int(r.decoder.InputOffset())
	r.line += bytes.Count(r.data[r.at:end], []byte("\n"))
	r.at = end
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch token.Kind() {
	case 'n':
		n.Tag, n.Value = "!!null", "null"
	case 't', 'f':
		n.Tag, n.Value = "!!bool", token.String()
	case '"':
		n.Tag, n.Value, n.Style = "!!str", token.String(), yaml.DoubleQuotedStyle
	case '0':
		n.Value = token.String()
	default:
		n.Kind = yaml.MappingNode
		end := jsontext.Kind('}')
		if token.Kind() == '[' {
			n.Kind, end = yaml.SequenceNode, ']'
		}
		for r.decoder.PeekKind() != end {
			child, ok := r.node(depth + 1)
			if !ok {
				return nil, false
			}
			n.Content = append(n.Content, child)
		}
		if _, err := r.decoder.ReadToken(); err != nil {
			return nil, false
		}
	}
	return n, true
}

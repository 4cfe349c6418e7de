package gatewayfile

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/internal/document"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of the file.
func Schema() []byte { return slices.Clone(schema) }

// nothing is the fault of a file in which nothing is.
const nothing = "the file is empty: expected apiVersion, kind, and what is decided; a file that is gone means the defaults"

// Parse reads a file, YAML or JSON. The error is Faults: all that is wrong, as far as
// people read on.
func Parse(data []byte) (*File, error) {
	read, faults := document.Read(data, maxFile, nothing)
	if read == nil {
		return nil, faults.Shown()
	}
	if faults != nil {
		return nil, append(faults, unfinished(data)...).Shown()
	}
	faults = read.Check(schema, patterned)
	text, err := json.Marshal(read.Value)
	if err != nil {
		return nil, Faults{{Detail: "expected YAML that JSON can express"}}
	}
	var f form
	if err := json.Unmarshal(text, &f); err != nil && faults == nil { // else what could be read is looked at
		return nil, Faults{{Detail: "expected a gateway's file: " + err.Error()}}
	}
	file, faults := f.file(read.Line, faults)
	if faults = append(faults, unfinished(data)...); faults != nil {
		return nil, faults.Shown()
	}
	return file, nil
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

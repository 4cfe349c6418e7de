package problem

import (
	"iter"
	"strconv"
	"strings"
)

// Bounds on a path, whose names may be a caller's.
const (
	pathLevels = 8
	pathName   = 64 // bytes
)

// Path writes the steps to a value in a document, such as the tokens of a JSON
// pointer (RFC 6901), as Field has it: "inputs[0].shape"; "body" for none. Deep
// paths and long names are cut.
func Path(tokens iter.Seq[string]) string {
	var b strings.Builder
	levels := 0
	for token := range tokens {
		if levels++; levels > pathLevels {
			b.WriteString("…")
			break
		}
		if _, err := strconv.ParseUint(token, 10, 32); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if len(token) > pathName {
			token = strings.ToValidUTF8(token[:pathName], "") + "…"
		}
		b.WriteString(token)
	}
	if b.Len() == 0 {
		return "body"
	}
	return b.String()
}

// Package payload reads the JSON forms of native payloads: strictly, naming
// the field that is wrong, and fetching the inputs that a form refers to.
//
// It knows neither images nor audio: it hands a codec the bytes, and the codec
// decides what they are. It is not for the Open Inference Protocol, whose JSON
// is in runtime/infer.
package payload

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// MaxDepth is how deep a JSON form may nest.
const MaxDepth = 64

// maxNumber bounds a number's text in a JSON form, in bytes: the JSON reader copies one
// that does not fit its field three times.
const maxNumber = 2048

// IsJSON reports whether the payload is the JSON form. Only the content type
// decides: JSON sent as anything else is plain bytes.
func IsJSON(in serve.Payload) bool { return in.ContentType == "application/json" }

// Decode reads the body, one JSON object, into the struct that dst points to.
// It refuses what JSON leaves to the reader: duplicate and unknown names,
// nesting beyond MaxDepth, invalid UTF-8, anything behind the object. A byte
// order mark before it, which editors write, is passed over (RFC 8259, 8.1).
// Each Source in dst is required unless its tag has omitzero. Errors are problems:
// MalformedBody where the body is no JSON, else InvalidArgument with the field.
func Decode(in serve.Payload, dst any) error {
	if err := bounded(in.Body); err != nil {
		return err
	}
	body := infer.WithoutMark(in.Body)
	if err := json.Unmarshal(body, dst, json.RejectUnknownMembers(true)); err != nil {
		return decodeProblem(body, err)
	}
	return requireSources(dst, int64(len(in.Body)-len(body)))
}

// bounded finds where brackets open beyond MaxDepth, and numbers beyond maxNumber. The
// JSON reader has no such bounds, and this leaves strings at the speed of a byte search.
func bounded(body []byte) error {
	depth, number := 0, 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return problem.New(problem.MalformedBody, "the body nests deeper than %d at byte %d", MaxDepth, i)
			}
		case c == '}' || c == ']':
			depth--
		case c == '"':
			i = stringEnd(body, i)
		case c-'0' < 10 || c == '.' || c|0x20 == 'e' || c == '+' || c == '-':
			if number++; number > maxNumber {
				return problem.New(problem.MalformedBody, "a number of more than %d characters at byte %d", maxNumber, i)
			}
			continue
		}
		number = 0
	}
	return nil
}

// stringEnd is the index of the quote that closes the string opened at i, or
// the body's length.
func stringEnd(body []byte, i int) int {
	for open := i; ; {
		next := bytes.IndexByte(body[i+1:], '"')
		if next < 0 {
			return len(body)
		}
		i += 1 + next
		escapes := i - 1
		for escapes > open && body[escapes] == '\\' {
			escapes--
		}
		if (i-1-escapes)%2 == 0 {
			return i
		}
	}
}

// decodeProblem describes in the caller's terms what the JSON reader found wrong.
func decodeProblem(body []byte, err error) error {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		return known
	case len(body) == 0:
		return problem.New(problem.MalformedBody, "the body is empty; expected a JSON object")
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return problem.Invalid(problem.Path(syntactic.JSONPointer.Tokens()), "named twice; expected each name once")
	case errors.As(err, &syntactic):
		return malformed(syntactic)
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "no such field")
	case errors.As(err, &semantic) && semantic.JSONPointer == "":
		return problem.New(problem.MalformedBody, "the body is a JSON %s; expected an object", semantic.JSONKind)
	case errors.As(err, &semantic):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "got %s; expected %s", got(semantic), expected(semantic.GoType))
	default:
		return problem.New(problem.MalformedBody, "the body is not a JSON object: %w", err)
	}
}

// malformed describes where the body stops being JSON, and within which field.
func malformed(e *jsontext.SyntacticError) *problem.Error {
	reason := "invalid JSON"
	if e.Err != nil {
		reason = strings.TrimPrefix(e.Err.Error(), "jsontext: ")
	}
	p := problem.New(problem.MalformedBody, "the body is not the JSON object it should be: %s at byte %d", reason, e.ByteOffset)
	if e.JSONPointer != "" {
		field := problem.Path(e.JSONPointer.Tokens())
		p.Detail += " in " + field
		p.Fields = []problem.Field{{Field: field, Detail: reason}}
	}
	return p
}

// got describes the value met, cut short: it is the caller's own, of any length.
func got(e *json.SemanticError) string {
	const most = 32
	switch v := e.JSONValue; {
	case len(v) == 0:
		return "a JSON " + e.JSONKind.String()
	case len(v) > most:
		return strings.ToValidUTF8(string(v[:most]), "") + "…"
	default:
		return string(v)
	}
}

// expected names a Go type as a reader of JSON knows it.
func expected(t reflect.Type) string {
	if t == nil {
		return "another value"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "an array"
	case reflect.Array:
		return "an array of " + strconv.Itoa(t.Len())
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "an integer"
	}
}

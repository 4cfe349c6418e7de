package operation

import (
	"errors"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// decode reads strict JSON: no unknown or duplicate names, nothing after it. The
// error names the field and no value.
func decode(data []byte, into any) error {
	if len(data) == 0 {
		return problem.New(problem.MalformedBody, "the body is empty; expected a JSON object")
	}
	err := json.Unmarshal(data, into, json.RejectUnknownMembers(true))
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return problem.Invalid(problem.Path(syntactic.JSONPointer.Tokens()), "expected once, got twice")
	case errors.As(err, &syntactic):
		return problem.New(problem.MalformedBody, "the body is not JSON at byte %d", syntactic.ByteOffset)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "there is no such field")
	case errors.As(err, &semantic):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "expected %s", wordFor(semantic.GoType))
	default:
		return problem.New(problem.MalformedBody, "the body cannot be read as JSON")
	}
}

// wordFor is what JSON has to hold for a Go type.
func wordFor(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "another type"
	case t == reflect.TypeFor[time.Time]():
		return aTime
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number within " + t.Kind().String()
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "an object"
	}
}

const aTime = "a time such as 2027-01-31T12:00:00Z"

// maxField bounds a field's path in an error, in bytes: its names may be the
// caller's.
const maxField = 200

// short cuts a name that is too long for an error, at a character's end.
func short(name string) string {
	if len(name) <= maxField {
		return name
	}
	end := maxField
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}

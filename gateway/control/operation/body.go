package operation

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// isJSON refuses a body of another type. One without a type, or of the type that curl
// sends with anything, is JSON where it can be read as that.
func isJSON(types []string) error {
	media, err := infer.MediaType(types)
	if err == nil && len(types) > 0 && media != "application/json" && media != "application/x-www-form-urlencoded" {
		return problem.New(problem.UnsupportedMedia, "expected the Content-Type application/json, in UTF-8")
	}
	return err
}

// parse reads one JSON value, without names that come twice, for a check by its schema.
func parse(data []byte) (any, error) {
	if len(data) == 0 {
		return nil, problem.New(problem.MalformedBody, "the body is empty; expected a JSON object")
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	_, err := decoder.ReadValue()
	if err == nil {
		if _, err = decoder.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = problem.New(problem.MalformedBody, "the body is not one JSON value: something follows it at byte %d", decoder.InputOffset())
		}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, unreadable(err)
	}
	return withoutHuge(value), nil
}

// withoutHuge puts null, which a decoder refuses later, in place of the numbers that no
// field takes: a schema's check would work them out to the last digit.
func withoutHuge(value any) any {
	switch v := value.(type) {
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		if f, err := v.Float64(); err != nil || math.IsInf(f, 0) || len(exponent) > len("-308") || len(v) > maxNumber {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = withoutHuge(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = withoutHuge(v[name])
		}
	}
	return value
}

// maxNumber bounds a number's text, in bytes.
const maxNumber = 400

// decode reads what holds to its schema into a value.
func decode(data []byte, into any) error {
	if err := jsonv2.Unmarshal(data, into, jsonv2.RejectUnknownMembers(true)); err != nil {
		return unreadable(err)
	}
	return nil
}

// unreadable is the error of a body that cannot be read, by what a reader of JSON
// returned. Values are not in it.
func unreadable(err error) error {
	var known *problem.Error
	var syntactic *jsontext.SyntacticError
	var semantic *jsonv2.SemanticError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return problem.Invalid(problem.Path(syntactic.JSONPointer.Tokens()), "expected once, got twice")
	case errors.As(err, &syntactic):
		return problem.New(problem.MalformedBody, "the body is not JSON at byte %d", syntactic.ByteOffset)
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

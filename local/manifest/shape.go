package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// misshapen returns a fault for each value whose kind is not what the type of a
// Kubernetes object takes, with its whole path: decoders stop at the first, and
// leave indexes and keys out. Fields that the type does not have it leaves to
// the decoder.
func misshapen(text []byte, object any) []error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return []error{err}
	}
	var s shape
	s.hold("", value, reflect.TypeOf(object))
	return s.faults
}

type shape struct{ faults []error }

func (s *shape) wrong(path, want string, value any) {
	s.faults = append(s.faults, fmt.Errorf("%s: expected %s, got %s", path, want, kindOfValue(value)))
}

// hold holds a value to a type.
func (s *shape) hold(path string, value any, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if value == nil {
		return // as if it were not there
	}
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		s.quantity(path, value)
		return
	case reflect.TypeFor[metav1.Time]():
		s.text(path, value, "a time such as \"2026-01-31T12:00:00Z\", in quotes")
		return
	case reflect.TypeFor[intstr.IntOrString]():
		if !isInteger(value) && !isText(value) {
			s.wrong(path, "an integer or a text", value)
		}
		return
	}
	switch t.Kind() { //nolint:exhaustive // Kubernetes' types have no others, and what is of another kind is the decoder's
	case reflect.Struct:
		s.fields(path, value, t)
	case reflect.Map:
		s.entries(path, value, t)
	case reflect.Slice:
		s.elements(path, value, t)
	case reflect.String:
		s.text(path, value, "a text, in quotes where it looks like a number")
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			s.wrong(path, "true or false", value)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.integer(path, value, t.Bits())
	}
}

func (s *shape) text(path string, value any, want string) {
	if !isText(value) {
		s.wrong(path, want, value)
	}
}

func (s *shape) integer(path string, value any, bits int) {
	number, ok := value.(json.Number)
	if !ok {
		s.wrong(path, "an integer", value)
		return
	}
	if _, err := strconv.ParseInt(number.String(), 10, bits); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: expected an integer of at most %d bits, got %s", path, bits, number))
	}
}

// quantity holds a value to be an amount that there can be of something.
func (s *shape) quantity(path string, value any) {
	const want = "a quantity such as 500m or 512Mi"
	switch value.(type) {
	case string, json.Number:
	default:
		s.wrong(path, want, value)
		return
	}
	text := fmt.Sprint(value)
	q, err := resource.ParseQuantity(text)
	switch {
	case err != nil:
		s.faults = append(s.faults, fmt.Errorf("%s: expected %s, got %.100q", path, want, text))
	case q.Sign() < 0:
		s.faults = append(s.faults, fmt.Errorf("%s: expected %s that is not negative, got %s", path, want, text))
	}
}

func (s *shape) fields(path string, value any, t reflect.Type) {
	object, ok := value.(map[string]any)
	if !ok {
		s.wrong(path, "a mapping", value)
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch inner, there := object[name]; {
		case name == "" && (field.Anonymous || strings.Contains(options, "inline")):
			s.fields(path, value, field.Type)
		case name != "" && name != "-" && there:
			s.hold(strings.TrimPrefix(path+"."+name, "."), inner, field.Type)
		}
	}
}

func (s *shape) entries(path string, value any, t reflect.Type) {
	object, ok := value.(map[string]any)
	if !ok {
		s.wrong(path, "a mapping", value)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		s.hold(path+step(key), object[key], t.Elem())
	}
}

// step is a key in a path: quoted where it has dots or slashes of its own.
func step(key string) string {
	if strings.ContainsAny(key, "./") {
		return "[" + strconv.Quote(key) + "]"
	}
	return "." + key
}

func (s *shape) elements(path string, value any, t reflect.Type) {
	if t.Elem().Kind() == reflect.Uint8 {
		s.text(path, value, "a text in base64")
		return
	}
	list, ok := value.([]any)
	if !ok {
		s.wrong(path, "a list", value)
		return
	}
	for i, element := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if element == nil {
			s.faults = append(s.faults, errors.New(at+": expected a value, got nothing"))
			continue
		}
		s.hold(at, element, t.Elem())
	}
}

func isText(value any) bool { _, ok := value.(string); return ok }

func isInteger(value any) bool {
	number, ok := value.(json.Number)
	if !ok {
		return false
	}
	_, err := number.Int64()
	return err == nil
}

func kindOfValue(value any) string {
	switch value.(type) {
	case string:
		return kindOf("string")
	case json.Number:
		return kindOf("number")
	case bool:
		return kindOf("bool")
	case []any:
		return kindOf("array")
	case map[string]any:
		return kindOf("object")
	default:
		return "nothing"
	}
}

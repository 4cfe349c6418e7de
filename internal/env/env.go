// Package env reads a binary's configuration from its environment into one
// struct, checked whole before anything listens: a bad environment is reported
// with every fault in it, by variable.
//
// It is a thin layer over caarlos0/env, which does the parsing; nothing else in
// the platform reads the environment.
package env

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
)

// ExitCode is what a binary exits with on a bad environment.
const ExitCode = 2

// Checker is a configuration with rules beyond the types of its fields.
type Checker interface {
	// Check returns a fault per broken rule, made by Faultf.
	Check() []error
}

// Fault is one variable's error. It never holds the value of a secret: parse
// errors quote only what failed to parse as a number, a duration or a size.
type Fault struct {
	Variable string
	Reason   string
}

// Error is "VARIABLE: reason".
func (f *Fault) Error() string { return f.Variable + ": " + f.Reason }

// Faultf makes a Fault.
func Faultf(variable, format string, args ...any) error {
	return &Fault{Variable: variable, Reason: fmt.Sprintf(format, args...)}
}

// Parse fills cfg, a pointer to a struct with env tags, from the process's
// environment. The error joins every fault.
func Parse(cfg any) error { return ParseFrom(cfg, Environ()) }

// Environ is the process's environment, by variable.
func Environ() map[string]string { return env.ToMap(os.Environ()) }

// ParseFrom is Parse over a given environment. A variable whose field has the tag
// filled:"true" may not be set to nothing: it is half configured, which is a fault
// and not the same as not configured.
func ParseFrom(cfg any, environment map[string]string) error {
	var faults []error
	if err := env.ParseWithOptions(cfg, env.Options{Environment: environment}); err != nil {
		var all env.AggregateError
		if !errors.As(err, &all) {
			return fmt.Errorf("read environment: %w", err)
		}
		names := variables(reflect.TypeOf(cfg).Elem(), "")
		for _, e := range all.Errors {
			faults = append(faults, named(e, names))
		}
	}
	for _, name := range filled(reflect.TypeOf(cfg).Elem(), "") {
		if value, set := environment[name]; set && strings.TrimSpace(value) == "" {
			faults = append(faults, Faultf(name, "is set, and empty: give it its value, or do not set it"))
		}
	}
	if c, ok := cfg.(Checker); ok {
		faults = append(faults, c.Check()...)
	}
	return errors.Join(faults...)
}

// named puts the variable's name in place of the struct field's.
func named(err error, names map[string]string) error {
	var parse env.ParseError
	if errors.As(err, &parse) {
		if v, ok := names[parse.Name]; ok {
			return Faultf(v, "expected %s: %v", describe(parse.Type), parse.Err)
		}
	}
	var unset env.VarIsNotSetError
	if errors.As(err, &unset) {
		return Faultf(unset.Key, "is required and not set")
	}
	var empty env.EmptyVarError
	if errors.As(err, &empty) {
		return Faultf(empty.Key, "is required and empty")
	}
	return err
}

func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Size]():
		return "a size such as 32MiB"
	default:
		if t.String() == "time.Duration" {
			return "a duration such as 30s"
		}
		return "a value of type " + t.String()
	}
}

// variables maps the names of struct fields, nested ones too, to variables.
func variables(t reflect.Type, prefix string) map[string]string {
	names := map[string]string{}
	for f := range fields(t) {
		if p, ok := f.Tag.Lookup("envPrefix"); ok && f.Type.Kind() == reflect.Struct {
			for k, v := range variables(f.Type, prefix+p) {
				names[k] = v
			}
			continue
		}
		if tag := strings.Split(f.Tag.Get("env"), ",")[0]; tag != "" {
			names[f.Name] = prefix + tag
		} else if f.Type.Kind() == reflect.Struct {
			for k, v := range variables(f.Type, prefix) {
				names[k] = v
			}
		}
	}
	return names
}

// filled lists the variables that may not be set to nothing.
func filled(t reflect.Type, prefix string) []string {
	var names []string
	for f := range fields(t) {
		if f.Tag.Get("filled") == "true" {
			names = append(names, prefix+strings.Split(f.Tag.Get("env"), ",")[0])
		}
		if f.Type.Kind() == reflect.Struct && f.Tag.Get("env") == "" {
			names = append(names, filled(f.Type, prefix+f.Tag.Get("envPrefix"))...)
		}
	}
	return names
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// Size is a number of bytes, written as an integer with an optional KiB, MiB,
// GiB, KB, MB or GB.
type Size int64

// The binary units.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
)

// UnmarshalText reads a size (encoding.TextUnmarshaler).
func (s *Size) UnmarshalText(text []byte) error {
	digits, unit := string(text), Size(1)
	for _, u := range []struct {
		suffix string
		size   Size
	}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}} {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(d), u.size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/int64(unit) {
		return fmt.Errorf("%q is not a size", text)
	}
	*s = Size(n) * unit
	return nil
}

// String writes the size in the largest binary unit that divides it.
func (s Size) String() string {
	switch {
	case s >= GiB && s%GiB == 0:
		return fmt.Sprintf("%dGiB", s/GiB)
	case s >= MiB && s%MiB == 0:
		return fmt.Sprintf("%dMiB", s/MiB)
	case s >= KiB && s%KiB == 0:
		return fmt.Sprintf("%dKiB", s/KiB)
	default:
		return strconv.FormatInt(int64(s), 10)
	}
}

package env

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Variable is one that Parse reads, and the field that it fills.
type Variable struct {
	Name     string
	Takes    string // "an integer", "a duration such as 30s"
	Default  string // "" is none
	Required bool

	Package, Struct, Field string // the import path, and names in it
}

// Variables are those that Parse reads into cfg, a pointer to a struct, in the
// order of its fields.
func Variables(cfg any) []Variable { return listed(reflect.TypeOf(cfg).Elem(), "") }

func listed(t reflect.Type, prefix string) []Variable {
	var all []Variable
	for f := range fields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		switch {
		case tag != "":
			all = append(all, Variable{
				Name: prefix + tag, Takes: takes(f.Type), Default: f.Tag.Get("envDefault"),
				Required: strings.Contains(options, "required"),
				Package:  t.PkgPath(), Struct: t.Name(), Field: f.Name,
			})
		case f.Type.Kind() == reflect.Struct:
			all = append(all, listed(f.Type, prefix+f.Tag.Get("envPrefix"))...)
		}
	}
	return all
}

// Usage writes the variables that Parse reads into cfg, a pointer to a struct:
// each with what it takes and what it is when it is not set.
func Usage(w io.Writer, cfg any) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range Variables(cfg) {
		otherwise := ""
		switch {
		case v.Default != "":
			otherwise = "default " + v.Default
		case v.Required:
			otherwise = "required"
		}
		// A writer that fails shows at the end, in Flush.
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", v.Name, v.Takes, otherwise)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the variables: %w", err)
	}
	return nil
}

// takes is what a field's variable takes.
func takes(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Size](), t.String() == "time.Duration":
		return describe(t)
	case t == reflect.TypeFor[slog.Level]():
		return "debug, info, warn or error"
	case t.Kind() == reflect.Slice:
		return "a list, with commas"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "an integer"
	case t.Kind() == reflect.String, t.Kind() == reflect.Struct:
		return "a text"
	default:
		return "a value"
	}
}

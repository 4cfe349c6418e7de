package env

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Usage writes the variables that Parse reads into cfg, a pointer to a struct:
// each with what it takes and what it is when it is not set.
func Usage(w io.Writer, cfg any) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	describeFields(table, reflect.TypeOf(cfg).Elem(), "")
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the variables: %w", err)
	}
	return nil
}

func describeFields(w io.Writer, t reflect.Type, prefix string) {
	for f := range fields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		if tag == "" {
			if f.Type.Kind() == reflect.Struct {
				describeFields(w, f.Type, prefix+f.Tag.Get("envPrefix"))
			}
			continue
		}
		otherwise := f.Tag.Get("envDefault")
		switch {
		case otherwise != "":
			otherwise = "default " + otherwise
		case strings.Contains(options, "required"):
			otherwise = "required"
		}
		// A writer that fails shows at the end, in Flush.
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\n", prefix+tag, takes(f.Type), otherwise)
	}
}

// takes is what a field's variable takes.
func takes(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Size](), t.String() == "time.Duration":
		return describe(t)
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

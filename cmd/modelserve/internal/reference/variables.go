package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/cli"
	"github.com/modelserveai/modelserve/gateway/standalone"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local"
	pipelines "github.com/modelserveai/modelserve/pipelines/standalone"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// readers are the processes that read an environment, and what each reads.
func readers() []reader {
	return []reader{
		{"functions", function.Environment},
		{"gateway", standalone.Environment},
		{"pipelines", pipelines.Environment},
		{"`modelserve dev`", local.Environment},
		{"CLI", cli.Environment},
	}
}

// reader is a process; read makes the structs that its environment fills, new ones
// each time.
type reader struct {
	name string
	read func() []any
}

// row is one variable as one or more processes read it.
type row struct {
	name, takes, otherwise, bounds, about string
}

// byName are variables that are read outside those structs.
func byName() map[row]string {
	return map[row]string{
		{name: ort.LibraryVariable, takes: "a text", about: "The ONNX Runtime library; without it, the system's library folders and .deps/onnxruntime here or above."}:                                             "functions, CLI",
		{name: ort.PoisonVariable, takes: "a text", about: "For tests: fills memory that a model has not written with a pattern, to find what reads it."}:                                                          "functions, CLI",
		{name: lifecycle.ParentVariable, takes: "an integer", about: "A file descriptor, the reading end of a pipe whose other end the parent holds: the process ends with its parent. `modelserve dev` sets it."}: "all",
	}
}

// instead describes variables whose fields have no comment, or one that is not
// enough for those who do not read the code.
func instead() map[string]string {
	return map[string]string{
		"MODELSERVE_HOSTS":                "Host names that are the gateway's own although they have the form of a function's.",
		"MODELSERVE_MAX_BODY":             "Bytes of one body or gRPC message.",
		"MODELSERVE_S3_BUCKET":            "The bucket of published models.",
		"MODELSERVE_S3_REGION":            "Its region.",
		"MODELSERVE_S3_ACCESS_KEY_ID":     "The access key; without one the AWS SDK finds credentials: its own variables, files, a web identity, the node's.",
		"MODELSERVE_S3_SECRET_ACCESS_KEY": "The secret that goes with it.",
		"MODELSERVE_S3_ENDPOINT":          "The URL of the S3 server; without one, AWS itself.",
		"MODELSERVE_S3_PATH_STYLE":        "Whether the bucket is in the path of a URL, as most servers but AWS want it, and not in its host.",
		"MODELSERVE_PUBLIC_KEY":           "One or more public keys (PEM): models and policies that none of them signed are refused. Without it and the file no signature is asked for.",
	}
}

// variables are all rows with the processes that they are true of.
func (s source) variables() (map[row]string, error) {
	rows := byName()
	for _, r := range readers() {
		known := map[string]bool{} // the first struct to have it counts
		for i, cfg := range r.read() {
			for _, v := range env.Variables(cfg) {
				if known[v.Name] {
					continue
				}
				known[v.Name] = true
				about, err := s.about(v)
				if err != nil {
					return nil, err
				}
				key := row{v.Name, v.Takes, otherwise(v), bounds(func() any { return r.read()[i] }, v.Name), about}
				rows[key] = strings.TrimPrefix(rows[key]+", "+r.name, ", ")
			}
		}
	}
	return rows, s.checkVariables(rows)
}

// checkVariables holds that each variable of ours that a text of the code names is
// in a row.
func (s source) checkVariables(rows map[row]string) error {
	known := map[string]bool{}
	for r := range rows {
		known[r.name] = true
	}
	var faults []error
	ours := regexp.MustCompile(`MODELSERVE_[A-Z0-9_]*`)
	s.each(func(importPath string, n ast.Node) {
		literal, ok := n.(*ast.BasicLit)
		if !ok {
			return
		}
		for _, name := range ours.FindAllString(literal.Value, -1) {
			if !strings.HasSuffix(name, "_") && !known[name] {
				faults = append(faults, fmt.Errorf("%s names %s, which is in no struct of an environment", importPath, name))
			}
		}
	})
	return errors.Join(faults...)
}

func variablesPage(s source) ([]byte, error) {
	rows, err := s.variables()
	if err != nil {
		return nil, err
	}
	p := newPage("Variables", "What each process reads of its environment. A process with a bad environment names every fault in it and exits with 2; functions, the gateway and the pipelines service print their own variables with `--help`. Sizes are numbers of bytes with an optional KiB, MiB, GiB, KB, MB or GB.\n\n"+
		"Besides these, functions, the gateway, the pipelines service and the CLI read the AWS SDK's own variables where no `MODELSERVE_S3_ACCESS_KEY_ID` is set, and OpenTelemetry's exporters read theirs ([operate.md](../operate.md#traces)). `modelserve dev` sets what its functions need and passes on of its own environment `OTEL_*`, `MODELSERVE_LOG_LEVEL`, `MODELSERVE_MAX_BODY`, `MODELSERVE_MAX_PIXELS` and what every program needs, such as `PATH`; all else comes from the manifests.")
	var table [][]string
	for _, r := range slices.SortedFunc(maps.Keys(rows), func(a, b row) int {
		return cmp.Or(strings.Compare(a.name, b.name), -strings.Compare(rows[a], rows[b]))
	}) {
		table = append(table, []string{code(r.name), r.about, r.takes, r.otherwise, r.bounds, rows[r]})
	}
	p.table([]string{"variable", "meaning", "takes", "default", "bounds", "read by"}, table)
	return p.bytes(), nil
}

func otherwise(v env.Variable) string {
	if v.Required {
		return "required"
	}
	return code(v.Default)
}

// about is the comment of a variable's field: without the field's name at its
// beginning, and with variables for the names of the others.
func (s source) about(v env.Variable) (string, error) {
	words, ok := instead()[v.Name]
	if !ok {
		words = strings.TrimSpace(s.comments(v.Package, v.Struct)[v.Field])
	}
	if words == "" {
		return "", fmt.Errorf("%s is not described: comment the field %s of %s.%s", v.Name, v.Field, v.Package, v.Struct)
	}
	if rest, ok := strings.CutPrefix(words, v.Field); ok {
		words = strings.TrimLeft(rest, ", ")
		for _, verb := range []string{"is ", "are "} {
			words = strings.TrimPrefix(words, verb)
		}
	}
	return sentence(fieldNames(v).Replace(strings.Join(strings.Fields(words), " "))), nil
}

// fieldNames puts variables for those names of fields of v's struct that are no
// words of English: "AccessRate" is one.
func fieldNames(v env.Variable) *strings.Replacer {
	var pairs []string
	twoWords := regexp.MustCompile(`^([A-Z][a-z]+){2,}$`)
	for _, r := range readers() {
		for _, cfg := range r.read() {
			for _, other := range env.Variables(cfg) {
				if other.Struct == v.Struct && other.Package == v.Package && twoWords.MatchString(other.Field) {
					pairs = append(pairs, other.Field, code(other.Name))
				}
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// bounds are the words with which a process refuses values of a variable that
// could be of its type.
func bounds(read func() any, name string) string {
	var found []string
	for _, value := range []string{"-1", "0", "1", "1000000000000000", "-1s", "0s", "100000h", "!"} {
		for _, fault := range faults(env.ParseFrom(read(), map[string]string{name: value})) {
			if fault.Variable != name {
				continue
			}
			bound := boundOf(fault.Reason, value)
			if bound != "" && !slices.Contains(found, bound) {
				found = append(found, bound)
			}
		}
	}
	return strings.Join(found, "; ")
}

// boundOf is what a refusal of a value expected of it; "" where that is no more
// than the type, or is of a variable that was not set.
func boundOf(reason, value string) string {
	if _, expected, ok := strings.Cut(reason, "expected "); ok {
		reason = expected
	}
	reason, _, _ = strings.Cut(reason, ", got ")
	reason, _, _ = strings.Cut(reason, fmt.Sprintf(": %q", value))
	for _, of := range []string{"a value of type", "a duration such as", "a size such as", "is required"} {
		if strings.HasPrefix(reason, of) {
			return ""
		}
	}
	return reason
}

// faults are those that an error joins.
func faults(err error) []*env.Fault {
	var fault *env.Fault
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*env.Fault
		for _, e := range joined.Unwrap() {
			all = append(all, faults(e)...)
		}
		return all
	}
	if errors.As(err, &fault) {
		return []*env.Fault{fault}
	}
	return nil
}

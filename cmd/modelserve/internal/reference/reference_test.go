package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repository is its root.
func repository() fs.FS { return os.DirFS("../../../..") }

// TestPagesAreCurrent holds docs/reference to the code of today, and to
// these pages and no others.
func TestPagesAreCurrent(t *testing.T) {
	t.Parallel()
	want, err := pages(repository())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		got, err := fs.ReadFile(repository(), folder+name)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("%s is stale: run `go generate ./docs/...` (-code +page):\n%s", name, diff)
		}
	}
	there, err := fs.Glob(repository(), folder+"*.md")
	if err != nil || len(there) != len(want) {
		t.Errorf("docs/reference has %v, %v; want %d pages", there, err, len(want))
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	s, err := readSource(repository())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.variables()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		row
		readers string
	}{
		"bounds from the check":           {row{"PORT", "an integer", "`8080`", "0 to 65535", "The port to listen on, which Knative sets."}, "functions, gateway"},
		"a fault that quotes the value":   {row{"MODELSERVE_MODELS", "a list, with commas", "required", "* or a list of name@version", "The models that are served, each as name@version, or * for every published one."}, "functions"},
		"the field's name is left out":    {row{"MODELSERVE_REQUEST_TIMEOUT", "a duration such as 30s", "`5m`", "at most 24h", "The budget of one request, forwarded to the function as what is left of it."}, "gateway, `modelserve dev`"},
		"the command's":                   {row{"MODELSERVE_SERVER", "a text", "", "", "The platform's URL, where --server names none."}, "CLI"},
		"a bound that depends on another": {row{"MODELSERVE_S3_SECRET_ACCESS_KEY", "a text", "", "both or neither", "The secret that goes with it."}, "functions, gateway, pipelines, CLI"},
	} {
		if got := rows[want.row]; got != want.readers {
			t.Errorf("%s: %+v is read by %q, want %q", name, want.row, got, want.readers)
		}
	}
	for name, code := range map[string]string{
		"a variable in no struct": `package p; const hidden = "MODELSERVE_HIDDEN"`,
		"within a sentence":       `package p; const words = "set MODELSERVE_HIDDEN, please"`,
	} {
		if err := parsed(t, code).checkVariables(rows); err == nil || !strings.Contains(err.Error(), "MODELSERVE_HIDDEN") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := parsed(t, `package p; const all = "MODELSERVE_S3_* and MODELSERVE_PORTS_"`).checkVariables(rows); err != nil {
		t.Errorf("a prefix: %v", err)
	}
}

func TestBoundOf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ reason, value, want string }{
		"a range":               {"expected 0 to 65535, got -1", "-1", "0 to 65535"},
		"only the type":         {`expected a duration such as 30s: time: invalid duration "!"`, "!", ""},
		"another is not set":    {"is required and not set", "!", ""},
		"named after the value": {`host template "!": expected {function}.domain`, "!", "{function}.domain"},
		"named before it":       {`expected * or a list: "!": a bad name`, "!", "* or a list"},
		"in other words":        {"is set, and empty", "!", "is set, and empty"},
	} {
		if got := boundOf(tc.reason, tc.value); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// parsed is one file as a source.
func parsed(t *testing.T, code string) source {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{module + "/p": []*ast.File{file}}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code string
		want []metric
		err  string
	}{
		"a counter": {
			code: `var _ = prometheus.NewCounter(prometheus.CounterOpts{Name: "a_total", Help: "A."})`,
			want: []metric{{name: "a_total", kind: "counter", help: "A."}},
		},
		"with labels": {
			code: `var _ = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "b", Help: "B.", Buckets: x()}, []string{"c", "d"})`,
			want: []metric{{name: "b", kind: "histogram", help: "B.", labels: []string{"c", "d"}}},
		},
		"with a constant label, as a value": {
			code: `var _ = prometheus.GaugeOpts{Name: "e", Help: "E.", ConstLabels: prometheus.Labels{"kind": k}}`,
			want: []metric{{name: "e", kind: "gauge", help: "E.", labels: []string{"kind"}}},
		},
		"another package's options": {code: `var _ = other.CounterOpts{Name: "f"}`},
		"a name that is computed":   {code: `var _ = prometheus.GaugeOpts{Name: "g" + h, Help: "G."}`, err: "Name of the metric"},
		"labels that are computed":  {code: `var _ = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "i", Help: "I."}, labels)`, err: "a literal"},
		"no help":                   {code: `var _ = prometheus.CounterOpts{Name: "j_total"}`, err: "no help"},
	} {
		got, err := parsed(t, "package p\n"+tc.code).metrics()
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", name, err, tc.err)
		}
		for i := range tc.want {
			tc.want[i].importPath = module + "/p"
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(metric{})); err == nil && diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	s, err := readSource(repository())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkHeaders(); err != nil {
		t.Error(err)
	}
	s[module+"/p"] = parsed(t, `package p; const newHeader = "Modelserve-New"`)[module+"/p"]
	if err := s.checkHeaders(); err == nil || !strings.Contains(err.Error(), "Modelserve-New, which is in no table") {
		t.Errorf("a header that is in no table: %v", err)
	}
	if err := (source{}).checkHeaders(); err == nil || !strings.Contains(err.Error(), "Modelserve-Tenant, which no constant names") {
		t.Errorf("a header that is gone: %v", err)
	}
}

package definition_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/functions"
	"github.com/modelserveai/modelserve/runtime/infer"
)

//nolint:gochecknoglobals // a flag
var update = flag.Bool("update", false, "write the golden files")

// tenant finds what the shipped functions, and one published model, are.
type tenant struct{ asked map[string]int }

func (t *tenant) Function(_ context.Context, name string) (definition.Function, error) {
	if t.asked != nil {
		t.asked[name]++
	}
	switch f, ok := functions.Shipped(name); {
	case ok:
		f.Timeout = 40 * time.Second
		return f, nil
	case name == "churn":
		return functions.Model(&infer.Signature{
			Inputs:  []infer.TensorSpec{{Name: "x", DataType: infer.FP32}},
			Outputs: []infer.TensorSpec{{Name: "p", DataType: infer.FP32}},
		})
	case name == "broken":
		return definition.Function{}, errors.New("the database is away")
	}
	return definition.Function{}, definition.ErrNoFunction
}

func files(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files like %s: %v", pattern, err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = text
	}
	return out
}

// Each good file means what the golden file beside it says, canonical, which means the
// same.
func TestGood(t *testing.T) {
	t.Parallel()
	for path, text := range files(t, "testdata/good/*.*") {
		if strings.HasSuffix(path, ".golden") {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			d, err := definition.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Check(t.Context(), &tenant{}); err != nil {
				t.Errorf("check: %v", err)
			}
			var pretty map[string]any
			if err := json.Unmarshal(d.Canonical(), &pretty); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(map[string]any{"digest": d.Digest(), "definition": pretty}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.SplitAfter(path, ".")[0] + "golden"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			again, err := definition.Parse(d.Canonical())
			if err != nil {
				t.Fatalf("the canonical form: %v", err)
			}
			if diff := cmp.Diff(d, again); diff != "" || again.Digest() != d.Digest() {
				t.Errorf("the canonical form is another definition: %s", diff)
			}
			if err := again.Check(t.Context(), &tenant{}); err != nil {
				t.Errorf("check of the canonical form: %v", err)
			}
		})
	}
}

// The same pipeline is the same version, as YAML or JSON, with its defaults written or
// left out.
func TestTheSameDigest(t *testing.T) {
	t.Parallel()
	digests := map[string]string{}
	for path, text := range files(t, "testdata/good/minimal*.[yj]*") {
		d, err := definition.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		digests[d.Digest()] = path
	}
	if len(digests) != 1 {
		t.Errorf("got %v", digests)
	}
}

// wanted are the faults that a file says it has.
func wanted(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		if fault, ok := strings.CutPrefix(line, "# want: "); ok {
			out = append(out, strings.TrimSpace(fault))
		}
	}
	return out
}

func compareFaults(t *testing.T, err error, want []string) {
	t.Helper()
	var faults definition.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got %T: %v", err, err)
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d", len(faults), len(want))
	}
	for i, fault := range faults {
		if i >= len(want) || !strings.HasPrefix(fault.String(), want[i]) {
			t.Errorf("got  %s", fault)
			if i < len(want) {
				t.Errorf("want %s", want[i])
			}
		}
	}
}

func TestBad(t *testing.T) {
	t.Parallel()
	for path, text := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			_, err := definition.Parse(text)
			compareFaults(t, err, wanted(text))
		})
	}
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	for path, text := range files(t, "testdata/unfit/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			d, err := definition.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			asked := map[string]int{}
			compareFaults(t, d.Check(t.Context(), &tenant{asked}), wanted(text))
			for name, n := range asked {
				if n != 1 {
					t.Errorf("%s was asked for %d times", name, n)
				}
			}
		})
	}
}

func pipeline(spec string) []byte {
	return []byte("apiVersion: modelserve.dev/v1\nkind: Pipeline\nmetadata: {name: a}\nspec:\n" + spec)
}

func TestWhatCannotBeFoundOut(t *testing.T) {
	t.Parallel()
	d, err := definition.Parse(pipeline("  steps: [{name: a, function: broken}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = d.Check(t.Context(), &tenant{})
	var faults definition.Faults
	if err == nil || errors.As(err, &faults) {
		t.Errorf("got %v, want the error of the functions", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	steps := func(n int) string { return "  steps:\n" + strings.Repeat("    - {name: a, function: f}\n", n) }
	for name, tc := range map[string]struct {
		text []byte
		want string
	}{
		"steps":      {pipeline(steps(101)), "spec.steps: expected at most 100"},
		"a text":     {pipeline("  steps: [{name: a, function: f, input: '" + strings.Repeat("1+", 2100) + "1'}]\n"), "spec.steps[0].input: expected at most 4096 characters"},
		"bytes":      {pipeline("  steps: [{name: a, function: f, input: '\"" + strings.Repeat("é", 3000) + "\"'}]\n"), "expected at most 4096 bytes"},
		"the whole":  {pipeline(steps(1) + "#" + strings.Repeat("x", definition.MaxText)), "expected at most 262144 bytes"},
		"labels":     {[]byte(strings.Replace(string(pipeline(steps(1))), "{name: a}", "{name: a, labels: {"+manyLabels(21)+"}}", 1)), "metadata.labels: expected at most 20"},
		"filters":    {pipeline(steps(1) + "  triggers:\n  - {type: x, filter: {all: [" + strings.Repeat("{any: [{exact: {a: b}},{exact: {a: b}},{exact: {a: b}}]},", 15) + "]}}\n"), "expected at most 50 filters"},
		"many fault": {pipeline("  steps:\n" + strings.Repeat("    - {name: A, function: f}\n", 30)), "and 10 more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := definition.Parse(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func manyLabels(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("l" + string(rune('a'+i)) + ": x, ")
	}
	return b.String()
}

func TestBefore(t *testing.T) {
	t.Parallel()
	d, err := definition.Parse(pipeline("  steps:\n  - {name: a, function: f}\n  - {name: b, function: f}\n  - {name: c, function: f}\n  - {name: d, function: f, needs: []}\n  output: '1'\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true}, d.Before("c")); diff != "" {
		t.Error(diff)
	}
	if d.Step("d") == nil || d.Step("e") != nil {
		t.Error("steps by name")
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.[yj]*", "testdata/bad/*.yaml", "testdata/unfit/*.yaml"} {
		for _, text := range files(f, pattern) {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := definition.Parse(text)
		if err != nil {
			var faults definition.Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		again, err := definition.Parse(d.Canonical())
		if err != nil {
			t.Fatalf("the canonical form: %v\n%s", err, d.Canonical())
		}
		if !d.Equal(again) {
			t.Fatalf("%s\nbecame %s", d.Canonical(), again.Canonical())
		}
		var faults definition.Faults
		if err := d.Check(t.Context(), &tenant{}); err != nil && !errors.As(err, &faults) && !strings.Contains(err.Error(), "away") {
			t.Fatal(err)
		}
	})
}

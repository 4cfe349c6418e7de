package drawing_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/drawing"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

func step(name, function, needs string) definition.Step {
	return definition.Step{Name: name, Function: function, Needs: strings.Fields(needs), Input: "input", Timeout: 30 * time.Second}
}

// pipelines are what is drawn, by the name of their golden files.
func pipelines() map[string][]definition.Step {
	when := step("orient", "text-orient", "detect")
	when.When = `size(steps.detect.boxes) > 0 &&
  steps.detect.width < 10000 && "#;<b>" != 'x'`
	each := step("each", "text-recognize", "orient")
	each.ForEach = &definition.ForEach{Items: "steps.detect.boxes", Max: 1000, AtOnce: 8, Join: definition.All}
	outside := step("notify", "", "each")
	outside.URI = "https://example.com/hooks/42"
	both := each
	both.Name, both.When, both.Needs = "speech", "steps.kind.label == 'audio'", []string{"kind"}
	return map[string][]definition.Step{
		"one":    {step("detect", "text-detect", "")},
		"line":   {step("detect", "text-detect", ""), step("orient", "text-orient", "detect"), step("read", "text-recognize", "orient")},
		"marked": {step("detect", "text-detect", ""), when, each, outside},
		"diamond": {
			step("a", "f", ""), step("b", "f", "a"), step("c", "g", "a"), step("c2", "g", "c"), step("d", "h", "b c2 a"),
		},
		"crossed": {
			step("a", "f", ""), step("b", "f", ""), step("c", "f", "a"), step("d", "f", "a b"), step("e", "f", "a"), step("f", "f", "b"),
			step("g", "f", "c e"), step("h", "f", "d"), step("i", "f", "g h f"), step("alone", "f", ""),
		},
		"triage": {step("kind", "content-detect", ""), both, step("page", "text-detect", "kind"), step("all", "sum", "speech page")},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, steps := range pipelines() {
		p := plan.Of(&definition.Definition{Name: name, Steps: steps})
		golden(t, name+".mmd", drawing.Mermaid(p))
		golden(t, name+".txt", drawing.Text(p))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", name, diff)
	}
}

// TestNothingOfTheAuthorsIsMermaids holds that no text of a definition ends a node or
// begins another.
func TestNothingOfTheAuthorsIsMermaids(t *testing.T) {
	t.Parallel()
	s := step("a", "", "")
	s.URI = "https://example.com/\"]\n  s9[\"x<script>`\\&#"
	got := drawing.Mermaid(plan.Of(&definition.Definition{Steps: []definition.Step{s}}))
	inside := strings.TrimSuffix(strings.TrimPrefix(got, "flowchart TD\n  s0([\""), "\"])\n")
	if strings.ContainsAny(strings.ReplaceAll(inside, "<br/>", ""), "\"\n<>`\\&") {
		t.Errorf("got %s", got)
	}
}

package shipped_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/expr"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/functions"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/pipelines/shipped"
)

func named(t *testing.T, name string) *definition.Definition {
	t.Helper()
	all, err := shipped.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// function answers a step in a test: what it was given is in.
type function func(in json.RawMessage) string

// ran is what a run in a test came to.
type ran struct {
	given  map[string]string // inputs, by step
	output string
}

// runs a definition step by step, as its expressions say.
func run(t *testing.T, d *definition.Definition, input string, answers map[string]function) ran {
	t.Helper()
	compiler, err := expr.NewCompiler(expr.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	values := expr.Values{Input: json.RawMessage(input), Steps: map[string]json.RawMessage{}}
	compile := func(text string) *expr.Expression {
		e, err := compiler.Compile(text)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return e
	}
	evaluate := func(text string) json.RawMessage {
		value, err := compile(text).Evaluate(t.Context(), values)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return value
	}
	r := ran{given: map[string]string{}}
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.When != "" {
			wanted, err := compile(s.When).Bool(t.Context(), values)
			if err != nil {
				t.Fatalf("%v in %s", err, s.When)
			}
			if !wanted {
				values.Steps[s.Name] = json.RawMessage("null")
				continue
			}
		}
		in := evaluate(s.Input)
		r.given[s.Name] = string(in)
		values.Steps[s.Name] = json.RawMessage(answers[s.Function](in))
	}
	r.output = string(evaluate(d.Output))
	return r
}

// says is a function with one answer.
func says(answer string) function { return func(json.RawMessage) string { return answer } }

// page is an image of two lines, as the functions answer it.
func page() map[string]function {
	return map[string]function{
		"content-detect":  says(`{"label":"png","mime_type":"image/png","group":"image","description":"PNG image","is_text":false,"score":1}`),
		"text-detect":     says(`{"width":100,"height":50,"boxes":[{"polygon":[[1,2],[3,2],[3,4],[1,4]],"score":0.9},{"polygon":[[5,6],[7,6],[7,8],[5,8]],"score":0.8}]}`),
		"text-orient":     says(`{"lines":[{"orientation":0,"score":1},{"orientation":180,"score":0.95}]}`),
		"text-recognize":  says(`{"lines":[{"text":"one","score":0.99},{"text":"two","score":0.5}]}`),
		"speech-detect":   says(`{"duration":2,"segments":[{"start":0.5,"end":1.5,"score":0.9}]}`),
		"nothing of this": nil,
	}
}

func TestReadDocument(t *testing.T) {
	t.Parallel()
	const polygons = `"polygons":[[[1,2],[3,2],[3,4],[1,4]],[[5,6],[7,6],[7,8],[5,8]]]`
	d := named(t, "read-document")
	for name, test := range map[string]struct{ input, image string }{
		"base64":                {`{"image":"aGk="}`, `"aGk="`},
		"a ref as an image":     {`{"image":{"ref":"s3://b/inputs/t/x"}}`, `{"ref":"s3://b/inputs/t/x"}`},
		"a ref":                 {`{"ref":"s3://b/inputs/t/x"}`, `{"ref":"s3://b/inputs/t/x"}`},
		"bytes, as they arrive": {`{"ref":"s3://b/payloads/t/e/in","content_type":"image/png","size":3,"sha256":"00"}`, `{"ref":"s3://b/payloads/t/e/in"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, d, test.input, page())
			want := map[string]string{
				"detect":    `{"image":` + test.image + `}`,
				"orient":    `{"image":` + test.image + `,` + polygons + `}`,
				"recognize": `{"image":` + test.image + `,"orientations":[0,180],` + polygons + `}`,
			}
			if diff := cmp.Diff(want, sorted(t, got.given)); diff != "" {
				t.Errorf("the steps are given (-want +got):\n%s", diff)
			}
			same(t, `{"width":100,"height":50,"lines":[{"text":"one","score":0.99,"polygon":[[1,2],[3,2],[3,4],[1,4]]},
				{"text":"two","score":0.5,"polygon":[[5,6],[7,6],[7,8],[5,8]]}]}`, got.output)
		})
	}
}

func TestAnImageWithoutTextHasNoLines(t *testing.T) {
	t.Parallel()
	answers := page()
	answers["text-detect"] = says(`{"width":10,"height":5,"boxes":[]}`)
	answers["text-orient"], answers["text-recognize"] = says(`{"lines":[]}`), says(`{"lines":[]}`)
	got := run(t, named(t, "read-document"), `{"image":"x"}`, answers)
	same(t, `{"width":10,"height":5,"lines":[]}`, got.output)
	if got.given["recognize"] != `{"image":"x","orientations":[],"polygons":[]}` {
		t.Errorf("recognize is given %s", got.given["recognize"])
	}
}

// TestThousandLines holds that the largest answer of text-detect is within what an
// expression may cost.
func TestThousandLines(t *testing.T) {
	t.Parallel()
	var boxes, turns, lines []string
	for range 1000 {
		boxes = append(boxes, `{"polygon":[[1234.5,2345.5],[1334.5,2345.5],[1334.5,2445.5],[1234.5,2445.5]],"score":0.987654321}`)
		turns = append(turns, `{"orientation":0,"score":0.987654321}`)
		lines = append(lines, `{"text":"`+strings.Repeat("a long line of text ", 5)+`","score":0.987654321}`)
	}
	answers := page()
	answers["text-detect"] = says(`{"width":9000,"height":7000,"boxes":[` + strings.Join(boxes, ",") + `]}`)
	answers["text-orient"] = says(`{"lines":[` + strings.Join(turns, ",") + `]}`)
	answers["text-recognize"] = says(`{"lines":[` + strings.Join(lines, ",") + `]}`)
	for _, name := range []string{"read-document", "triage"} {
		got := run(t, named(t, name), `{"image":"x"}`, answers)
		if n := strings.Count(got.output, `"polygon"`); n != 1000 {
			t.Errorf("%s: %d lines", name, n)
		}
	}
}

func TestTriage(t *testing.T) {
	t.Parallel()
	d := named(t, "triage")
	const wav = `{"label":"wav","mime_type":"audio/x-wav","group":"audio","description":"","is_text":false,"score":1}`
	const pdf = `{"label":"pdf","mime_type":"application/pdf","group":"document","description":"","is_text":false,"score":1}`
	const png = `{"label":"png","mime_type":"image/png","group":"image","description":"PNG image","is_text":false,"score":1}`
	for name, test := range map[string]struct{ content, steps, want string }{
		"an image": {png, "content detect orient recognize", `{"content":` + png + `,"lines":[{"text":"one","score":0.99,"polygon":[[1,2],[3,2],[3,4],[1,4]]},
			{"text":"two","score":0.5,"polygon":[[5,6],[7,6],[7,8],[5,8]]}]}`},
		"a recording":   {wav, "content speech", `{"content":` + wav + `,"segments":[{"start":0.5,"end":1.5,"score":0.9}]}`},
		"anything else": {pdf, "content", `{"content":` + pdf + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := page()
			answers["content-detect"] = says(test.content)
			got := run(t, d, `{"ref":"s3://b/payloads/t/e/in","content_type":"application/octet-stream","size":3}`, answers)
			same(t, test.want, got.output)
			var steps []string
			for _, s := range d.Steps {
				if in, ok := got.given[s.Name]; ok {
					steps = append(steps, s.Name)
					if !strings.Contains(in, `{"ref":"s3://b/payloads/t/e/in"}`) {
						t.Errorf("%s is given %s", s.Name, in)
					}
				}
			}
			if diff := cmp.Diff(test.steps, strings.Join(steps, " ")); diff != "" {
				t.Errorf("what runs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadDocumentIsOneSequence holds that nothing of ours comes between its steps.
func TestReadDocumentIsOneSequence(t *testing.T) {
	t.Parallel()
	if segments := plan.Of(named(t, "read-document")).Segments; len(segments) != 1 || len(segments[0].Steps) != 3 {
		t.Errorf("its segments are %+v", segments)
	}
	if triggers := named(t, "read-document").Triggers; len(triggers) != 1 || triggers[0].Type != "dev.modelserve.document.uploaded.v1" {
		t.Errorf("its triggers are %+v", triggers)
	}
}

// shippedFunctions are those that are shipped, as a registration finds them.
type shippedFunctions struct{}

func (shippedFunctions) Function(_ context.Context, name string) (definition.Function, error) {
	if f, ok := functions.Shipped(name); ok {
		return f, nil
	}
	return definition.Function{}, definition.ErrNoFunction
}

// TestTheShippedPipelinesFitTheirFunctions holds them to the schemas of what they call.
func TestTheShippedPipelinesFitTheirFunctions(t *testing.T) {
	t.Parallel()
	all, err := shipped.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if err := d.Check(t.Context(), shippedFunctions{}); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

// sorted gives every object's members an order.
func sorted(t *testing.T, texts map[string]string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, text := range texts {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(again)
	}
	return all
}

func same(t *testing.T, want, got string) {
	t.Helper()
	both := sorted(t, map[string]string{"want": want, "got": got})
	if diff := cmp.Diff(both["want"], both["got"]); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

package document_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/document"
)

const schema = `{"type": "object", "additionalProperties": false, "required": ["name"], "properties": {
	"name": {"type": "string", "maxLength": 3}, "list": {"type": "array", "items": {"type": "integer"}}, "text": {}}}`

func TestFaultsByPathAndLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want string
	}{
		"yaml":            {"name: abcd\nlist:\n- 1\n- x\nmore: 1\n", "line 1: name: expected at most 3 characters; line 4: list[1]: expected integer; line 5: more: there is no such field"},
		"json":            {"{\n\t\"name\": \"abcd\",\n\t\"list\": [1,\n\t\"x\"],\n\t\"more\": 1\n}", "line 2: name: expected at most 3 characters; line 4: list[1]: expected integer; line 5: more: there is no such field"},
		"missing":         {"list: []\n", "line 1: name: it is missing"},
		"twice in yaml":   {"name: a\nname: b\n", "line 2: name: it is there twice"},
		"twice in json":   {"{\"name\": \"a\",\n\"name\": \"b\"}", "line 2: name: it is there twice"},
		"aliases":         {"name: &a b\nlist: *a\n", "line 1: name: expected no anchors and aliases; line 2: list: expected no anchors and aliases"},
		"merge":           {"<<: {name: a}\nname: a\n", "line 1: expected names that are text"},
		"two":             {"name: a\n---\nname: b\n", "line 2: expected one document"},
		"nothing":         {"\n# nothing\n", "nothing is there"},
		"null":            {"null\n", "nothing is there"},
		"no yaml":         {"name: [\n", "expected YAML"},
		"too long":        {"name: " + strings.Repeat("a", 2000), "expected at most 1000 bytes"},
		"deep":            {"name: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "expected at most 32 levels"},
		"deep json":       {`{"name": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", "expected"},
		"dates":           {"name: 2026-01-01\n", "line 1: name: expected text, a number or a boolean: put it in quotes"},
		"not a number":    {"name: a\ntext: .nan\n", "line 2: text: expected a number that JSON can express"},
		"a good one":      {"name: a\n", ""},
		"json is no yaml": {"{\"name\":\t\"a\\/\",\"text\": \"\\ud83d\\ude00\"}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, faults := document.Read([]byte(tc.text), 1000, "nothing is there")
			if faults == nil {
				faults = d.Check([]byte(schema), func(string) string { return "a pattern" })
			}
			if got := faults.Shown().Error(); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	d, faults := document.Read([]byte("name: a\ntext: |\n  one\n  two\nlist: [1,\n 2]\n"), 1000, "")
	if faults != nil {
		t.Fatal(faults)
	}
	got := map[string]int{
		"text 2": d.LineWithin("text", 2), "name 2": d.LineWithin("name", 2), "list[1]": d.Line("list[1]"), "list[7].x": d.Line("list[7].x"), "nothing": d.Line("nothing"),
	}
	if diff := cmp.Diff(map[string]int{"text 2": 4, "name 2": 1, "list[1]": 6, "list[7].x": 5, "nothing": 1}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("name: a\nlist: [1, 2]\n"))
	f.Add([]byte("{\"name\": \"a\",\n\"list\": [1e3, null]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, faults := document.Read(data, 10_000, "nothing")
		if faults == nil {
			faults = d.Check([]byte(schema), func(string) string { return "" })
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
			strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 1
		for _, fault := range faults {
			if fault.Line < 0 || fault.Line > lines+1 {
				t.Fatalf("line %d of %d: %v", fault.Line, lines, fault)
			}
		}
	})
}

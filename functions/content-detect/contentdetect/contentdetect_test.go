package contentdetect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// tolerance is how far a score may lie from the reference's. Labels must be
// the same.
const tolerance = 1e-4

func TestGolden(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]*Answer
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("../testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(golden) || len(files) < 100 {
		t.Fatalf("%d files and %d answers", len(files), len(golden))
	}
	model, codec := codectest.Open(t, "../../../.deps/models/content-detect/model.onnx"), New()
	for name, want := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(filepath.Join("../testdata/files", name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := codec.Answer(t.Context(), serve.Payload{Body: content}, model)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, tolerance)); diff != "" {
				t.Errorf("answer (-reference +got):\n%s", diff)
			}
		})
	}
}

// TestTables holds the embedded files to the ones in magika 1.0.3's wheel.
func TestTables(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"config.min.json":           {configJSON, "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db"},
		"content_types_kb.min.json": {typesJSON, "75208adba69bc0556403b62b32ef3ccf8b5ce494411780845852e52e6583a10d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if sum := sha256.Sum256(tc.data); hex.EncodeToString(sum[:]) != tc.want {
				t.Errorf("sha256 %x, the wheel's is %s", sum, tc.want)
			}
		})
	}
	if _, _, err := load(); err != nil {
		t.Error(err)
	}
}

// fake is a model that answers one label with one score.
type fake struct {
	label string
	score float32
	size  int
	runs  int
}

func (f *fake) Info() *serve.ModelInfo { return &serve.ModelInfo{} }

func (f *fake) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	f.runs++
	if len(inputs) != 1 || inputs[0].Elements() != 2048 {
		panic("not the model's input")
	}
	scores := make([]float32, f.size)
	cfg, _, err := load()
	if err != nil {
		return nil, err
	}
	for i, label := range cfg.TargetLabels {
		if label == f.label {
			scores[i] = f.score
		}
	}
	return []infer.Tensor{infer.NewTensor("target_label", []int64{1, int64(f.size)}, scores)}, nil
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		guess string
		score float64
		want  string
	}{
		"at the general threshold":        {"go", 0.5, "go"},
		"below it, text":                  {"go", 0.4999, "txt"},
		"below it, binary":                {"png", 0.4999, "unknown"},
		"at its own threshold":            {"latex", 0.95, "latex"},
		"between the general and its own": {"latex", 0.94, "txt"},
		"an own one, rounded in float32":  {"sql", float64(float32(0.9)), "txt"}, // 0.899999976
		"renamed binary":                  {"randombytes", 0.99, "unknown"},
		"renamed text":                    {"randomtxt", 0.99, "txt"},
		"renamed and unsure":              {"randomtxt", 0.1, "txt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := New().decide(tc.guess, tc.score); got != tc.want {
				t.Errorf("%s at %v became %s, want %s", tc.guess, tc.score, got, tc.want)
			}
		})
	}
}

func TestAnswerForms(t *testing.T) {
	t.Parallel()
	const program = "package main\n\nfunc main() {}\n"
	for name, tc := range map[string]struct {
		in    serve.Payload
		label string
		field string // of the problem
		code  problem.Code
		runs  int
	}{
		"plain bytes":             {in: serve.Payload{Body: []byte(program)}, label: "go", runs: 1},
		"nothing":                 {in: serve.Payload{}, label: "empty"},
		"JSON sent as bytes":      {in: serve.Payload{ContentType: "application/octet-stream", Body: []byte(`{"content": 1}`)}, label: "go", runs: 1},
		"base64":                  {in: form(`{"content": "cGFja2FnZSBtYWluCg=="}`), label: "go", runs: 1},
		"empty base64":            {in: form(`{"content": ""}`), label: "empty"},
		"no content":              {in: form(`{}`), code: problem.InvalidArgument, field: "content"},
		"not base64":              {in: form(`{"content": "***"}`), code: problem.InvalidArgument, field: "content"},
		"another field":           {in: form(`{"content": "", "mode": 1}`), code: problem.InvalidArgument, field: "mode"},
		"named twice":             {in: form(`{"content": "", "content": ""}`), code: problem.InvalidArgument, field: "content"},
		"a number":                {in: form(`{"content": 5}`), code: problem.InvalidArgument, field: "content"},
		"no JSON":                 {in: form(`{`), code: problem.MalformedBody},
		"a reference, unresolved": {in: form(`{"content": {"ref": "s3://b/inputs/x"}}`), code: problem.InvalidArgument, field: "content.ref"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := &fake{label: "go", score: 0.9, size: 214}
			got, err := New().Answer(t.Context(), tc.in, model)
			if tc.code != "" {
				p := problem.From(err)
				if err == nil || p.Code != tc.code || tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
					t.Fatalf("got %v, want %s about %q", err, tc.code, tc.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a := got.(*Answer); a.Label != tc.label || model.runs != tc.runs || a.MIMEType == "" || a.Group == "" || a.Description == "" {
				t.Errorf("answer %+v after %d runs, want %s after %d", a, model.runs, tc.label, tc.runs)
			}
		})
	}
}

func TestOtherModel(t *testing.T) {
	t.Parallel()
	_, err := New().Answer(t.Context(), serve.Payload{Body: []byte("long enough to ask")}, &fake{size: 213})
	if problem.CodeOf(err) != problem.ModelUnavailable {
		t.Errorf("got %v, want %s", err, problem.ModelUnavailable)
	}
}

func form(body string) serve.Payload {
	return serve.Payload{ContentType: "application/json", Body: []byte(body)}
}

func FuzzAnswer(f *testing.F) {
	f.Add(true, []byte(`{"content": "aGVsbG8gd29ybGQ="}`))
	f.Add(true, []byte(`{"content": {"ref": "s3://b/k"}}`))
	f.Add(false, []byte("   \n\tsome text, stripped   "))
	f.Add(false, []byte("\xff\xfe\x00"))
	codec := New()
	f.Fuzz(func(t *testing.T, isJSON bool, body []byte) {
		in := serve.Payload{Body: body}
		if isJSON {
			in.ContentType = "application/json"
		}
		got, err := codec.Answer(t.Context(), in, &fake{label: "png", score: 0.7, size: 214})
		if err != nil {
			if problem.CodeOf(err) == problem.Internal {
				t.Fatalf("a bad payload is not the caller's fault: %v", err)
			}
			return
		}
		if a := got.(*Answer); a.Label == "" || math.IsNaN(a.Score) {
			t.Fatalf("answer %+v", a)
		}
	})
}

package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/cache"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
	"github.com/modelserveai/modelserve/runtime/sign"
)

func library() (*ort.Library, error) {
	path, err := ort.FindLibrary()
	if err != nil {
		return nil, err
	}
	return ort.Open(path)
}

// load opens a model until the test ends.
func load(t *testing.T, path string) *ort.Session {
	t.Helper()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	s, err := lib.Open(path, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// optimised is the copy of a model that a server loads.
func optimised(t *testing.T, path string) string {
	t.Helper()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "model.ort")
	if err := errors.Join(lib.Optimize(path, copied), lib.Close()); err != nil {
		t.Fatal(err)
	}
	return copied
}

// fetched is a model of `make deps`.
func fetched(name string) string { return filepath.Join("../.deps/models", name) }

// stacked gives two rows for one: the input twice, along the first axis.
func stacked() onnxtest.Model {
	m := onnxtest.Identity(onnxtest.Float, "n", 2)
	m.Graph.Nodes[0] = onnxtest.Node{
		Op: "Concat", Inputs: []string{"x", "x"}, Outputs: []string{"y"},
		Attributes: []onnxtest.Attribute{{Name: "axis", Int: new(int64(0))}},
	}
	return m
}

// division divides "x" of [n] by "by", which may not be zero.
func division(e onnxtest.Element) onnxtest.Model {
	m := onnxtest.Identity(e, "n")
	m.Graph.Nodes[0] = onnxtest.Node{Op: "Div", Inputs: []string{"x", "by"}, Outputs: []string{"y"}}
	m.Graph.Inputs = append(m.Graph.Inputs, onnxtest.Value{Name: "by", Element: e, Shape: []any{"n"}})
	return m
}

func TestShapesAndBatchAxis(t *testing.T) {
	t.Parallel()
	write := func(m onnxtest.Model) func(*testing.T) string {
		return func(t *testing.T) string { return m.Write(t) }
	}
	file := func(name string) func(*testing.T) string {
		return func(*testing.T) string { return fetched(name) }
	}
	for name, tc := range map[string]struct {
		path     func(*testing.T) string
		fixed    map[string][]int64
		examples map[string][]int64
		batched  bool
		why      string
	}{
		"rows":                        {path: write(onnxtest.Scale(3, 2)), examples: map[string][]int64{"x": {1, 3}}, batched: true},
		"a given shape":               {path: write(onnxtest.Scale(3, 2)), fixed: map[string][]int64{"x": {5, 3}}, examples: map[string][]int64{"x": {5, 3}}, batched: true},
		"a mean over the rows":        {path: write(onnxtest.Mean(3)), examples: map[string][]int64{"x": {1, 3}}, why: "ReduceMean"},
		"two rows for one":            {path: write(stacked()), examples: map[string][]int64{"x": {1, 2}}, why: "it has not one of its own for each row"},
		"a fixed shape":               {path: write(onnxtest.Identity(onnxtest.Float, 3, 2)), why: "no input has a dynamic first axis"},
		"no input":                    {path: write(onnxtest.Constant(3)), why: "no input has a dynamic first axis"},
		"whole numbers":               {path: write(onnxtest.Identity(onnxtest.Int64, "n", 4)), examples: map[string][]int64{"x": {1, 4}}, batched: true},
		"strings":                     {path: write(onnxtest.Identity(onnxtest.String, "n")), examples: map[string][]int64{"x": {1}}, batched: true},
		"a division of small numbers": {path: write(division(onnxtest.Int8)), examples: map[string][]int64{"x": {1}, "by": {1}}, batched: true},
		"half floats":                 {path: write(onnxtest.Identity(onnxtest.Float16, "n", 4)), examples: map[string][]int64{"x": {1, 4}}, batched: true},
		"text-detect":                 {path: file("text-detect/PP-OCRv6_det_small.onnx"), examples: map[string][]int64{"x": {1, 3, 32, 32}}, batched: true},
		"text-recognize":              {path: file("text-recognize/PP-OCRv6_rec_small.onnx"), examples: map[string][]int64{"x": {1, 3, 48, 32}}, batched: true},
		"text-orient":                 {path: file("text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx"), examples: map[string][]int64{"x": {1, 3, 32, 32}}, batched: true},
		"content-detect":              {path: file("content-detect/model.onnx"), examples: map[string][]int64{"bytes": {1, 2048}}, batched: true},
		"windows over time":           {path: file("speech-detect/silero_vad_16k_sequence.onnx"), examples: map[string][]int64{"input": {1, 576}}, why: "LSTM"},
		"a state on its other axis":   {path: file("speech-detect/silero_vad.onnx"), fixed: map[string][]int64{"input": {1, 288}, "state": {2, 1, 128}}, examples: map[string][]int64{"input": {1, 288}, "state": {2, 1, 128}}, why: "If"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.path(t)
			s := load(t, path)
			sig, err := findExamples(t.Context(), s, *s.Signature(), tc.fixed)
			if err != nil {
				t.Fatal(err)
			}
			examples := map[string][]int64{}
			for _, spec := range sig.Inputs {
				if spec.Example != nil {
					examples[spec.Name] = spec.Example
				}
			}
			if tc.examples == nil {
				tc.examples = map[string][]int64{}
			}
			if diff := cmp.Diff(tc.examples, examples); diff != "" {
				t.Errorf("examples (-want +got):\n%s", diff)
			}
			found, err := findBatchAxis(t.Context(), optimised(t, path), s, sig, false)
			if err != nil || (found.sig.BatchAxis != nil) != tc.batched || !strings.Contains(found.why, tc.why) || tc.batched && found.why != "" {
				t.Errorf("batch axis %v because %q: %v", found.sig.BatchAxis, found.why, err)
			}
		})
	}
}

func TestShapesThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := load(t, onnxtest.Scale(3, 2).Write(t))
	for name, tc := range map[string]struct {
		fixed map[string][]int64
		want  string
	}{
		"no such input":   {map[string][]int64{"z": {1, 3}}, `no input "z"; it has x`},
		"another rank":    {map[string][]int64{"x": {3}}, "does not fit"},
		"a fixed axis":    {map[string][]int64{"x": {1, 4}}, "does not fit"},
		"nothing in it":   {map[string][]int64{"x": {0, 3}}, "does not fit"},
		"too large to do": {map[string][]int64{"x": {1 << 30, 3}}, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := findExamples(t.Context(), s, *s.Signature(), tc.fixed); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// neverRuns refuses every run.
type neverRuns struct{ tries int }

func (s *neverRuns) Run(context.Context, memory.Holder, []infer.Tensor, []string) ([]infer.Tensor, func(), error) {
	s.tries++
	return nil, nil, &ort.Error{Message: "never"}
}

func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	sig := infer.Signature{Outputs: []infer.TensorSpec{{Name: "y"}}}
	for _, name := range []string{"a", "b", "c"} {
		sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: name, DataType: infer.Int64, Shape: []int64{-1, -1, -1}})
	}
	model := &neverRuns{}
	_, err := findExamples(t.Context(), model, sig, nil)
	if err == nil || !strings.Contains(err.Error(), "never") || !strings.Contains(err.Error(), "--shape") {
		t.Errorf("got %v", err)
	}
	if model.tries == 0 || model.tries > 2*maxTries {
		t.Errorf("%d tries", model.tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := findExamples(ctx, model, sig, nil); err == nil || strings.Contains(err.Error(), "no shapes found") {
		t.Errorf("cancelled: %v", err)
	}
}

// newPublisher publishes into a store of its own.
func newPublisher(t *testing.T) *Publisher {
	t.Helper()
	opened, err := objectstore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := artifact.NewStore(t.Context(), artifact.Config{
		Bucket: objectstore.Bucket, Endpoint: opened.Endpoint, Region: objectstore.Region, PathStyle: true,
		AccessKey: opened.AccessKeyID, SecretKey: opened.SecretAccessKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	signer, err := sign.CreateKeys(filepath.Join(dir, "signing.key"), filepath.Join(dir, "signing.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return &Publisher{Store: store, Signer: signer, Library: library}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.Scale(3, 2).Write(t)
	var stages []string
	var uploaded, total int64
	first, err := p.Publish(t.Context(), Request{
		Name: "scale", File: path, Measure: time.Millisecond,
		Stage:    func(s string) { stages = append(stages, s) },
		Progress: func(done, all int64) { uploaded, total = done, all },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"comparing", "loading", "running", "optimising", "joining rows", "measuring", "uploading"}, stages); diff != "" || uploaded != total || total == 0 {
		t.Errorf("%d of %d bytes, stages %s", uploaded, total, diff)
	}
	m := first.Manifest
	if first.Ref.Version != 1 || first.Unchanged || m.BatchAxis == nil || len(m.Files) != 2 || len(first.Notes) != 0 {
		t.Errorf("published %+v of %+v", first, m)
	}
	faults, err := cache.Verify(t.Context(), p.Store, first.Ref, sign.NewVerifier(p.Signer.Public()))
	if err != nil || len(faults) != 0 {
		t.Errorf("verify: %v, %v", faults, err)
	}

	p.Library = func() (*ort.Library, error) { t.Error("ONNX Runtime was loaded to change nothing"); return library() }
	for name, version := range map[string]int{"again": 0, "again, by its version": 1} {
		if again, err := p.Publish(t.Context(), Request{Name: "scale", Version: version, File: path, Measure: time.Millisecond}); err != nil || !again.Unchanged || again.Digest != first.Digest {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
	}
	other := onnxtest.Scale(3, 4).Write(t)
	if _, err := p.Publish(t.Context(), Request{Name: "scale", Version: 1, File: other, Measure: time.Millisecond}); problem.CodeOf(err) != problem.VersionExists {
		t.Errorf("other bytes for a version that exists: %v", err)
	}
	p.Library = library
	if next, err := p.Publish(t.Context(), Request{Name: "scale", File: other, Measure: time.Millisecond}); err != nil || next.Ref.Version != 2 {
		t.Errorf("other bytes: %+v, %v", next, err)
	}
}

// TestPublishBounds holds that bounds are published with the model, and that
// other ones are another version.
func TestPublishBounds(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.Scale(3, 2).Write(t)
	bounds := Bounds{MaxElements: 30, MinShapes: map[string][]int64{"x": {1, 3}}, MaxShapes: map[string][]int64{"x": {8, 3}}}
	for _, tc := range []struct {
		name             string
		version          int
		bounds           Bounds
		want             int
		unchanged, noted bool
	}{
		{"bounded", 0, bounds, 1, false, false},
		{"again", 0, bounds, 1, true, false},
		{"again, without", 0, Bounds{}, 1, true, false},
		{"others for the version", 1, Bounds{MaxElements: 60}, 1, true, true},
		{"others", 0, Bounds{MaxElements: 60}, 2, false, false},
		{"another shape", 0, Bounds{MaxElements: 60, MaxShapes: bounds.MaxShapes}, 3, false, false},
		{"another least shape", 0, Bounds{MaxElements: 60, MinShapes: bounds.MinShapes}, 4, false, false},
	} {
		done, err := p.Publish(t.Context(), Request{Name: "scale", Version: tc.version, File: path, Bounds: tc.bounds, Measure: time.Millisecond})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if done.Ref.Version != tc.want || done.Unchanged != tc.unchanged || (len(done.Notes) == 1) != tc.noted {
			t.Errorf("%s: %+v", tc.name, done)
		}
		m := done.Manifest
		if !tc.unchanged && (m.MaxElements != tc.bounds.MaxElements ||
			cmp.Diff(tc.bounds.MinShapes["x"], m.Inputs[0].MinShape) != "" || cmp.Diff(tc.bounds.MaxShapes["x"], m.Inputs[0].MaxShape) != "") {
			t.Errorf("%s: published %+v", tc.name, m.Signature)
		}
	}
}

func TestPublishWithExternalData(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.External(2, "weights.bin").Write(t)
	_, err := p.Publish(t.Context(), Request{Name: "external", File: path, Measure: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "weights.bin is missing: put it beside") {
		t.Errorf("without its data: %v", err)
	}
	weights := filepath.Join(filepath.Dir(path), "weights.bin")
	if err := os.WriteFile(weights, make([]byte, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = p.Publish(t.Context(), Request{Name: "external", File: path, Measure: time.Millisecond}); problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), "; is the external data beside it whole") {
		t.Errorf("with data cut short: %v", err)
	}
	if err := os.WriteFile(weights, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := p.Publish(t.Context(), Request{Name: "external", File: path, Measure: time.Millisecond})
	if err != nil || len(first.Manifest.Files) != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := os.WriteFile(weights, []byte{0, 0, 128, 63, 0, 0, 128, 63}, 0o600); err != nil {
		t.Fatal(err)
	}
	if next, err := p.Publish(t.Context(), Request{Name: "external", File: path, Measure: time.Millisecond}); err != nil || next.Unchanged || next.Ref.Version != 2 {
		t.Errorf("other weights: %+v, %v", next, err)
	}
}

// withSequence adds an output that is no tensor, as converters do.
func withSequence(m onnxtest.Model) onnxtest.Model {
	other := onnxtest.Sequence()
	other.Graph.Nodes[0].Outputs[0], other.Graph.Outputs[0].Name = "s", "s"
	m.Graph.Nodes = append(m.Graph.Nodes, other.Graph.Nodes...)
	m.Graph.Outputs = append(m.Graph.Outputs, other.Graph.Outputs...)
	return m
}

func TestPublishLeavesOutWhatIsNoTensor(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	done, err := p.Publish(t.Context(), Request{Name: "mixed", File: withSequence(onnxtest.Scale(3, 2)).Write(t), Measure: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if outputs := done.Manifest.Outputs; len(outputs) != 1 || outputs[0].Name != "y" || done.Manifest.BatchAxis == nil {
		t.Errorf("published %+v", done.Manifest)
	}
	if len(done.Notes) != 1 || !strings.Contains(done.Notes[0], `left out: output "s" is a sequence`) {
		t.Errorf("notes %q", done.Notes)
	}
}

// TestPublishSignsAndOptimizes holds that a version is signed by its key alone,
// and has a copy for this library and machine.
func TestPublishSignsAndOptimizes(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	done, err := p.Publish(t.Context(), Request{Name: "scale", File: onnxtest.Scale(3, 2).Write(t), Measure: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	other, err := sign.CreateKeys(filepath.Join(t.TempDir(), "k"), filepath.Join(t.TempDir(), "p"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := cache.SignedManifest(t.Context(), p.Store, done.Ref, sign.NewVerifier(p.Signer.Public())); err != nil {
		t.Errorf("the signature: %v", err)
	}
	if _, _, err := cache.SignedManifest(t.Context(), p.Store, done.Ref, sign.NewVerifier(other.Public())); err == nil {
		t.Error("another key's signature holds")
	}
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	want := model.Target{ONNXRuntime: lib.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()}
	found := false
	for _, f := range done.Manifest.Files {
		if f.Optimized == nil {
			continue
		}
		found = true
		if diff := cmp.Diff(want, *f.Optimized); diff != "" {
			t.Errorf("made for (-want +got):\n%s", diff)
		}
	}
	if !found {
		t.Error("no optimised copy")
	}
}

// TestOptimizeComparesAnswers holds that a copy is only kept when it answers as
// the model does.
func TestOptimizeComparesAnswers(t *testing.T) {
	t.Parallel()
	path := onnxtest.Scale(3, 2).Write(t)
	s := load(t, path)
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	defer lib.Close()
	inputs := []infer.Tensor{infer.NewTensor("x", []int64{1, 3}, []float32{1, 2, 3})}
	if err := optimize(t.Context(), lib, s, s.Signature(), inputs, path, filepath.Join(t.TempDir(), "model.ort")); err != nil {
		t.Error(err)
	}
	another := onnxtest.Scale(3, 4).Write(t)
	err = optimize(t.Context(), lib, s, s.Signature(), inputs, another, filepath.Join(t.TempDir(), "model.ort"))
	if err == nil || !strings.Contains(err.Error(), `answers otherwise in output "y"`) {
		t.Errorf("a copy of another model: %v", err)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	write := func(data string) string {
		path := filepath.Join(t.TempDir(), "model.onnx")
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct{ model, file, want string }{
		"a path for a name":     {"../x", onnxtest.Scale(1, 1).Write(t), "expected 1 to 63"},
		"nothing there":         {"x", filepath.Join(t.TempDir(), "no.onnx"), "there is no file"},
		"a folder":              {"x", t.TempDir(), "is a folder; name the .onnx file"},
		"an empty file":         {"x", write(""), "is empty"},
		"text":                  {"x", write("not a model at all, but long enough"), "is not an ONNX model: it is of another format, or was cut short; export the model to ONNX first"},
		"a text of one word":    {"x", write("hello\n"), "is not an ONNX model: it is of another format"},
		"one cut short":         {"x", write("\x08\x08\x3a\x50\x0a"), "is not an ONNX model: it is of another format"},
		"no graph":              {"x", write("\x08\x08"), "is not an ONNX model: it holds no graph"},
		"a data path upwards":   {"x", onnxtest.External(2, "../secret").Write(t), "without a folder"},
		"outputs of no tensors": {"x", onnxtest.Sequence().Write(t), "only tensors can be served"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := p.Publish(t.Context(), Request{Name: tc.model, File: tc.file})
			if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if names, err := p.Store.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("something was published: %v, %v", names, err)
	}
}

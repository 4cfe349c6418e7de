package function

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// absolute finds a path of this machine, or of one that ONNX Runtime was built
// on, where a word begins.
var absolute = regexp.MustCompile(`(^|[\s"'(=:\[])/[A-Za-z0-9_.]`)

// TestErrorsShowNoPathOrAddress holds, of many kinds of load that fails, that no
// answer has a path or an address of this server, that each has a reason, and that
// the log has the whole of it.
func TestErrorsShowNoPathOrAddress(t *testing.T) {
	t.Parallel()
	external := onnxtest.External(2, "weights.bin").Marshal()
	other := "de_DE.UTF-8"
	text := onnxtest.Model{Opset: 10, Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{{Op: "StringNormalizer", Inputs: []string{"x"}, Outputs: []string{"y"}, Attributes: []onnxtest.Attribute{
			{Name: "case_change_action", String: "LOWER"}, {Name: "locale", String: other},
		}}},
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.String, Shape: []any{"n"}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.String, Shape: []any{"n"}}},
	}}.Marshal()
	unknown := onnxtest.Model{Graph: onnxtest.Graph{
		Nodes:   []onnxtest.Node{{Op: "NoSuchOperator", Inputs: []string{"x"}, Outputs: []string{"y"}}},
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.Float, Shape: []any{"n", 2}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"n", 2}}},
	}}.Marshal()
	for name, tc := range map[string]struct {
		files map[string][]byte
		spoil func(t *testing.T, cache string) // after the start
		log   string                           // what it has that answers have not; "" is the cache's folder
	}{
		"no model":             {files: map[string][]byte{"model.onnx": []byte("once upon a time")}},
		"a model cut short":    {files: map[string][]byte{"model.onnx": onnxtest.Scale(2, 2).Marshal()[:40]}},
		"an unknown operator":  {files: map[string][]byte{"model.onnx": unknown}},
		"another locale":       {files: map[string][]byte{"model.onnx": text}, log: "de_DE.UTF-8"},
		"no external data":     {files: map[string][]byte{"model.onnx": external}, log: "weights.bin"},
		"external data cut":    {files: map[string][]byte{"model.onnx": external, "weights.bin": {1}}},
		"an optimised text":    {files: map[string][]byte{"model.onnx": onnxtest.Scale(2, 2).Marshal(), "model.ort": []byte("once upon a time")}, log: "create a session"},
		"an optimised rest":    {files: map[string][]byte{"model.onnx": onnxtest.Scale(2, 2).Marshal(), "model.ort": append([]byte{8, 0, 0, 0}, "ORTM and then nothing more"...)}, log: "create a session"},
		"a cache that is gone": {files: map[string][]byte{"model.onnx": onnxtest.Scale(2, 2).Marshal()}, spoil: replace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environment := storage(t)
			environment["MODELSERVE_MODELS"] = "*"
			cache := environment["MODELSERVE_CACHE_DIR"]
			publishFiles(t, environment, tc.files)
			p := begin(t, Spec{Name: "onnx"}, environment)
			p.waitReady()
			if tc.spoil != nil {
				tc.spoil(t, cache)
			}
			ask := func(method, path, body string) string {
				status, answer, err := p.ask(method, path, body)
				if err != nil {
					t.Fatal(err)
				}
				for _, place := range []string{cache, os.TempDir(), "127.0.0.1", environment["MODELSERVE_S3_ENDPOINT"]} {
					if strings.Contains(answer, place) {
						t.Errorf("%s has %s in its answer: %d %s", path, place, status, answer)
					}
				}
				if found := absolute.FindString(answer); found != "" {
					t.Errorf("%s has a path in its answer, %q: %d %s", path, found, status, answer)
				}
				return answer
			}
			const input = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`
			reason := ask(http.MethodPost, "/v2/models/double/infer", input)
			if !strings.Contains(reason, `"code":"model_unavailable"`) || !strings.Contains(reason, "failed to load: ") {
				t.Errorf("no reason: %s", reason)
			}
			ask(http.MethodPost, "/v2/models/double/infer", input) // at once: as it was remembered
			ask(http.MethodGet, "/v2/models/double/ready", "")
			ask(http.MethodGet, "/v2/models/double", "")
			ask(http.MethodPost, "/v2/repository/models/double/load", "")
			if index := ask(http.MethodPost, "/v2/repository/index", ""); !strings.Contains(index, "UNAVAILABLE") {
				t.Errorf("the index does not report it: %s", index)
			}
			want := tc.log
			if want == "" {
				want = cache
			}
			if !strings.Contains(p.log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, p.log.String())
			}
			p.stop()
			if err := <-p.done; err != nil {
				t.Error(err)
			}
		})
	}
}

// replace puts a file in the place of each folder of a cache.
func replace(t *testing.T, cache string) {
	t.Helper()
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cache, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// publishFiles publishes files as the model that publish publishes.
func publishFiles(t *testing.T, environment map[string]string, files map[string][]byte) {
	t.Helper()
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	store, err := artifact.NewStore(t.Context(), cfg.S3)
	if err != nil {
		t.Fatal(err)
	}
	dir, axis, spec := t.TempDir(), 0, func(name string) []infer.TensorSpec {
		return []infer.TensorSpec{{Name: name, DataType: infer.FP32, Shape: []int64{infer.Dynamic, 2}, Example: []int64{1, 2}}}
	}
	draft := artifact.Draft{Name: "double", Version: 1, Signature: infer.Signature{Inputs: spec("x"), Outputs: spec("y"), BatchAxis: &axis}}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file := artifact.DraftFile{Path: name, Source: path}
		if strings.HasSuffix(name, ".ort") {
			file.Optimized = &model.Target{ONNXRuntime: deps.ONNXRuntime, Arch: runtime.GOARCH, CPU: ort.CPUFeatures()}
		}
		draft.Files = append(draft.Files, file)
	}
	if _, err := store.Publish(t.Context(), draft, artifact.Publishing{}); err != nil {
		t.Fatal(err)
	}
}

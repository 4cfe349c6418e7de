package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// What a child process of the tests does, and where.
const (
	childVariable  = "PUBLISH_TEST_CHILD"
	modelVariable  = "PUBLISH_TEST_MODEL"
	folderVariable = "PUBLISH_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "publisher":
		err = costInto(context.Background(), os.Getenv(modelVariable), os.Getenv(folderVariable))
	case "server":
		err = loadFrom(context.Background(), os.Getenv(folderVariable))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// TestMemoryIsWhatAServerMeasures holds that the memory a version is published with
// is what a server, in a process of its own, finds once the model is warm: the
// server makes room for the one, and counts the other.
func TestMemoryIsWhatAServerMeasures(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"text-detect/PP-OCRv6_det_small.onnx", "text-recognize/PP-OCRv6_rec_small.onnx", "text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
		"content-detect/model.onnx", "speech-detect/silero_vad_16k_sequence.onnx", "speech-detect/silero_vad.onnx",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, role := range []string{"publisher", "server"} {
				cmd := exec.CommandContext(t.Context(), exe)
				cmd.Env = append(os.Environ(), childVariable+"="+role, modelVariable+"="+fetched(name), folderVariable+"="+dir)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", role, err, out)
				}
				t.Logf("%s", out)
			}
		})
	}
}

// costInto proves and measures a model, and leaves the copy that is served and
// its part of the manifest in a folder.
func costInto(ctx context.Context, model, dir string) (err error) {
	lib, err := library()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	req := &Request{File: model, Stage: func(string) {}}
	if filepath.Base(model) == "silero_vad.onnx" {
		req.Shapes = map[string][]int64{"input": {1, 288}, "state": {2, 1, 128}}
	}
	w := newWork(req, nil, dir)
	w.library = lib
	defer func() { err = errors.Join(err, w.unload()) }()
	if err := w.do(ctx, w.learning()); err != nil {
		return err
	}
	if err := w.unload(); err != nil {
		return err
	}
	cost, err := costOf(ctx, lib, w.optimized, &w.signature, time.Millisecond)
	if err != nil {
		return err
	}
	data, err := json.Marshal(published{w.signature, cost.Memory})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "published.json"), data, 0o600)
}

// published is what a server knows before it loads.
type published struct {
	Signature infer.Signature
	Memory    int64
}

// loadFrom loads what costInto left, twice, and compares.
func loadFrom(ctx context.Context, dir string) (err error) {
	data, err := os.ReadFile(filepath.Join(dir, "published.json"))
	if err != nil {
		return err
	}
	var p published
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	lib, err := library()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	for i := range 2 {
		got, err := warm(ctx, lib, filepath.Join(dir, "model.ort"), &p.Signature)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "published with %.2f MB, model %d of a server has %.2f MB\n", float64(p.Memory)/1e6, i+1, float64(got)/1e6)
		allowed := 512<<10 + got/20
		if i == 0 {
			allowed += 2 << 20 // what ONNX Runtime makes once for all models
		}
		if diff := max(got-p.Memory, p.Memory-got); p.Memory == 0 || diff > allowed {
			return errors.New("that is not what it takes")
		}
	}
	return nil
}

// warm loads and warms up as a server does, and returns what that took.
func warm(ctx context.Context, lib *ort.Library, path string, sig *infer.Signature) (memory int64, err error) {
	s, err := lib.Open(path, ort.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := answer(ctx, s, sig.ExampleInputs()); err != nil {
		return 0, err
	}
	return s.Memory(), nil
}

// Package conformance holds what is served to the ONNX project's own node
// tests: 932 models with inputs and expected outputs, which Debian has as
// libonnx-testdata. Each is published, loaded by the function that serves every
// model, and called by every wire.
//
// `go test` takes a fixed, varied part of them, -all (`make conformance`) all.
// What cannot be served, and why, is in testdata/exceptions.txt: -update writes
// it again.
package conformance

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

var (
	all    = flag.Bool("all", false, "every model of the suite, not a part")
	update = flag.Bool("update", false, "write testdata/exceptions.txt again; with -all")
)

// modelTimeout is what one model may take, on a busy machine.
const modelTimeout = 2 * time.Minute

func TestNodeModels(t *testing.T) {
	t.Parallel()
	names := suite(t)
	library := openLibrary(t)
	s := start(t)
	known := readExceptions(t)
	var tally tally
	t.Cleanup(func() { tally.finish(t, known) }) // after the last parallel one
	for _, name := range names {
		t.Run(strings.TrimPrefix(name, "test_"), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modelTimeout)
			defer cancel()
			found := check(ctx, t, s, library, name)
			if t.Failed() {
				found.kind = failed
			}
			tally.add(found)
			if want := known[name]; found.kind != failed && !*update && found.exception != want {
				t.Errorf("it is %s, where testdata/exceptions.txt has %s", found.exception, want)
			}
		})
	}
}

// suite lists the models to take.
func suite(t *testing.T) []string {
	t.Helper()
	whole := wholeSuite(t)
	if *all {
		return whole
	}
	return quickSuite(t)
}

// models is how many the suite has; fewer prove less.
const models = 932

func wholeSuite(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		t.Fatalf("%v: run `make test-deps`", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) < models {
		t.Fatalf("%s has %d models, not %d", dataDir, len(names), models)
	}
	return names
}

func quickSuite(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/quick.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

func openLibrary(t *testing.T) *ort.Library {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	library, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := library.Close(); err != nil {
			t.Error(err)
		}
	})
	return library
}

// check takes one model the whole way, and returns what came of it.
func check(ctx context.Context, t *testing.T, s *stack, library *ort.Library, name string) outcome {
	t.Helper()
	c, err := readCase(name)
	if err != nil {
		t.Error(err)
		return outcome{name: name}
	}
	bare, refusal := runBare(ctx, library, c)
	if refusal.kind != served {
		// What we cannot serve is refused when it is published, not later.
		example := ""
		if refusal.kind == notRun {
			example = writeExample(t, c)
		}
		if p, err := s.publisher.publish(c.model(), c.file, example); err != nil || p.Error == "" {
			t.Errorf("ONNX Runtime does not take it (%s), and yet it is published (%v)", refusal.detail, err)
		}
		return outcome{name: name, exception: refusal}
	}
	if !c.carried {
		t.Errorf("it is served, and holds what the protocol cannot carry")
	}
	found := outcome{name: name}
	found.example = publishCase(t, s, c)
	if t.Failed() {
		return found
	}
	got := callAll(ctx, t, s, c)
	if t.Failed() {
		return found
	}
	found.exception = verdict(t, c, got, bare)
	return found
}

// runBare runs the model in ONNX Runtime with nothing of ours around it but the
// binding.
func runBare(ctx context.Context, library *ort.Library, c *testCase) ([]infer.Tensor, exception) {
	session, err := library.Open(c.file, ort.Options{})
	var theirs *ort.Error
	switch {
	case errors.As(err, &theirs):
		return nil, exception{notLoaded, oneLine(theirs)}
	case err != nil:
		return nil, exception{notCarried, oneLine(err)}
	}
	defer session.Close()
	outputs, release, err := session.Run(ctx, memory.Unbounded{}, c.inputs, nil)
	if err != nil {
		return nil, exception{notRun, oneLine(err)}
	}
	defer release()
	return clone(outputs), exception{}
}

func clone(tensors []infer.Tensor) []infer.Tensor {
	out := make([]infer.Tensor, len(tensors))
	for i, t := range tensors {
		t.Data = append([]byte{}, t.Data...)
		out[i] = t
	}
	return out
}

// oneLine is an error without this machine's paths.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return strings.ReplaceAll(text, dataDir+"/", "")
}

// publishCase publishes the model: as it is, or where it runs only with
// particular inputs, with the case's as the example.
func publishCase(t *testing.T, s *stack, c *testCase) (example bool) {
	t.Helper()
	done, err := s.publisher.publish(c.model(), c.file, "")
	if err == nil && strings.Contains(done.Error, "--example") {
		example = true
		done, err = s.publisher.publish(c.model(), c.file, writeExample(t, c))
	}
	switch {
	case err != nil:
		t.Error(err)
	case done.Error != "":
		t.Errorf("it is not published: %s", done.Error)
	}
	return example
}

// writeExample writes the case's inputs as a request.
func writeExample(t *testing.T, c *testCase) string {
	t.Helper()
	body, err := infer.EncodeRequest(&infer.Request{Inputs: c.inputs}, func(*infer.Tensor) bool { return false })
	if err != nil {
		t.Error(err)
		return ""
	}
	path := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(path, body.Bytes(), 0o600); err != nil {
		t.Error(err)
	}
	return path
}

// answers are what a model answers to one request by each wire.
type answers struct{ json, binary, grpc []infer.Tensor }

// callAll calls the model by every wire.
func callAll(ctx context.Context, t *testing.T, s *stack, c *testCase) answers {
	t.Helper()
	var a answers
	var err error
	if a.json, err = s.rest(ctx, c.model(), c.inputs, false); err != nil {
		t.Errorf("JSON: %v", err)
	}
	if a.binary, err = s.rest(ctx, c.model(), c.inputs, true); err != nil {
		t.Errorf("binary: %v", err)
	}
	if a.grpc, err = s.rpc(ctx, c.model(), c.inputs); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	return a
}

// verdict compares the answers with the expected one, and with each other. What
// ONNX Runtime itself does not give is not ours to give.
func verdict(t *testing.T, c *testCase, got answers, bare []infer.Tensor) exception {
	t.Helper()
	wrong := compareAll(got.binary, c.outputs, closeTo)
	among, found := same, exception{}
	switch {
	case wrong == nil:
	case c.isRandom():
		among, found = alike, exception{random, "it draws its answer"}
	default:
		if err := compareAll(got.binary, bare, closeTo); err != nil {
			t.Errorf("served it answers otherwise than in ONNX Runtime alone: %v", err)
		}
		found = exception{differs, oneLine(wrong)}
	}
	for wire, outputs := range map[string][]infer.Tensor{"JSON": got.json, "binary": got.binary, "gRPC": got.grpc} {
		if err := compareAll(outputs, bare, alike); err != nil || len(outputs) != len(bare) {
			t.Errorf("%s has %d of %d outputs: %v", wire, len(outputs), len(bare), err)
		}
		if err := compareAll(outputs, got.binary, among); err != nil {
			t.Errorf("%s and binary differ: %v", wire, err)
		}
	}
	return found
}

// TestQuickIsVaried holds that the part which is always taken stands for the
// whole: every data type goes in and comes out, scalars, nothing and no input
// at all, and every kind of exception.
func TestQuickIsVaried(t *testing.T) {
	t.Parallel()
	missing := map[string]bool{"a scalar goes in": true, "a scalar comes out": true, "an empty tensor goes in": true, "an empty tensor comes out": true, "no input": true}
	for _, d := range dataTypes() {
		missing[string(d)+" goes in"], missing[string(d)+" comes out"] = true, true
	}
	for _, k := range []kind{served, notLoaded, notCarried, notRun, random, differs} {
		missing[string(k)+"."] = true
	}
	known := readExceptions(t)
	for _, name := range quickSuite(t) {
		c, err := readCase(name)
		if err != nil {
			t.Fatal(err)
		}
		delete(missing, string(known[name].kind)+".")
		if len(c.graph.inputs) == 0 {
			delete(missing, "no input")
		}
		for verb, tensors := range map[string][]infer.Tensor{" goes in": c.inputs, " comes out": c.outputs} {
			for i := range tensors {
				delete(missing, string(tensors[i].DataType)+verb)
				switch {
				case len(tensors[i].Shape) == 0:
					delete(missing, "a scalar"+verb)
				case tensors[i].Elements() == 0:
					delete(missing, "an empty tensor"+verb)
				}
			}
		}
	}
	for what := range missing {
		t.Errorf("testdata/quick.txt has no model of which: %s", what)
	}
}

// TestNamesAreTheModels holds that each model of the suite has a name of its
// own when it is published.
func TestNamesAreTheModels(t *testing.T) {
	t.Parallel()
	seen, whole := map[string]string{}, map[string]bool{}
	for _, name := range wholeSuite(t) {
		whole[name] = true
		c := testCase{name: name}
		model, err := infer.ParseName(c.model())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other, taken := seen[model]; taken {
			t.Errorf("%s and %s are both %s", name, other, model)
		}
		seen[model] = name
	}
	for name := range readExceptions(t) {
		if !whole[name] {
			t.Errorf("%s: there is no model %s", exceptionsFile, name)
		}
	}
}

// Package codectest runs a codec on its model in a Go test, without a platform:
// the runtime's own session of ONNX Runtime behind serve.Runner, and no server
// around it.
//
// It is for tests only. It neither batches nor signs, and it measures nothing.
package codectest

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Open loads the ONNX file at path, relative to the package under test, until
// the test ends. Its name, as Runner.Info has it, is the file's without .onnx,
// its version 1. What cannot be loaded ends the test.
//
// ONNX Runtime's library is the one that MODELSERVE_ORT_LIBRARY names, else one
// of the system, else what `make deps` fetched: in .deps here or above, or in the
// checkout that go.mod replaces ModelServe by. Where there is none, the pinned
// one is fetched into the user's cache by pip, once.
func Open(t testing.TB, path string) serve.Runner {
	t.Helper()
	lib := library(t)
	session, err := lib.Open(path, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("close the model: %v", err)
		}
		if err := lib.Close(); err != nil {
			t.Errorf("close ONNX Runtime: %v", err)
		}
	})
	metadata, err := session.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".onnx")
	return &runner{t: t, session: session, releases: map[*infer.Tensor]func(){}, info: &serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: name, Version: "1", State: serve.Ready},
		Signature:   *session.Signature(),
		Metadata:    metadata,
	}}
}

// library starts ONNX Runtime.
func library(t testing.TB) *ort.Library {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		if path, err = deps.Library(t.Context(), ".", t.Output()); err != nil {
			t.Fatal(err)
		}
	}
	lib, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// Answer has codec answer one payload, and returns the JSON that a caller would
// get. An error is what the codec returned: problem.From makes of it what a caller
// would get.
func Answer(t testing.TB, codec serve.Codec, model serve.Runner, contentType, body string) (string, error) {
	t.Helper()
	answer, err := codec.Answer(t.Context(), serve.Payload{ContentType: contentType, Body: []byte(body)}, model)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		t.Fatalf("the answer is nothing that JSON has: %v", err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

type runner struct {
	t       testing.TB
	session *ort.Session
	info    *serve.ModelInfo

	mu       sync.Mutex
	releases map[*infer.Tensor]func() // by the first output
}

func (r *runner) Info() *serve.ModelInfo { return r.info }

// Run holds the inputs to the signature, as a server does: where they do not fit,
// the error is problem.Internal to problem.CodeOf. It keeps the outputs until they are given back or the test ends, which is
// past any codec's answer.
func (r *runner) Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	if err := r.info.Signature.Validate(&infer.Request{Inputs: inputs}); err != nil {
		// The codec's fault: no problem that a caller would get.
		return nil, fmt.Errorf("the codec gave its model what it does not take: %v", err) //nolint:errorlint // not to be unwrapped
	}
	out, release, err := r.session.Run(ctx, memory.Unbounded{}, inputs, nil)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(release) // twice is safe
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releases[&out[0]] = release
	return out, nil
}

// Release implements serve.Releaser.
func (r *runner) Release(outputs []infer.Tensor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if release, ok := r.releases[&outputs[0]]; ok {
		delete(r.releases, &outputs[0])
		release()
	}
}

// Package modeltest runs a fetched model for a codec's golden tests: the
// runtime's own session behind serve.Runner, without a server around it. It is
// for tests only.
package modeltest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Open loads .deps/models/FUNCTION/FILE, which `make deps` fetches, until the
// test ends.
func Open(t testing.TB, function, file string) serve.Runner {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := lib.Open(filepath.Join(models(t), function, file), ort.Options{})
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
	return &runner{t: t, session: session, releases: map[*infer.Tensor]func(){}, info: &serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: function, Version: "1", State: serve.Ready},
		Signature:   *session.Signature(),
		Metadata:    metadata,
	}}
}

// models finds .deps/models above the package under test.
func models(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		found := filepath.Join(dir, ".deps", "models")
		if _, err := os.Stat(found); err == nil {
			return found
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no .deps/models in this folder or above: run `make deps`")
		}
		dir = parent
	}
}

type runner struct {
	t       testing.TB
	session *ort.Session
	info    *serve.ModelInfo

	mu       sync.Mutex
	releases map[*infer.Tensor]func() // by the first output
}

func (r *runner) Info() *serve.ModelInfo { return r.info }

// Run keeps the outputs until they are given back or the test ends, which is
// past any codec's answer.
func (r *runner) Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	out, release, err := r.session.Run(ctx, inputs, nil)
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

package batch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// fetched is a model that make deps fetched.
func fetched(t *testing.T, name string) string {
	t.Helper()
	lib, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(filepath.Dir(lib)), "models", name)
}

// subject is a model, and a request of so many rows for it.
type subject struct {
	// poison makes faults of a value, in the form of what the model takes.
	poison bool
	path   string
	make   func(random *rand.Rand, rows int) infer.Tensor
}

func floats(name string, shape ...int64) func(*rand.Rand, int) infer.Tensor {
	return func(random *rand.Rand, rows int) infer.Tensor {
		shape := append([]int64{int64(rows)}, shape...)
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = 2*random.Float32() - 1
		}
		return infer.NewTensor(name, shape, values)
	}
}

// TestBatchedEqualsUnbatched runs random requests of random callers through the
// scheduler, some of which go away and some of which the model refuses, and
// holds each answer to that of the same request alone.
func TestBatchedEqualsUnbatched(t *testing.T) {
	t.Parallel()
	found, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	library, err := ort.Open(found)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := library.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, s := range map[string]subject{
		"scale":          {path: onnxtest.Scale(7, 3).Write(t), make: floats("x", 7)},
		"text-recognize": {path: fetched(t, "text-recognize/PP-OCRv6_rec_small.onnx"), make: floats("x", 3, 48, 32)},
		"text-orient":    {path: fetched(t, "text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx"), make: floats("x", 3, 48, 192)},
		// What it refuses has the form of what it takes: they share batches.
		"lookup": {path: onnxtest.Lookup(5, 1).Write(t), poison: true, make: func(random *rand.Rand, rows int) infer.Tensor {
			values := make([]int64, rows)
			for i := range values {
				values[i] = random.Int64N(5)
			}
			return infer.NewTensor("x", []int64{int64(rows), 1}, values)
		}},
		"content-detect": {path: fetched(t, "content-detect/model.onnx"), make: func(random *rand.Rand, rows int) infer.Tensor {
			values := make([]int32, rows*2048)
			for i := range values {
				values[i] = int32(random.IntN(256))
			}
			return infer.NewTensor("bytes", []int64{int64(rows), 2048}, values)
		}},
	} {
		session, err := library.Open(s.path, ort.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		})
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, session, s)
		})
	}
}

func compare(t *testing.T, session *ort.Session, s subject) {
	scheduler, err := batch.New(batch.Config{Slots: 2, Queue: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer scheduler.Close()
	axis := 0
	sig := *session.Signature()
	sig.BatchAxis = &axis
	wanted := make([]string, len(sig.Outputs))
	for i := range sig.Outputs {
		wanted[i] = sig.Outputs[i].Name
	}
	var mu sync.Mutex
	together := 0
	queue := scheduler.NewQueue(batch.Model{
		Name: "subject", Signature: &sig, Runner: session, MaxRows: 8, MaxDelay: 2 * time.Millisecond,
		Executed: func(timing infer.Timing) {
			mu.Lock()
			defer mu.Unlock()
			if timing.BatchSize > 3 {
				together++
			}
		},
	})
	var wg sync.WaitGroup
	for client := range 12 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 3))
			for call := range 12 {
				in := s.make(random, 1+random.IntN(3))
				fault := random.IntN(8) == 0
				switch {
				case fault && s.poison:
					in.Data[0] = 99
				case fault: // more axes than the model takes
					in.Shape = append(in.Shape, 1, 1)
				}
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(6) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(random.IntN(3000))*time.Microsecond)
				}
				req := &infer.Request{Inputs: []infer.Tensor{in}, Tenant: fmt.Sprint(client % 3)}
				res, err := queue.Run(ctx, req, wanted)
				ended := ctx.Err()
				cancel()
				alone, release, aloneErr := session.Run(t.Context(), memory.Unbounded{}, req.Inputs, wanted)
				switch {
				case ended != nil && err != nil && (errors.Is(err, ended) || problem.CodeOf(err) == problem.DeadlineExceeded):
				case problem.CodeOf(err) == problem.DeadlineExceeded: // refused before it came
				case (err == nil) != (aloneErr == nil):
					t.Errorf("client %d, call %d: with others %v, alone %v", client, call, err, aloneErr)
				case err == nil:
					same(t, res.Outputs, alone)
				}
				if err == nil {
					res.Release()
				}
				if aloneErr == nil {
					release()
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if together == 0 {
		t.Error("nothing ran together")
	}
}

// same compares within what kernels differ by for another number of rows.
func same(t *testing.T, got, want []infer.Tensor) {
	t.Helper()
	for i := range want {
		if !slices.Equal(got[i].Shape, want[i].Shape) || got[i].Name != want[i].Name {
			t.Errorf("%s %v, alone %s %v", got[i].Name, got[i].Shape, want[i].Name, want[i].Shape)
			return
		}
		a, errA := infer.Values[float32](&got[i])
		b, errB := infer.Values[float32](&want[i])
		if err := errors.Join(errA, errB); err != nil {
			t.Error(err)
			return
		}
		for j := range a {
			if math.Abs(float64(a[j]-b[j])) > 1e-4*max(1, math.Abs(float64(b[j]))) {
				t.Errorf("%s[%d]: %v together, %v alone", want[i].Name, j, a[j], b[j])
				return
			}
		}
	}
}

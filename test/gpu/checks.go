package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/bucket"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// check is something that must hold on a GPU, where it cannot be seen otherwise.
type check struct {
	what string
	run  func(ctx context.Context, library *ort.Library, gpu ort.Device) error
}

func (o *options) checks() []check {
	return []check{
		{"runs at once have answers of their own", o.atOnce},
		{"a run whose caller leaves ends, and the session goes on", o.cancelled},
		{"a bound of memory refuses what is too large, and nothing else", o.bounded},
		{"indices beyond the data do not lose the GPU", o.beyond},
	}
}

func (o *options) check(ctx context.Context, library *ort.Library, gpu ort.Device) error {
	var wrong []error
	for _, c := range o.checks() {
		err := c.run(ctx, library, gpu)
		verdict := "holds"
		if err != nil {
			verdict = "FAILS"
			wrong = append(wrong, fmt.Errorf("%s: %w", c.what, err))
		}
		fmt.Printf("%s: %s\n", verdict, c.what)
	}
	return errors.Join(wrong...)
}

// with opens one of the shipped models on a device.
func (o *options) with(library *ort.Library, m *model, opts ort.Options, use func(*ort.Session) error) error {
	s, err := library.Open(filepath.Join(o.dir, m.path), opts)
	if err != nil {
		return err
	}
	return errors.Join(use(s), s.Close())
}

func ran(ctx context.Context, s bucket.Session, inputs []infer.Tensor) error {
	_, release, err := s.Run(ctx, memory.Unbounded{}, inputs, nil)
	if err == nil {
		release()
	}
	return err
}

// atOnce compares the answers of many callers with the CPU's, each of other
// sizes and data.
func (o *options) atOnce(ctx context.Context, library *ort.Library, gpu ort.Device) error {
	m := shipped()[3]
	return o.with(library, &m, ort.Options{}, func(onCPU *ort.Session) error {
		return o.with(library, &m, ort.Options{Device: gpu}, func(onGPU *ort.Session) error {
			errs := make([]error, 16)
			var callers sync.WaitGroup
			for i := range errs {
				callers.Go(func() {
					inputs := m.inputs(1 + i%5)
					for at := 0; at < len(inputs[0].Data); at += 4 {
						binary.LittleEndian.PutUint32(inputs[0].Data[at:], uint32((at/4*7+i*13)%257))
					}
					for range 5 {
						d, err := difference(ctx, onCPU, onGPU, inputs)
						if err == nil && d > tolerance {
							err = fmt.Errorf("caller %d: its answer differs by %.2g", i, d)
						}
						if errs[i] = err; err != nil {
							return
						}
					}
				})
			}
			callers.Wait()
			return errors.Join(errs...)
		})
	})
}

func (o *options) cancelled(ctx context.Context, library *ort.Library, gpu ort.Device) error {
	m := shipped()[0]
	return o.with(library, &m, ort.Options{Device: gpu}, func(s *ort.Session) error {
		large := []infer.Tensor{ramp("x", 4, 3, 1920, 1920)}
		if err := ran(ctx, s, large); err != nil {
			return err
		}
		for range 5 {
			leaving, leave := context.WithTimeout(ctx, time.Millisecond)
			err := ran(leaving, s, large)
			leave()
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("expected the caller's deadline, got %w", err)
			}
		}
		return ran(ctx, s, m.inputs(1))
	})
}

// bounded runs what fits a bound, what does not, and what fits again.
func (o *options) bounded(ctx context.Context, library *ort.Library, gpu ort.Device) error {
	m := shipped()[1]
	return o.with(library, &m, ort.Options{Device: gpu, GPUMemory: 256 << 20}, func(s *ort.Session) error {
		for range 3 {
			if err := ran(ctx, s, m.inputs(1)); err != nil {
				return err
			}
			if err := ran(ctx, s, m.inputs(64)); problem.CodeOf(err) != problem.PayloadTooLarge {
				return fmt.Errorf("64 rows: expected %s, got %q: %w", problem.PayloadTooLarge, problem.CodeOf(err), err)
			}
		}
		return nil
	})
}

// indexing are operators whose indices a caller may give: of an array of 4 by 2
// they read or write where it ends.
func indexing() []onnxtest.Node {
	return []onnxtest.Node{
		{Op: "Gather", Inputs: []string{"table", "i"}, Outputs: []string{"y"}},
		{Op: "GatherND", Inputs: []string{"table", "i"}, Outputs: []string{"y"}},
		{Op: "GatherElements", Inputs: []string{"table", "i"}, Outputs: []string{"y"}},
		{Op: "ScatterElements", Inputs: []string{"table", "i", "ones"}, Outputs: []string{"y"}},
		{Op: "ScatterND", Inputs: []string{"table", "i", "rows"}, Outputs: []string{"y"}},
	}
}

// beyond tries each in a process of its own, and all their indices.
func (o *options) beyond(ctx context.Context, _ *ort.Library, _ ort.Device) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var wrong []error
	for _, n := range indexing() {
		out, err := exec.CommandContext(ctx, self, "-dir", o.dir, "-device", o.device, "-beyond", n.Op).CombinedOutput()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w: %s", n.Op, err, out))
		}
	}
	return errors.Join(wrong...)
}

// tryBeyond runs one operator with indices beyond its data, which may be refused
// or answered with what is in the data, but not with other memory; and then the
// model that every device is tried with.
func (o *options) tryBeyond(ctx context.Context, library *ort.Library, gpu ort.Device, op string) error {
	for _, n := range indexing() {
		if n.Op != op {
			continue
		}
		m := onnxtest.Model{Graph: onnxtest.Graph{
			Nodes: []onnxtest.Node{n},
			Initializers: []onnxtest.Tensor{
				onnxtest.Floats("table", []int64{4, 2}, 0, 1, 2, 3, 4, 5, 6, 7),
				onnxtest.Floats("ones", []int64{1, 1}, 1), onnxtest.Floats("rows", []int64{1, 2}, 1, 1),
			},
			Inputs:  []onnxtest.Value{{Name: "i", Element: onnxtest.Int64, Shape: []any{1, 1}}},
			Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"a", "b"}}},
		}}
		if n.Op == "Gather" {
			m.Graph.Outputs[0].Shape = []any{1, 1, 2}
		}
		path := filepath.Join(os.TempDir(), "beyond.onnx")
		if err := os.WriteFile(path, m.Marshal(), 0o600); err != nil {
			return err
		}
		defer os.Remove(path)
		s, err := library.Open(path, ort.Options{Device: gpu})
		if err != nil {
			return err
		}
		for _, index := range []int64{3, 4, -5, 1 << 20, -1 << 20, 1 << 40, -1 << 40, 1 << 62} {
			in := infer.NewTensor("i", []int64{1, 1}, []int64{index})
			out, release, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{in}, nil)
			if err != nil {
				continue
			}
			values, err := infer.Values[float32](&out[0])
			if err == nil && slices.ContainsFunc(values, func(v float32) bool { return v != float32(int(v)) || v < 0 || v > 7 }) {
				err = fmt.Errorf("the index %d gave %v, which is none of the data", index, values)
			}
			release()
			if err != nil {
				return errors.Join(err, s.Close())
			}
		}
		_, lost := library.Choose(gpu)
		return errors.Join(lost, s.Close())
	}
	return fmt.Errorf("-beyond: there is no operator %q", op)
}

// mixed is rows/s of batches of 1 to 8 rows in turn, as callers send them.
func (o *options) mixed(ctx context.Context, s bucket.Session, m *model) (float64, error) {
	turns := make([][]infer.Tensor, 8)
	for i := range turns {
		turns[i] = m.inputs(i + 1)
	}
	run := func() error {
		for _, i := range []int{3, 0, 7, 4, 1, 5, 2, 6} {
			if err := ran(ctx, s, turns[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := run(); err != nil { // makes the plans, where they are kept
		return 0, err
	}
	rounds, began := 0, time.Now()
	for time.Since(began) < o.turn {
		if err := run(); err != nil {
			return 0, err
		}
		rounds++
	}
	return float64(rounds*36) / time.Since(began).Seconds(), nil
}

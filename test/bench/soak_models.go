package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

const (
	soakRows     = 8  // at most, in one request
	soakVariants = 12 // rows whose answers are known
	soakFillers  = 6  // models that crowd each other out
	soakWidth    = 16 // of the models that get new versions
	soakElements = 64 * soakWidth

	// soakMemory is what the pool may take: the real models, what gets new
	// versions and some of the fillers, never all.
	soakMemory = "192MiB"
)

// fixed is a model with one version, and rows whose answers a session of our
// own gave.
type fixed struct {
	subject
	rows    [][]byte    // the variants' inputs
	answers [][]float32 // their outputs
	width   []int64     // the shape of one row
	out     string      // the output's name
}

// soakSubjects are the fixed models; dir is where the fillers are written.
func soakSubjects(dir string) ([]*fixed, error) {
	var all []*fixed
	for _, s := range subjects(dir) {
		switch s.name {
		case "text-recognize":
			s.inputs[0].shape = []int64{1, 3, 48, 64} // a short line: 0.6 MB of answer a row
		case "text-orient", "content-detect":
		default:
			continue
		}
		s.name = "soak-" + s.name
		all = append(all, &fixed{subject: *s})
	}
	for i := range soakFillers {
		name := fmt.Sprintf("soak-filler-%d", i)
		path := filepath.Join(dir, name+".onnx")
		if err := os.WriteFile(path, onnxtest.MLP(uint64(i+1), 2048, 2048, 2048).Marshal(), 0o600); err != nil {
			return nil, err
		}
		all = append(all, &fixed{subject: subject{name, path, true, []input{{"x", infer.FP32, []int64{1, 2048}}}}})
	}
	return all, nil
}

// learnAnswers runs every variant of every model alone, past the platform.
func learnAnswers(ctx context.Context, models []*fixed) error {
	found, err := ort.FindLibrary()
	if err != nil {
		return err
	}
	library, err := ort.Open(found)
	if err != nil {
		return err
	}
	for _, m := range models {
		if err := m.learn(ctx, library); err != nil {
			return fmt.Errorf("run %s: %w", m.name, err)
		}
	}
	return library.Close()
}

func (m *fixed) learn(ctx context.Context, library *ort.Library) (err error) {
	session, err := library.Open(m.file, ort.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	m.width = m.inputs[0].shape[1:]
	for range soakVariants {
		in := m.inputs[0].random()
		outputs, release, err := session.Run(ctx, memory.Unbounded{}, []infer.Tensor{in}, nil)
		if err != nil {
			return err
		}
		m.out = outputs[0].Name
		values, err := infer.Values[float32](&outputs[0])
		if err != nil {
			return err
		}
		m.rows, m.answers = append(m.rows, in.Data), append(m.answers, append([]float32(nil), values...))
		release()
	}
	return nil
}

// random fills one row: bytes, or numbers from -1 to 1.
func (in *input) random() infer.Tensor {
	t := in.fill(in.shape)
	if in.datatype == infer.Int32 {
		values := make([]int32, t.Elements())
		for i := range values {
			values[i] = rand.Int32N(256)
		}
		return infer.NewTensor(in.name, in.shape, values)
	}
	values := make([]float32, t.Elements())
	for i := range values {
		values[i] = 2*rand.Float32() - 1
	}
	return infer.NewTensor(in.name, in.shape, values)
}

// ask is a request of some rows with a check of its answer.
func (m *fixed) ask() question {
	n := 1 + rand.IntN(soakRows)
	chosen := make([]int, n)
	var data []byte
	for i := range chosen {
		chosen[i] = rand.IntN(len(m.rows))
		data = append(data, m.rows[chosen[i]]...)
	}
	in := &m.inputs[0]
	return question{
		model: m.name,
		input: infer.Tensor{Name: in.name, DataType: in.datatype, Shape: append([]int64{int64(n)}, m.width...), Data: data},
		check: func(a *answer) error {
			if a.version != "1" {
				return fmt.Errorf("version %q answered, and there is only 1", a.version)
			}
			return m.compare(chosen, a.values)
		},
	}
}

// compare holds each row's answer against that of the same row alone. Rows of a
// batch are summed up in another order, hence not bit by bit.
func (m *fixed) compare(chosen []int, got []float32) error {
	width := len(m.answers[0])
	if len(got) != width*len(chosen) {
		return fmt.Errorf("%d values for %d rows of %d", len(got), len(chosen), width)
	}
	for row, variant := range chosen {
		for i, want := range m.answers[variant] {
			have := got[row*width+i]
			if d := have - want; !(max(d, -d) <= 1e-3+1e-3*max(want, -want)) { // not: what is no number is wrong
				return fmt.Errorf("row %d of %d, value %d: %v, and alone %v", row, len(chosen), i, have, want)
			}
		}
	}
	return nil
}

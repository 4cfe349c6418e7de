package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// subject is a model to measure, and one request of a single row.
type subject struct {
	name   string // it is published as bench-NAME
	file   string
	joins  bool // requests can be joined, along the first axis of everything
	inputs []input
}

// input is one tensor of a request of one row.
type input struct {
	name     string
	datatype infer.DataType
	shape    []int64
}

func (s *subject) published() string { return "bench-" + s.name }

// subjects are the models by the names that -models takes; dir is where the
// MLP is written.
func subjects(dir string) []*subject {
	model := func(path string) string { return filepath.Join(".deps/models", path) }
	floats := func(name string, shape ...int64) input { return input{name, infer.FP32, shape} }
	return []*subject{
		{"text-detect", model("text-detect/PP-OCRv6_det_small.onnx"), true, []input{floats("x", 1, 3, 480, 480)}},
		{"text-recognize", model("text-recognize/PP-OCRv6_rec_small.onnx"), true, []input{floats("x", 1, 3, 48, 320)}},
		{"text-orient", model("text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx"), true, []input{floats("x", 1, 3, 48, 192)}},
		{"content-detect", model("content-detect/model.onnx"), true, []input{{"bytes", infer.Int32, []int64{1, 2048}}}},
		// A second of speech. Its first axis is time, and h and c are its state.
		{"speech-detect", model("speech-detect/silero_vad_16k_sequence.onnx"), false, []input{
			floats("input", 32, 576), floats("h", 1, 1, 128), floats("c", 1, 1, 128),
		}},
		{"mlp", filepath.Join(dir, "mlp.onnx"), true, []input{floats("x", 1, 2048)}},
	}
}

// choose picks subjects by a list of names, "" being all of them, and writes
// the MLP where it is one of them.
func choose(names, dir string) ([]*subject, error) {
	all := subjects(dir)
	if names != "" {
		var chosen []*subject
		for name := range strings.SplitSeq(names, ",") {
			s, err := find(all, name)
			if err != nil {
				return nil, fmt.Errorf("-models: %w", err)
			}
			chosen = append(chosen, s)
		}
		all = chosen
	}
	for _, s := range all {
		if s.name == "mlp" {
			if err := writeMLP(s.file, slices.Repeat([]int{2048}, 9)...); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func find(all []*subject, name string) (*subject, error) {
	for _, s := range all {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no model %q", name)
}

func writeMLP(path string, widths ...int) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, onnxtest.MLP(1, widths...).Marshal(), 0o600)
}

// tensors are the inputs of so many rows at once.
func (s *subject) tensors(rows int) []infer.Tensor {
	tensors := make([]infer.Tensor, len(s.inputs))
	for i, in := range s.inputs {
		shape := slices.Clone(in.shape)
		if s.joins {
			shape[0] *= int64(rows)
		}
		tensors[i] = in.fill(shape)
	}
	return tensors
}

func (in *input) fill(shape []int64) infer.Tensor {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	if in.datatype == infer.Int32 {
		values := make([]int32, n)
		for i := range values {
			values[i] = int32(i % 97) // bytes, as of a text
		}
		return infer.NewTensor(in.name, shape, values)
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i%97)/48 - 1
	}
	return infer.NewTensor(in.name, shape, values)
}

// path is the model's file, from any folder.
func (s *subject) path() string {
	if path, err := filepath.Abs(s.file); err == nil {
		return path
	}
	return s.file
}

// shapeFlags are the flags of `models push` for the shape of a row.
func (s *subject) shapeFlags() []string {
	var flags []string
	for _, in := range s.inputs {
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(in.shape), " ", ","), "[]")
		flags = append(flags, "--shape", in.name+"="+text)
	}
	return flags
}

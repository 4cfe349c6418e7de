package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/bucket"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// tolerance is by how much an answer may differ, as a share of the output's
// largest value: the order of additions differs, and cuDNN may convolve by
// Winograd's algorithm, nothing else. Of the shipped models text-detect differs
// most: by 1e-3, and by 3e-2 with the mantissas of TF32.
const tolerance = 3e-3

func batches() []int { return []int{1, 2, 4, 8, 16, 32, 64} }

// model is a shipped model and how to fill a batch of it.
type model struct {
	name, path string
	inputs     func(rows int) []infer.Tensor
}

func shipped() []model {
	image := func(height, width int64) func(int) []infer.Tensor {
		return func(rows int) []infer.Tensor { return []infer.Tensor{ramp("x", int64(rows), 3, height, width)} }
	}
	return []model{
		{"text-detect", "models/text-detect/PP-OCRv6_det_small.onnx", image(480, 480)},
		{"text-recognize", "models/text-recognize/PP-OCRv6_rec_small.onnx", image(48, 320)},
		{"text-orient", "models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx", image(48, 192)},
		{"content-detect", "models/content-detect/model.onnx", func(rows int) []infer.Tensor {
			t := infer.Tensor{Name: "bytes", DataType: infer.Int32, Shape: []int64{int64(rows), 2048}}
			for i := range t.Elements() {
				t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(i%257))
			}
			return []infer.Tensor{t}
		}},
		{"speech-detect", "models/speech-detect/silero_vad.onnx", func(rows int) []infer.Tensor {
			rate := infer.Tensor{Name: "sr", DataType: infer.Int64, Shape: []int64{}, Data: binary.LittleEndian.AppendUint64(nil, 16_000)}
			return []infer.Tensor{ramp("input", int64(rows), 576), ramp("state", 2, int64(rows), 128), rate}
		}},
	}
}

// ramp fills a tensor with a wave between -1 and 1 that no two rows share.
func ramp(name string, shape ...int64) infer.Tensor {
	t := infer.Tensor{Name: name, DataType: infer.FP32, Shape: shape}
	for i := range t.Elements() {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(math.Sin(float64(i)*0.37))))
	}
	return t
}

// result is what was found out about a model.
type result struct {
	difference float64
	cpu        float64   // rows/s at batch 1
	gpu        []float64 // rows/s at each of batches
	mixed      float64   // rows/s of batches of 1 to 8 rows in turn
	bucketed   float64   // the same, as functions do it
}

func (o *options) measure(ctx context.Context, library *ort.Library, m *model, gpu ort.Device) (r result, err error) {
	path := filepath.Join(o.dir, m.path)
	onCPU, err := library.Open(path, ort.Options{})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, onCPU.Close()) }()
	onGPU, err := library.Open(path, ort.Options{Device: gpu})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, onGPU.Close()) }()
	for _, rows := range []int{1, 3} {
		d, err := difference(ctx, onCPU, onGPU, m.inputs(rows))
		if err != nil {
			return r, err
		}
		r.difference = max(r.difference, d)
	}
	if r.cpu, err = o.speed(ctx, onCPU, m, 1); err != nil {
		return r, err
	}
	for _, rows := range batches() {
		speed, err := o.speed(ctx, onGPU, m, rows)
		if err != nil {
			return r, fmt.Errorf("batch %d: %w", rows, err)
		}
		r.gpu = append(r.gpu, speed)
	}
	if r.mixed, err = o.mixed(ctx, onGPU, m); err != nil {
		return r, fmt.Errorf("sizes in turn: %w", err)
	}
	another := func() (bucket.Session, error) { return library.Open(path, ort.Options{Device: gpu}) }
	first, err := another()
	if err != nil {
		return r, err
	}
	buckets := bucket.New(first, bucket.Config{Signature: m.signature(), Sessions: 4, Open: another})
	defer func() { err = errors.Join(err, buckets.Close()) }()
	if r.bucketed, err = o.mixed(ctx, buckets, m); err != nil {
		return r, fmt.Errorf("sizes in turn, by sessions of their own: %w", err)
	}
	return r, nil
}

// signature declares which of the tensors have rows, as the shipped manifests do.
func (m *model) signature() *infer.Signature {
	axis := 0
	sig := &infer.Signature{BatchAxis: &axis}
	for _, t := range m.inputs(1) {
		spec := infer.TensorSpec{Name: t.Name, DataType: t.DataType, Unbatched: len(t.Shape) == 0}
		if t.Name == "state" { // its rows are on its second axis: nothing is joined
			sig.BatchAxis = nil
		}
		sig.Inputs = append(sig.Inputs, spec)
	}
	return sig
}

// difference runs both twice, the second time over memory given beforehand,
// and returns the largest relative difference of any output.
func difference(ctx context.Context, a, b *ort.Session, inputs []infer.Tensor) (float64, error) {
	worst := 0.0
	for range 2 {
		want, release, err := a.Run(ctx, memory.Unbounded{}, inputs, nil)
		if err != nil {
			return 0, err
		}
		got, releaseGot, err := b.Run(ctx, memory.Unbounded{}, inputs, nil)
		if err != nil {
			release()
			return 0, err
		}
		for i := range want {
			d, err := apart(&want[i], &got[i])
			if err != nil {
				return 0, err
			}
			worst = max(worst, d)
		}
		release()
		releaseGot()
	}
	return worst, nil
}

// apart is the largest difference of two tensors, as a share of the largest
// value in the first. What is no number is infinitely far apart.
func apart(want, got *infer.Tensor) (float64, error) {
	if !slices.Equal(want.Shape, got.Shape) || want.DataType != infer.FP32 || got.DataType != infer.FP32 {
		return 0, fmt.Errorf("output %q: %s%v on the CPU, %s%v on the GPU", want.Name, want.DataType, want.Shape, got.DataType, got.Shape)
	}
	a, err := infer.Values[float32](want)
	if err != nil {
		return 0, err
	}
	b, err := infer.Values[float32](got)
	if err != nil {
		return 0, err
	}
	largest, worst := 1e-6, 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1), nil
		}
		largest, worst = max(largest, math.Abs(float64(a[i]))), max(worst, d)
	}
	return worst / largest, nil
}

// speed is rows a second, one run after the other, after three runs to warm up.
func (o *options) speed(ctx context.Context, s *ort.Session, m *model, rows int) (float64, error) {
	inputs := m.inputs(rows)
	run := func() error {
		_, release, err := s.Run(ctx, memory.Unbounded{}, inputs, nil)
		if err == nil {
			release()
		}
		return err
	}
	for range 3 {
		if err := run(); err != nil {
			return 0, err
		}
	}
	runs, began := 0, time.Now()
	for time.Since(began) < o.turn {
		if err := run(); err != nil {
			return 0, err
		}
		runs++
	}
	return float64(runs*rows) / time.Since(began).Seconds(), nil
}

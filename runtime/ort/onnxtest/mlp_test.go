package onnxtest_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestMLPIsWhatItsWeightsSay(t *testing.T) {
	t.Parallel()
	model := onnxtest.MLP(7, 3, 5, 2)
	if !bytes.Equal(model.Marshal(), onnxtest.MLP(7, 3, 5, 2).Marshal()) {
		t.Error("the same seed gave another model")
	}
	if bytes.Equal(model.Marshal(), onnxtest.MLP(8, 3, 5, 2).Marshal()) {
		t.Error("another seed gave the same model")
	}
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	library, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := library.Open(model.Write(t), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{0.5, -1, 2}
	out, release, err := session.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{infer.NewTensor("x", []int64{1, 3}, x)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	weights := func(i int) []float32 { return floats(model.Graph.Initializers[i].Raw) }
	hidden := dense(x, weights(0), weights(1))
	for i := range hidden {
		hidden[i] = max(0, hidden[i])
	}
	want, got := dense(hidden, weights(2), weights(3)), floats(out[0].Data)
	for i := range want {
		if math.Abs(float64(want[i]-got[i])) > 1e-5 {
			t.Errorf("y[%d]: got %v, want %v", i, got[i], want[i])
		}
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

func dense(x, w, b []float32) []float32 {
	y := append([]float32(nil), b...)
	for i, v := range x {
		for j := range y {
			y[j] += v * w[i*len(y)+j]
		}
	}
	return y
}

func floats(raw []byte) []float32 {
	var out []float32
	for ; len(raw) > 0; raw = raw[4:] {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
	}
	return out
}

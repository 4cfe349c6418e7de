package infer_test

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", path, diff)
	}
}

func everyType() []infer.Tensor {
	return []infer.Tensor{
		infer.NewTensor("bool", []int64{2}, []bool{true, false}),
		infer.NewTensor("u8", []int64{2}, []uint8{0, 255}),
		infer.NewTensor("u16", []int64{1}, []uint16{65535}),
		infer.NewTensor("u32", []int64{1}, []uint32{math.MaxUint32}),
		infer.NewTensor("u64", []int64{1}, []uint64{math.MaxUint64}),
		infer.NewTensor("i8", []int64{1}, []int8{-128}),
		infer.NewTensor("i16", []int64{1}, []int16{-32768}),
		infer.NewTensor("i32", []int64{1}, []int32{math.MinInt32}),
		infer.NewTensor("i64", []int64{1}, []int64{math.MinInt64}),
		{Name: "fp16", DataType: infer.FP16, Shape: []int64{3}, Data: []byte{0x66, 0x2e, 0, 0x7c, 0, 0x80}},
		{Name: "bf16", DataType: infer.BF16, Shape: []int64{1}, Data: []byte{0xcd, 0x3d}},
		infer.NewTensor("fp32", []int64{2, 3}, []float32{0.1, -1e-7, 1e21, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}),
		infer.NewTensor("fp64", []int64{}, []float64{math.Pi}),
		infer.NewTensor("none", []int64{0, 4}, []float32(nil)),
		infer.NewBytes("bytes", []int64{3}, "", "a\"b\n", "日本"),
	}
}

func TestEncodeResponse(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	resp := &infer.Response{
		Model: "m", Version: "3", ID: "id", Outputs: everyType(),
		Parameters: infer.Parameters{"b": true, "a": int64(-1), "d": "text", "c": 0.5},
	}
	t.Run("json", func(t *testing.T) {
		t.Parallel()
		body, err := infer.EncodeResponse(resp, &infer.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if body.HeaderLength() != infer.NoHeader || body.ContentType() != "application/json" {
			t.Errorf("header length %d, type %s", body.HeaderLength(), body.ContentType())
		}
		golden(t, "response.json", body.Bytes())
	})
	t.Run("mixed", func(t *testing.T) {
		t.Parallel()
		body, err := infer.EncodeResponse(resp, &infer.Request{
			BinaryOutput: true, Outputs: []infer.RequestedOutput{{Name: "fp32", Binary: &no}, {Name: "u8", Binary: &yes}, {Name: "bytes"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "response_mixed.bin", body.Bytes())
		got, err := infer.DecodeResponse(body.Bytes(), body.HeaderLength(), infer.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(resp.Parameters, got.Parameters); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(resp.Outputs, got.Outputs, sameBytes()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("not UTF-8", func(t *testing.T) {
		t.Parallel()
		resp := &infer.Response{Outputs: []infer.Tensor{infer.NewBytes("s", []int64{1}, "\xff")}}
		if _, err := infer.EncodeResponse(resp, &infer.Request{}); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("got %v", err)
		}
		if _, err := infer.EncodeResponse(resp, &infer.Request{BinaryOutput: true}); err != nil {
			t.Error(err)
		}
	})
}

// TestAZeroKeepsItsSign holds that readers who make integers of what looks like
// one get the sign: Python's json reads -0 as 0, and -0.0 as -0.0.
func TestAZeroKeepsItsSign(t *testing.T) {
	t.Parallel()
	minus := math.Copysign(0, -1)
	resp := &infer.Response{
		Outputs: []infer.Tensor{
			infer.NewTensor("a", []int64{2}, []float32{float32(minus), 0}), infer.NewTensor("b", []int64{1}, []float64{minus}),
			{Name: "c", DataType: infer.FP16, Shape: []int64{1}, Data: []byte{0, 0x80}},
			{Name: "d", DataType: infer.BF16, Shape: []int64{1}, Data: []byte{0, 0x80}},
		},
		Parameters: infer.Parameters{"p": minus},
	}
	body, err := infer.EncodeResponse(resp, &infer.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(body.JSON), "-0.0"); n != 5 {
		t.Errorf("%d of 5 zeros with a sign: %s", n, body.JSON)
	}
	for _, text := range []string{string(body.JSON), strings.ReplaceAll(string(body.JSON), "-0.0", "-0")} {
		got, err := infer.DecodeResponse([]byte(text), infer.NoHeader, infer.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(resp.Outputs, got.Outputs, sameBytes()); diff != "" {
			t.Error(diff)
		}
		if p, ok := got.Parameters["p"].(float64); !ok || !math.Signbit(p) {
			t.Errorf("parameter %v", got.Parameters["p"])
		}
	}
}

// sameBytes takes nil and empty data for the same.
func sameBytes() cmp.Option {
	return cmp.Comparer(bytes.Equal)
}

func TestRequestRoundTrip(t *testing.T) {
	t.Parallel()
	yes := true
	req := &infer.Request{
		ID: "a", Inputs: everyType(), BinaryOutput: true, Timeout: 2 * time.Millisecond, Priority: 9,
		Outputs:    []infer.RequestedOutput{{Name: "x", Binary: &yes}, {Name: "y"}},
		Parameters: infer.Parameters{"k": "v"},
	}
	for name, inBinary := range map[string]func(*infer.Tensor) bool{
		"binary": nil,
		"json":   func(*infer.Tensor) bool { return false },
		"mixed":  func(t *infer.Tensor) bool { return len(t.Name)%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := infer.EncodeRequest(req, inBinary)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if n, err := body.WriteTo(&out); err != nil || n != body.Size() || !bytes.Equal(out.Bytes(), body.Bytes()) {
				t.Errorf("wrote %d of %d bytes, %v", n, body.Size(), err)
			}
			read, err := infer.ReadBody(t.Context(), &out, infer.Body{Length: body.Size(), HeaderLength: body.HeaderLength(), Limit: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			got, err := infer.DecodeRequest(read, body.HeaderLength(), infer.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(req, got, sameBytes()); diff != "" {
				t.Errorf("want, got:\n%s", diff)
			}
			for i := range got.Inputs {
				checkViews(t, &got.Inputs[i])
			}
		})
	}
}

// checkViews checks that a fixed-size tensor's data is aligned.
func checkViews(t *testing.T, tensor *infer.Tensor) {
	t.Helper()
	var err error
	switch tensor.DataType.Size() {
	case 2:
		_, err = infer.Values[uint16](&infer.Tensor{DataType: infer.Uint16, Data: tensor.Data})
	case 4:
		_, err = infer.Values[uint32](&infer.Tensor{DataType: infer.Uint32, Data: tensor.Data})
	case 8:
		_, err = infer.Values[uint64](&infer.Tensor{DataType: infer.Uint64, Data: tensor.Data})
	}
	if err != nil {
		t.Errorf("%s: %v", tensor.Name, err)
	}
}

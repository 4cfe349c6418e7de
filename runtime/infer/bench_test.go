package infer_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// BenchmarkDecodeJSON decodes a request of one line image for text-recognize
// (46,080 numbers), by us and by encoding/json into a struct that fits.
func BenchmarkDecodeJSON(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	short := make([]float32, 3*48*320)
	long := make([]float64, len(short))
	for i := range short {
		long[i] = random.NormFloat64()
		short[i] = float32(random.IntN(511)-255) / 255
	}
	type request struct {
		Inputs []struct {
			Name     string    `json:"name"`
			Datatype string    `json:"datatype"`
			Shape    []int64   `json:"shape"`
			Data     []float32 `json:"data"`
		} `json:"inputs"`
	}
	shape := []int64{1, 3, 48, 320}
	for name, tensor := range map[string]infer.Tensor{
		"9 digits":  infer.NewTensor("x", shape, short),
		"17 digits": infer.NewTensor("x", shape, long),
	} {
		body, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{tensor}}, func(*infer.Tensor) bool { return false })
		if err != nil {
			b.Fatal(err)
		}
		text := []byte(string(body.JSON))
		b.Run(name+"/infer", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := infer.DecodeRequest(text, infer.NoHeader, infer.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var r request
				if err := json.Unmarshal(text, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncodeJSON writes the same tensor as a response.
func BenchmarkEncodeJSON(b *testing.B) {
	values := make([]float32, 3*48*320)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range values {
		values[i] = random.Float32()
	}
	resp := &infer.Response{Outputs: []infer.Tensor{infer.NewTensor("y", []int64{1, 3, 48, 320}, values)}}
	b.Run("infer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := infer.EncodeResponse(resp, &infer.Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(values); err != nil {
				b.Fatal(err)
			}
		}
	})
}

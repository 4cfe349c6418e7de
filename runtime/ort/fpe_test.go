package ort_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// panicOf is what f panics with.
func panicOf(f func()) (message string) {
	defer func() { message = fmt.Sprint(recover()) }()
	f()
	return ""
}

// TestIntegerDivisionWrapsAround divides the smallest integers by -1: on amd64
// the processor raises a signal that would end the process.
func TestIntegerDivisionWrapsAround(t *testing.T) {
	t.Parallel()
	l := open(t)
	overflows(t, l, infer.Int8, int8(math.MinInt8))
	overflows(t, l, infer.Int16, int16(math.MinInt16))
	overflows(t, l, infer.Int32, int32(math.MinInt32))
	overflows(t, l, infer.Int64, int64(math.MinInt64))
	t.Cleanup(func() { // Go's own faults are Go's still
		var nowhere *int
		if got := panicOf(func() { *nowhere = 1 }); !strings.Contains(got, "nil pointer dereference") {
			t.Errorf("a nil pointer: %s", got)
		}
		nothing := min(0, len(t.Name()))
		if got := panicOf(func() { nothing = 1 / nothing }); !strings.Contains(got, "integer divide by zero") {
			t.Errorf("a division by zero: %s", got)
		}
	})
}

func overflows[T int8 | int16 | int32 | int64](t *testing.T, l *ort.Library, d infer.DataType, smallest T) {
	for op, want := range map[string][]T{"Div": {smallest, -4, 9, 0}, "Mod": {0, -1, 0, 0}} {
		// One by one, by one divisor, and so many that other threads take some.
		for _, n := range []int{1, 4, 1 << 16} {
			for _, one := range []string{"", "x", "b"} { // what is one element
				t.Run(fmt.Sprintf("%s/%s/%d/%s", op, d, n, one), func(t *testing.T) {
					t.Parallel()
					x, b, y := []T{smallest, 9, -9, smallest}, []T{-1, -2, -1, smallest}, slices.Clone(want)
					if op == "Div" {
						y[3] = 1
					}
					if one != "" {
						x, b, y = []T{smallest}, []T{-1}, y[:1]
					}
					repeat := func(v []T) []T { return slices.Repeat(v, (n+len(v)-1)/len(v))[:n] }
					y = repeat(y)
					if one != "x" {
						x = repeat(x)
					}
					if one != "b" {
						b = repeat(b)
					}
					path := divide(op, d).Write(t)
					s, err := l.Open(path, ort.Options{Threads: 2})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { s.Close() })
					out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{
						infer.NewTensor("x", []int64{int64(len(x))}, x), infer.NewTensor("b", []int64{int64(len(b))}, b),
					}, nil)
					if err != nil {
						t.Fatal(err)
					}
					defer release()
					if wanted := infer.NewTensor("y", []int64{int64(n)}, y); !slices.Equal(out[0].Data, wanted.Data) {
						t.Errorf("got % x, want % x", out[0].Data[:min(64, len(out[0].Data))], wanted.Data[:min(64, len(wanted.Data))])
					}
				})
			}
		}
	}
}

// divide is "x" and "b" of any lengths that fit, by an operator of two inputs.
func divide(op string, d infer.DataType) onnxtest.Model {
	m := onnxtest.Identity(onnxtest.ElementOf(d), "n")
	m.Graph.Nodes[0] = onnxtest.Node{Op: op, Inputs: []string{"x", "b"}, Outputs: []string{"y"}}
	m.Graph.Inputs = append(m.Graph.Inputs, onnxtest.Value{Name: "b", Element: onnxtest.ElementOf(d), Shape: []any{"m"}})
	return m
}

// TestDivisionByZero is refused by ONNX Runtime itself, whatever the shapes.
func TestDivisionByZero(t *testing.T) {
	t.Parallel()
	l := open(t)
	refusesZero[int8](t, l, infer.Int8)
	refusesZero[int16](t, l, infer.Int16)
	refusesZero[int32](t, l, infer.Int32)
	refusesZero[int64](t, l, infer.Int64)
	refusesZero[uint8](t, l, infer.Uint8)
	refusesZero[uint32](t, l, infer.Uint32)
	refusesZero[uint64](t, l, infer.Uint64)
}

func refusesZero[T int8 | int16 | int32 | int64 | uint8 | uint32 | uint64](t *testing.T, l *ort.Library, d infer.DataType) {
	for _, op := range []string{"Div", "Mod"} {
		s := load(t, l, divide(op, d).Write(t))
		for name, in := range map[string][2][]T{
			"one":        {{1}, {0}},
			"by one":     {{1, 2, 3}, {0}},
			"of one":     {{1}, {1, 2, 0}},
			"one by one": {{1, 2, 3}, {1, 0, 3}},
			"zero":       {{0}, {0}},
		} {
			_, _, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{
				infer.NewTensor("x", []int64{int64(len(in[0]))}, in[0]), infer.NewTensor("b", []int64{int64(len(in[1]))}, in[1]),
			}, nil)
			if err == nil || !strings.Contains(err.Error(), "zero") {
				t.Errorf("%s of %s, %s: %v", op, d, name, err)
			}
		}
	}
}

package ort_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// given is a model with an output that no operator writes, or not each time,
// and what it gives for the i-th call: always of the same shapes, so that the
// outputs' memory is offered from the second call on.
type given struct {
	model onnxtest.Model
	call  func(i int) (inputs, want []infer.Tensor)
}

func named(t infer.Tensor, name string) infer.Tensor {
	t.Name = name
	return t
}

// row is a different one for each call.
func row(name string, i int) infer.Tensor {
	return floats(name, []int64{1, 2}, float32(10*i+1), float32(10*i+2))
}

func outputsThatNoOperatorWrites() map[string]given {
	value := func(name string) onnxtest.Value {
		return onnxtest.Value{Name: name, Element: onnxtest.Float, Shape: []any{"n", 2}}
	}
	negative := func(t infer.Tensor, name string) infer.Tensor {
		t.Name, t.Data = name, bytes.Clone(t.Data)
		for i := 3; i < len(t.Data); i += 4 {
			t.Data[i] ^= 0x80
		}
		return t
	}
	neg := onnxtest.Node{Op: "Neg", Inputs: []string{"x"}, Outputs: []string{"y"}}
	texts := onnxtest.Value{Name: "s", Element: onnxtest.String, Shape: []any{"n"}}
	weights := floats("w", []int64{1, 2}, 0.5, -0.5)
	branch := func(name, op, from string) *onnxtest.Graph {
		return &onnxtest.Graph{
			Nodes:   []onnxtest.Node{{Op: op, Inputs: []string{from}, Outputs: []string{name}}},
			Outputs: []onnxtest.Value{value(name)},
		}
	}
	constant := onnxtest.Floats("", []int64{1, 2}, 3, 4)
	return map[string]given{
		"an input beside an operator": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes: []onnxtest.Node{neg}, Inputs: []onnxtest.Value{value("x")}, Outputs: []onnxtest.Value{value("y"), value("x")},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				return []infer.Tensor{x}, []infer.Tensor{negative(x, "y"), x}
			},
		},
		"an input, first": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes: []onnxtest.Node{neg}, Inputs: []onnxtest.Value{value("x")}, Outputs: []onnxtest.Value{value("x"), value("y")},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				return []infer.Tensor{x}, []infer.Tensor{x, negative(x, "y")}
			},
		},
		"inputs, in a model without operators": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Inputs: []onnxtest.Value{value("x"), texts}, Outputs: []onnxtest.Value{texts, value("x")},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x, s := row("x", i), infer.Tensor{Name: "s", DataType: infer.Bytes, Shape: []int64{2}, Data: raw(fmt.Sprint(i), "")}
				return []infer.Tensor{x, s}, []infer.Tensor{s, x}
			},
		},
		"a constant of the model": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes: []onnxtest.Node{neg}, Inputs: []onnxtest.Value{value("x")},
				Outputs:      []onnxtest.Value{value("y"), value("w")},
				Initializers: []onnxtest.Tensor{{Name: "w", Element: onnxtest.Float, Shape: weights.Shape, Raw: weights.Data}},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				return []infer.Tensor{x}, []infer.Tensor{negative(x, "y"), weights}
			},
		},
		"an input with a default, given every second time": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes:        []onnxtest.Node{neg},
				Inputs:       []onnxtest.Value{value("x"), {Name: "w", Element: onnxtest.Float, Shape: []any{1, 2}}},
				Outputs:      []onnxtest.Value{value("w"), value("y")},
				Initializers: []onnxtest.Tensor{{Name: "w", Element: onnxtest.Float, Shape: weights.Shape, Raw: weights.Data}},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				if i%2 == 0 {
					return []infer.Tensor{x}, []infer.Tensor{weights, negative(x, "y")}
				}
				w := row("w", i+100)
				return []infer.Tensor{x, w}, []infer.Tensor{w, negative(x, "y")}
			},
		},
		"an input by another shape": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes:        []onnxtest.Node{{Op: "Reshape", Inputs: []string{"x", "shape"}, Outputs: []string{"y"}}},
				Inputs:       []onnxtest.Value{value("x")},
				Outputs:      []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"m"}}, value("x")},
				Initializers: []onnxtest.Tensor{onnxtest.Int64s("shape", []int64{1}, -1)},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				y := named(x, "y")
				y.Shape = []int64{2}
				return []infer.Tensor{x}, []infer.Tensor{y, x}
			},
		},
		"a branch's": {
			onnxtest.Model{Graph: onnxtest.Graph{
				Nodes: []onnxtest.Node{
					{
						Op: "If", Inputs: []string{"c"}, Outputs: []string{"y"},
						Attributes: []onnxtest.Attribute{
							{Name: "then_branch", Graph: branch("a", "Identity", "x")},
							{Name: "else_branch", Graph: &onnxtest.Graph{
								Nodes:   []onnxtest.Node{{Op: "Constant", Outputs: []string{"b"}, Attributes: []onnxtest.Attribute{{Name: "value", Tensor: &constant}}}},
								Outputs: []onnxtest.Value{value("b")},
							}},
						},
					},
				},
				Inputs:  []onnxtest.Value{value("x"), {Name: "c", Element: onnxtest.Bool, Shape: []any{}}},
				Outputs: []onnxtest.Value{value("y")},
			}},
			func(i int) (inputs, want []infer.Tensor) {
				x := row("x", i)
				c := infer.Tensor{Name: "c", DataType: infer.Bool, Shape: []int64{}, Data: []byte{byte(i % 2)}}
				if i%2 == 1 {
					return []infer.Tensor{x, c}, []infer.Tensor{named(x, "y")}
				}
				return []infer.Tensor{x, c}, []infer.Tensor{floats("y", []int64{1, 2}, 3, 4)}
			},
		},
	}
}

func TestAnAnswerIsWhatTheModelGave(t *testing.T) {
	t.Parallel()
	l := open(t)
	for name, tc := range outputsThatNoOperatorWrites() {
		for path, ready := range map[string]func(*ort.Session) error{
			"in place": func(*ort.Session) error { return nil },
			"staged":   (*ort.Session).Bind,
		} {
			t.Run(name+"/"+path, func(t *testing.T) {
				t.Parallel()
				s := load(t, l, tc.model.Write(t))
				if err := ready(s); err != nil {
					t.Fatal(err)
				}
				for i := range 6 {
					inputs, want := tc.call(i)
					var names []string
					for _, w := range want {
						names = append(names, w.Name)
					}
					got, release, err := s.Run(t.Context(), memory.Unbounded{}, inputs, names)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("call %d (-want +got):\n%s", i, diff)
					}
					for _, in := range inputs { // the answer is its own memory
						clear(in.Data)
					}
					_, want = tc.call(i)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("call %d, once its inputs are gone (-want +got):\n%s", i, diff)
					}
					release()
				}
			})
		}
	}
}

// TestBlankMemoryHoldsNothing holds that memory which is offered for an output
// shows nothing of what was in it before, whatever becomes of it.
func TestBlankMemoryHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, poison := range map[string]byte{"cleared": 0, "poisoned": ort.Poison} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for size := 1; size < 3<<20; size = size*3 + 1 {
				if left := ort.LeftInBlank(poison, size); left != 0 {
					t.Errorf("%d of %d bytes are left from before", left, size)
				}
			}
		})
	}
}

// TestPoisonShowsWhatIsNotWritten holds that the conformance suite, which
// runs so, would see an operator that leaves memory unwritten: MatMulInteger
// over an empty axis does (ONNX Runtime 1.31).
func TestPoisonShowsWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	if out, err := child(t, "unwritten", ort.PoisonVariable+"=all").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func matMulInteger() onnxtest.Model {
	value := func(name string, e onnxtest.Element, shape ...any) onnxtest.Value {
		return onnxtest.Value{Name: name, Element: e, Shape: shape}
	}
	return onnxtest.Model{Graph: onnxtest.Graph{
		Nodes:   []onnxtest.Node{{Op: "MatMulInteger", Inputs: []string{"a", "b"}, Outputs: []string{"y"}}},
		Inputs:  []onnxtest.Value{value("a", onnxtest.Uint8, "n", "k"), value("b", onnxtest.Uint8, "k", "m")},
		Outputs: []onnxtest.Value{value("y", onnxtest.Int32, "n", "m")},
	}}
}

// unwritten multiplies matrices that have no element, whose product is zeros.
func unwritten() error {
	path, err := ort.FindLibrary()
	if err != nil {
		return err
	}
	l, err := ort.Open(path)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "unwritten-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(file, matMulInteger().Marshal(), 0o600); err != nil {
		return err
	}
	s, err := l.Open(file, ort.Options{})
	if err != nil {
		return err
	}
	empty := func(name string, shape ...int64) infer.Tensor {
		return infer.Tensor{Name: name, DataType: infer.Uint8, Shape: shape, Data: []byte{}}
	}
	out, release, err := s.Run(context.Background(), memory.Unbounded{}, []infer.Tensor{empty("a", 2, 0), empty("b", 0, 2)}, nil)
	if err != nil {
		return err
	}
	defer release()
	const poison = uint32(ort.Poison) * 0x01010101
	for at := 0; at < len(out[0].Data); at += 4 {
		if binary.LittleEndian.Uint32(out[0].Data[at:]) == poison {
			return errors.Join(s.Close(), l.Close())
		}
	}
	return fmt.Errorf("nothing of %v is unwritten", out)
}

// TestARunSeesNothingOfAnEarlierOne holds that an operator which leaves its
// output unwritten answers nothing that another run left in the memory, also where
// an earlier operator of the same run had less of it: here MatMulInteger over an
// axis that a value has made empty.
func TestARunSeesNothingOfAnEarlierOne(t *testing.T) {
	t.Parallel()
	const rows = 32 // by 48 columns of four bytes: 6144
	for name, before := range map[string]int64{
		"nothing had it before in the run":   1,
		"a shorter one had it before":        5124 / 4,
		"one as long had it before":          6144 / 4,
		"one of the next size had it before": 7000 / 4,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, open(t), leavesUnwritten().Write(t))
			for i := range 6 {
				full := i%2 == 0
				inputs := []infer.Tensor{bytesOf("x", 7, rows, 3), bytesOf("w", 11, 3, 48), upTo(0), noughts("d", before)}
				if full {
					inputs[2], inputs[3] = upTo(3), noughts("d", 1)
				}
				out, release, err := s.Run(t.Context(), memory.Unbounded{}, inputs, nil)
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(out[0].Data); at += 4 {
					got := int32(binary.LittleEndian.Uint32(out[0].Data[at:]))
					if full && got != -7*11*3 || !full && (got == 7*11*3 || got == -7*11*3) {
						t.Fatalf("run %d answers %d", i, got)
					}
				}
				release()
			}
		})
	}
}

// leavesUnwritten is a model whose product over k of three columns is not written
// when k is 0; before it, another operator has taken as much memory as d is long.
func leavesUnwritten() *onnxtest.Model {
	value := func(name string, e onnxtest.Element, shape ...any) onnxtest.Value {
		return onnxtest.Value{Name: name, Element: e, Shape: shape}
	}
	return &onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "Exp", Inputs: []string{"d"}, Outputs: []string{"e"}},
			{Op: "Size", Inputs: []string{"e"}, Outputs: []string{"size"}},
			{Op: "Mul", Inputs: []string{"size", "zero"}, Outputs: []string{"nothing"}},
			{Op: "Add", Inputs: []string{"nothing", "k"}, Outputs: []string{"after"}},
			{Op: "Slice", Inputs: []string{"x", "zero", "after", "one"}, Outputs: []string{"a"}},
			{Op: "Slice", Inputs: []string{"w", "zero", "after", "zero"}, Outputs: []string{"b"}},
			{Op: "MatMulInteger", Inputs: []string{"a", "b"}, Outputs: []string{"product"}},
			{Op: "Neg", Inputs: []string{"product"}, Outputs: []string{"y"}}, // so that it is not an output's own memory
		},
		Inputs:       []onnxtest.Value{value("x", onnxtest.Uint8, "n", 3), value("w", onnxtest.Uint8, 3, "m"), value("k", onnxtest.Int64, 1), value("d", onnxtest.Float, "q")},
		Outputs:      []onnxtest.Value{value("y", onnxtest.Int32, "n", "m")},
		Initializers: []onnxtest.Tensor{onnxtest.Int64s("zero", []int64{1}, 0), onnxtest.Int64s("one", []int64{1}, 1)},
	}}
}

func bytesOf(name string, value byte, shape ...int64) infer.Tensor {
	x := infer.Tensor{Name: name, DataType: infer.Uint8, Shape: shape}
	x.Data = bytes.Repeat([]byte{value}, int(x.Elements()))
	return x
}

func noughts(name string, n int64) infer.Tensor {
	return infer.Tensor{Name: name, DataType: infer.FP32, Shape: []int64{n}, Data: make([]byte, 4*n)}
}

func upTo(k uint64) infer.Tensor {
	return infer.Tensor{Name: "k", DataType: infer.Int64, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint64(nil, k)}
}

// TestNoMemoryIsAnError holds that a run which asks for more than there is fails,
// and the process goes on.
func TestNoMemoryIsAnError(t *testing.T) {
	t.Parallel()
	one := onnxtest.Tensor{Element: onnxtest.Int8, Shape: []int64{1}, Raw: []byte{1}}
	s := load(t, open(t), onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "ConstantOfShape", Inputs: []string{"shape"}, Outputs: []string{"c"}, Attributes: []onnxtest.Attribute{{Name: "value", Tensor: &one}}},
			{Op: "Shape", Inputs: []string{"c"}, Outputs: []string{"y"}},
		},
		Inputs:  []onnxtest.Value{{Name: "shape", Element: onnxtest.Int64, Shape: []any{1}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Int64, Shape: []any{1}}},
	}}.Write(t))
	for range 2 {
		_, _, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{{Name: "shape", DataType: infer.Int64, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint64(nil, 1<<55)}}, nil)
		if code := problem.CodeOf(err); code != problem.PayloadTooLarge {
			t.Errorf("%s: %v", code, err)
		}
	}
}

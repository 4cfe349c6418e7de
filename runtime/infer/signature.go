package infer

import (
	"fmt"
	"math"
	"slices"
)

// Signature is what a model takes and gives. A model's manifest holds it, so
// nothing needs a session to check a request or to answer for metadata.
type Signature struct {
	Inputs  []TensorSpec `json:"inputs"`
	Outputs []TensorSpec `json:"outputs"`

	// BatchAxis is the axis along which requests may be joined, the same for
	// every batched input and output; nil when the model has none.
	BatchAxis *int `json:"batch_axis,omitempty"`

	// MaxElements bounds the elements of each input; 0 is no bound but the
	// body's.
	MaxElements int64 `json:"max_elements,omitempty"`
}

// TensorSpec is one input or output of a model.
type TensorSpec struct {
	Name     string   `json:"name"`
	DataType DataType `json:"datatype"`
	Shape    []Dim    `json:"shape"` // -1 is a dynamic axis

	// Example is a small shape the model is known to run with, found by running
	// it when it was published. Warm-up uses it; nil where nothing is dynamic. An
	// output has one where its Shape is nil and it was seen with one number of axes.
	Example []int64 `json:"example,omitempty"`

	// ExampleData is the data of an input of that shape, for a model that does
	// not run with zeros: a shape to reshape to, an index that counts from 1.
	ExampleData []byte `json:"example_data,omitempty"`

	// MinShape and MaxShape bound the sizes of an input's dynamic axes,
	// inclusive; -1 is no bound, and nil is none on any axis. A network may take
	// far more memory for many rows of one pixel than for one image of as many
	// elements, which MaxElements cannot distinguish.
	MinShape []int64 `json:"min_shape,omitempty"`
	MaxShape []int64 `json:"max_shape,omitempty"`

	// Optional inputs have a default in the model and may be left out.
	Optional bool `json:"optional,omitempty"`

	// Unbatched inputs and outputs have no batch axis (a scalar, a state whose
	// batch lies on another axis); requests joined in a batch must hold equal ones.
	Unbatched bool `json:"unbatched,omitempty"`

	// Min and Max bound the elements' values, inclusive.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitzero"`

	// Ragged lets requests of different sizes along an axis share a batch; nil
	// lets only equal ones.
	Ragged *Ragged `json:"ragged,omitempty"`

	// RaggedWith is the data that an input which is not ragged itself had when
	// padding was seen to change nothing, and which decides what the model makes of
	// the others: of the whole input where it is unbatched, in the shape of its
	// example, and of one row where it is BYTES. Requests with other data, or all
	// where it is nil, share a batch only with those of equal lengths.
	RaggedWith [][]byte `json:"ragged_with,omitempty"`
}

// Ragged is an axis whose size may differ between the requests of a batch. A
// publisher sets it for a model whose rows do not change when they are padded.
type Ragged struct {
	// Axis is dynamic, and not the batch axis.
	Axis int `json:"axis"`

	// Pad fills an input that is shorter than the longest, at its end. An
	// output has none.
	Pad float64 `json:"pad,omitempty"`

	// Max is, on an input, the length up to which padding was seen to change
	// nothing, inclusive: longer requests, or all where it is 0, share a batch
	// only with those of equal lengths. An output has none.
	Max int64 `json:"up_to,omitempty"`

	// Before is what manifests of before have for Max. Trials that could not show
	// anything counted then, so nothing goes by it.
	Before int64 `json:"max,omitzero"`

	// Blank is, on an input, that padding was seen to change nothing for rows that
	// hold only Pad there. Without it such a row shares a batch only with those of
	// equal lengths: a mask that leaves out everything is mostly answered by its length.
	Blank bool `json:"blank,omitzero"`

	// Of is, on an output, the input whose size its own follows: it is cut to
	// that input's size divided by Divide, rounded up. Divide 0 is 1.
	Of     string `json:"of,omitempty"`
	Divide int64  `json:"divide,omitempty"`
}

// SpecOf is the input or output of a name among specs; nil without one.
func SpecOf(specs []TensorSpec, name string) *TensorSpec {
	for i := range specs {
		if specs[i].Name == name {
			return &specs[i]
		}
	}
	return nil
}

// Differs describes in what a caller would notice that another version of a model
// answers: an input or output that only one has, or that differs in its type,
// its rank, a fixed size, or in whether it may be left out. It is "" where none
// would. Bounds and examples are no difference.
func (s *Signature) Differs(other *Signature) string {
	for _, side := range []struct {
		kind        string
		these, them []TensorSpec
	}{{"input", s.Inputs, other.Inputs}, {"output", s.Outputs, other.Outputs}} {
		for i := range side.these {
			spec := &side.these[i]
			match := SpecOf(side.them, spec.Name)
			if match == nil {
				return fmt.Sprintf("only one has the %s %q", side.kind, spec.Name)
			}
			if why := spec.differs(match); why != "" {
				return fmt.Sprintf("the %s %q is %s", side.kind, spec.Name, why)
			}
		}
		for i := range side.them {
			if SpecOf(side.these, side.them[i].Name) == nil {
				return fmt.Sprintf("only one has the %s %q", side.kind, side.them[i].Name)
			}
		}
	}
	return ""
}

func (t *TensorSpec) differs(other *TensorSpec) string {
	switch {
	case t.DataType != other.DataType:
		return fmt.Sprintf("%s in one and %s in the other", t.DataType, other.DataType)
	case t.Optional != other.Optional:
		return "optional in one alone"
	case t.Shape == nil || other.Shape == nil:
		return "" // not declared
	case len(t.Shape) != len(other.Shape):
		return fmt.Sprintf("of shape %v in one and %v in the other", t.Shape, other.Shape)
	}
	for i, d := range t.Shape {
		if d != other.Shape[i] && d != Dynamic && other.Shape[i] != Dynamic {
			return fmt.Sprintf("of shape %v in one and %v in the other", t.Shape, other.Shape)
		}
	}
	return ""
}

// ExampleInputs are inputs that the model is known to run with, those that it
// must have: of the shape Example, or else Shape, and with ExampleData, or else
// zeros and empty strings.
func (s *Signature) ExampleInputs() []Tensor {
	var inputs []Tensor
	for i := range s.Inputs {
		if !s.Inputs[i].Optional {
			inputs = append(inputs, s.Inputs[i].example())
		}
	}
	return inputs
}

// muchSmaller is how many times fewer elements SmallestInputs have: what is about
// as large is no gain.
const muchSmaller = 4

// SmallestInputs are the smallest that a request may bring: the example's, with
// one row and each dynamic axis as small as MinShape allows. They are none (false)
// where that is not much smaller than the example, or where the model runs with
// the example's own data alone. No run has shown that they are answered.
func (s *Signature) SmallestInputs() ([]Tensor, bool) {
	var inputs []Tensor
	small, example := int64(0), int64(0)
	for i := range s.Inputs {
		spec := &s.Inputs[i]
		if spec.Optional {
			continue
		}
		if spec.ExampleData != nil {
			return nil, false
		}
		least := *spec
		least.Example = s.smallest(spec)
		t := least.example()
		small, example = small+t.Elements(), example+elements(spec.ExampleShape())
		inputs = append(inputs, t)
	}
	return inputs, small > 0 && small <= example/muchSmaller
}

// smallest is the smallest shape of an input that a request may bring.
func (s *Signature) smallest(spec *TensorSpec) []int64 {
	shape := slices.Clone(spec.ExampleShape())
	for axis := range shape {
		if axis < len(spec.Shape) && spec.Shape[axis] != Dynamic {
			continue
		}
		least := int64(0)
		if axis < len(spec.MinShape) {
			least = spec.MinShape[axis]
		}
		if least <= 0 && s.BatchAxis != nil && *s.BatchAxis == axis && !spec.Unbatched {
			least = 1
		}
		if least > 0 {
			shape[axis] = min(shape[axis], least)
		}
	}
	return shape
}

// Described is the shape for those who ask for it: one that the model does not
// declare has as many axes as were seen, of any size.
func (t *TensorSpec) Described() []Dim {
	if t.Shape != nil || t.Example == nil {
		return append([]Dim{}, t.Shape...)
	}
	return slices.Repeat([]Dim{Dynamic}, len(t.Example))
}

// ExampleShape is a shape that the model is known to run with; a dynamic axis
// that nobody tried is 1.
func (t *TensorSpec) ExampleShape() []int64 {
	if t.Example != nil {
		return t.Example
	}
	shape := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		if shape[i] = d; d == Dynamic {
			shape[i] = 1
		}
	}
	return shape
}

func (t *TensorSpec) example() Tensor {
	out := Tensor{Name: t.Name, DataType: t.DataType, Shape: t.ExampleShape(), Data: t.ExampleData}
	if out.Data == nil {
		size := int64(t.DataType.Size())
		if t.DataType == Bytes {
			size = 4 // an empty element is its length alone
		}
		out.Data = make([]byte, out.Elements()*size)
	}
	return out
}

// Dim is the size of an axis in a signature, -1 where it is dynamic.
type Dim = int64

// Dynamic is the Dim of an axis whose size each request chooses.
const Dynamic Dim = -1

// elements multiplies a shape out; -1 on a negative dimension or overflow.
func elements(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return -1
		}
		if d != 0 && n > math.MaxInt64/d {
			return -1
		}
		n *= d
	}
	return n
}
